"""Rows with a known target, and what each column alone says of the target in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
import polars as pl

from estimator.core.arrays import Floats, Indices, Mask
from estimator.data.schema.column import NUMERIC_KINDS, TIME_KINDS
from estimator.data.schema.text_parsing import category_names
from estimator.exploration.findings.calendar import calendar_of
from estimator.exploration.findings.finding import RuleInput
from estimator.exploration.findings.power import (
    MAX_ROWS,
    Power,
    indicators,
    outcomes,
    power_of_categories,
    power_of_numbers,
    stronger,
)

NUMBER_KINDS = frozenset({*NUMERIC_KINDS, *TIME_KINDS, "boolean"})
LAST_NUMBER = r"(\d+)\D*$"


@dataclass(frozen=True, slots=True)
class Evidence:
    """At most 3,000 rows with a known target: its numbers, or its classes, and the columns that may say something.

    `numbers` has NaN for classes, and `classes` is None for a numeric target of more than two values.
    """

    inputs: RuleInput
    rows: Indices
    numbers: Floats
    classes: Indices | None
    names: tuple[str, ...]

    @classmethod
    def of(cls, inputs: RuleInput) -> Evidence | None:
        """Return the evidence, None if there are too few rows or the target does not vary; made once per input."""
        if "evidence" not in inputs.evidence:
            inputs.evidence["evidence"] = cls._of(inputs)
        evidence: Evidence | None = inputs.evidence["evidence"]
        return evidence

    @classmethod
    def _of(cls, inputs: RuleInput) -> Evidence | None:
        target = inputs.target_codes()
        known = np.flatnonzero(~np.isnan(target))
        rows = np.sort(np.random.default_rng(1).permutation(known)[:MAX_ROWS])
        numbers = target[rows]
        distinct, codes = np.unique(numbers, return_inverse=True)
        if len(rows) < 20 or len(distinct) < 2:
            return None
        is_class = len(distinct) == 2 or inputs.schema.target.kind not in (*NUMERIC_KINDS, *TIME_KINDS)
        skipped = ("constant", "text")
        names = tuple(
            column.name for column in inputs.schema.columns
            if column.used and column.kind not in skipped and column.name in inputs.rows.columns
        )  # fmt: skip
        return cls(inputs, rows, numbers, codes if is_class else None, names)

    @property
    def target(self) -> str:
        """The target's name."""
        return self.inputs.profile.target

    @property
    def outcomes(self) -> list[Floats]:
        """The target in the ways in which it is to be predicted: indicators of classes, or ranks and numbers."""
        if "outcomes" not in self.inputs.evidence:
            ways = outcomes(self.numbers) if self.classes is None else [indicators(self.classes)]
            self.inputs.evidence["outcomes"] = ways
        shown: list[Floats] = self.inputs.evidence["outcomes"]
        return shown

    def is_number(self, name: str) -> bool:
        """Whether the column has an order: numbers, times, and identifiers that end in a number."""
        return self.inputs.schema.by_name[name].kind in NUMBER_KINDS or self._has_numbers(name)

    def _has_numbers(self, name: str) -> bool:
        column = self.inputs.schema.by_name[name]
        return column.kind == "identifier" and not bool(np.isnan(self.values(name)).mean() > 0.5)

    def values(self, name: str) -> Floats:
        """Return such a column in these rows, NaN where missing."""
        known = self.inputs.evidence
        if ("values", name) not in known:
            known["values", name] = self._values(name)
        values: Floats = known["values", name]
        return values

    def _values(self, name: str) -> Floats:
        series = self.inputs.rows[name]
        if self.inputs.schema.by_name[name].kind != "identifier":
            return self.inputs.values(name)[self.rows]
        picked = series.gather(self.rows)
        texts = picked.str.extract(LAST_NUMBER) if picked.dtype == pl.String else picked
        numbers = texts.cast(pl.Float64, strict=False) if texts.dtype == pl.String or texts.dtype.is_numeric() else None
        values = np.full(len(self.rows), np.nan) if numbers is None else numbers.fill_null(np.nan).to_numpy()
        return np.asarray(values, np.float64)

    def codes(self, name: str) -> Indices:
        """Return a column's categories in these rows as whole numbers; missing counts as a category."""
        column, series = self.inputs.schema.by_name[name], self.inputs.rows[name].gather(self.rows)
        if not (column.is_string or column.kind == "identifier"):
            values = self.values(name)
            return np.unique(np.where(np.isnan(values), -np.inf, values), return_inverse=True)[1]
        names = category_names(column, series)
        return names.rank("dense").fill_null(0).to_numpy().astype(np.intp)

    def is_missing(self, name: str) -> Mask:
        """Return where a column is missing in these rows."""
        if self.inputs.schema.by_name[name].kind in NUMBER_KINDS:
            return np.isnan(self.values(name))
        known = self.inputs.evidence
        if ("missing", name) not in known:
            column, series = self.inputs.schema.by_name[name], self.inputs.rows[name].gather(self.rows)
            known["missing", name] = category_names(column, series).is_null().to_numpy()
        missing: Mask = known["missing", name]
        return missing

    def is_calendar(self, name: str) -> bool:
        """Whether a column tells a time, so that everything that grows has its order."""
        if self.inputs.schema.by_name[name].kind in TIME_KINDS:
            return True
        if not self.is_number(name):
            return False
        values = self.values(name)
        return calendar_of(values[~np.isnan(values)]) is not None

    def power(self, name: str) -> Power:
        """Return how well a column alone predicts the target."""
        if name not in self.inputs.powers:
            if self.is_number(name):
                power = self.power_of(self.values(name))
            else:
                codes = self.codes(name)
                power = reduce(stronger, (power_of_categories(codes, outcome) for outcome in self.outcomes))
            self.inputs.powers[name] = power
        return self.inputs.powers[name]

    def power_of(self, values: Floats) -> Power:
        """Return how well numbers in these rows predict the target."""
        ways = self.outcomes
        power = power_of_numbers(values, ways[0])
        # Who tells nothing of the ranks will not tell most of the numbers.
        return (
            reduce(stronger, (power_of_numbers(values, way) for way in ways[1:]), power) if power.low > 0.1 else power
        )

    def power_over(self, mask: Mask) -> Power:
        """Return how well the target alone predicts a mask of these rows."""
        outcome = mask.astype(np.float64)[:, None]
        if self.classes is None:
            return power_of_numbers(self.numbers, outcome)
        return power_of_categories(self.classes, outcome)

    def has_feature(self, names: Iterable[str]) -> bool:
        """Whether a model would use one of the columns."""
        return any(self.inputs.schema.by_name[name].is_feature for name in names)

    @property
    def value_word(self) -> str:
        """What one value of the target is called."""
        return "value" if self.classes is None else "class"

    @property
    def frequent_classes(self) -> list[float]:
        """The target's numbers of the five most frequent classes."""
        distinct, counts = np.unique(self.numbers, return_counts=True)
        return [float(number) for number in distinct[np.argsort(-counts, kind="stable")[:5]]]

    def all_rows(self, name: str) -> tuple[Floats, Floats]:
        """Return a column and the target's numbers in all rows of the sample where both are known."""
        if self.inputs.schema.by_name[name].kind == "identifier":
            values, target = self.values(name), self.numbers
        else:
            values, target = self.inputs.values(name), self.inputs.target_codes()
        known = ~np.isnan(values) & ~np.isnan(target)
        return values[known], target[known]
