"""A table and the config's choices -> the schema that training, files and requests are checked against."""

from __future__ import annotations

from dataclasses import replace

from estimator.config import Config
from estimator.core.text import did_you_mean
from estimator.data.schema.candidates import ColumnOverride
from estimator.data.schema.date_notes import check_dates
from estimator.data.schema.frames import select_columns
from estimator.data.schema.inference import TableChoices, check_dtypes, scan_table, schema_from_scan
from estimator.data.schema.notes import check_points, check_values, scan_notes, unused_notes
from estimator.data.schema.points import point_notes
from estimator.data.schema.reviewed import with_missing_policy
from estimator.data.schema.schema import Schema
from estimator.data.stored_table import Table
from estimator.errors import ConfigError


def build_schema(frame: Table, config: Config, reviewed: Schema | None = None) -> tuple[Schema, tuple[str, ...]]:
    """Return the reviewed schema, or the one inferred from the table, and notes on how the table is read.

    The columns that the config excludes are no features.

    Raises
    ------
    ConfigError: a column to exclude is not in the table.
    SchemaError: see `scan_table`, `check_values`, `check_points` and `check_dates`.
    """
    if reviewed is not None:
        schema = exclude_columns(with_missing_policy(reviewed, config), config)
        names = [column.name for column in schema.features if column.name in frame.columns]
        check_dtypes(select_columns(frame.head(1), names), _unread(config))
        check_dates(schema, frame, schema_file=config.schema_.file)
        return schema, (*point_notes(schema, frame), *unused_notes(schema, exclusion_reasons(config)))
    choices = table_choices(config)
    scan = scan_table(frame, choices)
    schema = exclude_columns(with_missing_policy(schema_from_scan(scan, choices), config), config)
    check_values(scan, schema)
    check_points(scan, schema)
    check_dates(schema, frame, schema_file=None)
    return schema, (*scan_notes(scan, schema), *unused_notes(schema, exclusion_reasons(config), scan))


def table_choices(config: Config) -> TableChoices:
    """Return what a config sets for its table."""
    return TableChoices(
        config.data.target,
        {name: ColumnOverride(**choices.model_dump()) for name, choices in config.schema_.columns.items()},
        config.schema_.na_values,
        config.schema_.unknown_columns,
        _unread(config),
        has_classes=config.data.task == "classification",
    )


def exclude_columns(schema: Schema, config: Config) -> Schema:
    """Mark the columns that are not features: dropped ones, the sample weight, and the column that splits the rows.

    A dropped column that a formula uses is marked as such: it is known when predicting.

    Raises
    ------
    ConfigError: one of them is not in the table.
    """
    excluded = exclusion_reasons(config)
    names = [column.name for column in schema.columns]
    for name in sorted(excluded.keys() - names):
        raise ConfigError(f"{_key_of(name, config)}: no column {name!r} in the table", hint=did_you_mean(name, names))
    in_formulas = {schema.resolve(name) for name in config.features.formula_columns} & set(config.data.drop)
    columns = tuple(
        replace(
            column,
            used=column.name in in_formulas or (column.used and column.name not in excluded),
            only_in_formulas=column.name in in_formulas,
        )
        for column in schema.columns
    )
    return replace(schema, columns=columns)


def _unread(config: Config) -> list[str]:
    """Return the dropped columns that no formula uses either."""
    in_formulas = config.features.formula_columns
    return [name for name in config.data.drop if name not in in_formulas]


def _key_of(name: str, config: Config) -> str:
    """Return the config key that names a column to exclude."""
    if name == config.training.split.column:
        return "training.split.column"
    return "data.sample_weight" if name == config.data.sample_weight else "data.drop"


def exclusion_reasons(config: Config) -> dict[str, str]:
    """Return the columns that a config excludes, each with the reason."""
    split = config.training.split
    reasons = {}
    if split.kind in ("group", "column") and split.column is not None:
        reasons[split.column] = "training.split.column splits the rows by it"
    if config.data.sample_weight is not None:
        reasons[config.data.sample_weight] = "holds the weights of data.sample_weight"
    return reasons | dict.fromkeys(config.data.drop, "left out by data.drop")
