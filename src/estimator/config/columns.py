"""The columns that a config names, in any of its sections, against those that the table has."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from estimator.config.document import KeyPath, split_key
from estimator.config.faults import ConfigFault
from estimator.config.formula import Expression, FormulaError, parse_formula
from estimator.config.sections import Config
from estimator.core.names import nfc
from estimator.core.text import did_you_mean


def column_faults(config: Config, header: Collection[str], schema_names: Collection[str] = ()) -> list[ConfigFault]:
    """Return a fault for every column that neither the table nor its reviewed schema has."""
    known = {nfc(name) for name in (*header, *schema_names)}
    for name, choices in config.schema_.columns.items():
        # A column may be called by one of its other names in this table.
        if known & {nfc(alias) for alias in choices.aliases}:
            known.add(nfc(name))
    there = list(dict.fromkeys([*schema_names, *header]))
    formulas = config.features.formulas
    faults = [
        ConfigFault(path, f"no column {name!r} in the table", did_you_mean(name, there))
        for path, name in named_columns(config)
        if nfc(name) not in known and not (path[:2] == ("features", "columns") and name in formulas)
    ]
    for name, column in _formula_columns(config):
        if str(column.value) not in known:
            marked = FormulaError(f"no column {column.value!r} in the table", formulas[name], column.start, column.end)
            hint = did_you_mean(str(column.value), [*there, *formulas])
            faults.append(ConfigFault(("features", "formulas", name), marked.message, hint))
    return faults


def _formula_columns(config: Config) -> Iterator[tuple[str, Expression]]:
    """Yield (formula, column) of every column that a formula names."""
    for name, text in config.features.formulas.items():
        yield from (
            (name, column) for column in parse_formula(text).columns if column.value not in config.features.formulas
        )


def named_columns(config: Config) -> Iterator[tuple[KeyPath, str]]:
    """Yield (path, name) of every column that a config names."""
    data, split = config.data, config.training.split
    yield ("data", "target"), data.target
    lists = {
        ("data", "drop"): data.drop,
        ("evaluation", "fairness_columns"): config.evaluation.fairness_columns,
        ("serving", "private_columns"): config.serving.private_columns,
        ("monitoring", "ignore"): config.monitoring.ignore,
    }
    for path, names in lists.items():
        yield from (((*path, position), name) for position, name in enumerate(names))
    if data.sample_weight is not None:
        yield ("data", "sample_weight"), data.sample_weight
    if split.kind in ("group", "time", "column") and split.column is not None:
        yield ("training", "split", "column"), split.column
    yield from ((("schema", "columns", name), name) for name in config.schema_.columns)
    yield from ((("features", "columns", name), name) for name in config.features.columns)
    for key in config.tuning.space:
        if key.startswith("features.columns."):
            yield ("tuning", "space", key), split_key(key)[2]
