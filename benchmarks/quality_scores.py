"""Predictions for held-out rows -> scores, the loss of each block of rows, and coverage and width of intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from quality_peers import COVERAGE
from quality_tables import N_BLOCKS, SplitTable
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, r2_score, roc_auc_score


def scores_of(split_table: SplitTable, predictions: Any) -> dict[str, float]:
    """Score predictions for the held-out rows; competitors are compared by the first score, an error."""
    actual = split_table.actual
    if split_table.table.task == "regression":
        values = predictions if predictions.ndim == 1 else predictions[:, 0]
        rmse = float(np.sqrt(np.mean((values - actual) ** 2)))
        return {"rmse": rmse, "mae": mean_absolute_error(actual, values), "r2": r2_score(actual, values)}
    probabilities = _probabilities(split_table, predictions)
    predicted_class = np.array(split_table.classes)[probabilities.argmax(axis=1)]
    scores = {
        "log_loss": float(log_loss(actual, probabilities, labels=split_table.classes)),
        "accuracy": float(accuracy_score(actual, predicted_class)),
    }
    if set(actual) == set(split_table.classes):
        ranking = probabilities if len(split_table.classes) > 2 else probabilities[:, 1]
        scores["auc"] = float(roc_auc_score(actual, ranking, multi_class="ovr", labels=split_table.classes))
    return scores


def block_losses(split_table: SplitTable, predictions: Any) -> list[float]:
    """Return the sum of the losses of each block's rows: squared errors, or the terms of log loss."""
    if split_table.table.task == "regression":
        values = predictions if predictions.ndim == 1 else predictions[:, 0]
        losses = (values - split_table.actual) ** 2
    else:
        probabilities = _probabilities(split_table, predictions)
        positions = np.searchsorted(np.array(split_table.classes), split_table.actual)
        likelihoods = probabilities[np.arange(len(positions)), positions]
        losses = -np.log(np.clip(likelihoods, np.finfo(float).eps, 1.0))
    sums: list[float] = np.bincount(split_table.blocks, losses, minlength=N_BLOCKS).tolist()
    return sums


def block_rows(split_table: SplitTable) -> list[int]:
    """Return how many held-out rows each block has."""
    counts: list[int] = np.bincount(split_table.blocks, minlength=N_BLOCKS).tolist()
    return counts


def intervals_of(split_table: SplitTable, predictions: Any) -> dict[str, float]:
    """Return the mean width of the intervals around numbers, and the fraction of actual values that they cover."""
    if split_table.table.task != "regression" or predictions.ndim == 1:
        return {}
    low, high = predictions[:, 1], predictions[:, 2]
    is_covered = (low <= split_table.actual) & (split_table.actual <= high)
    return {"target_coverage": COVERAGE, "coverage": float(is_covered.mean()), "mean_width": float((high - low).mean())}


def _probabilities(split_table: SplitTable, predictions: Any) -> Any:
    probabilities = predictions[:, : len(split_table.classes)]
    return probabilities / probabilities.sum(axis=1, keepdims=True)
