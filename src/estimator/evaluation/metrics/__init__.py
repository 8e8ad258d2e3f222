"""Predictions and truth -> a score; one file a kind, Keras's and scikit-learn's names for the same thing."""

from estimator.core.registry import Shelf
from estimator.evaluation.metrics.base import Metric

KINDS = {
    "rmse": "estimator.evaluation.metrics.squared:RootMeanSquaredError",
    "mae": "estimator.evaluation.metrics.absolute:MeanAbsoluteError",
    "r2": "estimator.evaluation.metrics.squared:RSquared",
    "mse": "estimator.evaluation.metrics.squared:MeanSquaredError",
    "mape": "estimator.evaluation.metrics.absolute:MeanAbsolutePercentageError",
    "log_loss": "estimator.evaluation.metrics.probability:LogLoss",
    "auc": "estimator.evaluation.metrics.ranking:AreaUnderCurve",
    "brier": "estimator.evaluation.metrics.probability:Brier",
    "accuracy": "estimator.evaluation.metrics.decisions:Accuracy",
    "balanced_accuracy": "estimator.evaluation.metrics.decisions:BalancedAccuracy",
    "f1": "estimator.evaluation.metrics.decisions:F1",
    "precision": "estimator.evaluation.metrics.decisions:Precision",
    "recall": "estimator.evaluation.metrics.decisions:Recall",
}
ALIASES = {
    "root_mean_squared_error": "rmse",
    "mean_absolute_error": "mae",
    "mean_squared_error": "mse",
    "mean_absolute_percentage_error": "mape",
    "r2_score": "r2",
    "binary_crossentropy": "log_loss",
    "categorical_crossentropy": "log_loss",
    "acc": "accuracy",
    "binary_accuracy": "accuracy",
    "categorical_accuracy": "accuracy",
    "roc_auc": "auc",
    "AUC": "auc",
    "f1_score": "f1",
}
SHELF: Shelf[Metric] = Shelf("metric", KINDS, ALIASES)
USUAL = {
    "regression": ("rmse", "mae", "r2"),
    "binary": ("log_loss", "auc", "accuracy", "f1"),
    "multiclass": ("log_loss", "auc", "accuracy", "balanced_accuracy"),
}

__all__ = ["KINDS", "SHELF", "USUAL", "Metric"]
