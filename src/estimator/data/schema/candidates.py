"""The ways in which a column may be read, the likeliest first; what a person has set decides."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from estimator.core.text import did_you_mean
from estimator.data.schema.column import IGNORED_KINDS, KINDS, NA_VALUES, NA_WORDS, TIME_KINDS, Column
from estimator.data.schema.column import Kind as ColumnKind
from estimator.data.schema.column_scan import ColumnScan
from estimator.data.schema.date_inference import kind_of_formats, time_candidates
from estimator.data.schema.dtypes import plain_series
from estimator.data.schema.points import Points
from estimator.errors import SchemaError

MAX_CATEGORIES = 10_000


@dataclass(frozen=True, slots=True)
class ColumnOverride:
    """What a person has set for a column in the config; None, or an empty value, means: infer it."""

    kind: str | None = None
    nullable: bool | None = None
    na_values: Sequence[str] | None = None
    range: tuple[float | None, float | None] | None = None
    unknown: Any = None
    unit: str | None = None
    aliases: Sequence[str] = ()
    strip: Sequence[str] = ()
    thousands: str = ""
    decimal: str = "."
    units: Mapping[str, float] = field(default_factory=dict)
    pattern: str | None = None
    ignore_case: bool = False
    replace: Mapping[str, str] = field(default_factory=dict)
    date_formats: Sequence[str] = ()
    on_missing: Any = None
    required: bool | None = None
    default: str | float | bool | None = None


Overrides = Mapping[str, ColumnOverride]
NO_OVERRIDE = ColumnOverride()


def start_column(
    series: pl.Series,
    override: ColumnOverride,
    na_values: Sequence[str],
    *,
    is_target: bool = False,
    has_classes: bool = False,
) -> ColumnScan:
    """Return an empty scan of a column, with the ways to read it; with `has_classes`, words are classes too."""
    if override.date_formats and override.kind is None:
        override = replace(override, kind=kind_of_formats(override.date_formats))
    # A column that a person calls a category may have any number of categories.
    max_categories = sys.maxsize if override.kind == "category" else MAX_CATEGORIES
    series = plain_series(series)
    candidates = _candidates(series, override, na_values)
    lenient: tuple[Column, ...] = ()
    # A person who lists no spelling, or rejects missing values, has said that words are no missing values.
    may_be_lenient = override.kind is None and override.nullable is not False and override.na_values not in ([], ())
    if may_be_lenient and series.dtype.is_float():
        lenient = (candidates[0],)
    elif may_be_lenient and series.dtype == pl.String and not has_classes:
        lenient = _lenient_candidates(series, candidates)
        candidates = [*candidates[:-1], *lenient, candidates[-1]]
    is_open = series.dtype == pl.String and override.kind is None and not (override.thousands or override.strip)
    points = Points(has_comma=override.decimal == ",") if is_open else None
    return ColumnScan(series.name, candidates, max_categories, lenient=lenient, is_target=is_target, points=points)


def _lenient_candidates(series: pl.Series, candidates: Sequence[Column]) -> tuple[Column, ...]:
    """Return the candidates to try after the strict ones: numbers, and dates with words among the first cells."""
    # The last one of each kind knows all spellings of a missing value.
    numbers = replace(next(column for column in reversed(candidates) if column.kind == "number"))
    return (numbers, *time_candidates(numbers, series, numbers.na_values, skips_words=True))


def _candidates(series: pl.Series, override: ColumnOverride, na_values: Sequence[str]) -> list[Column]:
    """Return the ways to read a column, the likeliest first; the last one reads anything."""
    _check_override(series.name, override)
    uses_defaults = override.na_values is None and override.nullable is not False
    spellings = (*NA_VALUES, *na_values) if uses_defaults else tuple(override.na_values or ())
    words = NA_WORDS if uses_defaults else ()
    text = Column(
        series.name,
        "category",
        nullable=True,
        na_values=spellings,
        strip=tuple(override.strip),
        thousands=override.thousands,
        decimal=override.decimal,
        units=override.units,
        pattern=override.pattern,
        ignore_case=override.ignore_case,
        replace=override.replace,
    )
    if override.kind is not None:
        kind = _scanned_kind(override.kind)
        all_spellings = spellings if kind == "category" else (*spellings, *words)
        fixed = replace(text, kind=kind, date_formats=tuple(override.date_formats), na_values=all_spellings)
        is_open = kind in TIME_KINDS and not override.date_formats
        readings = time_candidates(fixed, series, all_spellings) if is_open else []
        # The last one names the values that no reading reads.
        return [*readings, *(readings[:1] or [fixed])]
    if series.dtype.is_integer():
        return [replace(text, kind="number"), text]
    if series.dtype != pl.String:
        return [replace(text, kind=_kind_of_type(series.dtype))]
    candidates: list[Column] = [replace(text, kind="number"), replace(text, kind="boolean")]
    candidates += time_candidates(text, series, (*spellings, *words))
    # First without words such as "none": in a column of categories they are categories.
    with_words = [replace(column, na_values=(*spellings, *words)) for column in candidates if words]
    return [*candidates, *with_words, text]


def _check_override(name: str, override: ColumnOverride) -> None:
    if override.kind is not None and override.kind not in KINDS:
        raise SchemaError(
            f"schema.columns.{name}.kind: unknown kind {override.kind!r}", hint=did_you_mean(override.kind, KINDS)
        )
    try:
        re.compile(override.pattern or "")
    except re.error as error:
        raise SchemaError(
            f"schema.columns.{name}.pattern: {override.pattern!r} is not a regular expression: {error}"
        ) from None


def _scanned_kind(kind: str) -> ColumnKind:
    """Return the kind by which a column is scanned; text and kinds that are not features are scanned as categories."""
    if kind in (*IGNORED_KINDS, "text"):
        return "category"
    return kind  # type: ignore[return-value] # _check_override has checked it against KINDS


def _kind_of_type(dtype: pl.DataType) -> ColumnKind:
    if dtype == pl.Boolean:
        return "boolean"
    if dtype.is_temporal():
        return "date" if dtype == pl.Date else "datetime"
    return "number" if dtype.is_numeric() else "category"
