"""A release is looked at from outside: does its address answer as the version must?"""

from __future__ import annotations

import time
from collections.abc import Callable

from estimator.errors import DeploymentError, EstimatorError
from estimator.shipping.deployment.base import DeploymentContext, Release
from estimator.shipping.image.smoke_test import ask, check_answers, wait_until_ready
from estimator.store.artefact import Artefact


def check(
    release: Release,
    address: str,
    context: DeploymentContext,
    *,
    is_alive: Callable[[], bool] = lambda: True,
    patience: float,
) -> str:
    """Wait until an address is ready with a release's version and answers its golden rows; return that in words.

    `patience` is in seconds. A server that asks for keys is sent the one that the environment holds under the name of
    the version's serving.api_key_env; without one, nothing beyond its readiness is checked.

    Raises
    ------
    DeploymentError: it does not answer, or not as it must.
    """
    try:
        seconds = wait_until_ready(
            release.version, address, began=time.monotonic(), is_alive=is_alive, patience=patience
        )
        return f"{address} is ready after {seconds:.1f} s; {_answers(context.version(release), address, context)}"
    except EstimatorError as error:
        raise DeploymentError(f"{address}: {error.message}", hint=error.hint) from None
    except OSError as error:
        raise DeploymentError(f"{address}: no response: {error}") from None


def is_ready(release: Release, address: str) -> bool:
    """Whether an address answers now, with a release's version."""
    try:
        status, told = ask(address, "/readyz")
        return status == 200 and told["version"] == release.version
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _answers(artefact: Artefact | None, address: str, context: DeploymentContext) -> str:
    if artefact is None:
        return "its golden rows are not available here"
    key = context.environment.get(artefact.config.get("serving", {}).get("api_key_env") or "")
    if key is None and ask(address, f"/v1/models/{artefact.name}/schema")[0] == 401:
        return "golden rows were not checked: the server requires an API key, and none is set"
    n_rows, n_rejected = check_answers(artefact, address, key=key)
    return f"{n_rows} golden rows and {n_rejected} rejected rows as expected"
