"""A table -> its schema: each column's kind and statistics, inferred from all of its values, not from a sample."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import polars as pl

from estimator.core.text import did_you_mean, format_plain, join_names
from estimator.data.schema.candidates import NO_OVERRIDE, ColumnOverride, Overrides, start_column
from estimator.data.schema.column import NUMERIC_KINDS, Column
from estimator.data.schema.column import Kind as ColumnKind
from estimator.data.schema.column_scan import LARGE_INTEGER, ColumnScan, TableScan
from estimator.data.schema.dtypes import conversion, nested_noun
from estimator.data.schema.schema import Schema
from estimator.data.stored_table import Table
from estimator.errors import SchemaError

Batches = Callable[[], Iterable[pl.DataFrame]]
BATCH_ROWS = 65_536
# Anything longer is text, not a category; YAML does not read a longer key either.
MAX_CATEGORY_LENGTH = 500
MAX_EXAMPLE_LENGTH = 80
NUMBER_AS_TEXT = re.compile(
    r"^\s*[(~]?\s*(?:[$€£¥₹]|USD|EUR|GBP|CHF|JPY)?\s*[-+\u2212]?\s*\d{1,3}(?:[,.'\u2019_\s\u00a0]?\d{2,3})*(?:[.,]\d+)?"
    r"\s*(?:[-+]|\)?\s*(?:[%$€£¥₹°]\s?[CF]?|[^\W\d_]{1,4}\.?\s?(?:[^\W\d_]{0,6}|/\s?[^\W\d_]{1,4})[23²³]?)?)\s*$"
)
IDENTIFIER_NAME = re.compile(
    r"(?:^|[_\s.-])(?:id|uuid|guid|key)$|^(?:id|uuid|guid)(?:$|[_\s.-])|[a-z]Id$|[a-z]ID$|^[A-Z]ID$"
)


@dataclass(frozen=True, slots=True)
class TableChoices:
    """What a person has set for a table: its target, its columns, and which of them are `dropped` unread.

    `has_classes` means that the target is known to be a class: then words among its numbers are classes too.
    """

    target: str
    columns: Overrides = field(default_factory=dict)
    na_values: Sequence[str] = ()
    unknown_columns: Any = "error"
    dropped: Collection[str] = ()
    has_classes: bool = False


def infer_schema(
    table: Table | Batches,
    target: str,
    *,
    overrides: Overrides | None = None,
    na_values: Sequence[str] = (),
    unknown_columns: Any = "error",
) -> Schema:
    """Return the schema of a table, given as a frame or as a function that returns its batches; see `scan_table`."""
    choices = TableChoices(target, overrides or {}, na_values, unknown_columns)
    return schema_from_scan(scan_table(table, choices), choices)


def scan_table(table: Table | Batches, choices: TableChoices) -> TableScan:
    """Return the statistics of all rows of a table, given as a frame or as a function that returns its batches.

    The function is called again when a later batch shows that a column is of another kind than its first rows suggest.

    Raises
    ------
    SchemaError: the target or an overridden column is not in the table, or a column cannot be held by any kind.
    """
    batches = table if callable(table) else lambda: table.iter_slices(BATCH_ROWS)
    first = table if isinstance(table, pl.DataFrame) else next(iter(batches()), pl.DataFrame())
    scan = start_scan(first, choices)
    while True:
        for frame in batches():
            scan.add(frame)
        if scan.is_consistent:
            return scan
        scan = scan.restart()


def infer_column(series: pl.Series, override: ColumnOverride = NO_OVERRIDE, *, na_values: Sequence[str] = ()) -> Column:
    """Return the schema of one column, inferred from all of its values."""
    scan = start_column(series, override, na_values)
    scan.add(series, None)
    while not scan.is_consistent:
        scan = scan.restart()
        scan.add(series, None)
    return column_from_scan(scan, override)


def start_scan(first: pl.DataFrame, choices: TableChoices, *, with_target_means: bool = False) -> TableScan:
    """Return an empty scan for a table that begins with these rows; see `scan_table`.

    Raises
    ------
    SchemaError: the target or an overridden column is not in the table, an override is wrong, or a column cannot be
        held by any kind.
    """
    target = choices.target
    for name, key in ((target, "data.target"), *((name, "schema.columns") for name in choices.columns)):
        if name not in first.columns:
            raise SchemaError(f"{key}: no column {name!r} in the table", hint=did_you_mean(name, first.columns))
    if (noun := nested_noun(first[target].dtype)) is not None:
        raise SchemaError(
            f"the target {target!r} holds {noun}, which no model predicts", hint="choose another data.target"
        )
    check_dtypes(first, choices.dropped)
    nested = tuple(series.name for series in first.iter_columns() if nested_noun(series.dtype) is not None)
    columns = {
        series.name: start_column(
            series,
            NO_OVERRIDE if series.name in choices.dropped else choices.columns.get(series.name, NO_OVERRIDE),
            choices.na_values,
            is_target=series.name == target,
            has_classes=choices.has_classes and series.name == target,
        )
        for series in first.iter_columns()
        if series.name not in nested
    }
    conversions = {
        series.name: text for series in first.iter_columns() if (text := conversion(series.dtype)) is not None
    }
    return TableScan(columns, target if with_target_means else None, nested, conversions)


def check_dtypes(frame: pl.DataFrame, dropped: Collection[str]) -> None:
    """Raise for columns, besides the dropped ones, of a type whose values no kind can hold.

    Raises
    ------
    SchemaError: with all such columns.
    """
    nouns = {
        series.name: noun
        for series in frame.iter_columns()
        if (noun := nested_noun(series.dtype)) is not None and series.name not in dropped
    }
    if not nouns:
        return
    described = join_names([f"column {name!r} holds {noun}" for name, noun in nouns.items()], limit=10)
    edit = json.dumps([*dropped, *nouns], ensure_ascii=False)
    raise SchemaError(
        f"{described}: no kind of column can hold that",
        hint=f"leave out what a model cannot use with data.drop: {edit}, or write its values as columns of their own",
    )


def schema_from_scan(scan: TableScan, choices: TableChoices) -> Schema:
    """Return the schema of a table that has been scanned to the end.

    Raises
    ------
    SchemaError: an overridden kind or range does not fit the values.
    """
    overrides = {
        name: NO_OVERRIDE if name in choices.dropped else choices.columns.get(name, NO_OVERRIDE)
        for name in scan.columns
    }
    columns = {name: column_from_scan(column, overrides[name]) for name, column in scan.columns.items()}
    columns |= {name: Column(name, "text", nullable=True, used=False) for name in scan.nested}
    target = choices.target
    target_column = _as_target(columns.pop(target), scan.columns[target], overrides[target])
    return Schema(tuple(columns.values()), target_column, choices.unknown_columns)


def _as_target(column: Column, scan: ColumnScan, override: ColumnOverride) -> Column:
    """Return a target that looks like an identifier as a number or category: only a feature can be an identifier."""
    if override.kind is not None or column.kind != "identifier":
        return column
    return _with_statistics(replace(column, kind="number" if scan.is_number else "category"), scan)


def column_from_scan(scan: ColumnScan, override: ColumnOverride) -> Column:
    """Return the schema of a column that has been scanned to the end."""
    na_seen = sorted(scan.spellings.keys() - {""})
    nullable = bool(override.na_values) or scan.n_missing > 0
    column = replace(
        scan.decided_reading,
        kind=override.kind or _kind(scan),  # type: ignore[arg-type] # _check_override has checked it against KINDS
        nullable=nullable if override.nullable is None else override.nullable,
        na_values=tuple(na_seen if override.na_values is None else (*override.na_values, *scan.odd_words)),
        range=override.range,
        unit=override.unit,
        aliases=tuple(override.aliases),
        unknown=override.unknown or "other",
        on_missing=override.on_missing,
        required=override.required,
        default=override.default,
    )
    _check_fit(column, scan)
    return _with_statistics(column, scan)


def _kind(scan: ColumnScan) -> ColumnKind:
    if scan.n_values == 0 or (scan.n_missing == 0 and scan.n_distinct == 1):
        return "constant"
    kind = scan.reading.kind
    if kind == "number":
        return _kind_of_numbers(scan)
    return _kind_of_texts(scan) if kind == "category" else kind


def _kind_of_numbers(scan: ColumnScan) -> ColumnKind:
    if not scan.is_whole:
        return "number"
    is_long = scan.n_values >= 20
    has_name = IDENTIFIER_NAME.search(scan.name) is not None or not scan.name.strip()
    if is_long and (scan.counts_up or (has_name and scan.is_unique(fraction=0.95))):
        return "identifier"
    if max(-scan.low, scan.high) < LARGE_INTEGER:
        return "integer"
    return "number" if scan.is_measured else "identifier"


def _kind_of_texts(scan: ColumnScan) -> ColumnKind:
    lengths = scan.texts.lengths
    if scan.has_large_integers and scan.is_unique(fraction=0.95):
        return "identifier"
    if scan.n_distinct > 20 and scan.is_unique(fraction=0.98):
        return "text" if lengths.mean_blanks >= 1.5 else "identifier"
    is_prose = scan.texts.overflowed or (scan.n_distinct > 50 and lengths.mean_blanks >= 4)
    return "text" if is_prose or lengths.longest > MAX_CATEGORY_LENGTH else "category"


def _check_fit(column: Column, scan: ColumnScan) -> None:
    """Raise when a kind or range that a person has set does not fit the values."""
    if not column.is_feature:
        return
    subject = f"schema.columns.{column.name}: kind {column.kind!r}"
    if scan.n_faults:
        raise SchemaError(
            f"{subject} does not fit {scan.n_faults:,} of its values: {scan.faults[0]}",
            hint="change the kind, add the spelling to na_values, or leave the column out with data.drop",
        )
    low, high = column.range or (None, None)
    too_low = [scan.low] if low is not None and scan.low < low else []
    too_high = [scan.high] if high is not None and scan.high > high else []
    if scan.is_number and (too_low or too_high):
        extreme = [*too_low, *too_high][0]
        raise SchemaError(
            f"{subject} does not fit all of its values: expected {column.expectation}, got {format_plain(extreme)}",
            hint="widen the range, or leave the column out with data.drop",
        )


def _with_statistics(column: Column, scan: ColumnScan) -> Column:
    """Return the column with its training range, its categories with counts, and an example."""
    example: Any = scan.texts.example if scan.is_text else scan.example
    if scan.n_values == 0 or not column.is_feature:
        is_integer = isinstance(example, float) and scan.is_whole
        return replace(column, example=_json_value(int(example) if is_integer else example), date_formats=())
    if column.kind == "text":
        example = (scan.texts.example or "")[:MAX_EXAMPLE_LENGTH].strip()
        return replace(column, example=example, date_formats=())
    if column.is_string:
        categories = scan.texts.categories.counts()
        return replace(column, categories=categories, example=next(iter(categories), None), date_formats=())
    if column.kind in NUMERIC_KINDS:
        example = int(example) if column.kind == "integer" else float(example)
    elif column.kind == "boolean":
        example = bool(scan.high)
    return replace(column, training_range=(scan.low, scan.high), example=_json_value(example))


def _json_value(value: object) -> str | float | bool | None:
    if isinstance(value, str):
        return value.strip()
    if value is None or isinstance(value, bool | int | float):
        return value
    # ISO 8601 has a T between date and time.
    return str(value).replace(" ", "T", 1) if isinstance(value, datetime) else str(value)
