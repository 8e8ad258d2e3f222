"""Which rows are held out, and which of the rest early stopping may look at."""

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
from estimator.errors import ConfigError, TrainingError


def held_out(frame: pl.DataFrame, config: Config, strata: Floats | None) -> Mask:
    """Return the mask of the rows that are held out for the report.

    `strata` are level positions that a random split keeps in proportion.

    Raises
    ------
    ConfigError: the column of the split is not named or not there.
    TrainingError: no rows would be left on one side.
    """
    split, share = config.training.split, config.training.test_size
    generator = np.random.default_rng([config.training.seed, 10])
    if split.kind == "random":
        mask: Mask = _random(frame.height, share, generator, strata)
    elif split.kind == "column":
        parts = _named(frame, split).cast(pl.String)
        mask = (parts == split.test).fill_null(False).to_numpy().copy()
        if not mask.any():
            raise ConfigError(
                f"training.split.test: no row has {split.test!r} in {split.column!r}",
                hint=f"values there: {join_names(parts.drop_nulls().unique().sort(), limit=10)}",
            )
    else:
        mask = by_column(_named(frame, split), split.kind, share, generator)
    if mask.all() or not mask.any():
        raise TrainingError(
            f"{frame.height} rows cannot be parted by {split.kind} with a test share of {share}: one side is empty"
        )
    return mask


def numbered(n_rows: int, split: Split) -> tuple[Mask, Mask | None]:
    """Return the masks of the rows that are used, and of those held out by their numbers; None for other splits."""
    if split.kind != "rows":
        return np.ones(n_rows, dtype=np.bool_), None
    used = ~_rows(n_rows, split.unused) if split.unused else np.ones(n_rows, dtype=np.bool_)
    return used, _rows(n_rows, split.test)


def _rows(n_rows: int, text: str) -> Mask:
    numbers, mask = np.arange(1, n_rows + 1), np.zeros(n_rows, dtype=np.bool_)
    for first, last in row_ranges(text):
        mask |= (numbers >= first) & (numbers <= last)
    return mask


def validation(frame: pl.DataFrame, config: Config, strata: Floats | None) -> Mask:
    """Return the mask of the training rows (all rows of `frame`) that early stopping may look at."""
    split, share = config.training.split, config.training.validation_size
    generator = np.random.default_rng([config.training.seed, 11])
    if split.kind in ("random", "column", "rows"):
        return _random(frame.height, share, generator, strata)
    return by_column(_named(frame, split), split.kind, share, generator)


def folds(frame: pl.DataFrame, config: Config, strata: Floats | None) -> Ints:
    """Return which part each row of `frame` is in, of shape (repeats, rows): as the split deals them.

    Parts of a random split keep the proportions of levels, groups stay whole, and parts by time follow each other.
    """
    n_folds, split = min(config.validation.folds, frame.height), config.training.split
    if n_folds < 2:
        return np.empty((0, frame.height), dtype=np.int64)
    if split.kind == "time":
        times = pl.Series(_times(_named(frame, split))).fill_nan(None)
        places = times.rank("min").fill_null(1).to_numpy() - 1
        return np.floor(places * n_folds / frame.height).astype(np.int64)[None, :]
    dealt = []
    for repeat in range(config.validation.repeats):
        generator = np.random.default_rng([config.training.seed, 12, repeat])
        if split.kind == "group":
            dealt.append(_whole_groups(_named(frame, split), n_folds, generator))
        else:
            order = generator.permutation(frame.height)
            order = order if strata is None else order[np.argsort(strata[order], kind="stable")]
            part = np.empty(frame.height, dtype=np.int64)
            part[order] = np.arange(frame.height) % n_folds
            dealt.append(part)
    return np.stack(dealt)


def _whole_groups(column: pl.Series, n_folds: int, generator: np.random.Generator) -> Ints:
    """Deal groups, the largest first, to the part that has the fewest rows."""
    codes = _codes(column)
    sizes = np.bincount(codes)
    order = generator.permutation(len(sizes))
    part, filled = np.zeros(len(sizes), dtype=np.int64), np.zeros(n_folds)
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        part[group] = int(filled.argmin())
        filled[part[group]] += sizes[group]
    found: Ints = part[codes]
    return found


def _codes(column: pl.Series) -> Ints:
    return column.cast(pl.String).fill_null("").rank("dense").to_numpy().astype(np.int64) - 1


def by_column(column: pl.Series, kind: str, share: float, generator: np.random.Generator) -> Mask:
    """Return the mask of whole groups drawn at random, or of the latest rows."""
    if kind == "time":
        times = _times(column)
        threshold = np.nanquantile(times, 1.0 - share)
        latest: Mask = times > threshold
        return latest if latest.any() else times >= threshold
    codes = _codes(column)
    sizes = np.bincount(codes)
    order = generator.permutation(len(sizes))
    # Groups are taken until the share is reached, so the part is a little larger than asked for.
    n_taken = int(np.searchsorted(np.cumsum(sizes[order]), share * len(codes))) + 1
    taken = np.zeros(len(sizes), dtype=np.bool_)
    taken[order[: min(n_taken, len(sizes) - 1)]] = True
    mask: Mask = taken[codes]
    return mask


def _random(n_rows: int, share: float, generator: np.random.Generator, strata: Floats | None) -> Mask:
    mask = np.zeros(n_rows, dtype=np.bool_)
    order = generator.permutation(n_rows)
    if strata is None:
        mask[order[: max(1, round(n_rows * share))]] = True
        return mask
    # Level by level, each in random order, every k-th row: proportions are kept to a row.
    order = order[np.argsort(strata[order], kind="stable")]
    counted = np.floor(np.arange(-1, n_rows) * share + generator.random())
    mask[order[np.diff(counted) > 0]] = True
    return mask


def _named(frame: pl.DataFrame, split: Split) -> pl.Series:
    if split.column is None:
        raise ConfigError(f"training.split: kind {split.kind!r} needs `column`")
    if split.column not in frame.columns:
        raise ConfigError(
            f"training.split.column: no column {split.column!r} in the table",
            hint=did_you_mean(split.column, frame.columns),
        )
    return frame[split.column]


def _times(series: pl.Series) -> Any:
    column = infer_column(series)
    if column.kind not in ("date", "datetime", "number", "integer", "identifier"):
        raise ConfigError(
            f"training.split.column: {series.name!r} is a {column.kind}, and rows cannot be ordered by it",
            hint="name a column of dates, moments or numbers",
        )
    if column.kind == "identifier":
        return series.cast(pl.Float64, strict=False).to_numpy()
    return read_series(column, series)[0][:, 0]
