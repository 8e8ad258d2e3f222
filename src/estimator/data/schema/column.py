"""One column of the schema: its kind, what it accepts, and the words that error messages use for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from estimator.core.text import format_plain, join_names

Kind = Literal["number", "integer", "boolean", "category", "date", "datetime", "text", "identifier", "constant"]
KINDS: dict[str, str] = {
    "number": "a measured quantity",
    "integer": "a whole number; stays an integer when values are missing",
    "boolean": "true or false, in any common spelling",
    "category": "one of a set of categories; codes such as 00501 keep their leading zeros",
    "date": "a calendar day",
    "datetime": "a date with a time of day",
    "text": "free text, encoded as topics or as the presence of words",
    "identifier": "names a row; not a feature",
    "constant": "the same value in every row; not a feature",
}
IGNORED_KINDS = frozenset({"identifier", "constant"})
STRING_KINDS = frozenset({"category", "text"})
NUMERIC_KINDS = frozenset({"number", "integer"})
TIME_KINDS = frozenset({"date", "datetime"})

UnknownPolicy = Literal["other", "error", "missing"]
MissingPolicy = Literal["reject", "impute"]

# An empty cell is always a missing value; these spellings are tried in every column when a schema is inferred.
NA_VALUES = ("NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "-", "?", ".")
# These mean a missing value in a column of numbers, dates or booleans, but may be a category elsewhere: words, the
# errors of spreadsheets, and what pandas, R, SQL, Java, Windows' C library and statistics offices write.
_NA_WORDS = """
None none NONE missing Missing MISSING unknown Unknown UNKNOWN undefined nil Nil NIL Null -- --- ---- .. ... ?? ??? *
** *** : \u2013 \u2014 \u2212 #DIV/0! #VALUE! #REF! #NUM! #NAME? #NULL! #N/A! #NA #CALC! #SPILL! #FIELD! #BLOCKED!
#CONNECT! #UNKNOWN! #GETTING_DATA #ERROR! #MISSING Err:502 ##### \\N <NA> <N/A> <null> <none> (null) (NULL) (none) (NA)
(N/A) [null] [NULL] [NA] NA_integer_ NA_real_ NA_character_ NaT nat NAT NAN Nan -nan -NaN +nan +NaN nan(ind) -nan(ind)
nan(snan) -nan(snan) 1.#IND -1.#IND 1.#QNAN -1.#QNAN 1.#SNAN -1.#SNAN 1.#NAN na Na N/a n/A N.A. n.a. N.a. N.A n.a n/d
N/D n.d. N.D. ND k.A. k.a. empty (empty) blank (blank) [blank]
"""
NA_WORDS = (
    *_NA_WORDS.split(),
    *("- -", "n. a.", "k. A.", "#N/A N/A", "not available", "Not available", "Not Available", "NOT AVAILABLE"),
    *("not applicable", "Not applicable", "Not Applicable"),
)

TRUE_WORDS = frozenset({"true", "t", "yes", "y", "1", "1.0"})
FALSE_WORDS = frozenset({"false", "f", "no", "n", "0", "0.0"})

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Column:
    """What one column is and accepts.

    `training_range` is the smallest and largest training value (times in seconds since 1970). It only informs;
    `range` is set by a person and enforced. A value that is empty or listed in `na_values` is missing, and is accepted
    only if the column is `nullable`, or if `on_missing` is "impute": then the graph replaces it.

    A column that is `only_in_formulas` is known when predicting, but is no feature by itself.

    A column that is left out of a row or table has its `default`, else a missing value. Unless `required` says
    otherwise, it may be left out where that value is accepted.

    A text is cleaned before it is read. A number loses the affixes in `strip` ("$", "km", "%") and its `thousands`
    separator, and is multiplied by the factor of its unit in `units`. Of a text that matches `pattern`, only the first
    group is kept. `ignore_case` lowers case and collapses blanks. Last, `replace` maps a spelling to its value.

    >>> price = Column("price", "number", range=(0.0, None), training_range=(100.0, 250.0))
    >>> price.expectation, price.training_summary
    ('a number at least 0', 'training range 100 to 250')
    >>> price.out_of_range(np.array([150.0, 900.0]))
    [1]
    """

    name: str
    kind: Kind
    nullable: bool = False
    na_values: tuple[str, ...] = ()
    training_range: tuple[float, float] | None = None
    range: tuple[float | None, float | None] | None = None
    categories: Mapping[str, int] = field(default_factory=dict)
    unknown: UnknownPolicy = "other"
    date_formats: tuple[str, ...] = ()
    example: str | float | bool | None = None
    unit: str | None = None
    aliases: tuple[str, ...] = ()
    used: bool = True
    only_in_formulas: bool = False
    strip: tuple[str, ...] = ()
    thousands: str = ""
    decimal: str = "."
    units: Mapping[str, float] = field(default_factory=dict)
    pattern: str | None = None
    ignore_case: bool = False
    replace: Mapping[str, str] = field(default_factory=dict)
    on_missing: MissingPolicy | None = None
    required: bool | None = None
    default: str | float | bool | None = None

    @property
    def imputes(self) -> bool:
        """Whether a missing value is accepted although training need not have had one."""
        return self.on_missing == "impute" and not self.nullable

    @property
    def accepts_missing(self) -> bool:
        """Whether a value may be missing."""
        return self.nullable or self.on_missing == "impute"

    @property
    def is_required(self) -> bool:
        """Whether every row and table must have the column."""
        may_be_left_out = self.default is not None or self.accepts_missing
        return self.required is not False and (self.required is True or not may_be_left_out)

    @property
    def is_feature(self) -> bool:
        """Whether a model uses the column; other columns may be present and are ignored."""
        return self.used and self.kind not in IGNORED_KINDS

    @property
    def is_string(self) -> bool:
        """Whether the graph takes the column as strings; all other kinds become doubles."""
        return self.kind in STRING_KINDS

    @property
    def rejects_unknown(self) -> bool:
        """Whether only the categories of the training rows are accepted."""
        return self.kind == "category" and self.unknown == "error"

    @property
    def expectation(self) -> str:
        """What a value must be, as in "expected a number at least 0"."""
        noun = {
            "number": "a number",
            "integer": "a whole number",
            "boolean": "true or false",
            **dict.fromkeys(STRING_KINDS, "text"),
            "date": "a date" if self.example is None else f"a date such as {self.example!r}",
            "datetime": "a date and time" if self.example is None else f"a date and time such as {self.example!r}",
        }.get(self.kind, "any value")
        if self.rejects_unknown:
            noun = "one of the known categories"
        low, high = self.range or (None, None)
        bounds = [f"at least {format_plain(low)}"] if low is not None else []
        bounds += [f"at most {format_plain(high)}"] if high is not None else []
        return f"{noun} {' and '.join(bounds)}" if bounds else noun

    @property
    def training_summary(self) -> str:
        """The training values in a few words, as an error message ends.

        >>> Column("rooms", "number", training_range=(3.5, 8.75)).training_summary
        'training range 3.5 to 8.75'
        """
        if self.categories:
            return f"training categories {join_names(map(repr, self.categories), limit=8)}"
        if self.training_range is None:
            return f"training values such as {self.example!r}" if self.example is not None else "no training values"
        write = format_time if self.kind in TIME_KINDS else format_plain
        low, high = map(write, self.training_range)
        return f"training range {low} to {high}"

    def out_of_range(self, values: npt.NDArray[Any]) -> list[int]:
        """Return the positions of values, as read, outside the training range or of an unknown category.

        A missing value is never out of range.
        """
        if self.kind == "text":
            return []
        if self.is_string:
            accepted = {"", *self.categories}
            return [position for position, text in enumerate(values.tolist()) if text not in accepted]
        if self.training_range is None:
            return []
        low, high = self.training_range
        positions: list[int] = np.flatnonzero((values < low) | (values > high)).tolist()
        return positions


def format_time(seconds: float) -> str:
    """Return seconds since 1970 as a date, or as a date and time.

    >>> format_time(86400.0), format_time(90061.0)
    ('1970-01-02', '1970-01-02 01:01:01')
    """
    moment = EPOCH + timedelta(seconds=seconds)
    # strftime writes the year 1 without zeros.
    return moment.date().isoformat() if seconds % 86400 == 0 else moment.isoformat(" ", "seconds")[:19]
