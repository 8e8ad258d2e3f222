"""Two tables without a model: the schema and the drift reference of one, and the check of the other against them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from estimator.config import Monitoring
from estimator.core.task import Predictions
from estimator.core.text import join_names
from estimator.data.schema import Column, Schema
from estimator.data.schema.column import TIME_KINDS, Kind
from estimator.data.schema.dtypes import nested_noun
from estimator.data.schema.frames import select_columns
from estimator.data.schema.inference import infer_column
from estimator.drift import CurrentRows, DriftReference, build_reference
from estimator.errors import SourceError
from estimator.monitoring.checked_table import CheckedTable, check_frame
from estimator.monitoring.lenient_rows import holds_numbers, read_leniently

NOTHING = Predictions(np.empty(0))


@dataclass(frozen=True, slots=True)
class NamedTable:
    """Rows, and what messages call them."""

    name: str
    rows: pl.DataFrame


def compare_tables(
    current: NamedTable, reference: NamedTable, settings: Monitoring, *, ignore: Collection[str] = ()
) -> CheckedTable:
    """Compare the rows of a table with those of a reference by all drift tests, column by column and as a whole.

    Raises
    ------
    SourceError: a table has no row, or the reference no column that can be compared.
    """
    ignored = {*ignore, *settings.ignore}
    for table in (current, reference):
        if not table.rows.height:
            raise SourceError(f"{table.name}: no row can be compared")
    names = [name for name in reference.rows.columns if name not in ignored]
    columns, times, not_compared = _columns(reference.rows, names)
    if not columns:
        reasons = join_names((f"{name} ({reason})" for name, reason in not_compared.items()), limit=8)
        raise SourceError(f"{reference.name}: no column can be compared", hint=reasons or None)
    schema = Schema((*columns, *times), Column(_unused_name(names), "number"))
    before, now = read_leniently(schema, reference.rows), read_leniently(schema, current.rows)
    built = _with_smaller_values(build_reference(schema, before.batch, NOTHING, np.empty(0), seed=0))
    rows = CurrentRows.of(built, now.batch, NOTHING)
    rows = replace(rows, predictions=np.zeros(current.rows.height, np.uint8))
    lacking = [name for name in names if name not in current.rows.columns]
    added = [name for name in current.rows.columns if name not in reference.rows.columns and name not in ignored]
    findings = _finding(f"columns that are not in {current.name}", lacking)
    findings += _finding(f"columns that are not in {reference.name}", added)
    shown = select_columns(current.rows, [column.name for column in columns if column.name in current.rows.columns])
    checked = check_frame(
        built, rows, shown, settings, faults=now.faults, findings=findings, names=(current.name, reference.name)
    )
    return replace(checked, not_compared=not_compared)


def _columns(rows: pl.DataFrame, names: Sequence[str]) -> tuple[list[Column], list[Column], Mapping[str, str]]:
    """Return the columns of a reference that are compared, those of which hours are, and why the others are not."""
    columns, times, not_compared = [], [], {}
    for name in names:
        series = rows[name]
        if (noun := nested_noun(series.dtype)) is not None:
            not_compared[name] = noun
            continue
        column = infer_column(series)
        if column.kind == "constant":
            column = replace(column, kind=_kind_of_constant(series))
        if column.kind in TIME_KINDS or not column.is_feature:
            not_compared[name] = column.kind
            times += [column] if column.is_feature and column.kind == "datetime" else []
        else:
            columns.append(column)
    return columns, times, not_compared


def _kind_of_constant(series: pl.Series) -> Kind:
    """Return the kind of a column of one value, which may have more in the other table."""
    if series.dtype == pl.Boolean:
        return "boolean"
    return "number" if series.dtype.is_numeric() or holds_numbers(series) else "category"


def _with_smaller_values(reference: DriftReference) -> DriftReference:
    """Return the reference with a bin below the only number of a column, as the first bin ends with its edge."""
    columns, sample = [], reference.sample.copy()
    for index, column in enumerate(reference.columns):
        if not column.is_text and len(column.edges) == 1:
            below = np.nextafter(column.edges[0], -np.inf)
            sample[:, index] += sample[:, index] > 0
            counts = np.insert(column.counts, 1, 0)
            column = replace(column, edges=np.array([below, column.edges[0]]), counts=counts)
        columns.append(column)
    return replace(reference, columns=tuple(columns), sample=sample)


def _finding(sentence: str, names: Sequence[str]) -> list[str]:
    return [f"{sentence}: {join_names(map(repr, names), limit=8)}"] if names else []


def _unused_name(names: Collection[str]) -> str:
    name = "target"
    while name in names:
        name += "_"
    return name
