"""Two schemas -> what changed from the first to the second, and whom each change breaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from estimator.core.text import join_names
from estimator.data.schema.column import STRING_KINDS, Column
from estimator.data.schema.schema import Schema

# Those who send rows, and those who read predictions or send labels.
Party = Literal["callers", "readers"]
# How a text becomes a value: a change may reject a text, or read it as another value.
READING = (
    "na_values",
    "strip",
    "thousands",
    "decimal",
    "units",
    "pattern",
    "ignore_case",
    "replace",
    "date_formats",
    "unit",
)
# Entries that are added to these accept more and change nothing else.
ADDITIVE = ("strip", "date_formats")


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """A change of one column; `breaks` are those who may notice it, None if all that was accepted is accepted."""

    column: str
    change: str
    breaks: Party | None = None


def schema_changes(first: Schema, second: Schema) -> list[SchemaChange]:
    """Return what changed, the breaking changes first, each in the order of the columns."""
    # A column with another name may know the earlier one as an alias.
    before = {second.resolve(column.name) or column.name: column for column in first.features}
    changes = [*_removed(first, second)]
    for column in second.features:
        earlier = before.get(column.name)
        changes += [_added(column)] if earlier is None else _changed(earlier, column)
    changes += _target(first.target, second.target)
    return sorted(changes, key=lambda change: change.breaks is None)


def _removed(first: Schema, second: Schema) -> Iterator[SchemaChange]:
    left = {column.name for column in second.features}
    for column in first.features:
        if column.name not in left and second.resolve(column.name) not in left:
            is_rejected = second.unknown_columns == "error" and second.resolve(column.name) is None
            change = "is no longer known: rows that have it are rejected" if is_rejected else "is no longer used"
            yield SchemaChange(column.name, change, "callers" if is_rejected else None)


def _added(column: Column) -> SchemaChange:
    if column.is_required:
        return SchemaChange(column.name, f"is new and required: {column.expectation}", "callers")
    return SchemaChange(column.name, f"is new and may be left out: {column.expectation}")


def _changed(first: Column, second: Column) -> Iterator[SchemaChange]:
    name = second.name
    if first.kind != second.kind:
        is_wider = (first.kind, second.kind) == ("integer", "number") or {first.kind, second.kind} <= STRING_KINDS
        yield SchemaChange(name, f"was {first.kind}, is {second.kind}", None if is_wider else "callers")
    if first.accepts_missing != second.accepts_missing:
        change = "accepts missing values" if second.accepts_missing else "no longer accepts missing values"
        yield SchemaChange(name, change, None if second.accepts_missing else "callers")
    elif first.is_required != second.is_required:
        change = "is required" if second.is_required else "may be left out"
        yield SchemaChange(name, change, "callers" if second.is_required else None)
    yield from _accepted_values(first, second)
    for key in READING:
        old, new = getattr(first, key), getattr(second, key)
        if old != new:
            change = f"{key} was {_shown(old)}, is {_shown(new)}"
            yield SchemaChange(name, change, None if _only_adds(key, old, new) else "callers")
    if gone := set(first.aliases) - {*second.aliases, name}:
        yield SchemaChange(name, f"is no longer called {join_names(map(repr, sorted(gone)))}", "callers")


def _only_adds(key: str, old: Any, new: Any) -> bool:
    if key == "replace":
        return all(new.get(spelling) == value for spelling, value in old.items())
    return key in ADDITIVE and set(old) <= set(new)


def _accepted_values(first: Column, second: Column) -> Iterator[SchemaChange]:
    if second.rejects_unknown:
        gone = [category for category in first.categories if category not in second.categories]
        if gone or not first.rejects_unknown:
            lost = f", no longer {join_names(map(repr, gone), limit=8)}" if gone else ""
            yield SchemaChange(second.name, f"accepts its known categories only{lost}", "callers")
    elif first.rejects_unknown:
        yield SchemaChange(second.name, "accepts unknown categories")
    if first.range != second.range:
        (low, high), (new_low, new_high) = first.range or (None, None), second.range or (None, None)
        is_wider = (new_low is None or (low is not None and new_low <= low)) and (
            new_high is None or (high is not None and new_high >= high)
        )
        change = f"was {first.expectation}, is {second.expectation}"
        yield SchemaChange(second.name, change, None if is_wider else "callers")


def _target(first: Column, second: Column) -> Iterator[SchemaChange]:
    if first.name != second.name:
        yield SchemaChange(second.name, f"is the target, was {first.name!r}", "readers")
    if first.kind != second.kind and {first.kind, second.kind} != {"integer", "number"}:
        yield SchemaChange(second.name, f"the target was {first.kind}, is {second.kind}", "readers")
    elif set(first.categories) != set(second.categories):
        classes = join_names(map(repr, second.categories), limit=8)
        yield SchemaChange(second.name, f"the classes of the target are now {classes}", "readers")
    if first.unit != second.unit:
        yield SchemaChange(second.name, f"the unit of the target was {first.unit}, is {second.unit}", "readers")


def _shown(value: object) -> str:
    if isinstance(value, tuple | list):
        return join_names(map(repr, value), limit=6)
    return "none" if value is None or value == {} else repr(value) if isinstance(value, str) else str(value)
