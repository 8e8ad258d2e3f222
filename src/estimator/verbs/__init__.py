"""The verbs of a model's life, one file each: read this folder first.

init, explore, train, tune         a table -> a config, findings, versions of a model
evaluate, compare, verify          a version or a config, scored, compared, reproduced
predict, serve, page, why          a version -> predictions: to a table, over HTTP, as a page; and why one was made
models, promote, rollback, history which version is live
sign                               which versions are one's own
monitor, retrain, replay           the prediction log -> drift, candidates, what another version would have predicted
export                             the prediction log -> a table
image, push, deploy, status, down  a version -> an image, in a registry, and where it runs
ci                                 all checks of a push

A file is imported when it is first used, so that serving needs no training library:

>>> from estimator import verbs
>>> verbs.train.train("config.yml")   # doctest: +SKIP
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from estimator.errors import needs_extra

if TYPE_CHECKING:
    from estimator.verbs import (
        check_table,
        ci,
        compare,
        deploy,
        down,
        evaluate,
        explore,
        export,
        history,
        image,
        init,
        models,
        monitor,
        page,
        predict,
        promote,
        push,
        replay,
        retrain,
        rollback,
        serve,
        sign,
        status,
        train,
        tune,
        verify,
        why,
    )
    from estimator.verbs.context import Context, Notes

__all__ = [
    "Context",
    "Notes",
    "check_table",
    "ci",
    "compare",
    "deploy",
    "down",
    "evaluate",
    "explore",
    "export",
    "history",
    "image",
    "init",
    "models",
    "monitor",
    "page",
    "predict",
    "promote",
    "push",
    "replay",
    "retrain",
    "rollback",
    "serve",
    "sign",
    "status",
    "train",
    "tune",
    "verify",
    "why",
]

# What a verb needs besides the base install: the extra, and what an error calls the verb.
EXTRAS = {
    "init": ("train", "reading a table"),
    "explore": ("train", "exploring a table"),
    "train": ("train", "training"),
    "tune": ("train", "tuning"),
    "evaluate": ("batch", "reading a table"),
    "compare": ("train", "comparing"),
    "verify": ("train", "training again"),
    "predict": ("batch", "reading a table"),
    "check_table": ("monitor", "checking a table"),
    "export": ("batch", "writing a table"),
    "retrain": ("train", "retraining"),
    "ci": ("train", "checking a push"),
}


def __getattr__(name: str) -> Any:
    """Import the file of a verb; a missing package is an error that says what to install."""
    if name in ("Context", "Notes"):
        return getattr(importlib.import_module("estimator.verbs.context"), name)
    module = f"{__name__}.{name}"
    if name.startswith("_") or importlib.util.find_spec(module) is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in EXTRAS:
        return importlib.import_module(module)
    with needs_extra(*EXTRAS[name]):
        return importlib.import_module(module)
