"""A replay: logged requests through another version, and how its predictions differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from estimator.core.arrays import Floats
from estimator.drift import absolute_losses
from estimator.errors import MonitoringError
from estimator.monitoring.records import RecordReader, drift_reference
from estimator.prediction_log import PredictionRecord
from estimator.store.artefact import Artefact

MAX_DIFFERENCES = 10
BATCH_ROWS = 1000
QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True, slots=True)
class ReplayDifference:
    """A row with another prediction; `gain` is by how much its loss shrinks, None without a label."""

    id: str
    at: float
    logged: float | str
    replayed: float | str
    label: float | str | None
    gain: float | None


@dataclass(frozen=True)
class Replay:
    """The predictions of a version for `n_rows` logged rows; `n_skipped` were logged without a column it needs.

    `changed` is the fraction of rows with another prediction. `change_quantiles` are the 5 %, 50 % and 95 % quantiles
    of replayed minus logged numbers. The losses are means over the `n_scored` rows with a label.
    """

    version: str
    n_rows: int
    n_skipped: int
    changed: float
    change_quantiles: tuple[float, float, float] | None
    n_scored: int
    logged_loss: float | None
    replayed_loss: float | None
    largest: tuple[ReplayDifference, ...]

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return asdict(self)


def replay(records: Sequence[PredictionRecord], artefact: Artefact) -> Replay:
    """Re-run logged rows through a version.

    Raises
    ------
    MonitoringError: the version can predict none of them.
    """
    reader = RecordReader(artefact, drift_reference(artefact))
    aliases = [(column.name, *column.aliases) for column in artefact.schema.features]
    complete = [record for record in records if all(any(name in record.inputs for name in names) for names in aliases)]
    if not complete:
        raise MonitoringError(
            f"{artefact.version} can predict none of {len(records):,} logged rows",
            hint="private columns are not logged; is there traffic in that time?" if records else "try another --since",
        )
    raw, replayed = _predict(reader, complete)
    logged = [record.response["prediction"] for record in complete]
    labels = reader.labels(complete)
    logged_losses, replayed_losses = reader.losses(complete, labels), _losses(reader, raw, labels)
    is_scored = np.isfinite(replayed_losses) & np.isfinite(logged_losses)
    changed = np.array([not _is_same(old, new) for old, new in zip(logged, replayed, strict=True)])
    changes = None
    if reader.task.is_regression:
        changes = np.array(replayed, dtype=np.float64) - np.array(logged, dtype=np.float64)
    sizes = changed.astype(np.float64) if changes is None else np.abs(changes)
    gains = np.where(is_scored, logged_losses - replayed_losses, np.nan)
    largest = [index for index in np.argsort(-sizes, kind="stable")[:MAX_DIFFERENCES].tolist() if changed[index]]
    return Replay(
        version=artefact.version,
        n_rows=len(complete),
        n_skipped=len(records) - len(complete),
        changed=float(changed.mean()),
        change_quantiles=None if changes is None else tuple(np.quantile(changes, QUANTILES).tolist()),
        n_scored=int(is_scored.sum()),
        logged_loss=float(logged_losses[is_scored].mean()) if is_scored.any() else None,
        replayed_loss=float(replayed_losses[is_scored].mean()) if is_scored.any() else None,
        largest=tuple(
            ReplayDifference(
                id=complete[index].id,
                at=complete[index].at,
                logged=logged[index],
                replayed=replayed[index],
                label=complete[index].label,
                gain=None if np.isnan(gains[index]) else float(gains[index]),
            )
            for index in largest
        ),
    )


def _predict(reader: RecordReader, records: Sequence[PredictionRecord]) -> tuple[Floats, list[Any]]:
    """Return raw predictions and their values; every record has all columns."""
    batches = [reader.predict(records[start : start + BATCH_ROWS]) for start in range(0, len(records), BATCH_ROWS)]
    predictions = [batch for batch in batches if batch is not None]
    values = [value for batch in predictions for value in batch.values.tolist()]
    return np.concatenate([batch.raw for batch in predictions]), values


def _losses(reader: RecordReader, raw: Floats, labels: Floats) -> Floats:
    losses, is_labeled = np.full(len(labels), np.nan), ~np.isnan(labels)
    if is_labeled.any():
        predictions = reader.task.predictions(raw[is_labeled])
        losses[is_labeled] = absolute_losses(reader.task, predictions, labels[is_labeled])
    return losses


def _is_same(logged: Any, replayed: Any) -> bool:
    return (
        logged == replayed if isinstance(replayed, str) else bool(np.isclose(float(logged), float(replayed), rtol=1e-6))
    )
