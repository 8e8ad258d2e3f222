"""Dates and moments: year, month, day, weekday, hour and the days since training began.

A moment is a double of seconds since 1970-01-01 UTC. The civil date is worked out inside the graph by the
algorithm of Hinnant ("chrono-compatible low-level date algorithms"), in doubles, so that a gap stays NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self, TypeVar

import numpy as np

from estimator.core.arrays import Floats
from estimator.features.encoders.base import Encoder, EncoderInput
from estimator.features.encoders.standard import Scale, scaled_names, write_scaled
from estimator.graph.builder import Graph, Value

PARTS = ("year", "month", "day", "weekday", "hour", "elapsed_days")
TIMES = frozenset({"date", "datetime"})


@dataclass(frozen=True, slots=True)
class Calendar(Encoder):
    """The parts of a moment, raw, for trees."""

    accepts: ClassVar[frozenset[str]] = TIMES
    start: float

    @classmethod
    def fit(cls, learning: EncoderInput) -> Self:
        return cls(_start(learning.values))

    def names(self, column: str) -> tuple[str, ...]:
        return tuple(f"{column}.{part}" for part in PARTS)

    @classmethod
    def nodes(cls, graph: Graph, fitted: Mapping[str, Self]) -> str:
        blocks = [_write_parts(graph, column, encoder.start) for column, encoder in fitted.items()]
        return graph("Concat", *blocks, axis=1)


@dataclass(frozen=True, slots=True)
class CalendarStandard(Encoder):
    """The parts of a moment, standardised, for nets and linear models."""

    accepts: ClassVar[frozenset[str]] = TIMES
    start: float
    medians: tuple[float, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    flags_gaps: bool

    @classmethod
    def fit(cls, learning: EncoderInput) -> Self:
        start = _start(learning.values)
        scales = [Scale.of(part) for part in parts(learning.values, start)]
        return cls(
            start,
            tuple(scale.median for scale in scales),
            tuple(scale.mean for scale in scales),
            tuple(scale.deviation for scale in scales),
            scales[0].flags_gaps,
        )

    @property
    def scales(self) -> list[Scale]:
        """The learned scaling of each part; one flag tells the gaps of all."""
        learned = zip(self.medians, self.means, self.deviations, strict=True)
        return [Scale(*values, self.flags_gaps and place == 0) for place, values in enumerate(learned)]

    def names(self, column: str) -> tuple[str, ...]:
        return tuple(scaled_names([f"{column}.{part}" for part in PARTS], self.scales))

    @classmethod
    def nodes(cls, graph: Graph, fitted: Mapping[str, Self]) -> str:
        blocks = [
            write_scaled(graph, _write_parts(graph, column, encoder.start), encoder.scales)
            for column, encoder in fitted.items()
        ]
        return graph("Concat", *blocks, axis=1)


Moments = TypeVar("Moments", Floats, Value)


def parts(seconds: Moments, start: float) -> list[Moments]:
    """Return PARTS of moments: the same formulas for numpy, to learn scales from, and for the graph."""
    days = np.floor(seconds / 86400.0)
    era_days = days + 719468.0
    era = np.floor(era_days / 146097.0)
    of_era = era_days - era * 146097.0
    leaps = np.floor(of_era / 1460.0) - np.floor(of_era / 36524.0) + np.floor(of_era / 146096.0)
    year_of_era = np.floor((of_era - leaps) / 365.0)
    of_year = of_era - (year_of_era * 365.0 + np.floor(year_of_era / 4.0) - np.floor(year_of_era / 100.0))
    march_month = np.floor((of_year * 5.0 + 2.0) / 153.0)
    late = np.floor(march_month / 10.0)
    day = of_year - np.floor((march_month * 153.0 + 2.0) / 5.0) + 1.0
    weekday = days + 3.0 - np.floor((days + 3.0) / 7.0) * 7.0
    hour = np.floor((seconds - days * 86400.0) / 3600.0)
    year, month = year_of_era + era * 400.0 + late, march_month + 3.0 - late * 12.0
    return [year, month, day, weekday, hour, (seconds - start) / 86400.0]


def _write_parts(graph: Graph, column: str, start: float) -> str:
    """Write PARTS of one column, a double of shape (rows, 6)."""
    return graph("Concat", *(part.name for part in parts(Value(graph, column), start)), axis=1)


def _start(seconds: Floats) -> float:
    solid = seconds[~np.isnan(seconds)]
    return float(solid.min()) if len(solid) else 0.0
