"""The shelf of metrics. Names used by Keras and scikit-learn are accepted as aliases."""

from estimator.core.registry import Shelf
from estimator.evaluation.metrics.base import Metric

KINDS = {
    "rmse": "estimator.evaluation.metrics.regression:RootMeanSquaredError",
    "mae": "estimator.evaluation.metrics.regression:MeanAbsoluteError",
    "r2": "estimator.evaluation.metrics.regression:RSquared",
    "mse": "estimator.evaluation.metrics.regression:MeanSquaredError",
    "mape": "estimator.evaluation.metrics.regression:MeanAbsolutePercentageError",
    "log_loss": "estimator.evaluation.metrics.probability:LogLoss",
    "auc": "estimator.evaluation.metrics.ranking:AreaUnderCurve",
    "brier": "estimator.evaluation.metrics.probability:Brier",
    "accuracy": "estimator.evaluation.metrics.classification:Accuracy",
    "balanced_accuracy": "estimator.evaluation.metrics.classification:BalancedAccuracy",
    "f1": "estimator.evaluation.metrics.classification:F1",
    "precision": "estimator.evaluation.metrics.classification:Precision",
    "recall": "estimator.evaluation.metrics.classification:Recall",
    "cost": "estimator.evaluation.metrics.cost:MisclassificationCost",
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
DEFAULTS = {
    "regression": ("rmse", "mae", "r2"),
    "binary": ("log_loss", "auc", "accuracy", "f1"),
    "multiclass": ("log_loss", "auc", "accuracy", "balanced_accuracy"),
}

__all__ = ["DEFAULTS", "KINDS", "SHELF", "Metric"]
