"""Splits: which rows are held out as the test set, used for early stopping, and put in which fold."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from estimator.config import Config, Split
from estimator.config.sections import row_ranges
from estimator.core.arrays import Floats, Ints, Mask
from estimator.core.text import did_you_mean, join_names
from estimator.data.schema.frames import read_series
from estimator.data.schema.inference import infer_column
from estimator.data.stored_table import Table
from estimator.errors import ConfigError, TrainingError

# Each split draws from its own random stream: seed, then one of these.
TEST_STREAM, VALIDATION_STREAM, FOLDS_STREAM = 10, 11, 12
# Of rows in order, a fold is several blocks, so that a stretch unlike the others is in more than one.
BLOCKS_PER_FOLD = 5


def held_out_mask(frame: Table, config: Config, strata: Floats | None) -> Mask:
    """Return the mask of the test set.

    `strata` are class codes, whose proportions a random split keeps.

    Raises
    ------
    ConfigError: the split's column is not set, not in the table, or cannot order rows.
    TrainingError: the test set or the training set would be empty.
    """
    split, test_size = config.training.split, config.training.test_size
    generator = np.random.default_rng([config.training.seed, TEST_STREAM])
    if split.kind == "random":
        mask = _random_mask(frame.height, test_size, generator, strata)
    elif split.kind == "column":
        values = _split_column(frame, split).cast(pl.String)
        mask = (values == split.test).fill_null(False).to_numpy().copy()
        if not mask.any():
            raise ConfigError(
                f"training.split.test: no row has {split.test!r} in {split.column!r}",
                hint=f"values there: {join_names(values.drop_nulls().unique().sort(), limit=10)}",
            )
    else:
        column = _split_column(frame, split)
        _check_can_split(column, split.kind)
        mask = _column_mask(column, split.kind, test_size, generator)
    if mask.all() or not mask.any():
        empty = "training" if mask.all() else "test"
        raise TrainingError(
            f"training.split: {frame.height} rows, split by {split.kind} with test_size {test_size}, "
            f"leave the {empty} set empty",
            hint="give more rows, or a larger training.test_size such as 0.5"
            if split.kind == "random"
            else "change training.split or training.test_size",
        )
    return mask


def row_number_masks(n_rows: int, split: Split) -> tuple[Mask, Mask | None]:
    """Return the masks of the rows in use, and of the test set if row numbers decide it, else None."""
    if split.kind != "rows":
        return np.ones(n_rows, dtype=np.bool_), None
    used = ~_in_ranges(n_rows, split.unused) if split.unused else np.ones(n_rows, dtype=np.bool_)
    return used, _in_ranges(n_rows, split.test)


def validation_mask(frame: Table, config: Config, strata: Floats | None) -> Mask:
    """Return the mask of the training rows (all rows of `frame`) that early stopping may use.

    It is empty where it would leave no row to fit: of one row, one group or one time.
    """
    return _validation_rows(frame, config, strata, np.random.default_rng([config.training.seed, VALIDATION_STREAM]))


def _validation_rows(frame: Table, config: Config, strata: Floats | None, generator: np.random.Generator) -> Mask:
    split, size = config.training.split, config.training.validation_size
    if split.in_order:
        mask = _block_folds(frame.height, max(2, round(1.0 / size))) == 0
    elif split.kind in ("random", "column", "rows"):
        mask = _random_mask(frame.height, size, generator, strata)
    else:
        mask = _column_mask(_split_column(frame, split), split.kind, size, generator)
    return np.zeros_like(mask) if mask.all() else mask


def assign_folds(frame: Table, config: Config, strata: Floats | None) -> Ints:
    """Return the fold of each training row (all rows of `frame`), of shape (repeats, rows).

    Random folds keep the proportions of `strata`, groups stay in one fold, folds by time follow each other, and
    those of rows in order are blocks of neighbors, as long as each class is in several. With one fold, it holds the
    fraction `training.validation_size` of the rows, and the others are in none: -1.
    """
    n_folds, split = min(config.validation.folds, frame.height), config.training.split
    if config.validation.folds == 1:
        generator = np.random.default_rng([config.training.seed, FOLDS_STREAM])
        mask = _validation_rows(frame, config, strata, generator)
        return np.where(mask, 0, -1)[None, :] if mask.any() else np.empty((0, frame.height), dtype=np.int64)
    if n_folds < 2:
        return np.empty((0, frame.height), dtype=np.int64)
    if split.kind == "time":
        times = pl.Series(row_times(frame, split)).fill_nan(None)
        ranks = times.rank("min").fill_null(1).to_numpy() - 1
        assigned = np.floor(ranks * n_folds / frame.height).astype(np.int64)[None, :]
        return assigned if assigned.any() else assigned[:0]
    repeats = []
    for repeat in range(config.validation.repeats):
        generator = np.random.default_rng([config.training.seed, FOLDS_STREAM, repeat])
        if split.kind == "group":
            repeats.append(_group_folds(_split_column(frame, split), n_folds, generator))
        elif split.in_order and _are_learnable(blocks := _block_folds(frame.height, n_folds, repeat), strata):
            repeats.append(blocks)
        else:
            repeats.append(_random_folds(frame.height, n_folds, generator, strata))
    return np.stack(repeats)


def _block_folds(n_rows: int, n_folds: int, repeat: int = 0) -> Ints:
    """Return the fold of each row, by blocks of rows that follow each other; each repeat has shorter ones."""
    folds: Ints = np.arange(n_rows) * n_folds * (BLOCKS_PER_FOLD + repeat) // n_rows % n_folds
    return folds


def _are_learnable(folds: Ints, strata: Floats | None) -> bool:
    """Return whether no fold holds all rows of a class, which the others could then not learn."""
    return strata is None or all(len(np.unique(folds[strata == code])) > 1 for code in np.unique(strata))


def _in_ranges(n_rows: int, ranges: str) -> Mask:
    numbers, mask = np.arange(1, n_rows + 1), np.zeros(n_rows, dtype=np.bool_)
    for first, last in row_ranges(ranges):
        mask |= (numbers >= first) & (numbers <= last)
    return mask


def _random_mask(n_rows: int, size: float, generator: np.random.Generator, strata: Floats | None) -> Mask:
    mask = np.zeros(n_rows, dtype=np.bool_)
    order = generator.permutation(n_rows)
    if strata is None:
        mask[order[: max(1, round(n_rows * size))]] = True
        return mask
    # Shuffled rows, sorted by class, of which every k-th is taken: proportions are exact to one row.
    order = order[np.argsort(strata[order], kind="stable")]
    cumulative = np.floor(np.arange(-1, n_rows) * size + generator.random())
    mask[order[np.diff(cumulative) > 0]] = True
    return mask


def _column_mask(column: pl.Series, kind: str, size: float, generator: np.random.Generator) -> Mask:
    """Return the mask of the latest rows, or of whole groups drawn at random."""
    if kind == "time":
        times = _times(column)
        threshold = np.nanquantile(times, 1.0 - size)
        latest: Mask = times > threshold
        return latest if latest.any() else times >= threshold
    codes = _group_codes(column)
    sizes = np.bincount(codes)
    order = generator.permutation(len(sizes))
    # Groups are taken until the size is reached, so the set is a little larger than requested.
    n_taken = int(np.searchsorted(np.cumsum(sizes[order]), size * len(codes))) + 1
    is_taken = np.zeros(len(sizes), dtype=np.bool_)
    is_taken[order[: min(n_taken, len(sizes) - 1)]] = True
    mask: Mask = is_taken[codes]
    return mask


def _random_folds(n_rows: int, n_folds: int, generator: np.random.Generator, strata: Floats | None) -> Ints:
    order = generator.permutation(n_rows)
    order = order if strata is None else order[np.argsort(strata[order], kind="stable")]
    folds = np.empty(n_rows, dtype=np.int64)
    folds[order] = np.arange(n_rows) % n_folds
    return folds


def _group_folds(column: pl.Series, n_folds: int, generator: np.random.Generator) -> Ints:
    """Assign each group, the largest first, to the fold with the fewest rows."""
    codes = _group_codes(column)
    sizes = np.bincount(codes)
    order = generator.permutation(len(sizes))
    fold_of_group, fold_sizes = np.zeros(len(sizes), dtype=np.int64), np.zeros(n_folds)
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        fold_of_group[group] = int(fold_sizes.argmin())
        fold_sizes[fold_of_group[group]] += sizes[group]
    folds: Ints = fold_of_group[codes]
    return folds


def _check_can_split(column: pl.Series, kind: str) -> None:
    """Reject a column whose rows are all of one group, or of one time."""
    is_missing = _is_missing(column)
    values = column.filter(~is_missing)
    if len(values) and (values.n_unique() > 1 or (kind == "group" and is_missing.any())):
        return
    found = f"is {values[0]!r} in every row" if len(values) else f"has no value in any of {len(column):,} rows"
    needed = "splitting by group needs at least two groups" if kind == "group" else "one time gives no order"
    raise TrainingError(
        f"training.split.column: {column.name!r} {found}, and {needed}",
        hint="name another column, or set training.split.kind: random",
    )


def split_notes(frame: Table, split: Split) -> tuple[str, ...]:
    """Return what was done with the rows whose group or time is missing."""
    if split.kind not in ("group", "time"):
        return ()
    column = _split_column(frame, split)
    n_missing = int(_is_missing(column).sum())
    if not n_missing:
        return ()
    treated = "count as one more group" if split.kind == "group" else "count as the earliest"
    return (f"{column.name}: the {split.kind} is missing in {n_missing:,} of {len(column):,} rows, which {treated}",)


def _is_missing(column: pl.Series) -> pl.Series:
    return column.is_null() | (column.cast(pl.String).str.strip_chars().fill_null("") == "")


def _group_codes(column: pl.Series) -> Ints:
    return column.cast(pl.String).fill_null("").rank("dense").to_numpy().astype(np.int64) - 1


def row_times(frame: Table, split: Split) -> Floats:
    """Return the time of each row by the column of a split, numbers or seconds since 1970, NaN where it is missing.

    Raises
    ------
    ConfigError: the table has no such column, or it cannot order rows.
    """
    return np.asarray(_times(_split_column(frame, split)), dtype=np.float64)


def _split_column(frame: Table, split: Split) -> pl.Series:
    if split.column is None:
        raise ConfigError(
            f"training.split: kind {split.kind!r} needs `column`", hint="set training.split.column to its name"
        )
    if split.column not in frame.columns:
        raise ConfigError(
            f"training.split.column: no column {split.column!r} in the table",
            hint=did_you_mean(split.column, frame.columns),
        )
    return frame[split.column]


def _times(series: pl.Series) -> Any:
    """Return what orders the rows, numbers or seconds since 1970, NaN where it is missing."""
    column = infer_column(series)
    if column.kind == "constant":
        # Of the rows that are left, all have one time.
        return np.where(_is_missing(series).to_numpy(), np.nan, 0.0)
    if column.kind not in ("date", "datetime", "number", "integer", "identifier"):
        raise ConfigError(
            f"training.split.column: {series.name!r} is a {column.kind}, which cannot order the rows",
            hint="name a column of dates, times or numbers",
        )
    if column.kind == "identifier":
        return series.cast(pl.Float64, strict=False).to_numpy()
    return read_series(column, series)[0][:, 0]
