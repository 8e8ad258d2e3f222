"""Answers and truth -> a score; one file a kind, Keras's and scikit-learn's names for the same thing."""

from estimator.metrics.base import Metric
from estimator.registry import Shelf

KINDS = {
    "rmse": "estimator.metrics.squared:RootMeanSquaredError",
    "mae": "estimator.metrics.absolute:MeanAbsoluteError",
    "r2": "estimator.metrics.squared:RSquared",
    "mse": "estimator.metrics.squared:MeanSquaredError",
    "mape": "estimator.metrics.absolute:MeanAbsolutePercentageError",
    "log_loss": "estimator.metrics.probability:LogLoss",
    "auc": "estimator.metrics.ranking:AreaUnderCurve",
    "brier": "estimator.metrics.probability:Brier",
    "accuracy": "estimator.metrics.decisions:Accuracy",
    "balanced_accuracy": "estimator.metrics.decisions:BalancedAccuracy",
    "f1": "estimator.metrics.decisions:F1",
    "precision": "estimator.metrics.decisions:Precision",
    "recall": "estimator.metrics.decisions:Recall",
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
