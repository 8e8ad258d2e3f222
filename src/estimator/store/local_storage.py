"""A store in a folder: atomic writes, and a lock while an alias moves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from estimator.core.files import TEMPORARY_PREFIX, write_atomic
from estimator.core.lock import locked
from estimator.errors import EstimatorError, StoreError
from estimator.store.artefact import MANIFEST, write_artefact
from estimator.store.history import AliasChange, History, moved
from estimator.store.signature import read_signature, sign
from estimator.store.storage import Decide, Storage

ALIASES = "aliases.json"


@dataclass(frozen=True, slots=True)
class LocalStorage(Storage):
    """A folder that holds one folder per model, which holds one folder per version."""

    root: Path

    @property
    def disk(self) -> Path:
        return self.root

    def models(self) -> list[str]:
        if not self.root.is_dir():
            return []
        return sorted(folder.name for folder in self.root.iterdir() if folder.is_dir() and self.versions(folder.name))

    def versions(self, model: str) -> list[str]:
        folder = self.root / model
        items = folder.iterdir() if folder.is_dir() else ()
        return sorted(
            item.name for item in items if not item.name.startswith(TEMPORARY_PREFIX) and (item / MANIFEST).is_file()
        )

    def manifests(self, model: str) -> list[tuple[bytes, bytes]]:
        folders = [self.root / model / version for version in self.versions(model)]
        return [((folder / MANIFEST).read_bytes(), read_signature(folder)) for folder in folders]

    def folder(self, model: str, version: str) -> Path:
        return self.root / model / version

    def write(self, model: str, version: str, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> Path:
        return write_artefact(self.root / model, version, manifest, files)

    def sign(self, model: str, version: str) -> None:
        folder = self.folder(model, version)
        sign(folder, (folder / MANIFEST).read_bytes())

    def aliases(self, model: str) -> Mapping[str, str]:
        return read_aliases(self.root / model)

    def history(self, model: str) -> list[AliasChange]:
        """Return every move of a model's aliases, oldest first.

        A last line that was cut off, or tells of a move that was never made, is removed, and the log says so.
        """
        history = History.read(self.root / model, self.aliases(model))
        if history.problem is not None:
            # Where nothing can be written the line does not count either.
            with suppress(StoreError), self._locked(model):
                history = self._repaired_history(model)
        return list(history.changes)

    def move(self, model: str, decide: Decide) -> AliasChange:
        # What is decided depends on the aliases: of two moves at once, the second is decided on those of the first.
        with self._locked(model):
            aliases, history = self.aliases(model), self._repaired_history(model)
            change = decide(aliases, history.changes)
            try:
                history.append(change)
                # This is the move: one atomic step, which makes the line count.
                write_atomic(self.root / model / ALIASES, json.dumps(moved(aliases, change), indent=2))
            except BaseException:
                with suppress(EstimatorError):
                    self._repaired_history(model)
                raise
            return change

    def check_writable(self) -> None:
        """Do nothing: a folder that cannot be written says so when it is written."""

    def _repaired_history(self, model: str) -> History:
        """Return the history, repaired; the caller holds the lock."""
        return History.read(self.root / model, self.aliases(model)).repaired()

    def _locked(self, model: str) -> AbstractContextManager[None]:
        return locked(self.root / model / ALIASES, error_type=StoreError)


def read_aliases(folder: Path) -> Mapping[str, str]:
    """Return alias -> version of a model's folder; empty if no alias was ever set.

    Raises
    ------
    StoreError: the file of aliases is damaged.
    """
    try:
        aliases: dict[str, str] = json.loads((folder / ALIASES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder / ALIASES}: cannot be read: {error}") from error
    return aliases
