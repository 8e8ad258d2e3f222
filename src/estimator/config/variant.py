"""A config with other settings, written beside the first, its comments kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from estimator.config.document import Path_, read_document
from estimator.config.editor import edited
from estimator.config.reader import override
from estimator.config.sections import Config
from estimator.config.shelves import Shelves
from estimator.config.space import path_of, put, varied
from estimator.config.tutorial import Translated, translate
from estimator.core.files import write_atomic

_GONE = object()


def write_varied(
    conf: Path, config: Config, edits: Mapping[str, Any], shelves: Shelves, *, overrides: Sequence[str] = ()
) -> Path:
    """Write `<stem>.tuned.<ending>` beside a config: its values with overrides and edits, key -> value, in place.

    TOML cannot be written and becomes JSON; layers in the tutorial's spelling are written in ours.
    """
    document = read_document(conf)
    before, after = translate(document.values), deepcopy(translate(document.values).values)
    for text in overrides:
        override(after, text)
    _put_all(after, config, edits, shelves)
    is_toml = conf.suffix.lower() == ".toml"
    path = conf.with_name(f"{conf.stem}.tuned{'.json' if is_toml else conf.suffix}")
    written = document.values.get(str(before.origin(("model",))[0]), {})
    if is_toml or (isinstance(written, Mapping) and isinstance(written.get("layers"), Mapping)):
        # JSON is YAML too.
        write_atomic(path, json.dumps(after, indent=2, ensure_ascii=False) + "\n")
    else:
        changes = list(_differences(before.values, after))
        write_atomic(path, edited(conf, lambda values: _apply(values, changes, before)))
    return path


def _put_all(values: dict[str, Any], config: Config, edits: Mapping[str, Any], shelves: Shelves) -> None:
    """Put edits into the values of a file, where a word may be left out, or be a mere name."""
    full = varied(config, edits, shelves)["model"]
    kind, own = edits.get("model.kind"), shelves.models.name_of(type(config.model))
    model = dict(values.get("model") or {})
    values["model"] = {"kind": kind} if kind not in (None, own) else model
    for key, value in edits.items():
        path = path_of(key)
        if len(path) > 2 and path[0] == "model" and path[1] not in values["model"]:
            put(values, (*path[:2], "name"), full[path[1]]["name"])
        put(values, path, value)
    changed = {str(path_of(key)[1]) for key in edits if key.startswith("model.")}
    followed = shelves.models.load(full["kind"]).followed({**full, **values["model"]}, changed)
    values["model"] = {key: followed[key] for key in values["model"]}


def _differences(before: Any, after: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    for key in [*after, *(key for key in before if key not in after)]:
        old, new = before.get(key, _GONE), after.get(key, _GONE)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(old, new, (*path, key))
        elif old is _GONE or new is _GONE or old != new:
            yield (*path, key), new if new is _GONE else _plain(new)


def _apply(values: Any, changes: Sequence[tuple[Path_, Any]], words: Translated) -> None:
    for path, value in changes:
        *parents, last = words.origin(path)
        holder = values
        for part in parents:
            if not isinstance(holder.get(part), dict):
                holder[part] = {}
            holder = holder[part]
        if value is _GONE:
            holder.pop(last, None)
        else:
            holder[last] = value


def _plain(value: Any) -> Any:
    """Return a value without how it was written, which only text remembers."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return float(value) if isinstance(value, float) else value
