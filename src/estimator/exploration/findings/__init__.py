"""Profile -> findings: what a careful reader would notice, in a sentence, with the config edit that answers it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import polars as pl

from estimator.data.schema import Schema
from estimator.exploration.findings.finding import SEVERITIES, Finding, Found, Seen, Severity
from estimator.exploration.findings.leaks import later, leaks
from estimator.exploration.findings.repeats import collinear, duplicates, redundant_levels, total_lines
from estimator.exploration.findings.traits import codes, constants, identifiers, sensitive, shapes, targets, task
from estimator.exploration.findings.writing import sentinel_days, sentinels, spellings, texts
from estimator.exploration.profile import Profile

__all__ = ["SEVERITIES", "Finding", "Severity", "find"]

RULES: Sequence[Callable[[Seen], Found]] = (
    task, leaks, later, duplicates, redundant_levels, total_lines, sentinels, sentinel_days, spellings, texts,
    sensitive, targets, identifiers, codes, shapes, collinear, constants,
)  # fmt: skip
# Findings that a column is no column of words, and those that are about words.
MISTAKEN = ("mixed dates", "number as text")
OF_WORDS = ("gap spellings", "wide category", "imbalance")


def find(schema: Schema, profile: Profile, rows: pl.DataFrame) -> list[Finding]:
    """Return all findings, most severe first, numbered from 1."""
    seen = Seen(schema, profile, rows)
    found = _without_the_obsolete([finding for rule in RULES for finding in rule(seen)])
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return [replace(finding, number=number) for number, finding in enumerate(found, start=1)]


def _without_the_obsolete(found: Sequence[Finding]) -> list[Finding]:
    """Leave out what is only true of a column as long as it is taken for words by mistake."""
    mistaken = {name for finding in found if finding.rule in MISTAKEN and finding.edit for name in finding.columns}
    stand_ins = {name for finding in found if finding.rule == "sentinel" for name in finding.columns}
    obsolete = {**dict.fromkeys(OF_WORDS, mistaken), "outliers": stand_ins}
    return [finding for finding in found if not obsolete.get(finding.rule, set()) & set(finding.columns)]
