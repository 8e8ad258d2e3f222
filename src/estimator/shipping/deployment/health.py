"""Check a deployed release from outside: its readiness, predictions and errors."""

from __future__ import annotations

import time
from collections.abc import Callable

from estimator.errors import DeploymentError, EstimatorError
from estimator.shipping.deployment.base import DeploymentContext, Release, serving_of
from estimator.shipping.image.smoke_test import check_responses, request_json, wait_until_ready


def check_health(
    release: Release,
    address: str,
    context: DeploymentContext,
    *,
    is_alive: Callable[[], bool] = lambda: True,
    timeout_seconds: float,
) -> str:
    """Wait until a URL serves a release, and check its golden rows; return a message with the result.

    The API key is the environment variable named by serving.api_key_env. If the server requires a key
    and there is none, only readiness is checked.

    Raises
    ------
    DeploymentError: the server is not ready in time, or returns other predictions or errors than the version.
    """
    try:
        seconds = wait_until_ready(
            release.version, address, started_at=time.monotonic(), is_alive=is_alive, timeout_seconds=timeout_seconds
        )
        return f"{address} is ready after {seconds:.1f} s; {_golden_rows(release, address, context)}"
    except EstimatorError as error:
        raise DeploymentError(f"{address}: {error.message}", hint=error.hint) from None
    except OSError as error:
        raise DeploymentError(f"{address}: no response: {error}") from None


def is_ready(release: Release, address: str) -> bool:
    """Whether a URL serves the version of a release now."""
    try:
        status, content = request_json(address, "/readyz")
        return status == 200 and content["version"] == release.version
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _golden_rows(release: Release, address: str, context: DeploymentContext) -> str:
    """Check the golden rows; return a message with the result."""
    artefact = context.version(release)
    if artefact is None:
        return "its golden rows are not available here"
    key = context.environment.get(serving_of(release, {}, context).api_key_env or "")
    if key is None and request_json(address, f"/v1/models/{artefact.name}/schema")[0] == 401:
        return "golden rows were not checked: the server requires an API key, and none is set"
    n_rows, n_rejected = check_responses(artefact, address, key=key)
    return f"{n_rows} golden rows and {n_rejected} rejected rows as expected"
