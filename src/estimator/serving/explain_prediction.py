"""One logged prediction -> its explanation: the inputs, their training ranges, and what each one contributed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from estimator.errors import Fault, RowError
from estimator.evaluation.explanation import Contributions, contributions
from estimator.prediction_log import PredictionRecord
from estimator.store.artefact import Artefact

# Random orders of the columns in the sampled Shapley values, each used in both directions.
N_PERMUTATIONS = 20


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
class PredictionExplanation:
    """A logged prediction with the contributions of its inputs, largest first.

    `baseline` is the mean prediction of the golden rows; of a classifier it and the contributions are the probability
    of `class_name`. `is_reproduced` says whether the version still predicts the same, and `problem` why it cannot
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
    background = schema.read_rows(artefact.read_json("golden.json")["rows"])
    shapley = contributions(predictor, batch, background, n_pairs=N_PERMUTATIONS)
    out_of_range = set(schema.out_of_range(batch)[0])
    row = schema.to_json_row(batch, 0)
    inputs = [
        Contribution(
            name, row[name], schema.by_name[name].training_summary, name in out_of_range, *_contribution(shapley, index)
        )
        for index, name in enumerate(shapley.columns)
    ]
    return PredictionExplanation(
        record,
        sorted(inputs, key=lambda item: abs(item.contribution or 0.0), reverse=True),
        baseline=float(shapley.base[0]),
        class_name=shapley.classes[0] if shapley.classes else None,
        is_reproduced=_is_same(record.response["prediction"], predictor.predict_batch(batch).values.tolist()[0]),
        shadows=shadows,
    )


def _is_same(logged: Any, recomputed: Any) -> bool:
    if isinstance(recomputed, str):
        return bool(logged == recomputed)
    return bool(np.isclose(float(logged), recomputed, rtol=1e-6))


def _contribution(shapley: Contributions, index: int) -> tuple[float, float | None]:
    error = None if shapley.standard_errors is None else float(shapley.standard_errors[0, index])
    return float(shapley.values[0, index]), error if error is not None and np.isfinite(error) else None
