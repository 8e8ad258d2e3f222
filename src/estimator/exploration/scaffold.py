"""A table nobody has described yet -> a first config that runs, and a schema to review."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from estimator.config import Data
from estimator.core.files import write_atomic
from estimator.core.task import Task
from estimator.data.schema import Schema
from estimator.data.schema.file import to_yaml
from estimator.data.schema.inference import infer_schema
from estimator.data.target import read_target
from estimator.errors import ConfigError
from estimator.pages.render import render_text

FEW_ROWS = 150


@dataclass(frozen=True, slots=True)
class Draft:
    """The texts of a first config and its schema, and why they say what they say."""

    config: str
    schema: str
    task: Task
    reasons: tuple[str, ...]


def draft(frame: pl.DataFrame, data: Data, *, name: str, schema_file: str) -> Draft:
    """Look at a table and write its first config: task, model, split and metrics that suit it.

    `data` says where the table is, as the config will.

    Raises
    ------
    EstimatorError: there is no such target, or nothing to learn from it.
    """
    target = data.target
    schema = infer_schema(frame, target)
    found = read_target(schema.target, frame[target], data)
    time = _time_column(frame, schema)
    n_rows = int(found.known.sum())
    model = "linear" if n_rows < FEW_ROWS else "ensemble"
    reasons = (
        f"{_task_words(found.task)}: the target {target!r} is of kind {schema.target.kind}",
        f"model {model}: {n_rows:,} rows" + (" are few" if model == "linear" else ""),
        f"split by time: rows are in the order of {time!r}" if time else "split at random: no column tells an order",
        *_left_out(schema),
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
        task=found.task,
        rows=n_rows,
        counts=_kind_counts(schema),
        left_out=_left_out(schema),
    )
    return Draft(text, to_yaml(schema), found.task, reasons)


def write_draft(drafted: Draft, config: Path, schema: Path, *, force: bool) -> None:
    """Write both files, neither over an existing one unless forced.

    Raises
    ------
    ConfigError: a file exists.
    FileError: a file cannot be written.
    """
    for path, text in ((config, drafted.config), (schema, drafted.schema)):
        if path.exists() and not force:
            raise ConfigError(f"{path}: exists already", hint="choose another --conf, or --force to write over it")
        write_atomic(path, text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _time_column(frame: pl.DataFrame, schema: Schema) -> str | None:
    """Return a column of moments by which the rows are sorted, if there is one."""
    from estimator.data.schema.frames import read_series

    for column in schema.features:
        if column.kind not in ("date", "datetime"):
            continue
        moments: Any = read_series(column, frame[column.name])[0][:, 0]
        known = moments[moments == moments]
        if len(known) > 1 and (known[1:] >= known[:-1]).mean() > 0.95:
            return column.name
    return None


def _task_words(task: Task) -> str:
    if task.is_regression:
        return "regression"
    return f"classification into {len(task.classes)} levels"


def _kind_counts(schema: Schema) -> str:
    counts: dict[str, int] = {}
    for column in schema.columns:
        counts[column.kind] = counts.get(column.kind, 0) + 1
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items(), key=lambda item: -item[1]))


def _left_out(schema: Schema) -> list[str]:
    return [f"{column.name} is not a feature: {column.kind}" for column in schema.columns if not column.is_feature]
