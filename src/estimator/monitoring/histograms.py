"""How the drifted columns were distributed in training and are now, over the bins of the drift reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from estimator.core.arrays import Floats, Ints
from estimator.core.text import counted, format_plain
from estimator.drift.reference import ColumnReference
from estimator.monitoring.diagnosis import MAX_COLUMNS, MovedColumn, moved_column
from estimator.monitoring.records import RecordReader, is_present
from estimator.pages.overlay import BinFractions
from estimator.prediction_log import PredictionRecord

# The last of the rows that have drifted; to read them all would take seconds.
MAX_ROWS = 5000
# Ranges of a number that are drawn; a column of so few distinct numbers has a row for each.
MAX_RANGES, MAX_DISTINCT = 20, 8
MAX_CATEGORIES = 8
# Beyond these fractions of the training rows, the first and the last range are open.
TAILS = (0.01, 0.99)


@dataclass(frozen=True, slots=True)
class ColumnHistogram:
    """A column that moved, and its fractions in training and in `n_rows` rows, the first of them made at `since`."""

    moved: MovedColumn
    bins: BinFractions
    n_rows: int
    since: float


def column_histograms(
    reader: RecordReader, records: Sequence[PredictionRecord], names: Sequence[str]
) -> list[ColumnHistogram]:
    """Return the histograms of some columns, or of the predictions by their name, of rows that have drifted."""
    records = records[-MAX_ROWS:] if names else []
    if not records:
        return []
    reference = reader.reference
    codes, predictions = reader.codes(reader.batch(records)), reader.predictions(records)
    columns = {reference.predictions.name: reference.predictions, **reference.by_name}
    predicted = reference.predictions.codes(predictions[is_present(predictions)])
    counts = {reference.predictions.name: reference.predictions.count(predicted)}
    counts |= {column.name: column.count(codes[:, index]) for index, column in enumerate(reference.columns)}
    histograms = []
    for name in [name for name in names if name in columns][:MAX_COLUMNS]:
        moved = moved_column(columns[name], counts[name], 0.0)
        bins = bin_fractions(columns[name], counts[name])
        histograms.append(ColumnHistogram(moved, bins, len(records), records[0].at))
    return histograms


def bin_fractions(column: ColumnReference, counts: Ints) -> BinFractions:
    """Return the fractions of a column in training and among `counts`, in at most some twenty bins.

    Neighboring bins of the reference are put together to ranges of about the same width, rare categories to one.
    """
    before, now = column.fractions, counts / max(counts.sum(), 1)
    if column.is_text:
        codes, pooled = _shown_categories(before, now)
        groups = [np.array([code]) for code in codes] + ([pooled] if len(pooled) else [])
        names = [_category_name(column, code) for code in codes]
        names += [counted(len(pooled), "other category")] if len(pooled) else []
        borders: list[float] = []
    else:
        indices = _border_indices(column)
        groups = np.split(np.arange(1, len(column.counts)), indices + 1)
        names = _range_names(column.edges[indices])
        borders = column.edges[indices].tolist() if len(indices) > MAX_DISTINCT else []
    in_training, current = ([float(fractions[group].sum()) for group in groups] for fractions in (before, now))
    return BinFractions(names, in_training, current, (float(before[0]), float(now[0])), borders)


def _shown_categories(before: Floats, now: Floats) -> tuple[list[int], Ints]:
    """Return the codes of the most frequent categories, and those that are put together."""
    order = 1 + np.argsort(-np.maximum(before, now)[1:], kind="stable")
    occurring = order[np.maximum(before, now)[order] > 0]
    if len(occurring) <= MAX_CATEGORIES + 1:
        return occurring.tolist(), occurring[:0]
    return occurring[:MAX_CATEGORIES].tolist(), occurring[MAX_CATEGORIES:]


def _category_name(column: ColumnReference, code: int) -> str:
    return column.categories[code - 1] if code <= len(column.categories) else "unknown or rare"


def _range_names(edges: Floats) -> list[str]:
    texts = [format_plain(edge) for edge in edges.tolist()]
    if not texts:
        return ["any value"]
    # Few whole numbers are the values that training had.
    is_whole = len(edges) <= MAX_DISTINCT and bool((edges == np.round(edges)).all())
    names = texts[1:] if is_whole else [f"{low} to {high}" for low, high in pairwise(texts)]
    return [f"at most {texts[0]}", *names, f"above {texts[-1]}"]


def _border_indices(column: ColumnReference) -> Ints:
    """Return which edges are borders of the ranges that are drawn."""
    edges = column.edges
    if len(edges) <= MAX_RANGES:
        return np.arange(len(edges))
    cumulative = np.cumsum(column.counts[1:]) / max(column.counts[1:].sum(), 1)
    first, last = (min(int(np.searchsorted(cumulative, tail)), len(edges) - 1) for tail in TAILS)
    targets = np.linspace(edges[first], edges[last], MAX_RANGES - 1)
    nearest = np.clip(np.searchsorted(edges, targets), 1, len(edges) - 1)
    nearest -= (targets - edges[nearest - 1]) < (edges[nearest] - targets)
    return np.unique(nearest)
