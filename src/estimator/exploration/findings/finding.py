"""Finding: one thing worth knowing about a table, and the input of the rules that make findings."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import polars as pl

from estimator.core.arrays import Floats
from estimator.data.schema import Schema
from estimator.data.schema.column import NUMERIC_KINDS, TIME_KINDS
from estimator.data.schema.frames import read_series
from estimator.data.schema.text_parsing import category_names
from estimator.exploration.findings.power import Power
from estimator.exploration.profile import ColumnProfile, Profile

Severity = Literal["high", "medium", "low", "note"]
SEVERITIES: tuple[Severity, ...] = ("high", "medium", "low", "note")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing worth knowing. `edit` maps config keys to new values; None if no edit can resolve it.

    Findings of one rule with the same `plural` share one line: it has `{names}` for the columns, each with its
    `detail`. Of the columns in `alike`, one must stay, so that the edits of two findings never drop them all.
    """

    rule: str
    severity: Severity
    columns: tuple[str, ...]
    sentence: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    edit: Mapping[str, Any] | None = None
    number: int = 0
    plural: str = ""
    detail: str = ""
    alike: tuple[str, ...] = ()

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {
            "number": self.number,
            "rule": self.rule,
            "severity": self.severity,
            "columns": list(self.columns),
            "sentence": self.sentence,
            "evidence": dict(self.evidence),
            "edit": dict(self.edit) if self.edit is not None else None,
        }


Findings = Iterator[Finding]


@dataclass(frozen=True, slots=True)
class RuleInput:
    """What a rule reads: the schema, the profile, a sample of the raw rows, and what the config says.

    `sensitive` are columns to treat as protected attributes whatever their names, `odd_values` says of columns of
    numbers or dates which of their values are none, `point_questions` asks what the points in numbers mean, and `model`
    is the kind of model.
    """

    schema: Schema
    profile: Profile
    rows: pl.DataFrame
    sensitive: Collection[str] = ()
    odd_values: Mapping[str, str] = field(default_factory=dict)
    point_questions: Mapping[str, str] = field(default_factory=dict)
    model: str = ""
    cache: dict[str, Floats] = field(default_factory=dict)
    powers: dict[str, Power] = field(default_factory=dict)
    evidence: dict[Any, Any] = field(default_factory=dict)

    def values(self, name: str) -> Floats:
        """Return a numeric, boolean or time column of the rows as doubles, NaN where missing."""
        if name not in self.cache:
            column = replace(self.schema.by_name[name], nullable=True, range=None)
            self.cache[name] = read_series(column, self.rows[name])[0][:, 0]
        return self.cache[name]

    def known_values(self, name: str) -> Floats:
        """Return such a column without its missing values."""
        values = self.values(name)
        return values[~np.isnan(values)]

    def target_codes(self) -> Floats:
        """Return the target of the rows as numbers; classes are numbered by frequency, NaN where missing."""
        column = self.schema.target
        if column.kind in (*NUMERIC_KINDS, *TIME_KINDS, "boolean"):
            return self.values(column.name)
        if column.name not in self.cache:
            names = category_names(column, self.rows[column.name])
            classes = [name for name, _, _ in self.target.top_categories]
            codes = pl.Series(range(len(classes)), dtype=pl.Float64)
            self.cache[column.name] = names.replace_strict(classes, codes, default=None).fill_null(np.nan).to_numpy()
        return self.cache[column.name]

    @property
    def columns(self) -> list[ColumnProfile]:
        """The profiles of all columns but the target that the config does not leave out."""
        names = {column.name for column in self.schema.columns if column.used}
        return [column for column in self.profile.columns if column.name in names]

    @property
    def features(self) -> list[ColumnProfile]:
        """The profiles of the columns a model would use."""
        names = {column.name for column in self.schema.features}
        return [column for column in self.profile.columns if column.name in names]

    @property
    def target(self) -> ColumnProfile:
        """The target's profile."""
        return self.profile.column(self.profile.target)


def drop_edit(*names: str) -> dict[str, Any]:
    """Return the edit that leaves columns out."""
    return {"data.drop": list(names)}
