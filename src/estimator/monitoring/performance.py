"""What truths say of answers: how many have come and how late, how wrong answers were, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.task import Predictions
from estimator.evaluation.explanation.slices import column_slices
from estimator.evaluation.explanation.weak_slices import WeakSlice, find_weak_slices
from estimator.evaluation.scores import Score, select_metrics
from estimator.monitoring.diagnosis import BLIND, expected_loss
from estimator.monitoring.rows import Reader
from estimator.prediction_log import PredictionRecord

# Where fewer rows have a truth than would have by then, those that came early need not be like the others.
ENOUGH = 0.9
LEAST_LABELS = 30
DAY = 86_400.0
Z = 1.959964


@dataclass(frozen=True, slots=True)
class Truth:
    """What is known of the answers of a time.

    `loss` is beside `usual_loss` of held-out rows, `held` is the share of truths in intervals or sets, beside `level`.
    `delays` are quantiles of the days until truths came. `expected` is the loss that answers alone let expect.
    """

    rows: int
    labels: int
    delays: Mapping[str, float]
    loss: Score | None
    usual_loss: float
    held: Score | None
    level: float
    metrics: Mapping[str, float]
    weak: Sequence[WeakSlice]
    expected: float
    warnings: tuple[str, ...]

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return asdict(self)


def judge_truths(reader: Reader, rows: Sequence[PredictionRecord]) -> Truth:
    """Judge the answers of rows by the truths that have come for them."""
    truths = reader.truths(rows)
    known = np.flatnonzero(~np.isnan(truths))
    labelled = [rows[place] for place in known.tolist()]
    losses, held = reader.losses(labelled, truths[known]), reader.held(labelled, truths[known])
    told = reader.answers(rows)
    told = told[told != ""] if told.dtype == object else told[~np.isnan(told)]
    counts = reader.reference.answers.count(reader.reference.answers.codes(told))
    manifest, delays = reader.artefact.manifest, [(row.labeled_at or row.at) - row.at for row in labelled]
    return Truth(
        len(rows), len(labelled), _quantiles(np.array(delays) / DAY), _mean(losses), reader.reference.loss, _mean(held),
        (manifest.get("coverage") or {}).get("target", float("nan")), _metrics(reader, labelled, truths[known]),
        _weak(reader, labelled, losses, truths[known]), expected_loss(reader.reference, counts),
        tuple(_warnings(rows, delays)),
    )  # fmt: skip


def _mean(values: Floats) -> Score | None:
    """Return the mean of what is known, with its interval at 95 %."""
    solid = values[~np.isnan(values)]
    if len(solid) < 2:
        return None
    mean, reach = float(solid.mean()), Z * float(solid.std(ddof=1)) / np.sqrt(len(solid))
    return Score(mean, float(mean - reach), float(mean + reach))


def _quantiles(days: Floats) -> dict[str, float]:
    return (
        {name: float(np.quantile(days, share)) for name, share in (("median", 0.5), ("90 %", 0.9))} if len(days) else {}
    )


def _warnings(rows: Sequence[PredictionRecord], delays: Sequence[float]) -> list[str]:
    """Say what the figures do not: labels that are still to come, and that what is expected is blind."""
    if not delays:
        return [f"no truth has come: what is expected is {BLIND}"]
    late = float(np.quantile(delays, 0.9))
    last = max(row.at for row in rows)
    due = [row for row in rows if last - row.at >= late]
    share = sum(row.label is not None for row in rows) / len(rows)
    found = []
    if share < ENOUGH and len(due) < len(rows):
        found.append(
            f"truth is known for {share:.0%} of the rows: those that come early need not be like those still to come"
        )
    if due and (known := sum(row.label is not None for row in due) / len(due)) < ENOUGH:
        found.append(f"of rows old enough, only {known:.0%} have a truth: which ones may be no chance")
    return found


def _answers(reader: Reader, rows: Sequence[PredictionRecord]) -> tuple[Predictions, np.ndarray[Any, Any]]:
    """Return what was answered, as a version's answers, and which rows tell enough."""
    if reader.task.is_regression:
        return Predictions(np.array([float(row.response["prediction"]) for row in rows])), np.ones(
            len(rows), dtype=bool
        )
    able = np.array(["probabilities" in row.response for row in rows], dtype=bool)
    levels = reader.task.classes
    shares = [
        [row.response["probabilities"].get(level, 0.0) for level in levels]
        for row in rows
        if "probabilities" in row.response
    ]
    return reader.task.predictions(np.array(shares).reshape(-1, len(levels))), able


def _metrics(reader: Reader, rows: Sequence[PredictionRecord], truths: Floats) -> dict[str, float]:
    if len(rows) < 2:
        return {}
    answers, able = _answers(reader, rows)
    chosen = select_metrics(reader.artefact.config["evaluation"]["metrics"], reader.task)
    ones = np.ones((1, int(able.sum())))
    found = {name: float(metric.scores(truths[able], answers, ones)[0]) for name, metric in chosen.items()}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _weak(reader: Reader, rows: Sequence[PredictionRecord], losses: Floats, truths: Floats) -> Sequence[WeakSlice]:
    """Return the parts of the rows in which answers are worse than elsewhere."""
    solid = np.isfinite(losses)
    if solid.sum() < LEAST_LABELS:
        return ()
    rows = [row for row, is_solid in zip(rows, solid.tolist(), strict=True) if is_solid]
    answers, _ = _answers(reader, rows)
    batch, schema = reader.batch(rows), reader.artefact.schema
    parts = [
        part
        for column in reader.reference.columns
        for part in column_slices(schema.by_name[column.name], batch.feed[column.name][:, 0])
    ]
    metric = next(iter(select_metrics(reader.artefact.config["evaluation"]["metrics"], reader.task).values()))
    return find_weak_slices(parts, [], losses[solid], truths[solid], answers, metric).slices
