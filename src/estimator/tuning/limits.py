"""What the best settings must keep to: the size and speed of their graph, and other metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from estimator.config.sections import LIMIT
from estimator.config.validation import MEASURES
from estimator.core.text import format_number
from estimator.evaluation.metrics import SHELF
from estimator.graph.session import Session
from estimator.models import FitData, FittedModel
from estimator.training.train import write_graph

RUNS = 50


@dataclass(frozen=True, slots=True)
class Limit:
    """A measure or metric, and the value that it may not pass."""

    name: str
    is_most: bool
    value: float

    def excess(self, value: float) -> float:
        """Return how far a value is beyond the limit, as a share of it; at most 0 when it is kept."""
        beyond = (value - self.value) if self.is_most else (self.value - value)
        return beyond / (abs(self.value) or 1.0) if beyond == beyond else 1.0

    def sentence(self, value: float) -> str:
        """Return what is wrong with a value."""
        return (
            f"{self.name} {format_number(value)}, wanted {'<=' if self.is_most else '>='} {format_number(self.value)}"
        )


def limits_of(limits: Mapping[str, float | str]) -> list[Limit]:
    """Return the limits of a config."""
    found = []
    for name, limit in limits.items():
        parts = LIMIT.fullmatch(limit) if isinstance(limit, str) else None
        sign, value = (parts.group(1), float(parts.group(2))) if parts else ("<=", float(limit))
        own = name if name in MEASURES else SHELF.canonical(name)
        found.append(Limit(own, sign == "<=", value))
    return found


def measured(fitted: FittedModel, table: FitData, limits: list[Limit]) -> dict[str, float]:
    """Return what limits ask of a graph: its size in MB, and the median time in ms in which it answers one row."""
    wanted = {limit.name for limit in limits} & set(MEASURES)
    if not wanted:
        return {}
    graph = write_graph(fitted)
    found = {"size_mb": len(graph) / 1e6}
    if "latency_ms" in wanted:
        found["latency_ms"] = _latency(graph, table)
    return {name: value for name, value in found.items() if name in wanted}


def _latency(graph: bytes, table: FitData) -> float:
    session = Session(graph)
    row = {name: column[:1] for name, column in table.rows.batch.feed.items()}
    times = []
    for _ in range(RUNS):
        began = perf_counter()
        session.run(row)
        times.append(perf_counter() - began)
    return 1000.0 * median(times)
