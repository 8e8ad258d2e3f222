"""Requests that were logged, answered again by another version: what would have been different."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from estimator.core.arrays import Floats
from estimator.drift import losses_of
from estimator.errors import MonitoringError
from estimator.monitoring.rows import Reader, reference_of
from estimator.prediction_log import PredictionRecord
from estimator.store.artefact import Artefact

MOST_SHOWN = 10
AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that another version answers otherwise; `gain` is by how much less it is wrong, None without a truth."""

    id: str
    at: float
    was: float | str
    would_be: float | str
    truth: float | str | None
    gain: float | None


@dataclass(frozen=True)
class Replayed:
    """What a version would have answered to `rows` rows, of which `unread` were logged without some of its columns.

    `moved` holds the quantiles 5, 50 and 95 % of new less old answers of numbers, `changed` is the share of rows whose
    answer is another. `before` and `after` are mean losses of `judged` rows whose truth is known.
    """

    version: str
    rows: int
    unread: int
    changed: float
    moved: tuple[float, float, float] | None
    judged: int
    before: float | None
    after: float | None
    largest: tuple[Difference, ...]

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return asdict(self)


def replayed(rows: Sequence[PredictionRecord], artefact: Artefact) -> Replayed:
    """Answer rows again.

    Raises
    ------
    MonitoringError: there is no row that the version could answer.
    """
    reader = Reader(artefact, reference_of(artefact))
    names = [(column.name, *column.aliases) for column in artefact.schema.features]
    able = [row for row in rows if all(any(name in row.inputs for name in each) for each in names)]
    if not able:
        raise MonitoringError(
            f"{artefact.version} can answer none of {len(rows):,} logged rows again",
            hint="is there traffic in that time? private columns are not logged" if rows else "choose another --since",
        )
    raw, values = _answered(reader, able)
    was = [row.response["prediction"] for row in able]
    truths = reader.truths(able)
    after, before = _losses(reader, raw, truths), reader.losses(able, truths)
    judged = np.isfinite(after) & np.isfinite(before)
    changed = np.array([not _same(one, two) for one, two in zip(was, values, strict=True)])
    moves = np.array(values, dtype=np.float64) - np.array(was, dtype=np.float64) if reader.task.is_regression else None
    gains = np.where(judged, before - after, np.nan)
    size = np.abs(moves) if moves is not None else changed.astype(np.float64)
    order = np.argsort(-size, kind="stable")[:MOST_SHOWN]
    return Replayed(
        artefact.version, len(able), len(rows) - len(able), float(changed.mean()),
        None if moves is None else tuple(np.quantile(moves, [0.05, 0.5, 0.95]).tolist()), int(judged.sum()),
        float(before[judged].mean()) if judged.any() else None, float(after[judged].mean()) if judged.any() else None,
        tuple(
            Difference(able[place].id, able[place].at, was[place], values[place], able[place].truth,
                       None if np.isnan(gains[place]) else float(gains[place]))
            for place in order.tolist() if changed[place]
        ),
    )  # fmt: skip


def _answered(reader: Reader, rows: Sequence[PredictionRecord]) -> tuple[Floats, list[Any]]:
    parts = [reader.answered(rows[start : start + AT_ONCE]) for start in range(0, len(rows), AT_ONCE)]
    known = [part for part in parts if part is not None]
    return np.concatenate([part.raw for part in known]), [value for part in known for value in part.values.tolist()]


def _losses(reader: Reader, raw: Floats, truths: Floats) -> Floats:
    found, known = np.full(len(truths), np.nan), ~np.isnan(truths)
    if known.any():
        found[known] = losses_of(reader.task, reader.task.predictions(raw[known]), truths[known])
    return found


def _same(one: Any, two: Any) -> bool:
    return one == two if isinstance(two, str) else bool(np.isclose(float(one), float(two), rtol=1e-6))
