"""Learning curves: the metrics to measure after each epoch, and where over-fitting begins, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from estimator.config import Config
from estimator.core.arrays import Floats
from estimator.core.task import Task
from estimator.evaluation.metrics import SHELF, Metric
from estimator.evaluation.scores import load_metric
from estimator.evaluation.threshold import fixed_threshold
from estimator.models.dataset import CurveMetric

LOSS, VALIDATION = "loss", "val_"
# A smaller rise of the validation loss is noise.
MIN_RISE = 0.01
# The loss at the end is the mean of so many last epochs: that of one is noisy.
LAST_EPOCHS = 5


def curve_metrics(config: Config, task: Task) -> dict[str, CurveMetric]:
    """Return the metrics that the config reports or that its callbacks monitor, by the names it gives them.

    Raises
    ------
    ConfigError: one does not suit the task.
    """
    # The threshold of a metric is chosen once the model is fitted.
    task, costs = replace(task, threshold=fixed_threshold(config.evaluation)), config.evaluation.costs
    metrics = {name: _measured(name, load_metric(name, task, costs), task) for name in config.evaluation.metrics}
    for index, callback in enumerate(config.training.callbacks):
        name = str((callback.model_extra or {}).get("monitor", "")).removeprefix(VALIDATION)
        if name in SHELF:
            key = f"training.callbacks.{index}.monitor"
            metrics[name] = _measured(name, load_metric(name, task, costs, key=key), task)
    return metrics


def _measured(name: str, metric: Metric, task: Task) -> CurveMetric:
    def score(target: Floats, raw: Floats) -> float:
        return float(metric.scores(target, task.predictions(raw), np.ones((1, len(target))))[0])

    return CurveMetric(SHELF.canonical(name), metric.higher_is_better, score)


def overfitting(curves: Sequence[Mapping[str, float]], *, unit: str = "epoch", kept: int | None = None) -> str | None:
    """Say where over-fitting begins; None without a validation loss. `kept` is the epoch whose weights are used.

    >>> training, validation = [4.0, 2.0, 1.0, 0.88, 0.88], [5.0, 3.0, 2.0, 2.08, 2.08]
    >>> overfitting([{"loss": a, "val_loss": b} for a, b in zip(training, validation)])
    'Validation loss is lowest at epoch 3; from there training loss falls by 12 % while validation loss rises by 4 %.'
    """
    losses = np.array([[entry.get(name, np.nan) for name in (LOSS, f"{VALIDATION}{LOSS}")] for entry in curves])
    if not len(losses) or not np.isfinite(losses[:, 1]).any():
        return None
    best = int(np.nanargmin(losses[:, 1]))
    lowest = f"Validation loss is lowest at {unit} {best + 1}"
    if best == len(losses) - 1:
        return f"{lowest}, the last one: it was still falling, so more may help."
    training, validation = _changes(losses, best)
    # Boosted trees have a validation loss alone.
    is_alone = not np.isfinite(losses[:, 0]).any()
    if not np.isfinite(validation) or not (np.isfinite(training) or is_alone):
        return f"{lowest}; after it the losses are not finite."
    weights = f" The weights of {unit} {kept} are kept." if kept is not None and kept == best + 1 else ""
    if validation < MIN_RISE:
        return f"{lowest} and stays within {MIN_RISE:.0%} of it: no over-fitting.".replace("%", " %") + weights
    if is_alone:
        return f"{lowest}; from there it rises by {_percent(validation)}.{weights}"
    if training >= 0:
        return (
            f"{lowest}; from there it rises by {_percent(validation)} and training loss by {_percent(training)}: "
            f"training is unstable, which a lower learning rate may mend.{weights}"
        )
    return (
        f"{lowest}; from there training loss falls by {_percent(-training)} while validation loss rises by "
        f"{_percent(validation)}.{weights}"
    )


def _changes(losses: Floats, best: int) -> tuple[float, float]:
    """Return by which fraction both losses change from the best epoch to the mean of the last ones."""
    last = losses[max(best + 1, len(losses) - LAST_EPOCHS) :].mean(axis=0)
    size = np.abs(losses[best])
    with np.errstate(divide="ignore", invalid="ignore"):
        training, validation = ((last - losses[best]) / size).tolist()
    return training, validation


def _percent(fraction: float) -> str:
    return f"{fraction * 100:.0f} %" if fraction >= 0.01 else f"{fraction * 100:.1g} %"
