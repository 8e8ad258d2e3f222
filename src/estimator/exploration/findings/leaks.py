"""Columns that know the target: alone, together, or because they are known only later than it."""

from __future__ import annotations

import re

import numpy as np

from estimator.core.arrays import Floats, Indices
from estimator.core.text import join_names
from estimator.data.schema.column import NUMERIC_KINDS, TIME_KINDS
from estimator.exploration.findings.finding import Finding, Found, Seen, drop

GIVEN_AWAY = 0.98
MOST_BINS, ROWS_PER_BIN = 64, 20
# Words for what is known when something is over.
AFTERWARDS = re.compile(
    r"(?:^|[_\s.-])(?:duration|delay|elapsed|actual|outcome|tips?|tolls?|closed|resolved|refund|"
    r"assigned|waiting|(?:arr|dep|air|arrival|departure)[_-]?time|days[_-]on[_-]market|total[_-]amount)(?:$|[_\s.-])",
    re.IGNORECASE,
)
PLANNED = re.compile(r"sched|plan|expect|estimat|forecast|promised", re.IGNORECASE)


def leaks(seen: Seen) -> Found:
    """A column that gives the target away, alone or together with others."""
    told_already = set()
    for name, (measure, value) in seen.profile.with_target.items():
        knows = max(abs(value) if np.isfinite(value) else 0.0, _knowledge(seen, name))
        if knows >= GIVEN_AWAY:
            told_already.add(name)
            told = f"{name} nearly gives the target away ({knows:.1%} of it): is it known before the target is?"
            yield Finding("leakage", "high", (name,), told, {measure: round(value, 4), "knows": knows}, drop(name))
    parts = _parts_of_target(seen)
    if parts and not told_already.issuperset(parts):
        told = f"{join_names(parts)} add up to the target: they are known only when it is"
        yield Finding("leakage", "high", parts, told, {}, drop(*parts))


def later(seen: Seen) -> Found:
    """Columns that may be known only after the moment of a prediction: by their times, or by their names."""
    times = [column.name for column in seen.schema.features if column.kind in TIME_KINDS]
    for name in times:
        first = next((other for other in times if other != name and _is_later(seen, name, other)), None)
        if first is not None:
            told = f"{name} is never before {first}: may it be known only after the moment of a prediction?"
            yield Finding("future column", "low", (name,), told, {"after": first}, drop(name))
    for column in seen.features:
        if AFTERWARDS.search(column.name) and not PLANNED.search(column.name) and column.name not in times:
            told = f"{column.name} sounds like something known only afterwards"
            yield Finding("future column", "low", (column.name,), told, {}, drop(column.name))


def _is_later(seen: Seen, name: str, other: str) -> bool:
    here, there = seen.values(name), seen.values(other)
    both = ~np.isnan(here) & ~np.isnan(there)
    after = here[both] - there[both]
    return len(after) >= 50 and bool((after >= 0).mean() >= 0.999) and bool((after > 0).mean() >= 0.5)


def _knowledge(seen: Seen, name: str) -> float:
    """Return how much of the target a number alone tells, 0 to 1, whatever the shape of their relation.

    Of a quantity it is the correlation ratio over bins of equal counts; of levels, the share of the commonest one's
    mistakes that are avoided by answering with the commonest one in each bin.
    """
    if seen.schema.by_name[name].kind not in (*NUMERIC_KINDS, *TIME_KINDS):
        return 0.0
    values, goal = seen.values(name), seen.target_codes()
    both = ~np.isnan(values) & ~np.isnan(goal)
    bins = _bins(values[both])
    if bins is None:
        return 0.0
    levels = np.unique(goal[both])
    return _avoided(bins, goal[both], levels) if len(levels) <= 20 else _explained(bins, goal[both])


def _bins(values: Floats) -> Indices | None:
    n_bins = min(MOST_BINS, len(values) // ROWS_PER_BIN)
    if n_bins < 5:
        return None
    edges = np.unique(np.quantile(values, np.linspace(0, 1, n_bins + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right")


def _avoided(bins: Indices, goal: Floats, levels: Floats) -> float:
    counts = np.zeros((int(bins.max()) + 1, len(levels)))
    np.add.at(counts, (bins, np.searchsorted(levels, goal)), 1)
    mistakes = len(goal) - counts.sum(axis=0).max()
    mixed = counts.sum(axis=1) - counts.max(axis=1)
    # A threshold that lies inside a narrow bin leaves some mistakes there.
    narrow = counts.sum(axis=1) <= 0.05 * len(goal)
    forgiven = mixed[narrow].max(initial=0.0)
    return float(1.0 - (mixed.sum() - forgiven) / mistakes) if mistakes else 0.0


def _explained(bins: Indices, goal: Floats) -> float:
    counts = np.bincount(bins)
    means = np.bincount(bins, goal) / np.maximum(counts, 1)
    total = float(((goal - goal.mean()) ** 2).sum())
    return float(np.sqrt((counts * (means - goal.mean()) ** 2).sum() / total)) if total else 0.0


def _parts_of_target(seen: Seen) -> tuple[str, ...]:
    """Return a few numeric columns whose weighted sum is the target, exactly."""
    if seen.goal.kind not in NUMERIC_KINDS:
        return ()
    names = [column.name for column in seen.features if column.kind in NUMERIC_KINDS]
    table = np.column_stack([seen.values(name) for name in [*names, seen.profile.target]])
    solid = table[~np.isnan(table).any(axis=1)]
    if len(names) < 2 or len(solid) < 10 * (len(names) + 1):
        return ()
    inputs, goal = solid[:, :-1] - solid[:, :-1].mean(axis=0), solid[:, -1] - solid[:, -1].mean()
    spread = inputs.std(axis=0)
    weights = np.linalg.lstsq(inputs / np.where(spread > 0, spread, 1.0), goal, rcond=None)[0]
    left = goal - inputs / np.where(spread > 0, spread, 1.0) @ weights
    if goal.std() == 0 or left.std() > 1e-6 * goal.std():
        return ()
    return tuple(name for name, weight in zip(names, weights, strict=True) if abs(weight) > 1e-3 * goal.std())
