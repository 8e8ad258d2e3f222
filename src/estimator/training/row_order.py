"""The natural order of a table's rows, in which neighbors may be alike, and what monitoring makes of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from estimator.config import Config
from estimator.core.arrays import Floats, Ints
from estimator.core.text import join_names
from estimator.data.schema.column import TIME_KINDS
from estimator.data.splitting import row_times
from estimator.drift import DriftReference
from estimator.drift.design_effect import RowOrder
from estimator.training.prepare import PreparedData

# More categories than these, each in one run, are ids of clusters in a natural order.
MAX_SORTED_CATEGORIES = 50
# Columns in which so many rows count as one are worth a note.
MIN_NOTED_EFFECT, MAX_NOTED_COLUMNS = 1.5, 4


def row_order(prepared: PreparedData, config: Config, *, n_recent: int | None = None) -> RowOrder | None:
    """Return the natural order of all rows, or of the last `n_recent` of the table: by their time, or as in the table.

    None for a table without times that is sorted by its target or by the categories of a column, as requests are not.
    """
    times, n_rows = _times(prepared, config), len(prepared.rows)
    if times is None and (_is_in_runs(prepared.rows.target) or any(map(_is_in_runs, _categories(prepared)))):
        return None
    order = np.arange(n_rows) if times is None else np.argsort(times, kind="stable")
    places = np.empty(n_rows, np.int64)
    places[order] = np.arange(n_rows)
    first = 0 if n_recent is None else max(0, n_rows - n_recent)
    return RowOrder(order[order >= first] - first, places[prepared.test_mask], is_by_time=times is not None)


def row_order_notes(reference: DriftReference) -> list[str]:
    """Return a note where neighbors are alike, with the columns in which they are most."""
    columns = sorted((*reference.columns, reference.predictions), key=lambda column: -column.design_effect)
    noted = [column for column in columns if column.design_effect >= MIN_NOTED_EFFECT]
    if not noted:
        return []
    effects = [f"{column.name} ({_rounded(column.design_effect)} count as one)" for column in noted]
    note = (
        f"rows that follow each other are alike in {join_names(effects, limit=MAX_NOTED_COLUMNS)}: monitoring expects "
        "requests in such an order, and finds drift in these columns later; if any row may follow any other, set "
        "monitoring.row_order: random"
    )
    return [note]


def _rounded(effect: float) -> str:
    return f"{effect:,.0f}" if effect >= 10 else f"{effect:.1f}"


def _times(prepared: PreparedData, config: Config) -> Floats | None:
    """Return what orders the rows in time: the column of a split by time, or the only date or time of the schema."""
    if config.training.split.kind == "time":
        return row_times(prepared.frame, config.training.split)
    names = [column.name for column in prepared.schema.features if column.kind in TIME_KINDS]
    return np.asarray(prepared.rows.batch.feed[names[0]][:, 0], dtype=np.float64) if len(names) == 1 else None


def _categories(prepared: PreparedData) -> Iterator[Ints]:
    """Yield the categories of each column as numbers, in the order in which they come."""
    for column in prepared.schema.features:
        if column.kind == "category":
            texts, seen = prepared.rows.batch.feed[column.name][:, 0].tolist(), dict[str, int]()
            yield np.fromiter((seen.setdefault(text, len(seen)) for text in texts), np.int64, len(texts))


def _is_in_runs(values: Floats | Ints) -> bool:
    """Whether numbers are sorted, or each of at most 50 values is in one run."""
    distinct, n_runs = len(np.unique(values)), 1 + int((values[1:] != values[:-1]).sum())
    if distinct < 2:
        return False
    if n_runs == distinct <= MAX_SORTED_CATEGORIES:
        return True
    if values.dtype.kind != "f":
        return False
    steps = np.diff(values.astype(np.float64))
    return bool((steps >= 0).all() or (steps <= 0).all())
