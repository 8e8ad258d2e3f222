"""The formats of dates and times that are recognized when a schema is inferred."""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

from estimator.data.schema.text_parsing import parse_times, strip_blanks

MONTH_FORMAT = "%Y-%m"
# In other years it is more likely a code than a month.
MONTH = r"^(?:19|20)\d\d-(?:0[1-9]|1[0-2])$"
DATE_FORMATS = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%b-%Y", "%d-%b-%y", MONTH_FORMAT)
DATETIME_FORMATS = (
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S.%f",
    "%Y-%m-%d %H:%M:%S.%f",
    "%Y-%m-%dT%H:%M:%S%z",
    "%Y-%m-%d %H:%M:%S%z",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%Y%m%dT%H%M%S",
)
N_CELLS, N_TEXTS = 1000, 50
MIN_DATE_LENGTH = 6


def matching_formats(series: pl.Series, na_values: Sequence[str]) -> tuple[str, ...]:
    """Return the formats that match the first texts of a column, at most 50; none for a column of numbers.

    >>> matching_formats(pl.Series(["2024-01-31", "NA"]), ["NA"])
    ('%Y-%m-%d',)
    """
    if series.dtype != pl.String:
        return ()
    texts = strip_blanks(series.drop_nulls().head(N_CELLS))
    texts = texts.filter(~texts.is_in(["", *na_values])).head(N_TEXTS)
    if len(texts) == 0 or not _may_be_time(texts[0]):
        return ()
    return tuple(
        date_format
        for date_format in (*DATE_FORMATS, *DATETIME_FORMATS)
        if parse_times(texts, date_format).null_count() == 0
        and (date_format != MONTH_FORMAT or texts.str.contains(MONTH).all())
    )


def _may_be_time(text: str) -> bool:
    """Whether a text is long enough, has a digit and is not a number."""
    if len(text) < MIN_DATE_LENGTH or not re.search(r"\d", text):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False
