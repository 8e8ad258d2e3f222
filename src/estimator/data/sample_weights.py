"""The column of row weights, `data.sample_weight`, as numbers."""

from __future__ import annotations

import numpy as np
import polars as pl

from estimator.core.arrays import Floats, Indices
from estimator.data.schema.dtypes import plain_series
from estimator.data.schema.occurrences import N_ROWS_SHOWN, Occurrences
from estimator.data.stored_table import Table
from estimator.errors import SchemaError

MAX_CELLS_SHOWN = 3


def read_sample_weights(name: str | None, frame: Table, row_numbers: Indices) -> Floats:
    """Return the weight of each row, of shape (rows,); all are 1 without a column of weights.

    `row_numbers` are those of the rows in their table, from 1.

    Raises
    ------
    SchemaError: a weight is missing, no number or negative.
    """
    if name is None:
        return np.ones(frame.height)
    series = plain_series(frame[name])
    weights: Floats = series.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy().copy()
    positions = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if not len(positions):
        return weights
    shown = positions[:MAX_CELLS_SHOWN].tolist()
    cells = ", ".join(f"row {row_numbers[position]:,} holds {series[position]!r:.60}" for position in shown)
    more = f" and {len(positions) - len(shown):,} more rows" if len(positions) > len(shown) else ""
    raise SchemaError(
        f"data.sample_weight: column {name!r} must hold a number of at least 0 in every row: {cells}{more}",
        hint="correct the weights or leave out those rows; a row of weight 0 is neither learned from nor scored",
    )


def zero_weight_notes(name: str | None, weights: Floats, row_numbers: Indices) -> tuple[str, ...]:
    """Return a note on the rows whose weight is 0, if there are any."""
    zeros = row_numbers[weights == 0]
    if not len(zeros):
        return ()
    rows = Occurrences(len(zeros), tuple(zeros[:N_ROWS_SHOWN].tolist()))
    return (f"{name}: the weight is 0 in {rows}, which the model does not learn from and scores do not count",)
