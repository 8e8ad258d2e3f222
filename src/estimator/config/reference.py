"""What each key of the config is: type, bounds, default, description; for the docs and `estimator schema KEY`."""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from estimator.config.document import split_key
from estimator.config.section import Section, Shelves
from estimator.config.sections import Config
from estimator.core.text import did_you_mean
from estimator.errors import ConfigError

PRIMITIVES = {str: "text", int: "integer", float: "number", bool: "true or false", type(None): "null"}


@dataclass(frozen=True, slots=True)
class KeyHelp:
    """A key of the config as the reference describes it."""

    key: str
    type: str
    default: str
    description: str


def key_help(key: str, shelves: Shelves) -> list[KeyHelp]:
    """Return what a key is and, of a section, what its keys are; "" is the whole config.

    Raises
    ------
    ConfigError: there is no such key.
    """
    parts = split_key(key) if key else ()
    shelf = {"model": shelves.models, "deployment": shelves.targets}.get(parts[0] if parts else "")
    if shelf is None:
        return _keys_below(Config, parts, "")
    section = parts[0]
    if len(parts) == 1:
        return [KeyHelp(f"{section}.{kind}", "section", "", first_line(shelf.load(kind))) for kind in shelf.names()]
    if parts[1] in shelf:
        return _keys_below(shelf.load(parts[1]), parts[2:], f"{section}.{parts[1]}")
    having = [kind for kind in shelf.names() if parts[1] in shelf.load(kind).model_fields]
    if not having:
        keys = [*shelf.names(), *(field for kind in shelf.names() for field in shelf.load(kind).model_fields)]
        raise ConfigError(f"no key {key!r}", hint=did_you_mean(parts[1], dict.fromkeys(keys)))
    return [item for kind in having for item in _keys_below(shelf.load(kind), parts[1:], f"{section}.{kind}")]


def _keys_below(section: type[Section], parts: Sequence[str], path: str) -> list[KeyHelp]:
    """Return the key that the parts lead to, with the keys below it."""
    fields = {field.alias or name: field for name, field in section.model_fields.items()}
    if not parts:
        return [_described(f"{path}.{name}".strip("."), field) for name, field in fields.items()]
    if parts[0] not in fields:
        raise ConfigError(
            f"no key {'.'.join([*filter(None, [path]), parts[0]])!r}", hint=did_you_mean(parts[0], fields)
        )
    field, path, rest = fields[parts[0]], f"{path}.{parts[0]}".strip("."), parts[1:]
    inner = inner_sections(field)
    if not inner or field.alias == "model":
        return [_described(path, field)]
    if get_origin(bare(field.annotation)) in (dict, list):
        # The name of a column, or a position in a list.
        path, rest = f"{path}.{rest[0] if rest else 'NAME'}", rest[1:]
    return _keys_below(inner[0], rest, path)


def _described(path: str, field: FieldInfo) -> KeyHelp:
    inner = inner_sections(field)
    description = field.description or (first_line(inner[0]) if inner else "")
    return KeyHelp(path, type_text(field).replace("`", ""), default_text(field).strip("`"), description)


def inner_sections(field: FieldInfo) -> list[type[Section]]:
    """Return the sections in the type of a key."""
    return list(dict.fromkeys(_sections(field.annotation)))


def _sections(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for item in get_args(annotation):
        yield from _sections(item)


def type_text(field: FieldInfo) -> str:
    """Return the type of a key as its choices or the field's word for it, with its bounds."""
    bounds = [bound for item in field.metadata for bound in _bound_texts(item)]
    return ", ".join([_annotation_text(field.annotation), *bounds])


def _annotation_text(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = [bound for item in arguments[1:] for bound in _bound_texts(item)]
        return ", ".join([_annotation_text(arguments[0]), *bounds])
    if origin is Literal:
        return names([str(choice) for choice in arguments])
    if origin in (Union, types.UnionType):
        texts = [_annotation_text(item) for item in arguments if item is not type(None)]
        return " or ".join(dict.fromkeys(texts))
    if origin is dict:
        return f"mapping of {_annotation_text(arguments[1])}"
    if origin is tuple:
        return f"[{', '.join(_annotation_text(item) for item in arguments)}]"
    if origin is not None and issubclass(origin, object) and arguments:
        return f"list of {_annotation_text(arguments[0])}"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "section"
    return PRIMITIVES.get(annotation, "value")


def bare(annotation: Any) -> Any:
    """Return a type without its Annotated wrapper."""
    return bare(get_args(annotation)[0]) if get_origin(annotation) is Annotated else annotation


def _bound_texts(item: Any) -> Iterator[str]:
    """Yield bounds such as ">= 0" of an item of Annotated's metadata, whole Fields included."""
    for name, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<")):
        if (value := getattr(item, name, None)) is not None:
            yield f"{sign} {value}"
    for inner in getattr(item, "metadata", ()):
        yield from _bound_texts(inner)


def names(texts: list[str]) -> str:
    """Return names as code, joined by commas."""
    return ", ".join(f"`{text}`" if text else '`""`' for text in texts)


def default_text(field: FieldInfo) -> str:
    """Return the default of a key as a config would write it."""
    default = field.default
    if default is PydanticUndefined:
        return "required"
    if isinstance(default, Section):
        return "see below"
    if default is None:
        return ""
    if default == "":
        return '`""`'
    if isinstance(default, list):
        return f"`[{', '.join(str(getattr(item, 'units', item)) for item in default)}]`"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{getattr(default, 'name', default)}`"


def first_line(kind: Any) -> str:
    """Return the first sentence of a docstring."""
    return (kind.__doc__ or "").strip().splitlines()[0]
