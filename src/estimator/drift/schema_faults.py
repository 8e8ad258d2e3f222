"""What the contract lets pass and training hardly saw: gaps, levels that are new or were rare, values out of range."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from estimator.core.text import format_plain
from estimator.drift.base import DriftTest, Finding, Moved
from estimator.drift.reference import ColumnReference, Counts, Current, Reference
from estimator.errors import needs_extra


class SchemaFaults(DriftTest):
    """A finding per column, of what moved most in it; the effect is by how much its share has grown.

    Shares are compared by Fisher's exact test (1935), and several in one column by Bonferroni's rule.
    """

    measure: ClassVar[str] = "more of the rows"

    def findings(self, reference: Reference, current: Current, *, seed: int = 0) -> list[Finding]:
        found = []
        for place, column in enumerate(reference.columns):
            counts = column.count(current.codes[:, place])
            if faults := list(_faults(column, counts)):
                worst = min(faults, key=lambda moved: moved.p_value)
                found.append(
                    Finding(column.name, Moved(worst.effect, min(1.0, worst.p_value * len(faults)), worst.words))
                )
        refused = _refused(reference, current)
        return [*found, *([] if refused is None else [Finding(None, refused)])]


def _faults(column: ColumnReference, counts: Counts) -> Iterator[Moved]:
    if counts.sum() == 0 or column.rows == 0:
        return
    yield _grown("gaps", column, counts, 0)
    last = len(counts) - 1
    if column.is_text:
        yield _grown("levels that are new or were rare", column, counts, last)
    elif len(column.edges):
        yield _grown(f"values of at most {format_plain(column.edges[0])}", column, counts, 1)
        yield _grown(f"values above {format_plain(column.edges[-1])}", column, counts, last)


def _grown(what: str, column: ColumnReference, counts: Counts, code: int) -> Moved:
    before, now = int(column.counts[code]), int(counts[code])
    n, m = column.rows, int(counts.sum())
    return Moved(
        now / m - before / n, more_often(now, m, before, n), f"{what}: {before / n:.1%} before, {now / m:.1%} now"
    )


def _refused(reference: Reference, current: Current) -> Moved | None:
    """Return how many rows broke the contract, of which training has none."""
    kept = current.batch.kept
    if kept is None or kept.all():
        return None
    broken, rows = int((~kept).sum()), len(kept)
    first = current.batch.faults[0]
    words = f"{broken:,} of {rows:,} rows break the contract, first {first}"
    return Moved(broken / rows, more_often(broken, rows, 0, reference.rows), words)


def more_often(now: int, rows_now: int, before: int, rows_before: int) -> float:
    """Return how often chance alone would give so many of both counts to the rows seen now (Fisher, 1935)."""
    with needs_extra("monitor", "testing for drift"):
        from scipy.special import gammaln
    both, rows = now + before, rows_now + rows_before
    places = np.arange(now, min(both, rows_now) + 1)

    def ways(n: int, k: Any) -> Any:
        """Return the logarithm of n over k, for one or many k."""
        return gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)

    logs = ways(rows_now, places) + ways(rows_before, both - places) - ways(rows, both)
    return float(min(1.0, np.exp(logs).sum()))
