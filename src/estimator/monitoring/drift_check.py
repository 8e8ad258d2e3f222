"""A drift check: current rows against the reference by several tests, combined into one p-value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from estimator.core.text import counted, join_names
from estimator.drift import SHELF, CurrentRows, DriftReference, DriftResult
from estimator.drift.kolmogorov_smirnov import change
from estimator.drift.reference import ColumnReference
from estimator.drift.repeats import MIN_FRACTION, repeated_rows, usual_size, without_repeats
from estimator.monitoring.clock_faults import clock_counts, clock_faults

# With fewer rows that differ, drift cannot be distinguished from chance.
MIN_ROWS = 20
MIN_P_VALUE = 1e-15
MAX_NAMES = 5
# Its results for whole rows are violations of the schema.
SCHEMA_FAULTS = "schema_faults"
# Results with a larger p-value, and more of one test, are not shown to people.
MAX_LISTED_P_VALUE, MAX_LISTED = 0.01, 8
# A p-value near 1 has a quantile that would outweigh the smallest of the others.
MAX_P_VALUE = 0.99


@dataclass(frozen=True, slots=True)
class DriftCheck:
    """The results of several tests; `p_value` combines them, and rows have drifted where it is at most `alpha`.

    `results` are those of each test, by its kind, smallest p-value first; of fewer than 20 rows there are none. Of
    `n_rows`, `n_repeats` equal an earlier row; `n_compared` were compared. `findings` are faults upstream that are no
    drift, such as repeated rows or another time zone. Columns that are `small` changed by less than the smallest
    effect, those `without_effect` move no prediction: both are in `results` and do not count.
    """

    n_rows: int
    results: Mapping[str, Sequence[DriftResult]]
    p_value: float
    alpha: float
    n_compared: int
    n_repeats: int = 0
    findings: Sequence[str] = ()
    too_few: bool = False
    small: Sequence[str] = ()
    without_effect: Sequence[str] = ()

    @property
    def drifted(self) -> bool:
        """Whether rows have drifted."""
        return self.p_value <= self.alpha

    @property
    def message(self) -> str:
        """The check in a sentence."""
        shown = []
        if self.without_effect:
            shown.append(f"changed without moving a prediction: {join_names(self.without_effect, limit=MAX_NAMES)}")
        if self.small:
            shown.append(f"changed less than monitoring.min_effect: {join_names(self.small, limit=MAX_NAMES)}")
        return "; ".join([self._verdict, *shown, *self.findings])

    @property
    def _verdict(self) -> str:
        compared = f"{self.n_compared:,} of {counted(self.n_rows, 'row')}"
        compared = compared if self.n_compared < self.n_rows else counted(self.n_rows, "row")
        if self.too_few:
            return f"too few rows to tell: {compared} to compare, at least {MIN_ROWS} are needed"
        verdict = "drift" if self.drifted else "no drift"
        p_value = f"p = {self.p_value:.2g}" if self.p_value >= MIN_P_VALUE else f"p < {MIN_P_VALUE}"
        return f"{verdict}: {p_value} on {compared} (alpha = {self.alpha:.2g})"

    @property
    def listed(self) -> list[tuple[str, DriftResult]]:
        """The kind of the test and the result, of the results that are worth a line."""
        return [
            (kind, result)
            for kind, results in self.results.items()
            for result in results[:MAX_LISTED]
            if result.p_value <= MAX_LISTED_P_VALUE
        ]

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {**asdict(self), "drifted": self.drifted, "message": self.message}


def check_drift(
    reference: DriftReference,
    current: CurrentRows,
    tests: Sequence[str],
    *,
    alpha: float,
    min_effect: float = 0.0,
    moves_predictions: Callable[[ColumnReference], bool] = lambda column: True,
    seed: int = 0,
) -> DriftCheck:
    """Compare rows with the reference by some tests of the shelf.

    A column that changed by less than `min_effect`, from 0 to 1, or that moves no prediction, does not count.

    Columns are combined by Simes's rule (1986); that, and each test of whole rows, by Cauchy's (Liu and Xie, 2020).
    Both are valid for tests that depend on each other, as these do, and neither lets a large p-value hide a small one.
    Of rows that are equal in all bins, only as many are compared as training would have.
    """
    n_rows, n_repeats = len(current), len(repeated_rows(current.codes))
    size = usual_size(reference, n_distinct=n_rows - n_repeats, n_rows=n_rows)
    kept = current.rows(without_repeats(current.codes, size=size, seed=seed))
    findings = []
    # Four standard deviations of the number of repeats, which is about Poisson's.
    if n_rows - size > max(MIN_FRACTION * n_rows, 4.0 * math.sqrt(n_repeats)):
        findings.append(f"repeated rows: {n_repeats:,} of {counted(n_rows, 'row')} equal an earlier one; sent twice?")
    n_left_out = 0 if current.batch.is_valid is None else len(current.batch.is_valid) - n_rows
    if len(kept) + n_left_out < MIN_ROWS:
        return DriftCheck(n_rows, {}, 1.0, alpha, len(kept), n_repeats, findings, too_few=True)
    shelf = {kind: SHELF.load(kind)() for kind in tests}
    results = {kind: test.compare(reference, kept, seed=seed) for kind, test in shelf.items() if not test.joins_columns}
    moved = {result.column for of_kind in results.values() for result in of_kind if result.p_value <= alpha}
    small, without_effect = [], []
    for index, column in enumerate(reference.columns):
        if column.name in moved:
            if change(column, column.count(kept.codes[:, index])) < min_effect:
                small.append(column.name)
            elif not moves_predictions(column):
                without_effect.append(column.name)
    left_out = {*small, *without_effect}
    used = [index for index, column in enumerate(reference.columns) if column.name not in left_out]
    results |= {
        kind: test.compare(reference.without(list(left_out)), kept.select(used), seed=seed)
        for kind, test in shelf.items()
        if test.joins_columns
    }
    results = {kind: sorted(results[kind], key=lambda result: result.p_value) for kind in tests}
    p_value = _combined(results, left_out, min_effect)
    if p_value > alpha:
        findings += clock_faults(reference, clock_counts(reference, current)).values()
    return DriftCheck(
        n_rows, results, p_value, alpha, len(kept), n_repeats, findings, small=small, without_effect=without_effect
    )


def _combined(results: Mapping[str, Sequence[DriftResult]], left_out: AbstractSet[str], min_effect: float) -> float:
    """Return one p-value of all results but those that do not count.

    Rows that violate the schema count, however few: no row of training does.
    """
    columns, rows = [], []
    for kind, of_kind in results.items():
        for result in of_kind:
            if result.column is not None:
                columns.append(1.0 if result.column in left_out else result.p_value)
            else:
                counts = kind == SCHEMA_FAULTS or result.effect >= min_effect
                rows.append(result.p_value if counts else 1.0)
    p_values = [*([simes(columns)] if columns else []), *rows]
    return cauchy(p_values) if p_values else 1.0


def simes(p_values: Sequence[float]) -> float:
    """Return one p-value for "no column has changed" (Simes, 1986).

    >>> simes([0.01, 0.5, 0.9])
    0.03
    """
    ordered = np.sort(p_values)
    return float(min(1.0, (ordered * len(ordered) / np.arange(1, len(ordered) + 1)).min()))


def cauchy(p_values: Sequence[float]) -> float:
    """Return one p-value by the mean of Cauchy quantiles (Liu and Xie, 2020).

    It is at most that of Bonferroni's rule, the number of tests times the smallest p-value: no test can hide what
    another has found. Where nothing has changed, that adds 2 % to false alarms at 0.01, and 7 to 9 % at 0.05.

    >>> round(cauchy([0.01, 0.5]), 4), cauchy([0.01, 1.0])
    (0.02, 0.02)
    """
    quantiles = [math.tan((0.5 - min(max(p, MIN_P_VALUE), MAX_P_VALUE)) * math.pi) for p in p_values]
    mean = sum(quantiles) / len(quantiles)
    return min(math.atan2(1.0, mean) / math.pi, len(p_values) * min(p_values))
