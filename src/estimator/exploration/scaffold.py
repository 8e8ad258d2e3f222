"""A raw table -> a first config that runs, and a schema to review."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from estimator.config import Data
from estimator.core.arrays import Floats
from estimator.core.files import write_atomic
from estimator.core.lock import locked
from estimator.core.task import Task
from estimator.core.text import counted, join_names
from estimator.data.schema import Schema
from estimator.data.schema.candidates import ColumnOverride
from estimator.data.schema.column_scan import TableScan
from estimator.data.schema.date_notes import date_comments
from estimator.data.schema.dtypes import nested_noun
from estimator.data.schema.file import comment, flow, to_yaml
from estimator.data.schema.frames import read_series
from estimator.data.schema.inference import TableChoices, scan_table, schema_from_scan
from estimator.data.schema.notes import column_questions, scan_notes, unused_notes
from estimator.data.schema.occurrences import Occurrences
from estimator.data.target import Labels, class_notes, label_notes, read_target
from estimator.errors import ConfigError, TrainingError
from estimator.pages.render import render_text

FEW_ROWS = 150


@dataclass(frozen=True, slots=True)
class Scaffold:
    """The text of a first config and of its schema, the reasons for their settings, and notes on the columns."""

    config: str
    schema: str
    task: Task
    reasons: tuple[str, ...]
    notes: tuple[str, ...] = ()


def make_scaffold(frame: pl.DataFrame, data: Data, *, name: str, schema_file: str) -> Scaffold:
    """Return a first config for a table: task, model, split and metrics that suit it.

    `data` names the table as the config will.

    Raises
    ------
    EstimatorError: the target does not exist, or a model cannot learn it.
    """
    scan, schema, labels, class_words = _read(frame, data)
    questions = column_questions(scan, schema)
    unused = unused_notes(
        schema, dict.fromkeys(scan.nested, "left out by data.drop: no kind can hold the values"), scan
    )
    time = _time_column(frame, schema)
    n_rows = int(labels.is_labeled.sum())
    model = "linear" if n_rows < FEW_ROWS else "ensemble"
    reasons = (
        f"{_describe_task(labels.task)}: the target {data.target!r} is of kind {schema.target.kind}",
        f"model {model}: {counted(n_rows, 'row')}" + (" are few" if model == "linear" else ""),
        f"split by time: rows are sorted by {time!r}" if time else "random split: rows are not sorted by a date column",
    )
    text = render_text(
        "config.yml.j2",
        name=flow(name),
        path=flow(str(data.path)),
        query=data.query and flow(data.query),
        target=flow(data.target),
        positive_class=labels.task.kind == "binary" and flow(labels.task.classes[-1]),
        drop=scan.nested and flow(list(scan.nested)),
        schema=flow(schema_file),
        model=model,
        time=time and flow(time),
        is_regression=labels.task.is_regression,
        classes=join_names(map(flow, labels.task.classes)),
        rows=n_rows,
        counts=_kind_counts(schema),
        ignored=list(map(comment, unused)),
        whole=_whole_columns(schema),
    )
    notes = label_notes(schema.target, labels.missing, n_rows=frame.height, n_missing=frame.height - n_rows)
    notes += tuple(
        f"the target {data.target!r}: {text!r} in {found} is taken as a class, as all other rows are alike"
        for text, found in class_words.items()
    )
    notes = (*notes, *class_notes(schema.target, labels.task), *scan_notes(scan, schema), *unused)
    comments = {name: [*date_comments(column), *questions.get(name, [])] for name, column in scan.columns.items()}
    return Scaffold(text, to_yaml(schema, comments), labels.task, reasons, notes)


def _read(frame: pl.DataFrame, data: Data) -> tuple[TableScan, Schema, Labels, Mapping[str, Occurrences]]:
    """Return the statistics and schema of a table, and its labels; columns that no kind can hold are left out.

    A target that would have one class only, because the other is spelled as a missing value often is, is read with that
    spelling as a class; the last item returned has such spellings.
    """
    nested = [series.name for series in frame.iter_columns() if nested_noun(series.dtype) is not None]
    choices = TableChoices(data.target, dropped=[name for name in nested if name != data.target])
    scan = scan_table(frame, choices)
    schema = schema_from_scan(scan, choices)
    try:
        return scan, schema, read_target(schema.target, frame[data.target], data), {}
    except TrainingError:
        words = {text: found for text, found in scan.columns[data.target].spellings.items() if text}
        if not words:
            raise
    choices = replace(choices, columns={data.target: ColumnOverride(na_values=())})
    scan = scan_table(frame, choices)
    schema = schema_from_scan(scan, choices)
    return scan, schema, read_target(schema.target, frame[data.target], data), words


def write_scaffold(scaffold: Scaffold, config: Path, schema: Path, *, force: bool) -> None:
    """Write both files; existing ones are overwritten only with `force`.

    Raises
    ------
    ConfigError: a file exists.
    FileError: a file cannot be written.
    """
    with locked(config, purpose="writing it"):
        taken = [str(path) for path in (config, schema) if path.exists()]
        if taken and not force:
            raise ConfigError(
                f"{' and '.join(taken)} already {'exist' if len(taken) > 1 else 'exists'}",
                hint="for a second model in this folder give --conf, such as --conf houses.yml; --force overwrites",
            )
        write_atomic(config, scaffold.config)
        write_atomic(schema, scaffold.schema)


def _time_column(frame: pl.DataFrame, schema: Schema) -> str | None:
    """Return the first date or time column by which the rows are sorted."""
    for column in schema.features:
        if column.kind not in ("date", "datetime"):
            continue
        times: Floats = read_series(column, frame[column.name])[0][:, 0]
        is_labeled = times[~np.isnan(times)]
        if len(is_labeled) > 1 and (is_labeled[1:] >= is_labeled[:-1]).mean() > 0.95:
            return column.name
    return None


def _describe_task(task: Task) -> str:
    if task.is_regression:
        return "regression"
    return f"classification into {len(task.classes)} classes"


def _kind_counts(schema: Schema) -> str:
    counts = Counter(column.kind for column in schema.columns)
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common())


def _whole_columns(schema: Schema) -> str:
    """Return the features without a missing value, in words; nothing where there are none."""
    names = [column.name for column in schema.features if not column.accepts_missing]
    return comment(f"{len(names):,} columns ({join_names(names, limit=5)})") if names else ""
