"""What is wrong in a config: faults with the path of their key, and pydantic's errors as such faults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from estimator.config.document import KeyPath
from estimator.core.text import did_you_mean, format_plain

# Pydantic's types of errors, by what was expected in place of the value.
_EXPECTED = {
    "a whole number": ("int_type", "int_parsing", "int_from_float", "int_parsing_size"),
    "a number": ("float_type", "float_parsing", "finite_number"),
    "true or false": ("bool_type", "bool_parsing"),
    "text": ("string_type",),
    "a list": ("list_type", "tuple_type", "set_type"),
    "a mapping of keys to values": ("dict_type", "mapping_type", "model_type", "model_attributes_type"),
}
_EXPECTED_BY_TYPE = {kind: text for text, kinds in _EXPECTED.items() for kind in kinds}
_BOUNDS = {"gt": "above {}", "ge": "of at least {}", "lt": "below {}", "le": "of at most {}"}
_BOUND_ERRORS = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}


@dataclass(frozen=True, slots=True)
class ConfigFault:
    """One wrong key of a config: where it is, what is wrong and what to do.

    `line` is that of what belongs to no key, such as a comment.
    """

    path: KeyPath
    message: str
    hint: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def hides(self, other: ConfigFault) -> bool:
        """Whether another fault is about the same value, or about one that holds it."""
        return bool(self.path) and self.overlaps(other.path)

    def overlaps(self, path: KeyPath) -> bool:
        """Whether a path is the fault's own, or one above or below it."""
        length = min(len(self.path), len(path))
        return self.path[:length] == path[:length]


class NestedError(ValueError):
    """What is wrong inside one value: `faults` have paths that start in it."""

    def __init__(self, faults: Sequence[ConfigFault]) -> None:
        super().__init__("; ".join(": ".join([*map(str, fault.path), str(fault)]) for fault in faults))
        self.faults = tuple(faults)


def faults_of(error: ValidationError, root: type[BaseModel], prefix: KeyPath, content: Any) -> list[ConfigFault]:
    """Return pydantic's errors about the content of a section as faults, one per key; `prefix` is its path."""
    by_path: dict[KeyPath, list[ConfigFault]] = {}
    for item in error.errors(include_url=False):
        path = (*prefix, *_written_path(item["loc"], content, is_missing=item["type"] == "missing"))
        for fault in _faults_of_item(item, root):
            found = replace(fault, path=(*path, *fault.path))
            by_path.setdefault(found.path, []).append(found)
    # Every branch of a union fails: those that went deeper are the ones that were meant.
    deepest = [path for path in by_path if not any(other[: len(path)] == path != other for other in by_path)]
    return [_one_of(by_path[path]) for path in deepest]


def _one_of(faults: Sequence[ConfigFault]) -> ConfigFault:
    """Return the fault of a value that is none of several types: "expected text or a list, got 5"."""
    first, *others = faults
    wanted, got, value = first.message.partition(", got ")
    for other in others:
        also = other.message.partition(", got ")[0].removeprefix("expected ")
        if got and wanted.startswith("expected ") and also not in wanted:
            wanted += f" or {also}"
    return replace(first, message=wanted + got + value)


def _written_path(location: KeyPath, content: Any, *, is_missing: bool) -> KeyPath:
    """Drop the names of types that pydantic adds to a path: the rest leads to a value of the content."""
    path: list[str | int] = []
    for position, part in enumerate(location):
        if has_item(content, part):
            content = content[part]
        elif not (is_missing and position == len(location) - 1):
            continue
        path.append(part)
    return tuple(path)


def has_item(content: Any, part: str | int) -> bool:
    """Whether a part of a path leads to an item of a value."""
    if isinstance(content, Mapping):
        return part in content
    return isinstance(content, list | tuple) and isinstance(part, int) and part < len(content)


def _faults_of_item(item: Any, root: type[BaseModel]) -> list[ConfigFault]:
    kind, name = item["type"], str(item["loc"][-1]) if item["loc"] else ""
    if kind == "extra_forbidden":
        return [ConfigFault((), f"unknown key {name!r}", did_you_mean(name, _keys_at(root, item["loc"][:-1])))]
    if kind == "missing":
        return [ConfigFault((), "missing: this key is required")]
    if kind == "value_error":
        error = item["ctx"]["error"]
        return list(error.faults) if isinstance(error, NestedError) else [ConfigFault((), str(error))]
    return [ConfigFault((), f"expected {_expected(item, root)}, got {_shown(item['input'])}", _hint(item))]


def _expected(item: Any, root: type[BaseModel]) -> str:
    kind, context = item["type"], item.get("ctx", {})
    if kind == "literal_error":
        return f"one of {context['expected']}" if "or" in str(context["expected"]) else str(context["expected"])
    if kind in _BOUND_ERRORS:
        return _bounded(dict(_bounds_at(root, item["loc"])) or {key: context[key] for key in _BOUNDS if key in context})
    if kind == "string_pattern_mismatch":
        return f"text that matches {context['pattern']}"
    if kind in ("too_short", "too_long"):
        limit = context.get("min_length", context.get("max_length"))
        return f"a list of {'at least' if kind == 'too_short' else 'at most'} {limit}"
    return _EXPECTED_BY_TYPE.get(kind, str(item["msg"]))


def _bounded(bounds: Mapping[str, float]) -> str:
    """Say which numbers are allowed.

    >>> _bounded({"gt": 0.0, "lt": 1.0}), _bounded({"ge": 0})
    ('a number between 0 and 1', 'a number of at least 0')
    """
    low, high = bounds.get("gt", bounds.get("ge")), bounds.get("lt", bounds.get("le"))
    if low is not None and high is not None:
        return f"a number between {format_plain(low)} and {format_plain(high)}"
    return "a number " + " and ".join(_BOUNDS[key].format(format_plain(value)) for key, value in bounds.items())


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) if isinstance(value, int | float) else f"{value!r:.60}"


def _hint(item: Any) -> str | None:
    kind, value, context = item["type"], item["input"], item.get("ctx", {})
    if kind == "literal_error" and isinstance(value, str):
        choices = [choice.strip("' ") for choice in str(context["expected"]).replace(" or ", ", ").split(",")]
        guess = did_you_mean(value, choices)
        return guess if guess.startswith("did you") else None
    if kind == "less_than" and context.get("lt") == 1.0 and isinstance(value, int | float) and 1 < value < 100:
        return f"{value:g}% is written {value / 100:g}"
    if kind == "string_type" and isinstance(value, bool | None):
        return f'in quotes it is text: "{_shown(value)}"'
    if kind in ("list_type", "tuple_type") and isinstance(value, str):
        return f"a list of one is written [{value[:30]}]"
    return None


def _keys_at(root: type[BaseModel], path: KeyPath) -> list[str]:
    """Return the keys of the section at a path."""
    section = _section_at(root, path)
    return [field.alias or name for name, field in section.model_fields.items()]


def _section_at(root: type[BaseModel], path: KeyPath) -> type[BaseModel]:
    section, branches = root, list[type[BaseModel]]()
    for part in path:
        fields = {field.alias or name: field for name, field in section.model_fields.items()}
        # Pydantic names a branch of a union by its class in brackets.
        section = next((branch for branch in branches if f"[{branch.__name__}]" == part), section)
        if isinstance(part, int) or part not in fields:
            continue
        branches = [
            item for item in _types(fields[part].annotation) if isinstance(item, type) and issubclass(item, BaseModel)
        ]
        section = branches[0] if branches else section
    return section


def _bounds_at(root: type[BaseModel], path: KeyPath) -> Iterator[tuple[str, float]]:
    """Yield the bounds of the number at a path, such as ("gt", 0.0)."""
    names = [part for part in path if isinstance(part, str)]
    section = next((_section_at(root, path[:end]) for end in range(len(path) - 1, -1, -1)), root)
    field = next((section.model_fields[name] for name in reversed(names) if name in section.model_fields), None)
    if field is None:
        return
    for item in (*field.metadata, *_types(field.annotation)):
        yield from ((key, getattr(item, key)) for key in _BOUNDS if getattr(item, key, None) is not None)
        for inner in getattr(item, "metadata", ()):
            yield from ((key, getattr(inner, key)) for key in _BOUNDS if getattr(inner, key, None) is not None)


def _types(annotation: Any) -> list[Any]:
    """Return an annotation and all types inside it."""
    return [annotation, *(inner for argument in get_args(annotation) for inner in _types(argument))]
