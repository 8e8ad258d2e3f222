"""Target leakage: columns that determine the target, alone or together, or that are recorded after it."""

from __future__ import annotations

import re

import numpy as np

from estimator.core.arrays import Floats, Indices
from estimator.core.text import join_names
from estimator.data.schema.column import NUMERIC_KINDS, TIME_KINDS
from estimator.exploration.findings.finding import Finding, Findings, RuleInput, drop_edit

LEAKAGE_THRESHOLD = 0.98
MAX_BINS, ROWS_PER_BIN = 64, 20
# Names of what is usually recorded once something is over.
LATER_NAME = re.compile(
    r"(?:^|[_\s.-])(?:duration|delay|elapsed|actual|outcome|tips?|tolls?|closed|resolved|refund|"
    r"assigned|waiting|(?:arr|dep|air|arrival|departure)[_-]?time|days[_-]on[_-]market|total[_-]amount)(?:$|[_\s.-])",
    re.IGNORECASE,
)
PLANNED_NAME = re.compile(r"sched|plan|expect|estimat|forecast|promised", re.IGNORECASE)


def leakage(inputs: RuleInput) -> Findings:
    """A column that predicts the target almost perfectly, or columns whose weighted sum is the target."""
    reported = set()
    for name, (measure, value) in inputs.profile.target_association.items():
        explained = max(abs(value) if np.isfinite(value) else 0.0, _explained_by(inputs, name))
        if explained >= LEAKAGE_THRESHOLD:
            reported.add(name)
            sentence = f"{name} almost determines the target ({explained:.1%}): is it available at prediction time?"
            evidence = {measure: round(value, 4), "explained": explained}
            yield Finding("leakage", "high", (name,), sentence, evidence, drop_edit(name))
    terms = _terms_of_target(inputs)
    if terms and not reported.issuperset(terms):
        sentence = f"{join_names(terms)} add up to the target: are they available at prediction time?"
        yield Finding("leakage", "high", terms, sentence, {}, drop_edit(*terms))


def future_information(inputs: RuleInput) -> Findings:
    """Columns that may be recorded after the time of prediction, by their values or by their names."""
    times = [column.name for column in inputs.schema.features if column.kind in TIME_KINDS]
    for name in times:
        first = next((other for other in times if other != name and _is_later(inputs, name, other)), None)
        if first is not None:
            sentence = f"{name} is never before {first}: is it available at prediction time?"
            yield Finding("future information", "low", (name,), sentence, {"after": first}, drop_edit(name))
    for column in inputs.features:
        if LATER_NAME.search(column.name) and not PLANNED_NAME.search(column.name) and column.name not in times:
            sentence = f"{column.name} looks like an outcome by its name: is it available at prediction time?"
            yield Finding("future information", "low", (column.name,), sentence, {}, drop_edit(column.name))


def _is_later(inputs: RuleInput, name: str, other: str) -> bool:
    left, right = inputs.values(name), inputs.values(other)
    both = ~np.isnan(left) & ~np.isnan(right)
    delay = left[both] - right[both]
    return len(delay) >= 50 and bool((delay >= 0).mean() >= 0.999) and bool((delay > 0).mean() >= 0.5)


def _explained_by(inputs: RuleInput, name: str) -> float:
    """Return how well a numeric column alone predicts the target, 0 to 1, for a relation of any shape.

    For a numeric target it is the correlation ratio over bins of equal counts; for classes, the fraction of the
    majority class's errors that predicting the majority of each bin avoids.
    """
    if inputs.schema.by_name[name].kind not in (*NUMERIC_KINDS, *TIME_KINDS):
        return 0.0
    values, target = inputs.values(name), inputs.target_codes()
    both = ~np.isnan(values) & ~np.isnan(target)
    bins = _quantile_bins(values[both])
    if bins is None:
        return 0.0
    classes = np.unique(target[both])
    few = len(classes) <= 20
    return _errors_avoided(bins, target[both], classes) if few else _correlation_ratio(bins, target[both])


def _quantile_bins(values: Floats) -> Indices | None:
    n_bins = min(MAX_BINS, len(values) // ROWS_PER_BIN)
    if n_bins < 5:
        return None
    edges = np.unique(np.quantile(values, np.linspace(0, 1, n_bins + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right")


def _errors_avoided(bins: Indices, target: Floats, classes: Floats) -> float:
    counts = np.zeros((int(bins.max()) + 1, len(classes)))
    np.add.at(counts, (bins, np.searchsorted(classes, target)), 1)
    errors = len(target) - counts.sum(axis=0).max()
    mixed = counts.sum(axis=1) - counts.max(axis=1)
    # A threshold inside a narrow bin leaves some errors there.
    narrow = counts.sum(axis=1) <= 0.05 * len(target)
    forgiven = mixed[narrow].max(initial=0.0)
    return float(1.0 - (mixed.sum() - forgiven) / errors) if errors else 0.0


def _correlation_ratio(bins: Indices, target: Floats) -> float:
    counts = np.bincount(bins)
    means = np.bincount(bins, target) / np.maximum(counts, 1)
    total = float(((target - target.mean()) ** 2).sum())
    return float(np.sqrt((counts * (means - target.mean()) ** 2).sum() / total)) if total else 0.0


def _terms_of_target(inputs: RuleInput) -> tuple[str, ...]:
    """Return a few numeric columns whose weighted sum is exactly the target."""
    if inputs.target.kind not in NUMERIC_KINDS:
        return ()
    names = [column.name for column in inputs.features if column.kind in NUMERIC_KINDS]
    table = np.column_stack([inputs.values(name) for name in [*names, inputs.profile.target]])
    complete = table[~np.isnan(table).any(axis=1)]
    if len(names) < 2 or len(complete) < 10 * (len(names) + 1):
        return ()
    features, target = complete[:, :-1] - complete[:, :-1].mean(axis=0), complete[:, -1] - complete[:, -1].mean()
    spread = features.std(axis=0)
    scaled = features / np.where(spread > 0, spread, 1.0)
    weights = np.linalg.lstsq(scaled, target, rcond=None)[0]
    residuals = target - scaled @ weights
    if target.std() == 0 or residuals.std() > 1e-6 * target.std():
        return ()
    return tuple(name for name, weight in zip(names, weights, strict=True) if abs(weight) > 1e-3 * target.std())
