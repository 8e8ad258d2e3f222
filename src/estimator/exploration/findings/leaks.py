"""Columns that know the target: alone, together, or because they are later than it."""

from __future__ import annotations

import numpy as np
import polars as pl

from estimator.exploration.findings.finding import Finding, Found, Seen, drop
from estimator.schema.column import NUMERIC_KINDS
from estimator.wording import listing


def leaks(seen: Seen) -> Found:
    """A column that gives the target away, alone or together with others."""
    for name, (measure, value) in seen.profile.with_target.items():
        if abs(value) >= 0.98:
            told = f"{name} nearly gives the target away ({measure} {value:.3f}): is it known before the target is?"
            yield Finding("leakage", "high", (name,), told, {measure: round(value, 4)}, drop(name))
    parts = _parts_of_target(seen)
    if parts:
        told = f"{listing(parts)} add up to the target: they are known only when it is"
        yield Finding("leakage", "high", parts, told, {}, drop(*parts))


def _parts_of_target(seen: Seen) -> tuple[str, ...]:
    """Return a few numeric columns whose weighted sum is the target, exactly."""
    if seen.goal.kind not in NUMERIC_KINDS:
        return ()
    names = [column.name for column in seen.features if column.kind in NUMERIC_KINDS]
    table = seen.rows.select([pl.col(name).cast(pl.Float64, strict=False) for name in [*names, seen.profile.target]])
    solid = table.drop_nulls().to_numpy()
    if len(names) < 2 or len(solid) < 10 * (len(names) + 1):
        return ()
    inputs, goal = solid[:, :-1] - solid[:, :-1].mean(axis=0), solid[:, -1] - solid[:, -1].mean()
    spread = inputs.std(axis=0)
    weights = np.linalg.lstsq(inputs / np.where(spread > 0, spread, 1.0), goal, rcond=None)[0]
    left = goal - inputs / np.where(spread > 0, spread, 1.0) @ weights
    if goal.std() == 0 or left.std() > 1e-6 * goal.std():
        return ()
    return tuple(name for name, weight in zip(names, weights, strict=True) if abs(weight) > 1e-3 * goal.std())
