"""Schema faults: missing values, unknown or rare categories and out-of-range values that training hardly had."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from estimator.core.arrays import Ints
from estimator.core.text import counted, format_plain
from estimator.drift.base import BatchTest, DriftResult
from estimator.drift.reference import ColumnReference, CurrentRows, DriftReference
from estimator.errors import needs_extra


class SchemaFaults(BatchTest):
    """One result per column, about its worst fault; the effect is the growth of the fault's fraction of the rows.

    Fractions are compared by Fisher's exact test (1935), several of one column by Bonferroni's rule; where rows with a
    fault follow each other, so many as its design effect count as one. Rows that violate the schema are one more.
    """

    measure: ClassVar[str] = "growth of the fraction of rows"

    def compare(self, reference: DriftReference, current: CurrentRows, *, seed: int = 0) -> list[DriftResult]:
        results = []
        for index, column in enumerate(reference.columns):
            counts = column.count(current.codes[:, index])
            if faults := list(_faults(column, counts)):
                worst = min(faults, key=lambda fault: fault.p_value)
                results.append(replace(worst, p_value=min(1.0, worst.p_value * len(faults))))
        violations = _schema_violations(reference, current)
        return [*results, *([] if violations is None else [violations])]


def _faults(column: ColumnReference, counts: Ints) -> Iterator[DriftResult]:
    if counts.sum() == 0 or column.n_rows == 0:
        return
    (of_missing, of_first, of_last), last = column.fault_effects, len(counts) - 1
    yield _growth("missing values", column, counts, 0, of_missing)
    if column.is_text:
        yield _growth("unknown or rare categories", column, counts, last, of_last)
    elif len(column.edges):
        yield _growth(f"values of at most {format_plain(column.edges[0])}", column, counts, 1, of_first)
        yield _growth(f"values above {format_plain(column.edges[-1])}", column, counts, last, of_last)


def _growth(fault: str, column: ColumnReference, counts: Ints, code: int, design_effect: float) -> DriftResult:
    before, now = int(column.counts[code]), int(counts[code])
    n, m = column.n_rows, int(counts.sum())
    counted_once = (round(size / design_effect) for size in (now, m, before, n))
    message = f"{fault}: {before / n:.1%} in the reference, {now / m:.1%} now"
    return DriftResult(column.name, now / m - before / n, fisher_exact(*counted_once), message)


def _schema_violations(reference: DriftReference, current: CurrentRows) -> DriftResult | None:
    """Return a result about rows that violate the schema, which no row of training does."""
    is_valid = current.batch.is_valid
    if is_valid is None or is_valid.all():
        return None
    n_invalid, n_rows = int((~is_valid).sum()), len(is_valid)
    verb = "violates" if n_invalid == 1 else "violate"
    message = f"{n_invalid:,} of {counted(n_rows, 'row')} {verb} the schema, for example {current.batch.faults[0]}"
    return DriftResult(None, n_invalid / n_rows, fisher_exact(n_invalid, n_rows, 0, reference.n_rows), message)


def fisher_exact(n_current: int, rows_current: int, n_reference: int, rows_reference: int) -> float:
    """Return the one-sided p-value of "no more frequent in the current rows" (Fisher, 1935).

    >>> round(fisher_exact(3, 4, 1, 4), 4)
    0.2429
    """
    with needs_extra("monitor", "testing for drift"):
        from scipy.special import gammaln
    n_both, rows = n_current + n_reference, rows_current + rows_reference
    as_extreme = np.arange(n_current, min(n_both, rows_current) + 1)

    def log_choose(n: int, k: Any) -> Any:
        """Return the logarithm of n over k, for one or many k."""
        return gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)

    logs = (
        log_choose(rows_current, as_extreme)
        + log_choose(rows_reference, n_both - as_extreme)
        - log_choose(rows, n_both)
    )
    return float(min(1.0, np.exp(logs).sum()))
