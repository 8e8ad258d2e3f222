"""A table -> its schema: what each column is, told from all of its values, never from a sample of the first."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from estimator.errors import SchemaError
from estimator.schema.column import FALSE_WORDS, GAP_WORDS, GAPS, KINDS, NUMERIC_KINDS, TIME_KINDS, TRUE_WORDS, Column
from estimator.schema.column import Kind as ColumnKind
from estimator.schema.contract import Schema
from estimator.schema.frames import read_series
from estimator.wording import did_you_mean

MAX_LEVELS = 10_000
# Longer than this it is no level but a text; YAML, too, reads no longer key.
LONGEST_LEVEL = 500
NUMBER_AS_TEXT = re.compile(
    r"^\s*(?:[$€£]|USD|EUR)?\s*[-+]?\d{1,3}(?:[,.\s\u00a0]?\d{3})*(?:[.,]\d+)?"
    r"\s*(?:%|[A-Za-z]{1,4}\.?\s?[A-Za-z0-9²]{0,6})?\s*$"
)
IDENTIFIER_NAME = re.compile(r"(?:^|[_\s.-])(?:id|uuid|guid|key)$|^(?:id|uuid|guid)(?:$|[_\s.-])|[a-z]Id$|[a-z]ID$")
DATE_FORMATS = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%b-%Y", "%d-%b-%y")
DATETIME_FORMATS = (
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


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What a person settled about a column, in the config or the schema file; None means: look and decide."""

    kind: str | None = None
    gaps: Sequence[str] | None = None
    limits: tuple[float | None, float | None] | None = None
    unseen: Any = None
    unit: str | None = None
    aliases: Sequence[str] = ()
    affixes: Sequence[str] = ()
    thousands: str = ""
    decimal: str = "."


def infer_schema(
    frame: pl.DataFrame,
    target: str,
    *,
    reviewed: Mapping[str, Reviewed] | None = None,
    gaps: Sequence[str] = (),
    unknown_columns: Any = "refuse",
) -> Schema:
    """Look at every value of a table and return its contract.

    Raises
    ------
    SchemaError: the target or a reviewed column is not in the table, or a reviewed kind cannot hold its values.
    """
    if target not in frame.columns:
        raise SchemaError(f"data.target: no column {target!r} in the table", hint=did_you_mean(target, frame.columns))
    settled = dict(reviewed or {})
    for name in settled:
        if name not in frame.columns:
            raise SchemaError(
                f"schema.columns: no column {name!r} in the table", hint=did_you_mean(name, frame.columns)
            )
    columns = [infer_column(series, settled.get(series.name, Reviewed()), gaps=gaps) for series in frame.iter_columns()]
    by_name = {column.name: column for column in columns}
    goal = _as_target(by_name.pop(target), frame[target], settled.get(target, Reviewed()))
    return Schema(tuple(by_name.values()), goal, unknown_columns)


def _as_target(column: Column, series: pl.Series, settled: Reviewed) -> Column:
    """A target that counts up is still a quantity: only a feature can be an identifier."""
    if settled.kind is not None or column.kind != "identifier":
        return column
    solid = _without_gaps(series, column.gaps)
    is_number = solid.dtype.is_numeric() or (solid.dtype == pl.String and _are_numbers(solid.str.strip_chars()))
    return infer_column(series, replace(settled, kind="number" if is_number else "category"))


def infer_column(series: pl.Series, reviewed: Reviewed | None = None, *, gaps: Sequence[str] = ()) -> Column:
    """Look at every value of one column and return what it is."""
    settled = reviewed or Reviewed()
    series = series.fill_nan(None) if series.dtype.is_float() else series
    spellings = tuple(settled.gaps) if settled.gaps is not None else _spelled_gaps(series, (*GAPS, *gaps))
    solid = _without_gaps(series, spellings)
    if settled.kind is not None and settled.kind not in KINDS:
        raise SchemaError(
            f"schema.columns.{series.name}.kind: no kind {settled.kind!r}", hint=did_you_mean(settled.kind, KINDS)
        )
    kind, formats = (settled.kind, _formats(solid)) if settled.kind else _kind(solid, n_rows=len(series))
    if kind is None:
        words = _spelled_gaps(series, GAP_WORDS) if settled.gaps is None else ()
        kind, formats = _kind(_without_gaps(solid, words), n_rows=len(series)) if words else (None, ())
        spellings = (*spellings, *words) if kind is not None else spellings
    column = Column(
        name=series.name,
        kind=_checked_kind(kind or _kind_of_words(solid, n_rows=len(series))),
        gaps=spellings,
        limits=settled.limits,
        formats=formats,
        unit=settled.unit,
        aliases=tuple(settled.aliases),
        affixes=tuple(settled.affixes),
        thousands=settled.thousands,
        decimal=settled.decimal,
    )
    return replace(_described(column, series), unseen=settled.unseen or "other")


def _spelled_gaps(series: pl.Series, candidates: Sequence[str]) -> tuple[str, ...]:
    """Return the spellings of a gap that occur; "" stands for empty cells and nulls."""
    found = {""} if series.null_count() else set()
    if series.dtype == pl.String:
        found |= set(series.str.strip_chars().filter(series.str.strip_chars().is_in(list(candidates))).unique())
    if found and series.dtype == pl.String:
        found.add("")
    return tuple(sorted(found))


def _without_gaps(series: pl.Series, spellings: Sequence[str]) -> pl.Series:
    solid = series.drop_nulls()
    if solid.dtype == pl.String:
        words = solid.str.strip_chars()
        solid = solid.filter(~words.is_in(list({"", *spellings})))
    return solid


def _kind(solid: pl.Series, *, n_rows: int) -> tuple[ColumnKind | None, tuple[str, ...]]:
    """Return the kind and, for times, the formats; None when the values are words."""
    if len(solid) == 0 or (len(solid) == n_rows and solid.n_unique() == 1):
        return "constant", ()
    if solid.dtype == pl.Boolean:
        return "boolean", ()
    if solid.dtype.is_temporal():
        return ("date" if solid.dtype == pl.Date else "datetime"), ()
    if solid.dtype.is_numeric():
        return _kind_of_numbers(solid.cast(pl.Float64), solid.name), ()
    if solid.dtype != pl.String:
        return None, ()
    words = solid.str.strip_chars()
    if _are_numbers(words):
        return _kind_of_numbers(words.cast(pl.Float64), solid.name), ()
    lowered = words.str.to_lowercase()
    if lowered.n_unique() == 2 and lowered.is_in(list(TRUE_WORDS | FALSE_WORDS)).all():
        return "boolean", ()
    formats = _formats(solid)
    if formats:
        return ("date" if set(formats) <= set(DATE_FORMATS) else "datetime"), formats
    return None, ()


def _are_numbers(words: pl.Series) -> bool:
    """Whether all words are finite numbers, none of them a code with a leading zero."""
    if words.str.contains(r"^[+-]?0\d").any():
        return False
    values = words.cast(pl.Float64, strict=False)
    return values.null_count() == 0 and bool(values.is_finite().all())


def _kind_of_numbers(values: pl.Series, name: str) -> ColumnKind:
    array = values.to_numpy()
    if not np.array_equal(array, np.floor(array)):
        return "number"
    uniqueness = values.n_unique() / len(values) if len(values) >= 20 else 0.0
    counted = uniqueness == 1.0 and bool((np.diff(array) == 1).all())
    named = uniqueness > 0.95 and (IDENTIFIER_NAME.search(name) is not None or not name.strip())
    if counted or named or float(np.abs(array).max()) >= 2**53:
        return "identifier"
    return "integer"


def _kind_of_words(solid: pl.Series, *, n_rows: int) -> ColumnKind:
    if len(solid) == 0:
        return "constant"
    words = solid.cast(pl.String, strict=False).fill_null("?")
    n_unique = words.n_unique()
    if n_unique > 20 and n_unique >= 0.98 * len(words):
        return "text" if words.str.count_matches(r"\s").mean() >= 1.5 else "identifier"  # type: ignore[operator] # a mean of numbers
    if words.str.len_chars().max() > LONGEST_LEVEL:  # type: ignore[operator] # a count of characters
        return "text"
    if n_unique > MAX_LEVELS or (n_unique > 50 and words.str.count_matches(r"\s").mean() >= 4.0):  # type: ignore[operator] # the same
        return "text"
    return "category"


def _formats(solid: pl.Series) -> tuple[str, ...]:
    """Return the one date format that reads every value, else none."""
    if solid.dtype != pl.String or len(solid) == 0:
        return ()
    words = solid.str.strip_chars()
    for form in (*DATE_FORMATS, *DATETIME_FORMATS):
        polars_form = form.replace(".%f", "%.f")
        if words[0] is None or len(words[0]) < 6:
            return ()
        if words.head(50).str.to_datetime(polars_form, strict=False).null_count():
            continue
        if words.str.to_datetime(polars_form, strict=False).null_count() == 0:
            return (form,)
    return ()


def _checked_kind(kind: str) -> ColumnKind:
    checked: ColumnKind = kind  # type: ignore[assignment] # infer_column has checked it against KINDS
    return checked


def _described(column: Column, series: pl.Series) -> Column:
    """Add what training saw: range, levels with counts and an example."""
    solid = _without_gaps(series, column.gaps)
    if len(solid) == 0 or not column.is_feature:
        return replace(column, example=None if len(solid) == 0 else _plain_value(solid[0]))
    open_column = replace(column, gaps=("", *column.gaps), example=_plain_value(solid[0]))
    values, faults = read_series(open_column, series)
    if faults:
        way_out = "widen its limits, or" if column.limits else "change the kind, add the spelling to its gaps, or"
        place = f"schema.columns.{column.name}: kind {column.kind!r}"
        raise SchemaError(
            f"{place} does not hold {len(faults):,} of its values: {faults[0]}",
            hint=f"{way_out} leave the column out with data.drop",
        )
    if column.is_text:
        counts = pl.Series(values[:, 0].tolist(), dtype=pl.String).value_counts(sort=True, name="count")
        levels = {level: count for level, count in counts.iter_rows() if level != ""}
        return replace(column, levels=dict(sorted(levels.items())), example=next(iter(levels)))
    known = values[~np.isnan(values)]
    seen = (float(known.min()), float(known.max()))
    return replace(column, seen=seen, example=_example(column, solid, known))


def _example(column: Column, solid: pl.Series, known: Any) -> str | float | bool | None:
    """Return a value that really occurs, near the middle of its column."""
    if column.kind in NUMERIC_KINDS:
        middle = float(np.sort(known, axis=None)[len(known) // 2])
        return int(middle) if column.kind == "integer" else middle
    if column.kind in TIME_KINDS:
        return _plain_value(solid[len(solid) // 2])
    return bool(known[0]) if column.kind == "boolean" else _plain_value(solid[0])


def _plain_value(value: object) -> str | float | bool | None:
    if isinstance(value, str | bool | int | float):
        return value.strip() if isinstance(value, str) else value
    return None if value is None else str(value).replace(" ", "T", 1) if hasattr(value, "hour") else str(value)
