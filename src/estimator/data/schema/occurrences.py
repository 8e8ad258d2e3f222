"""Texts of a column with their count and first rows, for notes that name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from estimator.core.arrays import Indices
from estimator.data.schema.text_parsing import as_text, strip_blanks

N_ROWS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Occurrences:
    """How often a text occurs, and its first rows, from 1.

    >>> str(Occurrences(1, (3,))), str(Occurrences(7, (3, 8, 9, 10, 11)))
    ('row 3', 'rows 3, 8, 9, 10, 11 and 2 more')
    """

    count: int = 0
    rows: tuple[int, ...] = ()

    def plus(self, other: Occurrences) -> Occurrences:
        """Return both, those of `other` later in the table."""
        return Occurrences(self.count + other.count, (*self.rows, *other.rows)[:N_ROWS_SHOWN])

    def __str__(self) -> str:
        more = self.count - len(self.rows)
        shown = ", ".join(f"{row:,}" for row in self.rows) + (f" and {more:,} more" if more else "")
        return f"row {shown}" if self.count == 1 else f"rows {shown}"


def occurrences_at(series: pl.Series, positions: Indices, *, first_row: int = 1) -> Mapping[str, Occurrences]:
    """Return the distinct texts at some positions of a column, its nulls among them, which are left out.

    Blanks around a text are not part of it.
    """
    if series.null_count() == len(positions):
        return {}
    cells = series.gather(positions)
    cells = cells.fill_nan(None) if cells.dtype.is_float() else cells
    if cells.null_count() == len(cells):
        return {}
    table = pl.DataFrame({"text": strip_blanks(as_text(cells)), "row": positions + first_row})
    texts = table.drop_nulls().group_by("text", maintain_order=True)
    counts = texts.agg(pl.len().alias("count"), pl.col("row").head(N_ROWS_SHOWN).alias("rows"))
    return {text: Occurrences(count, tuple(rows)) for text, count, rows in counts.iter_rows()}
