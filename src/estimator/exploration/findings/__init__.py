"""Profile -> findings: what a careful analyst would notice, each with the config edit that resolves it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from estimator.data.schema import Schema
from estimator.exploration.findings.columns import (
    codes_as_numbers,
    constants,
    identifiers,
    quality,
    row_numbers,
    sensitive_attributes,
    target_quality,
    trivial_baseline,
)
from estimator.exploration.findings.finding import SEVERITIES, Finding, Findings, RuleInput, Severity
from estimator.exploration.findings.groups import grouped_rows
from estimator.exploration.findings.later import future_information
from estimator.exploration.findings.leakage import leakage
from estimator.exploration.findings.personal import personal_data
from estimator.exploration.findings.redundancy import collinearity, duplicates, redundant_categories, total_rows
from estimator.exploration.findings.settlement import Numbered, numbered, settle
from estimator.exploration.findings.spelling import (
    mistyped_columns,
    placeholder_dates,
    points_in_numbers,
    sentinel_values,
    spelling_variants,
    words_among_numbers,
)
from estimator.exploration.profile import Profile

__all__ = ["SEVERITIES", "Finding", "Numbered", "Severity", "run_rules"]

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
    points_in_numbers,
    words_among_numbers,
    personal_data,
    row_numbers,
    sensitive_attributes,
    target_quality,
    identifiers,
    grouped_rows,
    codes_as_numbers,
    quality,
    collinearity,
    constants,
)


def run_rules(
    schema: Schema,
    profile: Profile,
    rows: pl.DataFrame,
    *,
    sensitive: Collection[str] = (),
    odd_values: Mapping[str, str] | None = None,
    point_questions: Mapping[str, str] | None = None,
    model: str = "",
    in_effect: Mapping[str, Any] | None = None,
    before: Sequence[Numbered] = (),
) -> list[Finding]:
    """Return all findings, most severe first, numbered from 1.

    `sensitive` are columns to treat as protected attributes whatever their names; `odd_values` says of columns of
    numbers or dates which of their values are none; `point_questions` asks what the points in numbers mean; `model` is
    the kind of model that is to be trained. What the config `in_effect` already says is left out, and a finding of an
    earlier list keeps its number.
    """
    inputs = RuleInput(schema, profile, rows, sensitive, odd_values or {}, point_questions or {}, model)
    # Sums of the largest doubles are infinite: such columns then have no finding of this kind, and no warning.
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        findings = settle((finding for rule in RULES for finding in rule(inputs)), in_effect or {})
    return numbered(findings, before)
