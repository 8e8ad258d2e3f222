"""why: one logged prediction, the version that made it, and the contribution of each value."""

from __future__ import annotations

from pathlib import Path

from estimator.errors import SourceError
from estimator.prediction_log import open_log
from estimator.serving.explain_prediction import PredictionExplanation, explain_logged_prediction
from estimator.verbs.context import Context


def why(prediction_id: str, log: str, context: Context) -> PredictionExplanation:
    """Explain a logged prediction: its row, its version, and what each value contributed.

    Raises
    ------
    SourceError: the log has no prediction with this id.
    """
    database = open_log(log, Path(), context.environment, must_exist=True)
    try:
        logged, shadows = database.find(prediction_id), database.shadows(prediction_id)
    finally:
        database.close()
    if logged is None:
        raise SourceError(
            f"{database.name}: no prediction has the id {prediction_id!r}", hint="only POST /v1/predict returns ids"
        )
    return explain_logged_prediction(logged, context.version(f"{logged.model}/{logged.version}"), shadows)
