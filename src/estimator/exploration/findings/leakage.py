"""Target leakage: columns that were made from the target, or that predict it too well to be left without a question."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from estimator.core.text import join_names
from estimator.data.schema.column import NUMERIC_KINDS
from estimator.exploration.findings.evidence import Evidence
from estimator.exploration.findings.finding import Finding, Findings, RuleInput, Severity, drop_edit
from estimator.exploration.findings.relations import (
    determines,
    exact_terms,
    find_formula,
    is_mean_of_target,
    ranges_of,
    same_order,
)

STRONG, NEARLY_ALL = 0.9, 0.98
# What the next best column leaves unexplained, as a multiple of what a suspicious one leaves.
GAP = 4.0
MAX_SUSPICIOUS = 3
MISSING_SHOWS = 0.6
MIN_ROWS, MIN_MISSING = 50, 20
NEAR_SUM = 1e-3
# The sentence for each relation, in the order in which it is looked for; {s} ends a verb of one column.
SENTENCES: Mapping[str, str] = {
    "order": "{names} put{s} all rows in the order of {target}, as a copy, a rounded copy or a rank would",
    "function": "{names} follow{s} from {target}: rows of one {value} of {target} have one value there",
    "determines": "{names} determine{s} {target}: rows with one value there have one {target}",
    "mean": "{names} equal{s} the mean of {target} over groups of rows, so a row's own {target} is part of it",
    "missing": "whether {names} {is_} missing follows from {target}",
}


def leakage(inputs: RuleInput) -> Findings:
    """Columns that are functions of the target, alone or together, and columns that predict it suspiciously well."""
    evidence = Evidence.of(inputs)
    if evidence is None:
        return
    relations = {name: _relation(evidence, name) for name in evidence.names}
    for relation in SENTENCES:
        names = [name for name, found in relations.items() if found == relation]
        if names:
            yield _exact_finding(evidence, relation, names)
    rest = [name for name, found in relations.items() if not found]
    for rule in (_formulas, _missing, _questions):
        findings = rule(evidence, rest)
        yield from findings
        reported = {name for finding in findings for name in finding.columns}
        rest = [name for name in rest if name not in reported]


def _relation(evidence: Evidence, name: str) -> str:
    """Return the exact relation of a column to the target, or an empty text."""
    missing = evidence.is_missing(name)
    is_ordered = evidence.is_number(name) and not evidence.is_calendar(name)
    relation = _relation_of_numbers(evidence, name) if is_ordered else ""
    if not relation and not evidence.is_calendar(name):
        relation = _relation_of_codes(evidence, name)
    if not relation and MIN_MISSING <= missing.sum() <= len(missing) - MIN_MISSING:
        shows = (
            same_order(missing.astype(np.float64), evidence.numbers)
            if evidence.classes is None
            else determines(evidence.classes, missing.astype(np.intp))
        )
        relation = "missing" if shows else ""
    return relation


def _relation_of_numbers(evidence: Evidence, name: str) -> str:
    values = evidence.values(name)
    known = ~np.isnan(values)
    if known.sum() < MIN_ROWS // 2:
        return ""
    if evidence.classes is None and same_order(values[known], evidence.numbers[known]):
        return "order"
    distinct = len(np.unique(values[known]))
    if not 8 <= distinct <= 0.6 * known.sum():
        # The mean of a group stands in several rows.
        return ""
    all_values, target = evidence.all_rows(name)
    if evidence.classes is None:
        return "mean" if is_mean_of_target(all_values, target) else ""
    of_class = (
        is_mean_of_target(all_values, (target == code).astype(np.float64)) for code in evidence.frequent_classes
    )
    return "mean" if any(of_class) else ""


def _relation_of_codes(evidence: Evidence, name: str) -> str:
    codes = evidence.codes(name)
    if evidence.classes is None:
        return "function" if ranges_of(codes, evidence.numbers) else ""
    if determines(evidence.classes, codes):
        return "function"
    return "determines" if determines(codes, evidence.classes) else ""


def _exact_finding(evidence: Evidence, relation: str, names: list[str]) -> Finding:
    one = len(names) == 1
    words = {"s": "s" if one else "", "is_": "is" if one else "are", "value": evidence.value_word}
    sentence = SENTENCES[relation].format(names=join_names(names), target=evidence.target, **words)
    severity: Severity = "high" if len(evidence.rows) >= MIN_ROWS and evidence.has_feature(names) else "medium"
    found = {"relation": relation, "explained": _explained(evidence, names)}
    return Finding("leakage", severity, tuple(names), f"{sentence}; {_known(names)}", found, drop_edit(*names))


def _formulas(evidence: Evidence, names: list[str]) -> list[Finding]:
    """Return what two or three columns, or a weighted sum of more, make the target."""
    findings: list[Finding] = []
    while finding := _formula(evidence, names):
        findings.append(finding)
        names = [name for name in names if name not in finding.columns]
    return findings


def _formula(evidence: Evidence, names: list[str]) -> Finding | None:
    names = [name for name in names if evidence.inputs.schema.by_name[name].kind in NUMERIC_KINDS]
    names = [name for name in names if evidence.is_missing(name).mean() <= 0.2]
    if evidence.classes is not None or len(names) < 2:
        return None
    table = np.column_stack([evidence.values(name) for name in names])
    complete = ~np.isnan(table).any(axis=1)
    table, target = table[complete], evidence.numbers[complete]
    if len(target) < MIN_ROWS:
        return None
    formula = find_formula(table, target, names)
    if formula is not None:
        is_near_sum = not formula.is_product and formula.residual <= NEAR_SUM
        severity: Severity = "high" if formula.is_exact or is_near_sum else "medium"
        left = "" if formula.is_exact else f"{1 - formula.residual:.1%} of "
        sentence = f"{formula} is {left}{evidence.target}; {_known(formula.columns)}"
        found = {"formula": str(formula), "explained": round(1 - formula.residual, 6)}
        return Finding("leakage", severity, formula.columns, sentence, found, drop_edit(*formula.columns))
    terms = exact_terms(table, target, names)
    sentence = f"a weighted sum of {join_names(terms)} is exactly {evidence.target}; {_known(terms)}"
    return Finding("leakage", "high", terms, sentence, {"explained": 1.0}, drop_edit(*terms)) if terms else None


def _missing(evidence: Evidence, names: list[str]) -> list[Finding]:
    """Return the columns whose missing values nearly follow from the target."""
    shown: dict[str, float] = {}
    for name in names:
        missing = evidence.is_missing(name)
        if MIN_MISSING <= missing.sum() <= len(missing) - MIN_MISSING:
            power = evidence.power_over(missing)
            shown |= {name: power.explained} if power.low >= MISSING_SHOWS else {}
    if not shown:
        return []
    listed = join_names(f"{name} ({value:.1%})" for name, value in shown.items())
    verb = "is" if len(shown) == 1 else "are"
    sentence = f"{evidence.target} mostly decides whether {listed} {verb} missing; {_known(list(shown))}"
    found = {"explained": {name: round(value, 4) for name, value in shown.items()}}
    return [Finding("leakage", "medium", tuple(shown), sentence, found, drop_edit(*shown))]


def _questions(evidence: Evidence, names: list[str]) -> list[Finding]:
    """Return the columns that predict the target far better than all others, or nearly all of it."""
    names = [name for name in names if not evidence.is_calendar(name)]
    ordered = sorted(names, key=lambda name: -evidence.power(name).explained)
    left = [1.0 - evidence.power(name).explained for name in ordered]
    strong = sum(evidence.power(name).low >= STRONG for name in ordered)
    n_suspicious = sum(evidence.power(name).low >= NEARLY_ALL for name in ordered)
    for count in range(1, min(strong, MAX_SUSPICIOUS) + 1):
        if count < len(left) and left[count - 1] * GAP <= left[count]:
            n_suspicious = max(n_suspicious, count)
    suspicious = ordered[:n_suspicious]
    if not suspicious:
        return []
    listed = join_names(f"{name} predicts {evidence.power(name).explained:.1%}" for name in suspicious)
    sentence = f"{listed} of {evidence.target} alone"
    if n_suspicious < len(ordered):
        sentence += f", the next best column, {ordered[n_suspicious]}, {1 - left[n_suspicious]:.1%}"
    found = {"explained": _explained(evidence, suspicious)}
    severity: Severity = "medium" if evidence.has_feature(suspicious) else "low"
    sentence += f"; {_known(suspicious)}"
    return [Finding("leakage", severity, tuple(suspicious), sentence, found, drop_edit(*suspicious))]


def _explained(evidence: Evidence, names: list[str]) -> dict[str, float]:
    return {name: round(evidence.power(name).explained, 4) for name in names}


def _known(names: list[str] | tuple[str, ...]) -> str:
    return f"{'is it' if len(names) == 1 else 'are they'} known when you predict?"
