"""A config's values without what is wrong in them, so that one fault does not hide the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from estimator.config.document import KeyPath
from estimator.config.faults import has_item
from estimator.config.section import Shelves
from estimator.core.text import closest

# What stands for required keys that are left out or wrong.
_STAND_INS: Mapping[str, str] = {"path": "table", "target": "target"}


class Repair:
    """Values from which wrong ones are removed; it is mutable: each removal may show further faults."""

    def __init__(self, values: Mapping[str, Any], shelves: Shelves) -> None:
        self.values: dict[str, Any] = deepcopy(dict(values))
        self._shelves = shelves
        # (list, position) of each removed item, in order.
        self._removed: list[tuple[KeyPath, int]] = []

    def remove(self, paths: Sequence[KeyPath]) -> None:
        """Remove the values at some paths; where a required key is missing, remove what it belongs to."""
        existing = {self._existing(path) for path in paths}
        # The last item of a list goes first, so that positions hold.
        for path in sorted(existing, key=lambda path: [str(part).zfill(9) for part in path], reverse=True):
            if path in (("model", "kind"), ("deployment", "kind")):
                self._replace_kind(str(path[0]))
            elif path:
                self._remove_at(path)
        if any(path[0] == "data" for path in paths):
            data = self.values.get("data")
            self.values["data"] = {**_STAND_INS, **(data if isinstance(data, Mapping) else {})}

    def written_path(self, path: KeyPath) -> KeyPath:
        """Return the path, in the values as written, of a path in the values that are left."""
        for holder, position in reversed(self._removed):
            index = path[len(holder)] if path[: len(holder)] == holder and len(path) > len(holder) else None
            if isinstance(index, int) and index >= position:
                path = (*holder, index + 1, *path[len(holder) + 1 :])
        return path

    def _existing(self, path: KeyPath) -> KeyPath:
        """Return the longest part of a path that leads to a value."""
        value: Any = self.values
        for end, part in enumerate(path):
            if not has_item(value, part):
                return path[:end]
            value = value[part]
        return path

    def _remove_at(self, path: KeyPath) -> None:
        *parents, last = path
        holder: Any = self.values
        for part in parents:
            holder = holder[part]
        if isinstance(holder, list):
            self._removed.append((tuple(parents), int(last)))
        del holder[last]

    def _replace_kind(self, section: str) -> None:
        """Replace an unknown kind by the one that is probably meant, without settings: they are another kind's."""
        shelf = self._shelves.models if section == "model" else self._shelves.targets
        guess = closest(str(self.values[section]["kind"]), shelf)
        self.values[section] = {} if guess is None else {"kind": guess}
