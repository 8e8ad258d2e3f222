"""Limits on the best settings: the size and latency of their graph, and other metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from time import perf_counter

from estimator.config.tuning import LIMIT
from estimator.config.validation import MEASURES
from estimator.core.text import format_number
from estimator.evaluation.metrics import SHELF
from estimator.graph.session import Session
from estimator.models import FitData, FittedModel
from estimator.training.train import write_graph

LATENCY_RUNS = 50


@dataclass(frozen=True, slots=True)
class Limit:
    """An upper or lower bound on a measure or a metric."""

    name: str
    is_upper: bool
    value: float

    def excess(self, value: float) -> float:
        """Return how far a value exceeds the limit, as a fraction of the limit; at most 0 when it is met."""
        beyond = (value - self.value) if self.is_upper else (self.value - value)
        return beyond / (abs(self.value) or 1.0) if beyond == beyond else 1.0

    def sentence(self, value: float) -> str:
        """Return a sentence that says which limit a value breaks."""
        sign = "<=" if self.is_upper else ">="
        return f"{self.name} {format_number(value)}, expected {sign} {format_number(self.value)}"


def parse_limits(limits: Mapping[str, float | str]) -> list[Limit]:
    """Return the limits of a config."""
    parsed = []
    for name, limit in limits.items():
        parts = LIMIT.fullmatch(limit) if isinstance(limit, str) else None
        sign, value = (parts.group(1), float(parts.group(2))) if parts else ("<=", float(limit))
        canonical = name if name in MEASURES else SHELF.canonical(name)
        parsed.append(Limit(canonical, sign == "<=", value))
    return parsed


def measure(fitted: FittedModel, table: FitData, limits: list[Limit]) -> dict[str, float]:
    """Return the measures that limits need: the size of the graph in MB, its median latency for one row in ms."""
    needed = {limit.name for limit in limits} & set(MEASURES)
    if not needed:
        return {}
    graph = write_graph(fitted)
    measures = {"size_mb": len(graph) / 1e6}
    if "latency_ms" in needed:
        measures["latency_ms"] = _latency_ms(graph, table)
    return {name: value for name, value in measures.items() if name in needed}


def _latency_ms(graph: bytes, table: FitData) -> float:
    session = Session(graph)
    row = {name: column[:1] for name, column in table.rows.batch.feed.items()}
    times = []
    for _ in range(LATENCY_RUNS):
        began = perf_counter()
        session.run(row)
        times.append(perf_counter() - began)
    return 1000.0 * median(times)
