"""The target column: its task, and its labels as numbers; `data.labels` reads the single label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
from estimator.data.schema.column import NUMERIC_KINDS, TIME_KINDS
from estimator.data.schema.dtypes import plain_series
from estimator.data.schema.frames import read_series
from estimator.data.schema.inference import NUMBER_AS_TEXT
from estimator.data.schema.notes import boolean_synonyms
from estimator.data.schema.occurrences import Occurrences, occurrences_at
from estimator.data.schema.text_parsing import as_text
from estimator.errors import ConfigError, Fault, TrainingError

MAX_CLASSES = 1000
# From so many classes on, numbers as text are more likely a quantity that was not read as one.
MIN_SUSPICIOUS_CLASSES = 21


@dataclass(frozen=True, slots=True)
class Labels:
    """The task, and for each row the number or the class code; `is_labeled` marks the rows that have a label.

    `missing` has what the rows without a label hold, "" for an empty cell.
    """

    task: Task
    values: Floats
    is_labeled: Mask
    missing: Mapping[str, Occurrences] = field(default_factory=dict)


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
    labels = replace(labels, missing=_missing_texts(series, labels.is_labeled))
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


def _missing_texts(series: pl.Series, is_labeled: Mask) -> Mapping[str, Occurrences]:
    texts = as_text(plain_series(series)).cast(pl.String).fill_null("")
    return occurrences_at(texts, np.flatnonzero(~is_labeled))


def label_notes(column: Column, missing: Mapping[str, Occurrences], *, n_rows: int, n_missing: int) -> tuple[str, ...]:
    """Return a sentence for the rows of a target that have no label: how many, what they hold, and the way out.

    >>> label_notes(Column("y", "category"), {"NA": Occurrences(2, (3, 8))}, n_rows=9, n_missing=2)[0][:72]
    "the target 'y': 2 of 9 rows have no label and are not used: 'NA' in rows"
    """
    if n_missing == 0:
        return ()
    spelled = [f"{text!r} in {found}" for text, found in missing.items() if text]
    n_empty = n_missing - sum(found.count for text, found in missing.items() if text)
    empty = missing.get("")
    spelled += [f"no value in {empty or f'{n_empty:,} rows'}"] if n_empty else []
    sentence = f"the target {column.name!r}: {n_missing:,} of {n_rows:,} rows have no label and are not used: "
    return (sentence + join_names(spelled, limit=8) + _way_out(column, missing),)


def class_notes(column: Column, task: Task) -> tuple[str, ...]:
    """Return a sentence for classes that differ only by case or blanks, with the edit that reads them as one.

    >>> class_notes(Column("y", "category"), Task("multiclass", ("No", "Yes", "yes ")))[0][:67]
    "the target 'y': the classes 'Yes' and 'yes ' differ only by case or"
    """
    alike: dict[str, list[str]] = {}
    for name in task.classes:
        alike.setdefault(" ".join(name.split()).lower(), []).append(name)
    if same := boolean_synonyms(replace(column, categories=dict.fromkeys(task.classes, 1))):
        may = f"the target {column.name!r}: the classes {' and '.join(map(repr, same))} may mean the same"
        return (f"{may}; schema.columns.{column.name}.replace: {{{same[1]!r}: {same[0]!r}}} reads them as one",)
    groups = [" and ".join(map(repr, names)) for names in alike.values() if len(names) > 1]
    if not groups:
        return ()
    edit = f"schema.columns.{column.name}.ignore_case: true reads them as one"
    names = join_names(groups, limit=5)
    return (f"the target {column.name!r}: the classes {names} differ only by case or blanks; {edit}",)


def _way_out(column: Column, missing: Mapping[str, Occurrences]) -> str:
    """Return the edit by which the texts that are read as missing become classes."""
    spelled = [text for text in missing if text]
    if not spelled or column.kind in NUMERIC_KINDS:
        return ""
    return f"; if {join_names(map(repr, spelled), limit=3)} is a class: schema.columns.{column.name}.na_values: []"


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
    _check_classes(column, classes, data, values)
    task = Task("binary" if len(classes) == 2 else "multiclass", tuple(classes))
    codes = task.codes(values)
    return Labels(task, codes, ~np.isnan(codes))


def _check_classes(column: Column, classes: list[str], data: Data, values: npt.NDArray[Any]) -> None:
    if len(classes) > MAX_CLASSES:
        raise TrainingError(
            f"the target {column.name!r} has {len(classes):,} classes, more than {MAX_CLASSES:,}",
            hint="is it an identifier or free text? a quantity must hold plain numbers",
        )
    numbers = [name for name in classes if NUMBER_AS_TEXT.match(name)]
    may_be_quantity = len(classes) >= MIN_SUSPICIOUS_CLASSES and len(numbers) >= 0.5 * len(classes)
    if data.task == "auto" and column.is_string and may_be_quantity:
        raise TrainingError(
            f"the target {column.name!r} holds numbers as text: {_values_as_text(values)}",
            hint="`estimator explore` shows how to read them; data.task: classification takes each as a class",
        )


def _values_as_text(values: npt.NDArray[Any]) -> str:
    """Return the first values that are no plain numbers, with their rows; the first values if all are."""
    texts = list(enumerate(values.tolist(), start=1))
    rows = [row for row, text in texts if text and _numbers_first(text)[0]] or [row for row, text in texts if text]
    cells = [f"row {row:,} holds {values[row - 1]!r:.60}" for row in rows[:3]]
    return join_names(cells) + (f" and {len(rows) - 3:,} more rows" if len(rows) > 3 else "")


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
            hint=_missing_hint(column, labels) or "check data.target and the na_values of the column",
        )
    if len(np.unique(values)) == 1:
        rows = f"all {len(values):,} rows" + (" that have one" if labels.missing else "")
        raise TrainingError(
            f"the target {column.name!r} has the same value in {rows}: there is nothing to learn",
            hint=_missing_hint(column, labels) or "check data.target and how the table was filtered",
        )


def _missing_hint(column: Column, labels: Labels) -> str | None:
    """Return the hint that names the texts read as missing; None if there are none."""
    spelled = {text: found for text, found in labels.missing.items() if text}
    if not spelled:
        return None
    texts = join_names([f"{text!r} in {found}" for text, found in spelled.items()], limit=3)
    edit = f"schema.columns.{column.name}.na_values: []"
    return f"{texts} is read as a missing value; if it is a class, set {edit}"
