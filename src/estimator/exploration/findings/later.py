"""Columns that may be recorded after the time of prediction, by their times, or by a name that hints at it."""

from __future__ import annotations

import re

import numpy as np

from estimator.data.schema.column import TIME_KINDS
from estimator.exploration.findings.evidence import Evidence
from estimator.exploration.findings.finding import Finding, Findings, RuleInput, Severity, drop_edit
from estimator.exploration.findings.power import Power

# Words of what is over. They are a hint: only a column that also goes with the target is worth a question.
LATER_WORD = re.compile(
    r"(?:^|[_\s.-])(?:actual|after|closed|closing|completed|delay|delayed|duration|elapsed|ended|final|finished|"
    r"outcome|resolved|result|settled|waited|waiting)(?:$|[_\s.-])",
    re.IGNORECASE,
)
PLANNED_WORD = re.compile(r"sched|plan|expect|estimat|forecast|promised", re.IGNORECASE)
MIN_ROWS = 50
DELAY_SHOWS = 0.2


def future_information(inputs: RuleInput) -> Findings:
    """Columns whose times are later than another time of the row, and columns named like something that is over."""
    evidence = Evidence.of(inputs)
    times = [column.name for column in inputs.schema.features if column.kind in TIME_KINDS]
    for name in times:
        earlier = [other for other in times if other != name and _is_later(inputs, name, other)]
        if earlier:
            yield _later(inputs, evidence, name, earlier)
    for name in [] if evidence is None else evidence.names:
        if LATER_WORD.search(name) and not PLANNED_WORD.search(name) and name not in times:
            power = evidence.power(name) if evidence is not None else None
            if power is not None and power.low > 0.01:
                sentence = f"{name} sounds like an outcome, and predicts {power.explained:.1%} of {inputs.target.name}"
                sentence += " alone: is it known when you predict?"
                explained = {"explained": round(power.explained, 4)}
                yield Finding("future information", "low", (name,), sentence, explained, drop_edit(name))


def _later(inputs: RuleInput, evidence: Evidence | None, name: str, earlier: list[str]) -> Finding:
    severity: Severity = "low"
    first, power = earlier[0], Power()
    if evidence is not None:
        powers = {other: evidence.power_of(evidence.values(name) - evidence.values(other)) for other in earlier}
        first, power = max(powers.items(), key=lambda item: item[1].low)
    sentence, found = f"{name} is never before {first}", {"after": first, "explained": round(power.explained, 4)}
    if power.low >= DELAY_SHOWS:
        severity = "medium"
        sentence += f", and the time between them predicts {power.explained:.1%} of {inputs.target.name}"
    sentence += ": is it known when you predict?"
    return Finding("future information", severity, (name,), sentence, found, drop_edit(name))


def _is_later(inputs: RuleInput, name: str, other: str) -> bool:
    left, right = inputs.values(name), inputs.values(other)
    both = ~np.isnan(left) & ~np.isnan(right)
    delay = left[both] - right[both]
    return len(delay) >= MIN_ROWS and bool((delay >= 0).mean() >= 0.999) and bool((delay > 0).mean() >= 0.5)
