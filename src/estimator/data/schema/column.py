"""One column of the contract, and the sentences that say what it wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from estimator.core.text import format_plain, join_names

Kind = Literal["number", "integer", "boolean", "category", "date", "datetime", "text", "identifier", "constant"]
KINDS: dict[str, str] = {
    "number": "a measured quantity",
    "integer": "a whole number; a gap does not turn it into a fraction",
    "boolean": "true or false, in any usual spelling",
    "category": "one of a set of levels; codes such as 00501 keep their zeros",
    "date": "a calendar day",
    "datetime": "a moment, to the second or finer",
    "text": "free words, which models use as topics or as words that are there or not",
    "identifier": "names a row; not a feature",
    "constant": "the same everywhere; not a feature",
}
IGNORED_KINDS = frozenset({"identifier", "constant"})
WORD_KINDS = frozenset({"category", "text"})
NUMERIC_KINDS = frozenset({"number", "integer"})
TIME_KINDS = frozenset({"date", "datetime"})

Unseen = Literal["other", "error", "gap"]

# Spellings of a gap that are looked for in every column when a schema is inferred.
GAPS = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "-", "?", ".")
# Words that are a gap where a number or a date is wanted, but may be a level elsewhere.
GAP_WORDS = ("None", "none", "missing", "Missing", "unknown", "Unknown", "NONE", "--")

TRUE_WORDS = frozenset({"true", "t", "yes", "y", "1", "1.0"})
FALSE_WORDS = frozenset({"false", "f", "no", "n", "0", "0.0"})


@dataclass(frozen=True, slots=True)
class Column:
    """What one column is and accepts.

    `seen` is the range of training (seconds since 1970 for times) and only informs; `limits` are set by a
    person and are enforced. `gaps` lists the accepted spellings of a missing value; empty means that a gap
    is refused, null included.

    What is written need not be what is meant. A number may carry `affixes` ("$", "km", "%") or `units`, whose factor
    it is multiplied by, part its `thousands` and have another `decimal` sign. Of a word that begins as `pattern` says,
    only what its first group matches counts; with `fold`, neither case nor blanks do. `spellings` maps what is left
    to what it means.
    """

    name: str
    kind: Kind
    gaps: tuple[str, ...] = ()
    seen: tuple[float, float] | None = None
    limits: tuple[float | None, float | None] | None = None
    levels: Mapping[str, int] = field(default_factory=dict)
    unseen: Unseen = "other"
    formats: tuple[str, ...] = ()
    example: str | float | bool | None = None
    unit: str | None = None
    aliases: tuple[str, ...] = ()
    used: bool = True
    affixes: tuple[str, ...] = ()
    thousands: str = ""
    decimal: str = "."
    units: Mapping[str, float] = field(default_factory=dict)
    pattern: str | None = None
    fold: bool = False
    spellings: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_feature(self) -> bool:
        """Whether a model uses it; other columns may be present and are ignored."""
        return self.used and self.kind not in IGNORED_KINDS

    @property
    def is_text(self) -> bool:
        """Whether the graph takes it as a string; all other kinds go in as doubles."""
        return self.kind in WORD_KINDS

    @property
    def has_known_levels(self) -> bool:
        """Whether only levels that training saw are accepted."""
        return self.kind == "category" and self.unseen == "error"

    @property
    def wish(self) -> str:
        """What a value must be, as in "expected ..."."""
        noun = {
            "number": "a number",
            "integer": "a whole number",
            "boolean": "true or false",
            **dict.fromkeys(WORD_KINDS, "text"),
            "date": f"a date such as {self.example!r}",
            "datetime": f"a date and time such as {self.example!r}",
        }.get(self.kind, "any value")
        if self.has_known_levels:
            noun = "one of the known levels"
        if self.limits is not None:
            low, high = self.limits
            noun += f" at least {format_plain(low)}" if low is not None else ""
            noun += (" and" if None not in (low, high) else "") + (
                f" at most {format_plain(high)}" if high is not None else ""
            )
        return noun

    @property
    def saw(self) -> str:
        """What training saw, for the end of a refusal."""
        if self.levels:
            return f"training saw {join_names((repr(level) for level in self.levels), limit=8)}"
        if self.seen is None:
            return f"training saw values such as {self.example!r}"
        low, high = self.seen
        if self.kind in TIME_KINDS:
            return f"training saw {as_moment(low)} to {as_moment(high)}"
        return f"training saw {format_plain(low)} to {format_plain(high)}"

    def outside(self, values: npt.NDArray[Any]) -> list[int]:
        """Return the places of the values, as read, that lie outside what training saw (a gap never does)."""
        if self.is_text:
            known = {"", *self.levels}
            texts = () if self.kind == "text" else values.tolist()
            return [place for place, text in enumerate(texts) if text not in known]
        if self.seen is None:
            return []
        low, high = self.seen
        places: list[int] = np.flatnonzero((values < low) | (values > high)).tolist()
        return places


def as_moment(seconds: float) -> str:
    """Return seconds since 1970 as people write a day, or a moment."""
    from datetime import UTC, datetime, timedelta

    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%d" if seconds % 86400 == 0 else "%Y-%m-%d %H:%M:%S")
