"""A config with tuned settings, written next to the original, comments kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from estimator.config.document import KeyPath, read_document, split_key
from estimator.config.editor import edited
from estimator.config.reader import override
from estimator.config.section import Shelves
from estimator.config.sections import Config
from estimator.config.space import changed_model_keys, set_value, with_edits
from estimator.config.tutorial import Translation, translate
from estimator.core.files import write_atomic

_ABSENT = object()


def write_variant(
    conf: Path, config: Config, edits: Mapping[str, Any], shelves: Shelves, *, overrides: Sequence[str] = ()
) -> Path:
    """Write `<stem>.tuned.<ending>` next to a config: its values with overrides and edits (key -> value) applied.

    TOML becomes JSON, because TOML cannot be written; the tutorial's layers are written under the package's keys.
    """
    document = read_document(conf)
    before, after = translate(document.values), deepcopy(translate(document.values).values)
    for text in overrides:
        override(after, text)
    _apply_edits(after, config, edits, shelves)
    is_toml = conf.suffix.lower() == ".toml"
    path = conf.with_name(f"{conf.stem}.tuned{'.json' if is_toml else conf.suffix}")
    written_model = document.values.get(str(before.written_path(("model",))[0]), {})
    has_tutorial_layers = isinstance(written_model, Mapping) and isinstance(written_model.get("layers"), Mapping)
    if is_toml or has_tutorial_layers:
        # JSON is YAML too.
        write_atomic(path, json.dumps(after, indent=2, ensure_ascii=False) + "\n")
    else:
        changes = list(_differences(before.values, after))
        write_atomic(path, edited(conf, lambda values: _apply_changes(values, changes, before)))
    return path


def _apply_edits(values: dict[str, Any], config: Config, edits: Mapping[str, Any], shelves: Shelves) -> None:
    """Put edits into the values of a file, where a setting may be left out or be a plain name."""
    complete = with_edits(config, edits, shelves)["model"]
    kind, original_kind = edits.get("model.kind"), shelves.models.name_of(type(config.model))
    model = dict(values.get("model") or {})
    values["model"] = {"kind": kind} if kind not in (None, original_kind) else model
    for key, value in edits.items():
        path = split_key(key)
        if len(path) > 2 and path[0] == "model" and path[1] not in values["model"]:
            set_value(values, (*path[:2], "name"), complete[path[1]]["name"])
        set_value(values, path, value)
    model_class = shelves.models.load(complete["kind"])
    adapted = model_class.with_dependent_settings({**complete, **values["model"]}, changed_model_keys(edits))
    values["model"] = {key: adapted[key] for key in values["model"]}


def _differences(before: Any, after: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Yield (path, new value) of each key that changed; `_ABSENT` for a key that is gone."""
    for key in [*after, *(key for key in before if key not in after)]:
        old, new = before.get(key, _ABSENT), after.get(key, _ABSENT)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(old, new, (*path, key))
        elif old is _ABSENT or new is _ABSENT or old != new:
            yield (*path, key), new if new is _ABSENT else _plain(new)


def _apply_changes(values: Any, changes: Sequence[tuple[KeyPath, Any]], translation: Translation) -> None:
    for path, value in changes:
        *parents, last = translation.written_path(path)
        holder = values
        for part in parents:
            if not isinstance(holder.get(part), dict):
                holder[part] = {}
            holder = holder[part]
        if value is _ABSENT:
            holder.pop(last, None)
        else:
            holder[last] = value


def _plain(value: Any) -> Any:
    """Return a value as plain numbers, text, lists and mappings, without the spelling of its numbers."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return float(value) if isinstance(value, float) else value
