"""The store: a folder of versions per model, and the aliases `live` and `candidate` with their history."""

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
class AliasChange:
    """One line of the history: `alias` now points at `version`, and pointed at `previous` before (None: nowhere).

    `time` is ISO 8601 in UTC. `action` is the verb that made the change, such as "train", "promote" or "rollback".
    """

    time: str
    user: str
    action: str
    alias: str
    previous: str | None
    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class Store:
    """A folder that holds one folder per model, which holds one folder per version."""

    root: Path

    def models(self) -> list[str]:
        """Return the names of all models that have a version."""
        if not self.root.is_dir():
            return []
        return sorted(folder.name for folder in self.root.iterdir() if folder.is_dir() and self.versions(folder.name))

    def versions(self, model: str) -> list[str]:
        """Return a model's versions, oldest first; a version that is still being written does not count."""
        folder = self.root / model
        items = folder.iterdir() if folder.is_dir() else ()
        return sorted(
            item.name for item in items if not item.name.startswith(TEMPORARY_PREFIX) and (item / MANIFEST).is_file()
        )

    def aliases(self, model: str) -> Mapping[str, str]:
        """Return alias -> version.

        Raises
        ------
        StoreError: the file of aliases is damaged.
        """
        return read_aliases(self.root / model)

    def history(self, model: str) -> list[AliasChange]:
        """Return every change of the model's aliases, oldest first."""
        try:
            lines = (self.root / model / HISTORY).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        changes = []
        for line in lines:
            try:
                changes.append(AliasChange(**json.loads(line)))
            except (ValueError, TypeError):
                # A crash can cut a line short; its change did not happen.
                continue
        return changes

    def only_model(self) -> str:
        """Return the model of a store that has just one.

        Raises
        ------
        StoreError: it has none or several.
        """
        names = self.models()
        if len(names) != 1:
            raise StoreError(f"{self.root}: which model?", hint=f"models: {', '.join(names) or 'none'}")
        return names[0]

    def find(self, reference: str) -> tuple[str, str]:
        """Return (model, version) of "model", "model@alias", "model/version" or a version's unique name.

        Raises
        ------
        StoreError: the reference matches nothing, or versions of more than one model.
        """
        model, _, alias = reference.partition("@")
        if alias:
            return model, self._aliased(model, alias)
        model, _, version = reference.partition("/")
        if version:
            return model, self._existing(model, version)
        if reference in self.models():
            return reference, self._aliased(reference, "live")
        owners = [name for name in self.models() if reference in self.versions(name)]
        if len(owners) == 1:
            return owners[0], reference
        names = [*self.models(), *(version for name in self.models() for version in self.versions(name))]
        problem = "more than one model has the version" if owners else "no model or version"
        raise StoreError(f"{self.root}: {problem} {reference!r}", hint=did_you_mean(reference, names) or None)

    def point(self, model: str, alias: str, version: str, *, action: str, reason: str, moment: Moment) -> AliasChange:
        """Point an alias at a version, atomically, and record it in the history.

        Raises
        ------
        StoreError: the version does not exist.
        FileError: the store cannot be written.
        """
        self._existing(model, version)
        with _locked(self.root / model):
            return self._point(model, alias, version, action=action, reason=reason, moment=moment)

    def announce(self, model: str, version: str, *, reason: str, moment: Moment) -> AliasChange:
        """Point an alias at a newly trained version: `live` if it is the model's first, else `candidate`."""
        self._existing(model, version)
        # The alias is chosen under the lock: of two first trainings at once, only one becomes live.
        with _locked(self.root / model):
            alias = "candidate" if "live" in self.aliases(model) else "live"
            return self._point(model, alias, version, action="train", reason=reason, moment=moment)

    def previous_live(self, model: str) -> str:
        """Return the version that was live before the present one was first promoted.

        Raises
        ------
        StoreError: there is none.
        """
        live = self._aliased(model, "live")
        for change in reversed(self.history(model)):
            is_promotion = change.alias == "live" and change.version == live and change.action != "rollback"
            if is_promotion and change.previous is not None:
                return self._existing(model, change.previous)
        raise StoreError(f"{model}: no version was live before {live}")

    def _point(self, model: str, alias: str, version: str, *, action: str, reason: str, moment: Moment) -> AliasChange:
        folder, aliases = self.root / model, dict(self.aliases(model))
        change = AliasChange(moment.iso, moment.user, action, alias, aliases.get(alias), version, reason)
        aliases[alias] = version
        if alias == "live" and aliases.get("candidate") == version:
            del aliases["candidate"]
        _append(folder / HISTORY, json.dumps(asdict(change), ensure_ascii=False))
        write_atomic(folder / ALIASES, json.dumps(aliases, indent=2))
        return change

    def _aliased(self, model: str, alias: str) -> str:
        aliases = self.aliases(model)
        if alias not in aliases:
            names = join_names(self.models()) if model not in self.models() else join_names(aliases)
            raise StoreError(f"{self.root}: {model!r} has no version {alias!r}", hint=f"choose from: {names}")
        return self._existing(model, aliases[alias])

    def _existing(self, model: str, version: str) -> str:
        versions = self.versions(model)
        if version in versions:
            return version
        hint = f"versions: {join_names(versions, limit=10)}" if versions else f"models: {join_names(self.models())}"
        raise StoreError(f"{self.root}: {model!r} has no version {version!r}", hint=hint)


def describe_models(store: Store) -> list[dict[str, Any]]:
    """Return every model with its aliases and the manifests of its versions, as JSON-ready data."""
    return [
        {
            "name": name,
            "aliases": _readable_aliases(store, name),
            "versions": [
                json.loads((store.root / name / version / MANIFEST).read_bytes()) for version in store.versions(name)
            ],
        }
        for name in store.models()
    ]


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


def version_folder(path: Path) -> Path:
    """Return the version's folder that a path means: the path itself, or a model's live version.

    Raises
    ------
    ArtefactError: the path is neither.
    """
    if (path / MANIFEST).is_file():
        return path
    live = read_aliases(path).get("live")
    if live is not None and Path(live).name == live:
        return path / live
    if not path.exists():
        raise ArtefactError(f"{path}: no such folder", hint="name a version's folder, or a model's: MODEL_FOLDER")
    raise ArtefactError(f"{path}: neither a version's folder nor a model's with a live version")


def _readable_aliases(store: Store, name: str) -> dict[str, str]:
    """Return a model's aliases, none if they are damaged: one broken model must not hide the others."""
    try:
        return dict(store.aliases(name))
    except StoreError:
        return {}


def locate(reference: str | Path, store: Store) -> Path:
    """Return the folder of the version that a folder, a model's folder or a name in the store means now.

    Raises
    ------
    StoreError, ArtefactError: it means none.
    """
    path = Path(reference)
    if path.is_dir():
        return version_folder(path)
    try:
        model, version = store.find(str(reference))
    except StoreError as error:
        hint = error.hint or "give a version's folder, or MODEL, MODEL@ALIAS or MODEL/VERSION"
        raise StoreError(error.message, hint=hint) from None
    return store.root / model / version


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time change aliases; the operating system drops the lock when the process ends."""
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
