"""A raw table -> a first config that runs, and a schema to review."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from estimator.config import Data
from estimator.core.arrays import Floats
from estimator.core.files import write_atomic
from estimator.core.task import Task
from estimator.data.schema import Schema
from estimator.data.schema.file import to_yaml
from estimator.data.schema.frames import read_series
from estimator.data.schema.inference import infer_schema
from estimator.data.target import read_target
from estimator.errors import ConfigError
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
    target = data.target
    schema = infer_schema(frame, target)
    labels = read_target(schema.target, frame[target], data)
    time = _time_column(frame, schema)
    n_rows = int(labels.is_labeled.sum())
    model = "linear" if n_rows < FEW_ROWS else "ensemble"
    reasons = (
        f"{_describe_task(labels.task)}: the target {target!r} is of kind {schema.target.kind}",
        f"model {model}: {n_rows:,} rows" + (" are few" if model == "linear" else ""),
        f"split by time: rows are sorted by {time!r}" if time else "random split: rows are not sorted by a date column",
        *_ignored_columns(schema),
    )
    text = render_text(
        "config.yml.j2",
        name=name,
        path=_quoted(str(data.path)),
        query=data.query and _quoted(data.query),
        target=_quoted(target),
        schema=_quoted(schema_file),
        model=model,
        time=time and _quoted(time),
        task=labels.task,
        rows=n_rows,
        counts=_kind_counts(schema),
        ignored=_ignored_columns(schema),
    )
    return Scaffold(text, to_yaml(schema), labels.task, reasons)


def write_scaffold(scaffold: Scaffold, config: Path, schema: Path, *, force: bool) -> None:
    """Write both files; existing ones are overwritten only with `force`.

    Raises
    ------
    ConfigError: a file exists.
    FileError: a file cannot be written.
    """
    for path, text in ((config, scaffold.config), (schema, scaffold.schema)):
        if path.exists() and not force:
            raise ConfigError(f"{path} already exists", hint="choose another --conf, or overwrite it with --force")
        write_atomic(path, text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


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


def _ignored_columns(schema: Schema) -> list[str]:
    return [f"{column.name} is not a feature: {column.kind}" for column in schema.columns if not column.is_feature]
