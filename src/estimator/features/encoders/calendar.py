"""Dates and times as year, month, day, weekday, hour and the days since the first training row.

A time is a double of seconds since 1970-01-01 UTC. The graph computes the calendar date by the algorithm of Hinnant
("chrono-compatible low-level date algorithms"), in doubles, so that a missing value stays NaN.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Generic, Self, TypeVar

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


@dataclass(frozen=True)
class CalendarDate(Generic[Times]):
    """The calendar fields of times, by the same formulas in numpy, which scales are learned from, and in the graph.

    A field is computed, or written into the graph, when it is first asked for, with what it needs.
    """

    seconds: Times

    @cached_property
    def days(self) -> Times:
        """Whole days since 1970."""
        return _floor(self.seconds / 86400.0)

    @cached_property
    def _era_days(self) -> Times:
        return self.days + 719468.0

    @cached_property
    def _era(self) -> Times:
        # Years begin in March here, so that the leap day is the last day; an era is 400 years.
        return _floor(self._era_days / 146097.0)

    @cached_property
    def _day_of_era(self) -> Times:
        return self._era_days - self._era * 146097.0

    @cached_property
    def _year_of_era(self) -> Times:
        day = self._day_of_era
        leaps = _floor(day / 1460.0) - _floor(day / 36524.0) + _floor(day / 146096.0)
        return _floor((day - leaps) / 365.0)

    @cached_property
    def _day_of_year(self) -> Times:
        day, year = self._day_of_era, self._year_of_era
        return day - (year * 365.0 + _floor(year / 4.0) - _floor(year / 100.0))

    @cached_property
    def _march_month(self) -> Times:
        return _floor((self._day_of_year * 5.0 + 2.0) / 153.0)

    @cached_property
    def _is_new_year(self) -> Times:
        return _floor(self._march_month / 10.0)

    @cached_property
    def year(self) -> Times:
        """Year."""
        return self._year_of_era + self._era * 400.0 + self._is_new_year

    @cached_property
    def month(self) -> Times:
        """Month, 1 to 12."""
        return self._march_month + 3.0 - self._is_new_year * 12.0

    @cached_property
    def day(self) -> Times:
        """Day of the month."""
        return self._day_of_year - _floor((self._march_month * 153.0 + 2.0) / 5.0) + 1.0

    @cached_property
    def weekday(self) -> Times:
        """Day of the week, from 0 for Monday."""
        return self.days + 3.0 - _floor((self.days + 3.0) / 7.0) * 7.0

    @cached_property
    def hour(self) -> Times:
        """Hour of the day."""
        return _floor((self.seconds - self.days * 86400.0) / 3600.0)


def calendar_fields(seconds: Times, start: float) -> list[Times]:
    """Return FIELDS of times."""
    date = CalendarDate(seconds)
    # Nodes keep their order in the graph: this one comes first.
    _ = date._is_new_year
    day, weekday, hour, year, month = date.day, date.weekday, date.hour, date.year, date.month
    return [year, month, day, weekday, hour, (seconds - start) / 86400.0]


def _floor(values: Times) -> Times:
    floor: Times = np.floor(values)
    return floor


def _write_fields(graph: Graph, column: str, start: float) -> str:
    """Write FIELDS of one column, a double of shape (rows, 6)."""
    return graph("Concat", *(field.name for field in calendar_fields(Value(graph, column), start)), axis=1)


def _start(seconds: Floats) -> float:
    present = seconds[~np.isnan(seconds)]
    return float(present.min()) if len(present) else 0.0
