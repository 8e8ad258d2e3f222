"""Versions of a model and the aliases that point at them: `live`, `candidate`; every move is written down."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from estimator.core.clock import Moment
from estimator.core.files import TEMPORARY_PREFIX, write_atomic
from estimator.core.text import did_you_mean, join_names
from estimator.errors import ArtefactError, StoreError
from estimator.store.artefact import MANIFEST

ALIASES, HISTORY = "aliases.json", "history.jsonl"


@dataclass(frozen=True, slots=True)
class Move:
    """One entry of the history: an alias was moved. `time` is ISO 8601 in UTC."""

    time: str
    who: str
    action: str
    alias: str
    before: str | None
    after: str
    why: str


@dataclass(frozen=True, slots=True)
class Store:
    """A folder with one folder per model, which holds one folder per version."""

    root: Path

    def models(self) -> list[str]:
        """Return the names of all models that have a version."""
        if not self.root.is_dir():
            return []
        return sorted(folder.name for folder in self.root.iterdir() if folder.is_dir() and self.versions(folder.name))

    def versions(self, model: str) -> list[str]:
        """Return a model's versions, oldest first; what is half written is no version."""
        folder = self.root / model
        found = folder.iterdir() if folder.is_dir() else ()
        return sorted(
            item.name for item in found if not item.name.startswith(TEMPORARY_PREFIX) and (item / MANIFEST).is_file()
        )

    def aliases(self, model: str) -> Mapping[str, str]:
        """Return alias -> version."""
        return read_aliases(self.root / model)

    def history(self, model: str) -> list[Move]:
        """Return every move of the model's aliases, oldest first."""
        try:
            lines = (self.root / model / HISTORY).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        moves = []
        for line in lines:
            try:
                moves.append(Move(**json.loads(line)))
            except (ValueError, TypeError):
                # A line cut off by a crash tells of a move that did not happen.
                continue
        return moves

    def find(self, reference: str) -> tuple[str, str]:
        """Return (model, version) of "model", "model@alias", "model/version" or a version's unique name.

        Raises
        ------
        StoreError: nothing or more than one thing is meant.
        """
        model, _, alias = reference.partition("@")
        if alias:
            return model, self._aliased(model, alias)
        model, _, version = reference.partition("/")
        if version:
            return model, self._version(model, version)
        if reference in self.models():
            return reference, self._aliased(reference, "live")
        owners = [name for name in self.models() if reference in self.versions(name)]
        if len(owners) == 1:
            return owners[0], reference
        known = [*self.models(), *(version for name in self.models() for version in self.versions(name))]
        problem = "more than one model has the version" if owners else "no model or version"
        raise StoreError(f"{self.root}: {problem} {reference!r}", hint=did_you_mean(reference, known) or None)

    def point(self, model: str, alias: str, version: str, *, action: str, why: str, moment: Moment) -> Move:
        """Move an alias in one atomic step and write it down.

        Raises
        ------
        StoreError: no such version, or the store cannot be written.
        """
        self._version(model, version)
        with _locked(self.root / model):
            return self._move(model, alias, version, action=action, why=why, moment=moment)

    def announce(self, model: str, version: str, *, why: str, moment: Moment) -> Move:
        """Point at a new version: a model's first is live at once, a later one is the candidate.

        Which of the two is told under the lock, so that two trainings at once do not both become live.
        """
        self._version(model, version)
        with _locked(self.root / model):
            alias = "candidate" if "live" in self.aliases(model) else "live"
            return self._move(model, alias, version, action="train", why=why, moment=moment)

    def _move(self, model: str, alias: str, version: str, *, action: str, why: str, moment: Moment) -> Move:
        folder, aliases = self.root / model, dict(self.aliases(model))
        move = Move(moment.iso, moment.who, action, alias, aliases.get(alias), version, why)
        aliases[alias] = version
        if alias == "live" and aliases.get("candidate") == version:
            del aliases["candidate"]
        _append(folder / HISTORY, json.dumps(asdict(move), ensure_ascii=False))
        write_atomic(folder / ALIASES, json.dumps(aliases, indent=2))
        return move

    def before_live(self, model: str) -> str:
        """Return the version that was live before the present one was first promoted.

        Raises
        ------
        StoreError: there is none.
        """
        live = self._aliased(model, "live")
        for move in reversed(self.history(model)):
            if move.alias == "live" and move.after == live and move.action != "rollback" and move.before is not None:
                return self._version(model, move.before)
        raise StoreError(f"{model}: no version was live before {live}")

    def _aliased(self, model: str, alias: str) -> str:
        aliases = self.aliases(model)
        if alias not in aliases:
            known = join_names(self.models()) if model not in self.models() else join_names(aliases)
            raise StoreError(f"{self.root}: {model!r} has no version {alias!r}", hint=f"there is: {known}")
        return self._version(model, aliases[alias])

    def _version(self, model: str, version: str) -> str:
        versions = self.versions(model)
        if version not in versions:
            raise StoreError(
                f"{self.root}: {model!r} has no version {version!r}",
                hint=f"versions: {join_names(versions, limit=10)}"
                if versions
                else f"models: {join_names(self.models())}",
            )
        return version


def read_aliases(folder: Path) -> Mapping[str, str]:
    """Return alias -> version of one model's folder."""
    try:
        found: dict[str, str] = json.loads((folder / ALIASES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder / ALIASES}: cannot be read: {error}") from error
    return found


def version_folder(path: Path) -> Path:
    """Return the version a path means: itself, or a model's live version.

    Raises
    ------
    ArtefactError: it is neither.
    """
    if (path / MANIFEST).is_file():
        return path
    live = read_aliases(path).get("live")
    if live is not None and Path(live).name == live:
        return path / live
    if not path.exists():
        raise ArtefactError(f"{path}: no such folder", hint="name a version's folder, or a model's: MODEL_FOLDER")
    raise ArtefactError(f"{path}: neither a version's folder nor a model's with a live version")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time move aliases; the lock goes with the process, whatever ends it."""
    try:
        handle = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())


def _readable_aliases(store: Store, name: str) -> dict[str, str]:
    """One model's damaged aliases must not hide the others; `promote` and `serve` tell of them."""
    try:
        return dict(store.aliases(name))
    except StoreError:
        return {}


def listed(store: Store) -> list[dict[str, Any]]:
    """Return every model with its versions and aliases as JSON-ready data."""
    return [
        {
            "name": name,
            "aliases": _readable_aliases(store, name),
            "versions": [
                json.loads((store.root / name / item / MANIFEST).read_bytes()) for item in store.versions(name)
            ],
        }
        for name in store.models()
    ]
