"""The store: versions per model, and the aliases `live` and `candidate` with their history, in a folder or on S3."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from estimator.core.clock import Moment
from estimator.core.credentials import redacted
from estimator.core.s3 import SCHEME as S3_SCHEME
from estimator.core.text import did_you_mean, join_names
from estimator.errors import ArtefactError, StoreError
from estimator.store.artefact import MANIFEST
from estimator.store.history import HISTORY, AliasChange, live_stack
from estimator.store.local_storage import LocalStorage, read_aliases
from estimator.store.s3_storage import S3Storage
from estimator.store.signature import is_signature
from estimator.store.storage import Storage
from estimator.store.version_cache import cached_address

# What begins like an address; a Path has made one slash of two.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


@dataclass(frozen=True)
class Store:
    """Models and their versions at a `location`: a folder, or an address such as s3://bucket/models.

    Nothing is read from it before it is needed.
    """

    location: Path | str

    @classmethod
    def at(cls, place: str) -> Store:
        """Return the store of a folder or an address, as a config or a command line has it."""
        return cls(place.removesuffix("/") if _ADDRESS.match(place) else Path(place))

    @cached_property
    def storage(self) -> Storage:
        """What reads and writes at the location.

        Raises
        ------
        StoreError: it is an address of another kind.
        """
        place = str(self.location)
        if place.startswith(S3_SCHEME):
            return S3Storage(place)
        if _ADDRESS.match(place):
            raise StoreError(f"{redacted(place)}: expected a folder, or an address such as s3://bucket/models")
        return LocalStorage(Path(self.location))

    @property
    def is_remote(self) -> bool:
        """Whether its versions are copied to this machine before they are used."""
        return not isinstance(self.storage, LocalStorage)

    @property
    def root(self) -> Path:
        """The folder of a store on this machine.

        Raises
        ------
        StoreError: the store is elsewhere.
        """
        if isinstance(self.storage, LocalStorage):
            return self.storage.root
        raise StoreError(
            f"{self.location}: retraining keeps rows and decisions next to the versions, and needs a store in a folder",
            hint="pass --store FOLDER, such as one on a shared disk; `estimator train` works with this store",
        )

    def check_local(self) -> None:
        """Raise the error of `root` if the store is not on this machine."""
        _ = self.root

    def models(self) -> list[str]:
        """Return the names of all models that have a version."""
        return self.storage.models()

    def versions(self, model: str) -> list[str]:
        """Return a model's versions, oldest first; a version that is still being written does not count."""
        return self.storage.versions(model)

    def folder(self, model: str, version: str) -> Path:
        """Return the folder of a version on this machine, to which it is copied first where the store is elsewhere."""
        return self.storage.folder(model, version)

    def aliases(self, model: str) -> Mapping[str, str]:
        """Return alias -> version.

        Raises
        ------
        StoreError: what says so is damaged.
        """
        return self.storage.aliases(model)

    def history(self, model: str) -> list[AliasChange]:
        """Return every change of the model's aliases, oldest first.

        Raises
        ------
        StoreError: the history or the aliases cannot be read.
        """
        return self.storage.history(model)

    def only_model(self) -> str:
        """Return the model of a store that has just one.

        Raises
        ------
        StoreError: it has none or several.
        """
        names = self.models()
        if len(names) != 1:
            raise StoreError(f"{self.location}: which model?", hint=f"models: {', '.join(names) or 'none'}")
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
        if self.storage.has_model(reference):
            return reference, self._aliased(reference, "live")
        owners = [name for name in self.models() if reference in self.versions(name)]
        if len(owners) == 1:
            return owners[0], reference
        names = [*self.models(), *(version for name in self.models() for version in self.versions(name))]
        problem = "more than one model has the version" if owners else "no model or version"
        raise StoreError(f"{self.location}: {problem} {reference!r}", hint=did_you_mean(reference, names) or None)

    def point(self, model: str, alias: str, version: str, *, action: str, reason: str, moment: Moment) -> AliasChange:
        """Point an alias at a version, atomically, and record it in the history.

        Raises
        ------
        StoreError: the version does not exist.
        FileError: the store cannot be written.
        """
        self._existing(model, version)
        return self.storage.move(
            model, lambda aliases, _: _change(aliases, alias, version, action=action, reason=reason, moment=moment)
        )

    def announce(self, model: str, version: str, *, reason: str, moment: Moment) -> AliasChange:
        """Point an alias at a newly trained version: `live` if it is the model's first, else `candidate`."""
        self._existing(model, version)

        def decide(aliases: Mapping[str, str], _: Sequence[AliasChange]) -> AliasChange:
            # The alias is chosen here: of two first trainings at once, only one becomes live.
            alias = "candidate" if "live" in aliases else "live"
            return _change(aliases, alias, version, action="train", reason=reason, moment=moment)

        return self.storage.move(model, decide)

    def roll_back(self, model: str, *, reason: str, moment: Moment) -> AliasChange:
        """Make the version live again that was live before the present one was promoted, atomically.

        Raises
        ------
        StoreError: there is none, or the history does not say which.
        FileError: the store cannot be written.
        """
        self._aliased(model, "live")

        def decide(aliases: Mapping[str, str], changes: Sequence[AliasChange]) -> AliasChange:
            # What is live is read here: two rollbacks at once go back two steps.
            live, stack = self._aliased(model, "live", aliases), live_stack(changes)
            if stack[-1:] != [live]:
                raise StoreError(
                    f"{self.location}/{model}/{HISTORY}: does not say how {live} became live, so not what was live "
                    "before",
                    hint=f"estimator promote VERSION; estimator history {model}",
                )
            if len(stack) == 1:
                raise StoreError(f"{model}: no version was live before {live}")
            previous = self._existing(model, stack[-2])
            return _change(aliases, "live", previous, action="rollback", reason=reason, moment=moment)

        return self.storage.move(model, decide)

    def _aliased(self, model: str, alias: str, aliases: Mapping[str, str] | None = None) -> str:
        """Return the version of an alias, as it is now or among those given."""
        aliases = self.aliases(model) if aliases is None else aliases
        if alias not in aliases:
            names = join_names(aliases) if self.storage.has_model(model) else join_names(self.models())
            raise StoreError(f"{self.location}: {model!r} has no version {alias!r}", hint=f"choose from: {names}")
        return self._existing(model, aliases[alias])

    def _existing(self, model: str, version: str) -> str:
        if self.storage.has_version(model, version):
            return version
        versions = self.versions(model)
        hint = f"versions: {join_names(versions, limit=10)}" if versions else f"models: {join_names(self.models())}"
        raise StoreError(f"{self.location}: {model!r} has no version {version!r}", hint=hint)


def _change(
    aliases: Mapping[str, str], alias: str, version: str, *, action: str, reason: str, moment: Moment
) -> AliasChange:
    user, reason = redacted(moment.user), redacted(reason)
    return AliasChange(moment.iso, user, action, alias, aliases.get(alias), version, reason)


def store_of(folder: Path) -> Store:
    """Return the store in which a version's folder lies, or of which it is a copy."""
    return Store(cached_address(folder) or folder.parent.parent)


def describe_models(store: Store) -> list[dict[str, Any]]:
    """Return every model with its aliases and the manifests of its versions, as JSON-ready data.

    `own` is whether a version is signed with this user's key.
    """
    return [
        {
            "name": name,
            "aliases": _readable_aliases(store, name),
            "versions": [
                {**json.loads(manifest), "own": is_signature(signature, manifest)}
                for manifest, signature in store.storage.manifests(name)
            ],
        }
        for name in store.models()
    ]


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
    if _ADDRESS.match(str(reference)):
        raise StoreError(
            f"{redacted(str(reference))}: not a version", hint="name its store apart: MODEL --store ADDRESS"
        )
    try:
        model, version = store.find(str(reference))
    except StoreError as error:
        hint = error.hint or "give a version's folder, or MODEL, MODEL@ALIAS or MODEL/VERSION"
        raise StoreError(error.message, hint=hint) from None
    return store.folder(model, version)
