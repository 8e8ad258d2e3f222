"""Profile -> findings: what a careful analyst would notice, each with the config edit that resolves it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from estimator.data.schema import Schema
from estimator.exploration.findings.columns import (
    codes_as_numbers,
    constants,
    identifiers,
    quality,
    sensitive_attributes,
    target_quality,
    trivial_baseline,
)
from estimator.exploration.findings.finding import SEVERITIES, Finding, Findings, RuleInput, Severity
from estimator.exploration.findings.groups import grouped_rows
from estimator.exploration.findings.later import future_information
from estimator.exploration.findings.leakage import leakage
from estimator.exploration.findings.redundancy import collinearity, duplicates, redundant_categories, total_rows
from estimator.exploration.findings.spelling import (
    mistyped_columns,
    placeholder_dates,
    sentinel_values,
    spelling_variants,
    words_among_numbers,
)
from estimator.exploration.profile import Profile

__all__ = ["SEVERITIES", "Finding", "Severity", "run_rules"]

RULES: Sequence[Callable[[RuleInput], Findings]] = (
    trivial_baseline,
    leakage,
    future_information,
    duplicates,
    redundant_categories,
    total_rows,
    sentinel_values,
    placeholder_dates,
    spelling_variants,
    mistyped_columns,
    words_among_numbers,
    sensitive_attributes,
    target_quality,
    identifiers,
    grouped_rows,
    codes_as_numbers,
    quality,
    collinearity,
    constants,
)
# Rules that find numbers or dates stored as text, and rules that only make sense for real categories.
MISTYPED = ("mixed date formats", "number as text", "words among numbers", "boolean spellings")
CATEGORY_RULES = ("missing-value spellings", "high cardinality", "class imbalance")


def run_rules(
    schema: Schema,
    profile: Profile,
    rows: pl.DataFrame,
    *,
    sensitive: Collection[str] = (),
    odd_values: Mapping[str, str] | None = None,
) -> list[Finding]:
    """Return all findings, most severe first, numbered from 1.

    `sensitive` are columns to treat as protected attributes whatever their names. `odd_values` says of columns of
    numbers or dates which of their values are none.
    """
    inputs = RuleInput(schema, profile, rows, sensitive, odd_values or {})
    # Sums of the largest doubles are infinite: such columns then have no finding of this kind, and no warning.
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        findings = _without_moot([finding for rule in RULES for finding in rule(inputs)])
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return [replace(finding, number=number) for number, finding in enumerate(findings, start=1)]


def _without_moot(findings: Sequence[Finding]) -> list[Finding]:
    """Leave out findings that another finding's edit would resolve as well."""
    mistyped = {name for finding in findings if finding.rule in MISTYPED and finding.edit for name in finding.columns}
    sentinels = {name for finding in findings if finding.rule == "sentinel value" for name in finding.columns}
    moot = {**dict.fromkeys(CATEGORY_RULES, mistyped), "outliers": sentinels}
    return [finding for finding in findings if not moot.get(finding.rule, set()) & set(finding.columns)]
