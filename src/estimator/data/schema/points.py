"""Points in numbers as text that may separate thousands: next to "403", "1.348" is one thousand rather than one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from estimator.core.arrays import Floats, Mask
from estimator.data.schema.frames import read_series
from estimator.data.schema.schema import Schema
from estimator.data.stored_table import Table

# So many numbers with three digits behind a point, next to so many whole ones below 1,000, are a question; so is a
# single one next to many.
MIN_GROUPED, MIN_WHOLE, MANY_WHOLE = 3, 2, 20
N_PROBED, MAX_SPELLINGS = 1000, 50
GROUPED = r"^\s*[-+]?[1-9]\d{0,2}\.\d{3}\s*$"


@dataclass
class Points:
    """What the numbers of a column, whose points are read as decimal points, say of the meaning of its points.

    With a decimal comma, which is what `has_comma` says, one number such as "1.348" is enough for a question, if no
    point stands anywhere else. `spellings` has the different texts while they are few, and is None for many.
    """

    has_comma: bool = False
    n_grouped: int = 0
    n_whole: int = 0
    example: str = ""
    are_decimal: bool = False
    spellings: set[str] | None = field(default_factory=set)

    def add(self, texts: pl.Series, values: Floats) -> None:
        """Count the numbers of a batch, given with their values, NaN where missing.

        Nothing is counted any more once a point must be a decimal point, and there are many different texts.
        """
        if texts.dtype != pl.String or (self.are_decimal and self.spellings is None):
            return
        has_point = _has_point(texts, values)
        n_present = len(values) - int(np.count_nonzero(np.isnan(values)))
        if not has_point.any():
            self.n_whole += n_present
            self.are_decimal = self.are_decimal or (not self.has_comma and bool((np.abs(values) >= 1000).any()))
            return
        pointed = texts.filter(pl.Series(has_point))
        if self.spellings is not None:
            self._add_spellings(pointed)
        # The first ones decide most columns.
        if not self.are_decimal and not self._must_be_decimal(texts.head(N_PROBED), values[:N_PROBED]):
            self._add_grouped(texts, pointed, values, n_present)

    def _must_be_decimal(self, texts: pl.Series, values: Floats) -> bool:
        """Whether a number shows what points mean: one with a point elsewhere, or a large one without."""
        has_point = _has_point(texts, values)
        is_other = not texts.filter(pl.Series(has_point)).str.contains(GROUPED).all()
        is_large = bool((np.abs(values[~has_point]) >= 1000).any())
        self.are_decimal = is_other or (is_large and not self.has_comma)
        return self.are_decimal

    def _add_grouped(self, texts: pl.Series, pointed: pl.Series, values: Floats, n_present: int) -> None:
        if self._must_be_decimal(texts, values):
            return
        self.n_grouped += len(pointed)
        self.n_whole += n_present - len(pointed)
        self.example = self.example or str(pointed[0]).strip()

    def _add_spellings(self, pointed: pl.Series) -> None:
        is_few = pointed.head(N_PROBED).n_unique() <= MAX_SPELLINGS
        together = set(pointed.unique().to_list()) | (self.spellings or set()) if is_few else set()
        self.spellings = together if is_few and len(together) <= MAX_SPELLINGS else None

    @property
    def merged(self) -> list[str]:
        """Two of few different texts that are one number and differ in zeros at their ends, such as versions."""
        found: dict[str, str] = {}
        for text in sorted((text.strip() for text in self.spellings or () if "." in text), key=len):
            shorter = found.setdefault(text.rstrip("0"), text)
            if shorter != text and not shorter.rstrip("0").endswith("."):
                return [shorter, text]
        return []

    @property
    def may_separate(self) -> bool:
        """Whether the points separate thousands, as far as the numbers tell."""
        is_mixed = self.n_grouped >= MIN_GROUPED and self.n_whole >= MIN_WHOLE
        one_is_enough = self.has_comma or self.n_whole >= MANY_WHOLE
        return not self.are_decimal and (is_mixed or (one_is_enough and self.n_grouped > 0))

    @property
    def question(self) -> str:
        """What a person should decide."""
        numbers = "number" if self.n_grouped == 1 else "numbers"
        reason = "the decimal sign is a comma" if self.has_comma else "all others are whole numbers below 1,000"
        return (
            f"{self.n_grouped:,} {numbers} such as {self.example!r} have three digits after a point, and {reason}: "
            f"does the point separate thousands, or is {self.example} less than 1,000?"
        )


def _has_point(texts: pl.Series, values: Floats) -> Mask:
    """Mark the numbers with a point; what is no number, such as "n.a.", does not count."""
    return np.asarray(texts.str.contains(".", literal=True).fill_null(False).to_numpy() & ~np.isnan(values))


def point_notes(schema: Schema, frame: Table) -> tuple[str, ...]:
    """Return the questions that the numbers of a table leave where a reviewed schema reads points as decimal points."""
    notes = []
    for column in (schema.target, *schema.features):
        if column.kind == "number" and not (column.thousands or column.strip) and column.name in frame.columns:
            points = Points(has_comma=column.decimal == ",")
            series = frame[column.name]
            points.add(series, read_series(replace(column, nullable=True, range=None), series)[0][:, 0])
            notes += [f"{column.name}: {points.question} The schema says less"] if points.may_separate else []
    return tuple(notes)


def thousands_edit(name: str) -> dict[str, str]:
    """Return the edit by which points separate thousands."""
    return {f"schema.columns.{name}.thousands": ".", f"schema.columns.{name}.decimal": ","}


def way_out(name: str) -> str:
    """Return the edits that decide between thousands and decimals."""
    edits = " and ".join(f"{key}: {json.dumps(value)}" for key, value in thousands_edit(name).items())
    return f"{edits} for thousands, or schema.columns.{name}.kind: number for decimals"
