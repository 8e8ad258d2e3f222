"""Model families: a matrix and a target in, answers out, and the nodes that give the same answers in the graph."""

from estimator.core.registry import Shelf
from estimator.models.base import Fitted, MatrixModel, Model, Progress, Rows, Start, TrainingData, TrainingStep, silent
from estimator.models.fitted import Labelled, Learned, Table

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
    "Fitted",
    "Labelled",
    "Learned",
    "MatrixModel",
    "Model",
    "Progress",
    "Rows",
    "Start",
    "Table",
    "TrainingData",
    "TrainingStep",
    "silent",
]
