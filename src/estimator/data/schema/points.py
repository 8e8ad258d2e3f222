"""Points in numbers as text that may separate thousands: next to "403", "1.348" is one thousand rather than one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import polars as pl

from estimator.data.schema.schema import Schema

# So many numbers with three digits behind a point, next to so many whole ones below 1,000, are a question; so is a
# single one next to many.
MIN_GROUPED, MIN_WHOLE, MANY_WHOLE = 3, 2, 20
N_PROBED, MAX_SPELLINGS = 1000, 50
GROUPED = r"^\s*[-+]?[1-9]\d{0,2}\.\d{3}\s*$"
WHOLE = r"^\s*[-+]?\d{1,3}\s*$"


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

    def add(self, texts: pl.Series) -> None:
        """Count the numbers of a batch; nothing is counted any more once a point must be a decimal point."""
        if texts.dtype != pl.String:
            return
        if self.spellings is not None:
            self._add_spellings(texts)
        if self.are_decimal:
            return
        is_grouped = texts.str.contains(GROUPED).fill_null(False)
        has_point = texts.str.contains(".", literal=True)
        is_other = has_point & ~is_grouped if self.has_comma else ~(is_grouped | texts.str.contains(WHOLE))
        # Texts without a digit are missing values.
        self.are_decimal = bool((is_other & texts.str.contains(r"\d")).fill_null(False).any())
        self.n_grouped += int(is_grouped.sum())
        self.n_whole += len(texts.drop_nulls()) - int(is_grouped.sum())
        if not self.example and is_grouped.any():
            self.example = str(texts.filter(is_grouped)[0]).strip()

    def _add_spellings(self, texts: pl.Series) -> None:
        known = set(texts.unique().drop_nulls().to_list()) if texts.head(N_PROBED).n_unique() <= MAX_SPELLINGS else None
        together = None if known is None else known | (self.spellings or set())
        self.spellings = together if together is not None and len(together) <= MAX_SPELLINGS else None

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


def point_notes(schema: Schema, frame: pl.DataFrame) -> tuple[str, ...]:
    """Return the questions that the numbers of a table leave where a reviewed schema reads points as decimal points."""
    notes = []
    for column in (schema.target, *schema.features):
        if column.kind == "number" and not (column.thousands or column.strip) and column.name in frame.columns:
            points = Points(has_comma=column.decimal == ",")
            points.add(frame[column.name])
            notes += [f"{column.name}: {points.question} The schema says less"] if points.may_separate else []
    return tuple(notes)


def thousands_edit(name: str) -> dict[str, str]:
    """Return the edit by which points separate thousands."""
    return {f"schema.columns.{name}.thousands": ".", f"schema.columns.{name}.decimal": ","}


def way_out(name: str) -> str:
    """Return the edits that decide between thousands and decimals."""
    edits = " and ".join(f"{key}: {json.dumps(value)}" for key, value in thousands_edit(name).items())
    return f"{edits} for thousands, or schema.columns.{name}.kind: number for decimals"
