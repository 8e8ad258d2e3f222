"""Batches of raw rows -> their schema and profile, in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain

import polars as pl

from estimator.config import Config
from estimator.data.schema import Schema
from estimator.data.schema.candidates import ColumnOverride, start_column
from estimator.data.schema.column_scan import TableScan
from estimator.data.schema.inference import Batches, column_from_scan, schema_from_scan, start_scan
from estimator.data.schema.notes import odd_values, point_questions, scan_notes, unused_notes
from estimator.data.schema.overrides import exclude_columns, exclusion_reasons, table_choices
from estimator.data.schema.reviewed import chosen_columns, with_columns
from estimator.data.target import label_notes
from estimator.exploration.profile import Profile, collect, make_profile, start_schema_scan


@dataclass(frozen=True, slots=True)
class Exploration:
    """A table's schema and profile, a random sample of its raw rows, and notes on how its columns were read.

    `odd_values` says of columns of numbers or dates which of their values are none; they were read as missing.
    `point_questions` asks what the points in numbers mean.
    """

    schema: Schema
    profile: Profile
    rows: pl.DataFrame
    notes: tuple[str, ...] = ()
    odd_values: Mapping[str, str] = field(default_factory=dict)
    point_questions: Mapping[str, str] = field(default_factory=dict)


def explore(batches: Batches, config: Config, reviewed: Schema | None = None, *, tsne: bool = False) -> Exploration:
    """Profile a table by the reviewed schema, or by a schema inferred in the same pass.

    What the config says of columns comes before what the reviewed schema says.
    The rows are read once, and again each time a column turns out to be of another kind than assumed.

    Raises
    ------
    SchemaError: the table has no rows, or a reviewed kind cannot hold its values.
    """
    stream = iter(batches())
    first = next(stream, pl.DataFrame())
    choices, read_again = table_choices(config), dict[str, ColumnOverride]()
    if reviewed is None:
        scan = start_scan(first, choices, with_target_means=True)
    else:
        reviewed, read_again = chosen_columns(reviewed, config)
        scan = start_schema_scan(reviewed, first)
        started = {
            name: start_column(first[name], override, choices.na_values, is_target=name == choices.target)
            for name, override in read_again.items()
            if name in scan.columns
        }
        scan = replace(scan, columns={**scan.columns, **started})
    collected = collect(chain([first], stream), batches, scan, seed=config.training.seed)
    scan = collected.scan
    if reviewed is not None:
        inferred = {
            name: column_from_scan(scan.columns[name], override)
            for name, override in read_again.items()
            if name in scan.columns
        }
        reviewed = with_columns(reviewed, inferred)
    schema = exclude_columns(reviewed or schema_from_scan(scan, choices), config)
    notes = _notes(scan, schema, config, is_inferred=reviewed is None)
    # What a person leaves out and no kind can hold is not profiled.
    schema = replace(schema, columns=tuple(column for column in schema.columns if column.name not in scan.nested))
    profile = make_profile(collected, schema, tsne_seed=config.training.seed if tsne else None)
    return Exploration(schema, profile, collected.sample.rows(), notes, odd_values(scan), point_questions(scan))


def _notes(scan: TableScan, schema: Schema, config: Config, *, is_inferred: bool) -> tuple[str, ...]:
    reasons = exclusion_reasons(config)
    notes = unused_notes(schema, reasons, scan if is_inferred else None)
    notes = (*scan_notes(scan, schema), *notes) if is_inferred else notes
    target = scan.columns[schema.target.name]
    missing = {text: found for text, found in target.spellings.items() if text}
    labels = label_notes(schema.target, missing, n_rows=target.n_rows, n_missing=target.n_missing)
    return (*labels, *notes)
