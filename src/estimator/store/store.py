"""The store: a folder of versions per model, and the aliases `live` and `candidate` with their history."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from estimator.core.clock import Moment
from estimator.core.credentials import redacted
from estimator.core.files import TEMPORARY_PREFIX, write_atomic
from estimator.core.lock import locked
from estimator.core.text import did_you_mean, join_names
from estimator.errors import ArtefactError, EstimatorError, StoreError
from estimator.store.artefact import MANIFEST
from estimator.store.history import AliasChange, History, live_stack
from estimator.store.signature import is_signed

ALIASES = "aliases.json"


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
        """Return every change of the model's aliases, oldest first.

        A last line that was cut off, or tells of a move that was never made, is removed, and the log says so.

        Raises
        ------
        StoreError: the history or the aliases cannot be read.
        """
        history = History.read(self.root / model, self.aliases(model))
        if history.problem is not None:
            # Where nothing can be written the line does not count either.
            with suppress(StoreError), self._locked(model):
                history = self._history(model)
        return list(history.changes)

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
        with self._locked(model):
            return self._point(model, alias, version, action=action, reason=reason, moment=moment)

    def announce(self, model: str, version: str, *, reason: str, moment: Moment) -> AliasChange:
        """Point an alias at a newly trained version: `live` if it is the model's first, else `candidate`."""
        self._existing(model, version)
        # The alias is chosen under the lock: of two first trainings at once, only one becomes live.
        with self._locked(model):
            alias = "candidate" if "live" in self.aliases(model) else "live"
            return self._point(model, alias, version, action="train", reason=reason, moment=moment)

    def roll_back(self, model: str, *, reason: str, moment: Moment) -> AliasChange:
        """Make the version live again that was live before the present one was promoted, atomically.

        Raises
        ------
        StoreError: there is none, or the history does not say which.
        FileError: the store cannot be written.
        """
        self._aliased(model, "live")
        with self._locked(model):
            # What is live is read under the lock: two rollbacks at once go back two steps.
            live = self._aliased(model, "live")
            history = self._history(model)
            stack = live_stack(history.changes)
            if stack[-1:] != [live]:
                raise StoreError(
                    f"{history.path}: does not say how {live} became live, so not what was live before",
                    hint=f"estimator promote VERSION; estimator history {model}",
                )
            if len(stack) == 1:
                raise StoreError(f"{model}: no version was live before {live}")
            previous = self._existing(model, stack[-2])
            return self._point(model, "live", previous, action="rollback", reason=reason, moment=moment)

    def _point(self, model: str, alias: str, version: str, *, action: str, reason: str, moment: Moment) -> AliasChange:
        folder, aliases = self.root / model, dict(self.aliases(model))
        user, reason = redacted(moment.user), redacted(reason)
        change = AliasChange(moment.iso, user, action, alias, aliases.get(alias), version, reason)
        aliases[alias] = version
        if alias == "live" and aliases.get("candidate") == version:
            del aliases["candidate"]
        try:
            self._history(model).append(change)
            # This is the move: one atomic step, which makes the line count.
            write_atomic(folder / ALIASES, json.dumps(aliases, indent=2))
        except BaseException:
            with suppress(EstimatorError):
                self._history(model)
            raise
        return change

    def _history(self, model: str) -> History:
        """Return the history, repaired; the caller holds the lock."""
        return History.read(self.root / model, self.aliases(model)).repaired()

    def _locked(self, model: str) -> AbstractContextManager[None]:
        return locked(self.root / model / ALIASES, error_type=StoreError)

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
    """Return every model with its aliases and the manifests of its versions, as JSON-ready data.

    `own` is whether a version is signed with this user's key.
    """
    return [
        {
            "name": name,
            "aliases": _readable_aliases(store, name),
            "versions": [_described(store.root / name / version) for version in store.versions(name)],
        }
        for name in store.models()
    ]


def _described(folder: Path) -> dict[str, Any]:
    content = (folder / MANIFEST).read_bytes()
    return {**json.loads(content), "own": is_signed(folder, content)}


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
