"""Findings of all rules -> the list that a person reads: one fact in one line, no two edits against each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from estimator.core.text import join_names
from estimator.exploration.findings.finding import SEVERITIES, Finding, drop_edit

MAX_NAMED = 12
# Rules that find numbers or dates stored as text; what is said of such a column as a category is then moot.
MISTYPED = ("mixed date formats", "number as text", "code spellings", "words among numbers", "boolean spellings")
# rule -> the rules whose findings of the same columns make it moot.
MOOT_AFTER: Mapping[str, Sequence[str]] = {
    "missing-value spellings": MISTYPED,
    "high cardinality": (*MISTYPED, "personal data"),
    "class imbalance": MISTYPED,
    "identifier": (*MISTYPED, "personal data", "row numbers", "leakage"),
    "grouped rows": ("row numbers",),
    "outliers": ("sentinel value",),
    "future information": ("leakage",),
    "sensitive attribute": ("personal data",),
    "redundant category": ("duplicate columns",),
}


@dataclass(frozen=True, slots=True)
class Numbered:
    """What an earlier list called a finding: its number, rule and columns."""

    number: int
    rule: str
    columns: tuple[str, ...]


def settle(findings: Iterable[Finding], in_effect: Mapping[str, Any]) -> list[Finding]:
    """Return the findings, most severe first, without what the config already says or another finding resolves."""
    items = [finding for finding in findings if not _is_in_effect(finding.edit, in_effect)]
    items = _merged(_without_moot(items))
    items.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return _consistent(items)


def numbered(findings: Sequence[Finding], before: Sequence[Numbered] = ()) -> list[Finding]:
    """Return the findings with numbers: those of an earlier list where it has the same, further ones for the rest."""
    unused, numbers = list(before), dict[int, int]()
    for index, finding in enumerate(findings):
        same = [item for item in unused if item.rule == finding.rule]
        same = [item for item in same if set(item.columns) & set(finding.columns) or item.columns == finding.columns]
        if same:
            best = max(same, key=lambda item: len(set(item.columns) & set(finding.columns)))
            unused.remove(best)
            numbers[index] = best.number
    further = iter(range(1 + max((item.number for item in before), default=0), len(before) + 10**6))
    return [
        replace(finding, number=numbers[index] if index in numbers else next(further))
        for index, finding in enumerate(findings)
    ]


def _is_in_effect(edit: Mapping[str, Any] | None, config: Mapping[str, Any]) -> bool:
    """Whether a config says all that an edit would write."""
    return bool(edit) and all(_says(config, key, value) for key, value in (edit or {}).items())


def _says(config: Mapping[str, Any], key: str, value: Any) -> bool:
    section, _, rest = key.partition(".")
    held: Any = config.get(section, {})
    if rest.startswith("columns."):
        # The name of a column may hold dots.
        columns, rest = held.get("columns", {}), rest.removeprefix("columns.")
        name, _, last = rest.rpartition(".")
        held = columns.get(rest) if rest in columns else (columns.get(name) or {}).get(last)
    else:
        held = held.get(rest) if isinstance(held, Mapping) else None
    if isinstance(value, list):
        return isinstance(held, list | tuple) and set(map(str, value)) <= set(map(str, held))
    if isinstance(value, Mapping):
        return isinstance(held, Mapping) and all(held.get(name) == item for name, item in value.items())
    return bool(held == value)


def _without_moot(findings: Sequence[Finding]) -> list[Finding]:
    """Leave out findings that another finding of the same columns would resolve as well."""
    columns: dict[str, set[str]] = {}
    for finding in findings:
        # An edit that is only a question leaves the column what it is.
        if finding.edit or finding.rule not in MISTYPED or finding.severity == "medium":
            columns.setdefault(finding.rule, set()).update(finding.columns)
    return [
        finding
        for finding in findings
        if not any(columns.get(rule, set()) & set(finding.columns) for rule in MOOT_AFTER.get(finding.rule, ()))
    ]


def _merged(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings with those that say the same of several columns in one."""
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for index, finding in enumerate(findings):
        key = (finding.rule, finding.severity, finding.plural) if finding.plural else (str(index),)
        groups.setdefault(key, []).append(finding)
    return [group[0] if len(group) == 1 else _merge(group) for group in groups.values()]


def _merge(group: Sequence[Finding]) -> Finding:
    first = group[0]
    columns = tuple(dict.fromkeys(name for finding in group for name in finding.columns))
    names = [f"{name} ({finding.detail})" if finding.detail else name for finding in group for name in finding.columns]
    sentence = first.plural.replace("{names}", join_names(names, limit=MAX_NAMED))
    evidence = {name: dict(finding.evidence) for finding in group for name in finding.columns if finding.evidence}
    edits = [finding.edit for finding in group]
    return replace(
        first, columns=columns, sentence=sentence, evidence=evidence, edit=_united(edits) if all(edits) else None
    )


def _united(edits: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """Return one edit for several; lists are joined."""
    united: dict[str, Any] = {}
    for edit in edits:
        for key, value in (edit or {}).items():
            both = isinstance(value, list) and key in united
            united[key] = [*united[key], *(item for item in value if item not in united[key])] if both else value
    return united


def _consistent(findings: Sequence[Finding]) -> list[Finding]:
    """Take away what contradicts an earlier edit: another value of its key, or the last of columns that are alike."""
    dropped = {name for finding in findings if not finding.alike for name in (finding.edit or {}).get("data.drop", ())}
    written: dict[str, Any] = {}
    settled = []
    for finding in findings:
        edit = finding.edit
        if finding.alike:
            left = [name for name in finding.alike if name not in dropped]
            dropped |= set(left[1:])
            edit = drop_edit(*left[1:]) if len(left) > 1 else None
        if edit and any(_contradicts(written, key, value) for key, value in edit.items()):
            edit = None
        written |= edit or {}
        settled.append(replace(finding, edit=edit))
    return settled


def _contradicts(written: Mapping[str, Any], key: str, value: Any) -> bool:
    return key in written and not isinstance(value, list) and written[key] != value
