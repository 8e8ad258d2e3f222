"""Everything that is known of a watched model over a time: traffic, answers, evidence, truth, events and moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from estimator.config import Monitoring
from estimator.monitoring.batch_check import Check
from estimator.monitoring.events import POINT_SECONDS, Event, Point, read_events, read_points
from estimator.monitoring.performance import Truth, judge_truths
from estimator.monitoring.rows import Reader, check_rows, reference_of
from estimator.prediction_log import PredictionLog, PredictionRecord
from estimator.store.artefact import Artefact
from estimator.store.store import AliasChange

PERIODS = 40
MOST_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class Period:
    """One of the equal parts of the time: rows, the middle and tenths of answers, losses of those whose truth is known.

    Of levels, answers are shares of the commonest one, or probabilities of the second of two.
    """

    at: float
    rows: int
    labels: int
    answers: tuple[float, float, float] | None
    loss: float | None
    held: float | None


@dataclass(frozen=True)
class Overview:
    """How a version stands; `alarms` are events that say that something is wrong."""

    model: str
    version: str
    since: float
    until: float
    rows: int
    truth: Truth | None
    check: Check | None
    events: Sequence[Event]
    points: Sequence[Point]
    moves: Sequence[AliasChange]
    periods: Sequence[Period]
    unwatched: Sequence[str] = ()

    @property
    def alarms(self) -> list[Event]:
        """What is wrong with the version that answers now."""
        return [
            event for event in self.events if event.kind in ("drift", "degradation") and event.version == self.version
        ]

    @property
    def is_alarmed(self) -> bool:
        """Whether anything is wrong: an event of the time, or the check of its rows."""
        return bool(self.alarms) or (self.check is not None and self.check.drifted)

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {
            "model": self.model,
            "version": self.version,
            "since": self.since,
            "until": self.until,
            "rows": self.rows,
            "alarmed": self.is_alarmed,
            "check": None if self.check is None else self.check.to_data(),
            "truth": None if self.truth is None else self.truth.to_data(),
            "events": [asdict(event) for event in self.events],
            "evidence": None if not self.points else dict(self.points[-1].details),
            "moves": [asdict(move) for move in self.moves],
            "unwatched": list(self.unwatched),
        }


def overview(
    artefact: Artefact, database: PredictionLog, moves: Sequence[AliasChange], settings: Monitoring, *, since: float | None,
    until: float, checks: bool = True,
) -> Overview:  # fmt: skip
    """Gather what is known of a version over a time, of its last 50,000 rows at most.

    `checks` also has the rows compared by all tests, which takes libraries that a server need not have.
    """
    rows = database.latest(artefact.name, until=until, limit=MOST_ROWS)
    rows = [row for row in rows if since is None or row.at >= since]
    if since is None and rows:
        # All there is: nothing has come since.
        since, until = rows[0].at, rows[-1].at + 1.0
    begin = until if since is None else since
    own = [row for row in rows if row.version == artefact.version]
    reader = Reader(artefact, reference_of(artefact, settings.ignore))
    unwatched = reader.missing(own[-1].inputs) if own else []
    reader = replace(reader, reference=reader.reference.without(unwatched))
    made = check_rows(reader, own, settings.tests, level=settings.alpha) if checks and own else None
    return Overview(
        artefact.name, artefact.version, begin, until, len(own), judge_truths(reader, own) if own else None, made,
        read_events(database, artefact.name, since=begin),
        read_points(database, artefact.name, since=begin - POINT_SECONDS), moves,
        periods_of(reader, own, begin, until), unwatched,
    )  # fmt: skip


def periods_of(reader: Reader, rows: Sequence[PredictionRecord], since: float, until: float) -> list[Period]:
    """Return a time in equal parts."""
    if not rows:
        return []
    width = max(until - since, 1.0) / PERIODS
    places = np.minimum(((np.array([row.at for row in rows]) - since) / width).astype(np.int64), PERIODS - 1)
    truths = reader.truths(rows)
    losses, held, told = reader.losses(rows, truths), reader.held(rows, truths), _numbers(reader, rows)
    found = []
    for place in range(PERIODS):
        here = places == place
        found.append(
            Period(
                since + place * width, int(here.sum()), int((~np.isnan(truths[here])).sum()),
                _middle(told[here]), _mean(losses[here]), _mean(held[here]),
            )
        )  # fmt: skip
    return found


def _numbers(reader: Reader, rows: Sequence[PredictionRecord]) -> np.ndarray[Any, np.dtype[np.float64]]:
    told = reader.answers(rows)
    if told.dtype != object:
        return told
    answers = reader.reference.answers
    commonest = answers.levels[int(answers.counts[1:-1].argmax())] if answers.levels else ""
    return np.array([float(level == commonest) for level in told.tolist()])


def _middle(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float, float] | None:
    solid = values[~np.isnan(values)]
    if not len(solid):
        return None
    low, middle, high = np.quantile(solid, [0.1, 0.5, 0.9]).tolist()
    return low, middle, high


def _mean(values: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    solid = values[~np.isnan(values)]
    return float(solid.mean()) if len(solid) else None


def evidence_by_column(points: Sequence[Point], most: int) -> Mapping[str, list[tuple[float, float]]]:
    """Return the evidence of the columns that had most of it, over time, as logarithms to base 10."""
    best: dict[str, float] = {}
    for point in points:
        for name, value in point.details["columns"].items():
            best[name] = max(value, best.get(name, value))
    names = sorted(best, key=lambda name: -best[name])[:most]
    return {
        name: [(point.at, point.details["columns"][name]) for point in points if name in point.details["columns"]]
        for name in names
    }
