"""Dates and times as year, month, day, weekday, hour and the days since the first training row.

A time is a double of seconds since 1970-01-01 UTC. The graph computes the calendar date by the algorithm of Hinnant
("chrono-compatible low-level date algorithms"), in doubles, so that a missing value stays NaN.
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

FIELDS = ("year", "month", "day", "weekday", "hour", "elapsed_days")
TIME_KINDS = frozenset({"date", "datetime"})


@dataclass(frozen=True, slots=True)
class Calendar(Encoder):
    """The calendar fields of a time, as they are, for trees."""

    accepts: ClassVar[frozenset[str]] = TIME_KINDS
    start: float

    @classmethod
    def fit(cls, training: EncoderInput) -> Self:
        return cls(_start(training.values))

    def names(self, column: str) -> tuple[str, ...]:
        return tuple(f"{column}.{field}" for field in FIELDS)

    @classmethod
    def nodes(cls, graph: Graph, fitted: Mapping[str, Self]) -> str:
        blocks = [_write_fields(graph, column, encoder.start) for column, encoder in fitted.items()]
        return graph("Concat", *blocks, axis=1)


@dataclass(frozen=True, slots=True)
class CalendarStandard(Encoder):
    """The calendar fields of a time, standardized, for nets and linear models."""

    accepts: ClassVar[frozenset[str]] = TIME_KINDS
    start: float
    medians: tuple[float, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    flags_missing: bool

    @classmethod
    def fit(cls, training: EncoderInput) -> Self:
        start = _start(training.values)
        scales = [Scale.of(values) for values in calendar_fields(training.values, start)]
        return cls(
            start,
            tuple(scale.median for scale in scales),
            tuple(scale.mean for scale in scales),
            tuple(scale.deviation for scale in scales),
            scales[0].flags_missing,
        )

    @property
    def scales(self) -> list[Scale]:
        """The learned scaling of each field; only the first flags missing values, as all are missing together."""
        learned = zip(self.medians, self.means, self.deviations, strict=True)
        return [Scale(*values, self.flags_missing and index == 0) for index, values in enumerate(learned)]

    def names(self, column: str) -> tuple[str, ...]:
        return tuple(scaled_names([f"{column}.{field}" for field in FIELDS], self.scales))

    @classmethod
    def nodes(cls, graph: Graph, fitted: Mapping[str, Self]) -> str:
        blocks = [
            write_scaled(graph, _write_fields(graph, column, encoder.start), encoder.scales)
            for column, encoder in fitted.items()
        ]
        return graph("Concat", *blocks, axis=1)


Times = TypeVar("Times", Floats, Value)


def calendar_fields(seconds: Times, start: float) -> list[Times]:
    """Return FIELDS of times, by the same formulas in numpy, which scales are learned from, and in the graph."""
    # Years begin in March here, so that the leap day is the last day; an era is 400 years.
    days = np.floor(seconds / 86400.0)
    era_days = days + 719468.0
    era = np.floor(era_days / 146097.0)
    day_of_era = era_days - era * 146097.0
    leaps = np.floor(day_of_era / 1460.0) - np.floor(day_of_era / 36524.0) + np.floor(day_of_era / 146096.0)
    year_of_era = np.floor((day_of_era - leaps) / 365.0)
    day_of_year = day_of_era - (year_of_era * 365.0 + np.floor(year_of_era / 4.0) - np.floor(year_of_era / 100.0))
    march_month = np.floor((day_of_year * 5.0 + 2.0) / 153.0)
    is_new_year = np.floor(march_month / 10.0)
    day = day_of_year - np.floor((march_month * 153.0 + 2.0) / 5.0) + 1.0
    weekday = days + 3.0 - np.floor((days + 3.0) / 7.0) * 7.0
    hour = np.floor((seconds - days * 86400.0) / 3600.0)
    year, month = year_of_era + era * 400.0 + is_new_year, march_month + 3.0 - is_new_year * 12.0
    return [year, month, day, weekday, hour, (seconds - start) / 86400.0]


def _write_fields(graph: Graph, column: str, start: float) -> str:
    """Write FIELDS of one column, a double of shape (rows, 6)."""
    return graph("Concat", *(field.name for field in calendar_fields(Value(graph, column), start)), axis=1)


def _start(seconds: Floats) -> float:
    present = seconds[~np.isnan(seconds)]
    return float(present.min()) if len(present) else 0.0
