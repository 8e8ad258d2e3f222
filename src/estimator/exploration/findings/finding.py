"""Finding: one thing worth knowing, and what the rules that find it look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import polars as pl

from estimator.core.arrays import Floats
from estimator.data.schema import Schema
from estimator.data.schema.column import NUMERIC_KINDS
from estimator.data.schema.frames import read_series
from estimator.data.schema.text_parsing import category_names
from estimator.exploration.profile import ColumnProfile, Profile

Severity = Literal["high", "medium", "low", "note"]
SEVERITIES: tuple[Severity, ...] = ("high", "medium", "low", "note")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing worth knowing. `edit` maps a key of the config to its new value; None asks for thought only."""

    rule: str
    severity: Severity
    columns: tuple[str, ...]
    sentence: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    edit: Mapping[str, Any] | None = None
    number: int = 0

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


@dataclass(frozen=True, slots=True)
class Seen:
    """What a rule looks at: the contract, the profile, and the first rows as they were read."""

    schema: Schema
    profile: Profile
    rows: pl.DataFrame
    read: dict[str, Floats] = field(default_factory=dict)

    def values(self, name: str) -> Floats:
        """Return a column of numbers, times or truth values of the rows as doubles, NaN for gaps."""
        if name not in self.read:
            column = replace(self.schema.by_name[name], nullable=True, range=None)
            self.read[name] = read_series(column, self.rows[name])[0][:, 0]
        return self.read[name]

    def numbers(self, name: str) -> Floats:
        """Return such a column without its gaps."""
        values = self.values(name)
        return values[~np.isnan(values)]

    def target_codes(self) -> Floats:
        """Return the target of the rows as numbers, those of levels in any order; NaN for gaps."""
        column = self.schema.target
        if not column.is_string and column.kind in (*NUMERIC_KINDS, "boolean"):
            return self.values(column.name)
        words = category_names(column, self.rows[column.name])
        places = {level: float(place) for place, (level, _, _) in enumerate(self.goal.top)}
        return np.array([places.get(word, np.nan) for word in words.to_list()])

    @property
    def features(self) -> list[ColumnProfile]:
        """The profiles of the columns a model would use."""
        names = {column.name for column in self.schema.features}
        return [column for column in self.profile.columns if column.name in names]

    @property
    def goal(self) -> ColumnProfile:
        """The target's profile."""
        return self.profile.column(self.profile.target)


Found = Iterator[Finding]


def drop(*names: str) -> dict[str, Any]:
    """Return the edit that leaves columns out."""
    return {"data.drop": list(names)}
