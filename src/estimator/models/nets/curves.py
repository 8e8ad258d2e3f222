"""Metrics after each epoch of a net, on the rows it is trained on and on those it is evaluated on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from estimator.models.dataset import CurveMetric, EncodedFitData, EncodedRows
from estimator.models.matrix import FittedMatrixModel
from estimator.models.nets.callbacks import CallbackState
from estimator.models.nets.keras_object import KerasObject

W = TypeVar("W")
# What a name in a curve or callback begins with when it is measured on rows that the net is not trained on.
VALIDATION = "val_"


def monitoring(callback: KerasObject, metrics: Mapping[str, CurveMetric]) -> CallbackState:
    """Return the state of a callback that monitors what the curves are called, in the mode of the metric.

    >>> from estimator.models.nets import keras_names
    >>> from estimator.models.nets.keras_object import read_keras_object
    >>> settings = {"name": "early_stopping", "monitor": "val_roc_auc"}
    >>> stop = read_keras_object(settings, keras_names.CALLBACKS, "callback")
    >>> auc = CurveMetric("auc", higher_is_better=True, score=lambda target, raw: 0.5)
    >>> monitoring(stop, {"roc_auc": auc}).callback["monitor"], monitoring(stop, {"roc_auc": auc}).callback["mode"]
    ('val_auc', 'max')
    """
    settings, monitored = callback.options, str(callback.options.get("monitor", ""))
    metric = metrics.get(monitored.removeprefix(VALIDATION))
    if metric is None:
        return CallbackState(callback)
    settings["monitor"] = f"{VALIDATION if monitored.startswith(VALIDATION) else ''}{metric.name}"
    if settings["mode"] == "auto":
        settings["mode"] = "max" if metric.higher_is_better else "min"
    return CallbackState(KerasObject(name=callback.name, settings=tuple(sorted(settings.items()))))


def measure(
    data: EncodedFitData,
    callbacks: Sequence[CallbackState],
    predictor: Callable[[W], FittedMatrixModel],
    rows: EncodedRows,
    eval_rows: EncodedRows | None,
) -> Callable[[W], Mapping[str, float]] | None:
    """Return what measures the metrics of a net with some weights; None where none is asked for."""
    monitored = {str(state.callback.options.get("monitor", "")).removeprefix(VALIDATION) for state in callbacks}
    metrics = {
        metric.name: metric for metric in data.metrics.values() if data.held_out is not None or metric.name in monitored
    }
    if not metrics:
        return None
    parts = {"": rows} | ({VALIDATION: eval_rows} if eval_rows else {})

    def scores(weights: W) -> Mapping[str, float]:
        fitted = predictor(weights)
        raw = {prefix: fitted.predict(part.matrix) for prefix, part in parts.items()}
        return {
            f"{prefix}{name}": metric.score(part.target, raw[prefix])
            for name, metric in metrics.items()
            for prefix, part in parts.items()
        }

    return scores
