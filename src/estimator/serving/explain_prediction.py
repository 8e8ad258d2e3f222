"""One answer that was logged -> what was asked, what training saw of such values, and what moved the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from estimator.errors import RowError
from estimator.evaluation.explanation import Contributions, contributions
from estimator.prediction_log import PredictionRecord
from estimator.store.artefact import Artefact

ORDERS = 20


@dataclass(frozen=True, slots=True)
class Asked:
    """A value that was sent, what training saw of its column, whether it lies outside, and what it added to the answer.

    `added` is beside the usual answer, in the units of the answer or as a share of the probability; `error` is its
    standard error. Both are None when the row cannot be answered again.
    """

    column: str
    value: Any
    saw: str
    is_outside: bool
    added: float | None = None
    error: float | None = None


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A logged answer, taken apart; `usual` is the mean answer of golden rows, `level` what is told of."""

    logged: PredictionRecord
    asked: Sequence[Asked]
    usual: float | None = None
    level: str | None = None
    is_same: bool | None = None
    missing: str | None = None
    shadows: Mapping[str, Any] = field(default_factory=dict)

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return asdict(self)


def inquire(logged: PredictionRecord, artefact: Artefact, shadows: Mapping[str, Any] = MappingProxyType({})) -> Inquiry:
    """Take an answer apart by the version that gave it: Shapley values by sampling, compared with its golden rows.

    `shadows` is what other versions would have answered, by version.

    A row of which columns were not logged, as they are private, cannot be answered again; `missing` says so.
    """
    schema, predictor = artefact.schema, artefact.predictor
    try:
        batch = schema.read_rows([dict(logged.inputs)])
    except RowError as error:
        plain = [
            Asked(name, value, schema.by_name[name].training_summary, False)
            for name, value in logged.inputs.items()
            if name in schema.by_name
        ]
        return Inquiry(logged, plain, missing=error.faults[0].message, shadows=shadows)
    others = schema.read_rows(artefact.read_json("golden.json")["rows"])
    found = contributions(predictor, batch, others, pairs=ORDERS)
    outside = set(schema.out_of_range(batch)[0])
    row = schema.to_json_row(batch, 0)
    asked = [
        Asked(name, row[name], schema.by_name[name].training_summary, name in outside, *_added(found, place))
        for place, name in enumerate(found.columns)
    ]
    again = predictor.predict_batch(batch).values.tolist()[0]
    told = logged.response["prediction"]
    is_same = told == again if isinstance(again, str) else bool(np.isclose(float(told), again, rtol=1e-6))
    level = found.levels[0] if found.levels else None
    return Inquiry(
        logged, sorted(asked, key=_size, reverse=True), float(found.base[0]), level, is_same, shadows=shadows
    )


def _added(found: Contributions, place: int) -> tuple[float, float | None]:
    error = None if found.errors is None else float(found.errors[0, place])
    return float(found.values[0, place]), error if error is not None and np.isfinite(error) else None


def _size(item: Asked) -> float:
    return abs(item.added or 0.0)
