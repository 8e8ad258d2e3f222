"""The target column -> the task and the numbers to learn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from estimator.config import Data
from estimator.core.arrays import Floats, Mask
from estimator.core.task import Task
from estimator.core.text import format_plain, join_names
from estimator.data.schema import Column
from estimator.data.schema.column import NUMERIC_KINDS
from estimator.data.schema.frames import read_series
from estimator.data.schema.inference import NUMBER_AS_TEXT
from estimator.errors import ConfigError, TrainingError

MAX_LEVELS = 1000


@dataclass(frozen=True, slots=True)
class Target:
    """The task, and per row the number or the level's position; `known` marks the rows whose truth is given."""

    task: Task
    values: Floats
    known: Mask


def read_target(column: Column, series: pl.Series, data: Data) -> Target:
    """Tell the task and return the truth of every row, NaN where it is a gap.

    Raises
    ------
    ConfigError: the config's task does not suit the column.
    TrainingError: there is nothing to learn, for example one value only.
    """
    open_column = _as_answer(column)
    raw, faults = read_series(open_column, series)
    if faults:
        raise TrainingError(f"the target: {faults[0]}")
    classify = data.task == "classification" or (data.task == "auto" and _is_levels(open_column, raw))
    if not classify and open_column.is_string:
        raise ConfigError(
            f"data.task: a regression needs numbers, but the target {column.name!r} holds words "
            f"such as {column.example!r}"
        )
    target = (
        _levels(open_column, raw, data) if classify else Target(Task("regression"), raw[:, 0], ~np.isnan(raw[:, 0]))
    )
    _refuse_nothing_to_learn(column, target)
    return target


def _as_answer(column: Column) -> Column:
    """A target's words are its levels, whatever its kind; gaps are rows without truth, so they are read."""
    constant = column.kind == "constant" and isinstance(column.example, int | float)
    kind: Any = "number" if constant else column.kind if column.kind in NUMERIC_KINDS else "category"
    if column.kind in ("date", "datetime"):
        raise TrainingError(f"the target {column.name!r} is a {column.kind}; predict a number or a level instead")
    return replace(column, kind=kind, nullable=True, range=None, categories={}, training_range=None, unknown="other")


def _is_levels(column: Column, raw: npt.NDArray[Any]) -> bool:
    return column.is_string or len(np.unique(raw[~np.isnan(raw.astype(float))])) == 2


def _levels(column: Column, raw: npt.NDArray[Any], data: Data) -> Target:
    labels: npt.NDArray[Any] = raw[:, 0]
    if not column.is_string:
        labels = np.array(["" if np.isnan(value) else format_plain(value) for value in labels.tolist()], dtype=object)
    found = sorted(set(labels.tolist()) - {""}, key=_by_size)
    if data.positive_class is not None:
        if len(found) != 2 or data.positive_class not in found:
            raise ConfigError(
                f"data.positive_class: expected one of two levels, got {data.positive_class!r}",
                hint=f"levels: {join_names(found)}",
            )
        found.sort(key=lambda level: level == data.positive_class)
    if len(found) > MAX_LEVELS:
        raise TrainingError(
            f"the target {column.name!r} has {len(found):,} levels, more than {MAX_LEVELS:,}",
            hint="is it an identifier or free text? a quantity must hold plain numbers",
        )
    as_text = [level for level in found if NUMBER_AS_TEXT.match(level)]
    if data.task == "auto" and column.is_string and len(found) > 20 and len(as_text) >= 0.9 * len(found):
        raise TrainingError(
            f"the target {column.name!r} holds numbers as text, such as {join_names(map(repr, as_text[:3]))}",
            hint="`estimator explore` tells how to have them read; data.task: classification takes each as a level",
        )
    task = Task("binary" if len(found) == 2 else "multiclass", tuple(found))
    codes = task.codes(labels)
    return Target(task, codes, ~np.isnan(codes))


def _by_size(level: str) -> tuple[int, float, str]:
    """Order numbers by size, words by letter."""
    try:
        return (0, float(level), level)
    except ValueError:
        return (1, 0.0, level)


def _refuse_nothing_to_learn(column: Column, target: Target) -> None:
    solid = target.values[target.known]
    if len(solid) == 0:
        raise TrainingError(f"the target {column.name!r} is a gap in every row: there is nothing to learn")
    if len(np.unique(solid)) == 1:
        raise TrainingError(
            f"the target {column.name!r} has the same value in all {len(solid):,} rows: there is nothing to learn",
            hint="check data.target and how the table was filtered",
        )
