"""Rows that belong together: several rows of one subject, whose key must not be in two folds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from estimator.core.arrays import Floats, Indices
from estimator.core.text import counted
from estimator.data.schema.column import NUMERIC_KINDS
from estimator.data.schema.inference import IDENTIFIER_NAME
from estimator.data.schema.text_parsing import category_names
from estimator.exploration.findings.calendar import calendar_of
from estimator.exploration.findings.finding import Finding, Findings, RuleInput
from estimator.exploration.findings.power import indicators, power_of_groups, power_of_numbers, ranked

SUBJECT_NAME = re.compile(
    r"(?:^|[_\s.-])(?:subjects?|subj|patients?|persons?|people|users?|customers?|clients?|players?|participants?|"
    r"respondents?|animals?|households?|famil(?:y|ies)|students?|pupils?|members?|employees?|drivers?|accounts?)"
    r"(?:$|[_\s.-]|(?:no|nr|num|number)$)",
    re.IGNORECASE,
)
MIN_ROWS, MIN_GROUPS = 50, 10
MAX_GROUP_ROWS = 30
ALIKE, SAME = 0.9, 0.95
MAX_COMPARED, MAX_ROWS = 12, 10_000
MOST = 0.7


@dataclass(frozen=True, slots=True)
class Key:
    """A column whose values repeat, as whole numbers per row, and how many rows repeat an earlier one."""

    name: str
    codes: Indices
    repeated: int

    @property
    def n_groups(self) -> int:
        """The number of distinct values."""
        return len(self.codes) - self.repeated

    @property
    def is_contiguous(self) -> bool:
        """Whether the rows of a value stand next to each other."""
        n_runs = 1 + int(np.count_nonzero(np.diff(self.codes)))
        return n_runs <= 1.05 * self.n_groups


def grouped_rows(inputs: RuleInput) -> Findings:
    """Columns whose values name a subject with several rows, by their names, their order or what goes with them."""
    if len(inputs.rows) < MIN_ROWS:
        return
    target = inputs.target_codes()
    is_class = inputs.schema.target.kind not in NUMERIC_KINDS
    for key in _keys(inputs):
        power = _power_over_target(inputs, key, target, is_class)
        sentence, found = "", {"rows": float(key.repeated)}
        if power >= ALIKE:
            sentence = f"rows with the same {key.name} have nearly the same {inputs.target.name} ({power:.1%})"
            found["explained"] = round(power, 4)
        elif _is_subject(inputs, key):
            sentence = f"{key.name} repeats in {counted(key.repeated, 'row')}"
        if sentence:
            sentence += ": a group split keeps rows with the same value in one fold"
            edit = {"training.split": {"kind": "group", "column": key.name}}
            yield Finding("grouped rows", "medium", (key.name,), sentence, found, edit)


def _keys(inputs: RuleInput) -> Iterator[Key]:
    """Yield the columns that could be keys: of several rows each, and not measured or dated."""
    for profile in inputs.columns:
        column, series = inputs.schema.by_name[profile.name], inputs.rows[profile.name]
        # The count of distinct values may be an estimate: whether any repeats is seen below.
        is_possible = profile.distinct >= MIN_GROUPS and profile.missing <= 0.1 * inputs.profile.rows
        if column.kind not in ("integer", "category", "identifier") or not is_possible:
            continue
        # Of a column without the name of a key, the rows of a value must stand together, or be few.
        are_few = profile.distinct * MAX_GROUP_ROWS >= profile.count
        stand_together = 1 + int((series != series.shift()).sum()) <= 1.05 * profile.distinct
        if not (are_few or stand_together or _is_named(column.name)):
            continue
        if column.kind == "integer":
            codes = np.unique(inputs.values(column.name), return_inverse=True)[1]
        else:
            codes = category_names(column, series).rank("dense").fill_null(0).to_numpy().astype(np.intp)
        repeated = len(codes) - len(np.unique(codes))
        if repeated > 0:
            yield Key(column.name, codes, repeated)


def _is_named(name: str) -> bool:
    return IDENTIFIER_NAME.search(name) is not None or SUBJECT_NAME.search(name) is not None


def _power_over_target(inputs: RuleInput, key: Key, target: Floats, is_class: bool) -> float:
    """Return how well the key's other rows predict the target, if the key's order does not and its groups are small."""
    known = np.flatnonzero(~np.isnan(target))
    if key.n_groups * MAX_GROUP_ROWS < len(key.codes) or key.repeated < 0.3 * len(key.codes) or len(known) < MIN_ROWS:
        return 0.0
    codes = np.unique(key.codes[known], return_inverse=True)[1]
    values = np.unique(target[known], return_inverse=True)[1]
    outcome = indicators(values) if is_class else ranked(target[known])
    power = power_of_groups(codes, outcome)
    if power.low < ALIKE:
        return 0.0
    by_order = power_of_numbers(codes[:5000].astype(np.float64), outcome[:5000])
    return power.explained if by_order.explained <= 0.5 * power.explained else 0.0


def _is_subject(inputs: RuleInput, key: Key) -> bool:
    has_few_repeats = key.repeated < MOST * len(key.codes)
    if IDENTIFIER_NAME.search(key.name) is not None and has_few_repeats:
        return True
    is_named = _is_named(key.name)
    if not is_named and not (key.is_contiguous and _is_no_time(inputs, key)):
        return False
    constant, compared = _constant_columns(inputs, key)
    return constant >= max(1, 0.5 * compared) or (is_named and key.is_contiguous and constant >= 1)


def _is_no_time(inputs: RuleInput, key: Key) -> bool:
    column = inputs.schema.by_name[key.name]
    return column.kind not in NUMERIC_KINDS or calendar_of(inputs.known_values(key.name)) is None


def _constant_columns(inputs: RuleInput, key: Key) -> tuple[int, int]:
    """Return how many other columns are constant in the rows of a value, and how many were compared.

    A column that is constant in nearly all rows says nothing.
    """
    constant = compared = 0
    codes = key.codes[:MAX_ROWS]
    largest = np.zeros(int(codes.max()) + 1)
    sizes = np.bincount(codes, minlength=len(largest))
    several = sizes > 1
    for column in inputs.features:
        if column.name in (key.name, inputs.target.name) or column.distinct < 2 or compared >= MAX_COMPARED:
            continue
        values = inputs.rows[column.name][:MAX_ROWS].rank("dense").fill_null(0).to_numpy().astype(np.int64)
        mode = np.bincount(values).max() / len(values)
        if mode > 0.8:
            continue
        cells, counts = np.unique(codes * (int(values.max()) + 1) + values, return_counts=True)
        largest[:] = 0
        np.maximum.at(largest, cells // (int(values.max()) + 1), counts)
        compared += 1
        constant += bool(largest[several].sum() >= SAME * sizes[several].sum())
    return constant, compared
