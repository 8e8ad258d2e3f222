"""Rows -> explanations of their predictions: the inputs, their training ranges, and what each one contributed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from estimator.data.schema import Batch
from estimator.errors import Fault, RowError
from estimator.evaluation.explanation import Contributions, contributions
from estimator.evaluation.explanation.contributions import affordable_predictions
from estimator.prediction_log import PredictionRecord
from estimator.store.artefact import Artefact

# Random orders of the columns in the sampled Shapley values, each used in both directions.
N_PERMUTATIONS = 20
# Of the budget of `affordable_predictions`, for a row that a client waits for.
WAIT_FRACTION = 0.02


@dataclass(frozen=True, slots=True)
class Contribution:
    """An input of a prediction, the training range of its column, and how far it moved the prediction from the mean.

    `contribution` and its `standard_error` are in units of the target, or a difference of probability. Both are None
    when the prediction cannot be recomputed.
    """

    column: str
    value: Any
    training_range: str
    is_out_of_range: bool
    contribution: float | None = None
    standard_error: float | None = None


@dataclass(frozen=True, slots=True)
class RowExplanation:
    """The contributions of a row's inputs, largest first, which add up to its prediction less the baseline.

    `baseline` is the mean prediction of the golden rows; of a classifier it and the contributions are the probability
    of `class_name`, the second of two classes or the most probable one.
    """

    contributions: Sequence[Contribution]
    baseline: float
    class_name: str | None


@dataclass(frozen=True, slots=True)
class PredictionExplanation:
    """A logged prediction, with the contributions of its inputs as a `RowExplanation` has them.

    `is_reproduced` says whether the version still predicts the same, and `problem` why it cannot
    predict. `shadows` are the responses of other versions, by version.
    """

    record: PredictionRecord
    contributions: Sequence[Contribution]
    baseline: float | None = None
    class_name: str | None = None
    is_reproduced: bool | None = None
    problem: str | None = None
    shadows: Mapping[str, Any] = field(default_factory=dict)

    def to_data(self) -> dict[str, Any]:
        """Return the explanation as JSON-ready data."""
        return asdict(self)


def explain_logged_prediction(
    record: PredictionRecord, artefact: Artefact, shadows: Mapping[str, Any] = MappingProxyType({})
) -> PredictionExplanation:
    """Explain a prediction with the version that made it, by sampled Shapley values relative to its golden rows.

    A row whose private columns were not logged cannot be recomputed; `problem` then says so.
    """
    schema, predictor = artefact.schema, artefact.predictor
    try:
        # What is left out was private: what stood in for an optional column is logged.
        not_logged = schema.left_out(list(record.inputs))
        if not_logged:
            raise RowError([Fault(1, name, None, f"{name} was not logged") for name in not_logged])
        batch = schema.read_rows([dict(record.inputs)])
    except RowError as error:
        inputs = [
            Contribution(name, value, schema.by_name[name].training_summary, False)
            for name, value in record.inputs.items()
            if name in schema.by_name
        ]
        return PredictionExplanation(record, inputs, problem=error.faults[0].message, shadows=shadows)
    (explained,) = explain_rows(artefact, batch, n_pairs=N_PERMUTATIONS)
    return PredictionExplanation(
        record,
        explained.contributions,
        baseline=explained.baseline,
        class_name=explained.class_name,
        is_reproduced=_is_same(record.response["prediction"], predictor.predict_batch(batch).values.tolist()[0]),
        shadows=shadows,
    )


def explain_rows(artefact: Artefact, batch: Batch, *, n_pairs: int | None = None) -> list[RowExplanation]:
    """Explain the prediction of each row by sampled Shapley values relative to the version's golden rows.

    `n_pairs` is the number of random orders of the columns, each used in both directions; None takes as many as a
    person can wait for.
    """
    schema, predictor = artefact.schema, artefact.predictor
    background = schema.read_rows(artefact.read_json("golden.json")["rows"])
    if n_pairs is None:
        per_pair = 2 * background.n_rows * max(len(batch.feed), 1)
        limit = N_PERMUTATIONS * per_pair
        n_pairs = max(affordable_predictions(predictor, limit, fraction=WAIT_FRACTION) // per_pair, 1)
    shapley = contributions(predictor, batch, background, n_pairs=n_pairs)
    out_of_range = schema.out_of_range(batch)
    explanations = []
    for row in range(batch.n_rows):
        values = schema.to_json_row(batch, row)
        inputs = [
            Contribution(
                name,
                values[name],
                schema.by_name[name].training_summary,
                name in out_of_range[row],
                *_contribution(shapley, row, index),
            )
            for index, name in enumerate(shapley.columns)
        ]
        inputs.sort(key=lambda item: abs(item.contribution or 0.0), reverse=True)
        class_name = shapley.classes[row] if shapley.classes else None
        explanations.append(RowExplanation(inputs, float(shapley.base[row]), class_name))
    return explanations


def _is_same(logged: Any, recomputed: Any) -> bool:
    if isinstance(recomputed, str):
        return bool(logged == recomputed)
    return bool(np.isclose(float(logged), recomputed, rtol=1e-6))


def _contribution(shapley: Contributions, row: int, index: int) -> tuple[float, float | None]:
    error = None if shapley.standard_errors is None else float(shapley.standard_errors[row, index])
    return float(shapley.values[row, index]), error if error is not None and np.isfinite(error) else None
