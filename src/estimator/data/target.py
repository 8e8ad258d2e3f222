"""The target column: its task, and its labels as numbers; `data.labels` reads the single label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from estimator.config import Data
from estimator.core.arrays import Floats, Mask
from estimator.core.task import Task
from estimator.core.text import join_names
from estimator.data.labels import TargetReader, class_names, open_target
from estimator.data.schema import Column
from estimator.data.schema.cells import CellError
from estimator.data.schema.column import TIME_KINDS
from estimator.data.schema.frames import read_series
from estimator.data.schema.inference import NUMBER_AS_TEXT
from estimator.errors import ConfigError, Fault, TrainingError

MAX_CLASSES = 1000
# From so many classes on, numbers as text are more likely a quantity that was not read as one.
MIN_SUSPICIOUS_CLASSES = 21


@dataclass(frozen=True, slots=True)
class Labels:
    """The task, and for each row the number or the class code; `is_labeled` marks the rows that have a label."""

    task: Task
    values: Floats
    is_labeled: Mask


def read_target(column: Column, series: pl.Series, data: Data) -> Labels:
    """Infer the task and return the label of every row, NaN where it is missing.

    Raises
    ------
    ConfigError: `data.task` or `data.positive_class` does not fit the column.
    TrainingError: the column cannot be learned, for example because it has one value only.
    """
    if column.kind in TIME_KINDS:
        raise TrainingError(
            f"the target {column.name!r} is a {column.kind}, which cannot be predicted",
            hint="predict a number, such as the days until then, or a class",
        )
    open_column = open_target(column)
    raw, faults = read_series(open_column, series)
    if faults:
        raise TrainingError(f"the target: {faults[0]}")
    is_classification = data.task == "classification" or (data.task == "auto" and _has_classes(open_column, raw))
    if is_classification:
        labels = _class_labels(open_column, raw, data)
    elif open_column.is_string:
        raise ConfigError(
            f"data.task: regression needs numbers, but the target {column.name!r} holds text such as "
            f"{column.example!r}",
            hint="set data.task: classification, or choose another data.target",
        )
    else:
        labels = Labels(Task("regression"), raw[:, 0], ~np.isnan(raw[:, 0]))
    _check_learnable(column, labels)
    return labels


def read_labels(reader: TargetReader, series: pl.Series) -> tuple[Floats, list[Fault]]:
    """Return the labels of a version's target in a column of a table, NaN where one is missing or faulty.

    A value that is not a number, or not a class of the version, is a fault.
    """
    raw, faults = read_series(reader.open_column, series)
    labels = reader.codes(raw[:, 0])
    is_missing = np.array([cell in ("", None) or cell != cell for cell in raw[:, 0].tolist()], dtype=np.bool_)
    positions = {fault.row - 1 for fault in faults} | set(np.flatnonzero(np.isnan(labels) & ~is_missing).tolist())
    decided: dict[object, float | CellError] = {}
    faults = []
    for position in sorted(positions):
        value = series[position]
        key = type(value), str(value)
        if key not in decided:
            decided[key] = _decide(reader, value)
        decision = decided[key]
        if isinstance(decision, CellError):
            faults.append(Fault(position + 1, series.name, value, str(decision)))
        else:
            labels[position] = decision
    return labels, faults


def _decide(reader: TargetReader, value: object) -> float | CellError:
    try:
        return reader.read(value)
    except CellError as error:
        return error


def _has_classes(column: Column, raw: npt.NDArray[Any]) -> bool:
    return column.is_string or len(np.unique(raw[~np.isnan(raw.astype(float))])) == 2


def _class_labels(column: Column, raw: npt.NDArray[Any], data: Data) -> Labels:
    values = class_names(column, raw[:, 0])
    classes = sorted(set(values.tolist()) - {""}, key=_numbers_first)
    if data.positive_class is not None:
        if len(classes) != 2 or data.positive_class not in classes:
            raise ConfigError(
                f"data.positive_class: expected one of two classes, got {data.positive_class!r}",
                hint=f"classes: {join_names(classes)}",
            )
        classes.sort(key=lambda name: name == data.positive_class)
    _check_classes(column, classes, data)
    task = Task("binary" if len(classes) == 2 else "multiclass", tuple(classes))
    codes = task.codes(values)
    return Labels(task, codes, ~np.isnan(codes))


def _check_classes(column: Column, classes: list[str], data: Data) -> None:
    if len(classes) > MAX_CLASSES:
        raise TrainingError(
            f"the target {column.name!r} has {len(classes):,} classes, more than {MAX_CLASSES:,}",
            hint="is it an identifier or free text? a quantity must hold plain numbers",
        )
    numbers = [name for name in classes if NUMBER_AS_TEXT.match(name)]
    may_be_quantity = len(classes) >= MIN_SUSPICIOUS_CLASSES and len(numbers) >= 0.9 * len(classes)
    if data.task == "auto" and column.is_string and may_be_quantity:
        raise TrainingError(
            f"the target {column.name!r} holds numbers as text, such as {join_names(map(repr, numbers[:3]))}",
            hint="`estimator explore` shows how to read them; data.task: classification takes each as a class",
        )


def _numbers_first(name: str) -> tuple[int, float, str]:
    """Sort numbers by size, before text by letter."""
    try:
        return (0, float(name), name)
    except ValueError:
        return (1, 0.0, name)


def _check_learnable(column: Column, labels: Labels) -> None:
    values = labels.values[labels.is_labeled]
    if len(values) == 0:
        raise TrainingError(
            f"the target {column.name!r} is missing in every row: there is nothing to learn",
            hint="check data.target and the na_values of the column",
        )
    if len(np.unique(values)) == 1:
        raise TrainingError(
            f"the target {column.name!r} has the same value in all {len(values):,} rows: there is nothing to learn",
            hint="check data.target and how the table was filtered",
        )
