"""Model families: a table and its target in, predictions out, and the nodes that predict the same in the graph."""

from estimator.core.registry import Shelf
from estimator.models.base import AdditiveContributions, FittedModel, Model, WarmStart, model_of
from estimator.models.dataset import Dataset, EncodedFitData, EncodedRows, FitData
from estimator.models.matrix import FittedMatrixModel, MatrixModel
from estimator.models.progress import Progress, TrainingStep, fit_counter, silent, stage

KINDS = {
    "ensemble": "estimator.models.ensemble:Ensemble",
    "boosting": "estimator.models.boosting:Boosting",
    "dense": "estimator.models.nets.dense:Dense",
    "tabm": "estimator.models.nets.tabm:TabM",
    "linear": "estimator.models.linear:Linear",
    "catboost": "estimator.models.catboost:CatBoost",
    "xgboost": "estimator.models.xgboost:XGBoost",
    "constant": "estimator.models.constant:Constant",
}
SHELF: Shelf[Model] = Shelf("model", KINDS)

__all__ = [
    "KINDS",
    "SHELF",
    "AdditiveContributions",
    "Dataset",
    "EncodedFitData",
    "EncodedRows",
    "FitData",
    "FittedMatrixModel",
    "FittedModel",
    "MatrixModel",
    "Model",
    "Progress",
    "TrainingStep",
    "WarmStart",
    "fit_counter",
    "model_of",
    "silent",
    "stage",
]
