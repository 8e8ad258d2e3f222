"""Edit a config file in place: YAML keeps its comments, JSON its order."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from estimator.core.files import write_atomic
from estimator.core.lock import locked
from estimator.errors import ConfigError, needs_extra


def write_edits(path: Path, edits: Mapping[str, Any]) -> None:
    """Write edits (section.key -> value) into a config; a list is added to the list that is there.

    The name of a column may hold dots.

    Raises
    ------
    ConfigError: the file is not JSON or YAML.
    FileError: the file cannot be written.
    """
    with locked(path, purpose="editing it"):
        write_atomic(path, edited(path, lambda values: _apply_all(values, edits)))


def edited(path: Path, change: Callable[[Any], None]) -> str:
    """Return the text of a config after `change` has changed its values in place.

    Raises
    ------
    ConfigError: the file is not JSON or YAML.
    """
    if path.suffix.lower() == ".json":
        values = json.loads(path.read_text(encoding="utf-8-sig"))
        change(values)
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    if path.suffix.lower() in (".yml", ".yaml"):
        return _edited_yaml(path, change)
    raise ConfigError(
        f"{path}: cannot be edited in place", hint="copy the edits by hand, or keep the config as YAML or JSON"
    )


def _edited_yaml(path: Path, change: Callable[[Any], None]) -> str:
    with needs_extra("train", "writing YAML"):
        from io import StringIO

        from ruamel.yaml import YAML
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    values = yaml.load(path.read_text(encoding="utf-8-sig"))
    change(values)
    out = StringIO()
    yaml.dump(values, out)
    return out.getvalue()


def _apply_all(values: Any, edits: Mapping[str, Any]) -> None:
    for key, value in edits.items():
        *parents, last = _parts(key)
        holder = values
        for part in parents:
            if not isinstance(holder.get(part), dict):
                holder[part] = {}
            holder = holder[part]
        before = holder.get(last)
        if isinstance(before, list) and isinstance(value, list):
            before.extend(item for item in value if item not in before)
        else:
            holder[last] = value


def _parts(key: str) -> list[str]:
    """Split section.key, or section.columns.<name>[.key] where the name may hold dots.

    >>> _parts("schema.columns.emp.var.rate.na_values"), _parts("data.drop")
    (['schema', 'columns', 'emp.var.rate', 'na_values'], ['data', 'drop'])
    """
    if key.startswith("schema.columns."):
        name, _, last = key.removeprefix("schema.columns.").rpartition(".")
        return ["schema", "columns", name, last]
    if key.startswith("features.columns."):
        return ["features", "columns", key.removeprefix("features.columns.")]
    return key.split(".", 1)
