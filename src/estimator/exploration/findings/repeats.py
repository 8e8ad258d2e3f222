"""Rows that are there twice, and columns that say what others say."""

from __future__ import annotations

import numpy as np

from estimator.exploration.findings.finding import Finding, Found, Seen, Severity, drop
from estimator.wording import figure


def duplicates(seen: Seen) -> Found:
    """Rows that are there twice, and columns that say the same."""
    if seen.profile.duplicate_rows:
        n = seen.profile.duplicate_rows
        told = f"{n:,} rows are repeated: a random split puts the same row into both parts"
        severity: Severity = "medium" if n > 0.01 * seen.profile.rows else "low"
        yield Finding("duplicate rows", severity, (), told, {"rows": n})
    names, matrix = seen.profile.numeric, np.abs(np.nan_to_num(seen.profile.pearson))
    for i, left in enumerate(names):
        for j in range(i + 1, len(names)):
            if matrix[i, j] > 0.99999 and seen.profile.target not in (left, names[j]):
                told = f"{left} and {names[j]} say the same (correlation {matrix[i, j]:.5f})"
                yield Finding("duplicate columns", "low", (left, names[j]), told, {}, drop(names[j]))


def collinear(seen: Seen) -> Found:
    """Columns that others make up."""
    names, matrix = seen.profile.numeric, np.abs(np.nan_to_num(seen.profile.pearson))
    goal = seen.profile.target
    told_pairs = []
    for name, value in sorted(seen.profile.inflation.items(), key=lambda item: -item[1]):
        place = names.index(name)
        others = [(matrix[place, j], other) for j, other in enumerate(names) if other not in (name, goal)]
        if value < 5 or not others:
            continue
        strongest, partner = max(others)
        if strongest >= 0.8 and {name, partner} not in told_pairs:
            told_pairs.append({name, partner})
            sentence = (
                f"{name} and {partner} move together (correlation {strongest:.2f}, variance inflation {figure(value)})"
            )
            evidence = {"correlation": round(float(strongest), 4), "inflation": value if np.isfinite(value) else None}
            yield Finding("collinear", "low", (name, partner), sentence, evidence, drop(name))
