"""A store on S3: versions are copied once to this machine, and aliases move by conditional writes, without a lock.

A model's `history.jsonl` is one object, which is replaced only while it is still the one that was read. So a move and
its line are one step, and the aliases are what the lines lead to. A version's manifest is its last object: without it,
there is no version.
"""

from __future__ import annotations

import hashlib
import random
import re
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, reduce
from math import inf
from pathlib import Path
from typing import Any, ClassVar

from estimator.core.s3 import S3Folder, S3Object
from estimator.errors import ArtefactError, EstimatorError, StoreError
from estimator.store.artefact import MANIFEST, NAME, sealed
from estimator.store.history import HISTORY, AliasChange, change_line, moved, parsed_line
from estimator.store.signature import SIGNATURE
from estimator.store.storage import Decide, Storage
from estimator.store.version_cache import CachedVersion, cache_folder

# A name as trainings give it; other folders next to versions are somebody's own.
VERSION_NAME = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ-[0-9a-f]{6}")
# An upload that is younger may still be going on.
UPLOAD_SECONDS = 3600.0
# How often a move is decided again, after others that were made at the same time.
ATTEMPTS, PAUSE_SECONDS = 50, 0.05
N_CONNECTIONS = 8
# A server that follows an alias to a damaged version does not copy it again at every look.
DAMAGE_SECONDS = 60.0
PROBE = ".conditional-writes"
# No object has this tag.
NO_ETAG = '"00000000000000000000000000000000"'


class S3Storage(Storage):
    """The objects below an address: MODEL/VERSION/FILE, and MODEL/history.jsonl.

    Mutable: it remembers what cannot change, so that a server which follows an alias sends one request at a time, and
    the journals it has read, which are sent again only if they have changed.
    """

    poll_seconds: ClassVar[float] = 5.0

    def __init__(self, url: str) -> None:
        self._objects = S3Folder(url, StoreError)
        self._journals: dict[str, S3Object] = {}
        # Versions that exist, and those of which every file was compared with its hash on this machine.
        self._known: set[tuple[str, str]] = set()
        self._copied: set[tuple[str, str]] = set()
        # Those that are damaged on S3, and when that was seen.
        self._damaged: dict[tuple[str, str], tuple[ArtefactError, float]] = {}
        self._is_writable = False

    @cached_property
    def disk(self) -> Path:
        return cache_folder(self._objects.endpoint, self._objects.url)

    def models(self) -> list[str]:
        return sorted({model for model, version, files in self._listed("") if MANIFEST in files})

    def versions(self, model: str) -> list[str]:
        return sorted(
            version for name, version, files in self._listed(f"{model}/") if name == model and MANIFEST in files
        )

    def has_model(self, model: str) -> bool:
        return any(name == model for name, _ in self._known) or bool(self.versions(model))

    def has_version(self, model: str, version: str) -> bool:
        return (model, version) in self._known or version in self.versions(model)

    def manifests(self, model: str) -> list[tuple[bytes, bytes]]:
        def read(version: str) -> tuple[bytes, bytes] | None:
            manifest = self._objects.read(f"{model}/{version}/{MANIFEST}")
            signature = self._objects.read(f"{model}/{version}/{SIGNATURE}")
            # It may have been removed since it was listed.
            return None if manifest is None else (manifest.content, b"" if signature is None else signature.content)

        with ThreadPoolExecutor(N_CONNECTIONS) as pool:
            return [pair for pair in pool.map(read, self.versions(model)) if pair is not None]

    def folder(self, model: str, version: str) -> Path:
        """Return the folder of a version in the cache of this machine, complete and with the right hashes.

        Raises
        ------
        StoreError: S3 cannot be reached.
        ArtefactError: the version on S3 is damaged, or the cache cannot be written.
        """
        key, cached = (model, version), self._cached(model, version)
        if key not in self._copied:
            failure, failed_at = self._damaged.get(key, (None, -inf))
            if failure is not None and time.monotonic() - failed_at < DAMAGE_SECONDS:
                raise failure
            try:
                cached.fill(lambda names: self._downloads(model, version, names))
            except ArtefactError as error:
                self._damaged[key] = error, time.monotonic()
                raise
            self._copied.add(key)
        return cached.folder

    def write(self, model: str, version: str, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> Path:
        """Write a version to this machine, then to S3, its manifest last; return the folder on this machine.

        Raises
        ------
        StoreError: S3 does not take it: the hint says where it is kept.
        ArtefactError: it cannot be written to this machine.
        """
        cached, content = self._cached(model, version), sealed(version, manifest, files)
        cached.create(content)
        try:
            with ThreadPoolExecutor(N_CONNECTIONS) as pool:
                first = {name: item for name, item in content.items() if name != MANIFEST}
                for _ in pool.map(lambda name: self._create(f"{model}/{version}/{name}", first[name]), first):
                    pass
            self._create(f"{model}/{version}/{MANIFEST}", content[MANIFEST])
        except EstimatorError as error:
            upload = f"aws s3 cp --recursive {cached.folder} {self._objects.url}/{model}/{version}/"
            kept = f"the version is kept: `{upload}`, then `estimator promote {model}/{version}`"
            raise StoreError(error.message, hint=f"{error.hint}; {kept}" if error.hint else kept) from error
        self._known.add((model, version))
        self._copied.add((model, version))
        return cached.folder

    def sign(self, model: str, version: str) -> None:
        cached = self._cached(model, version)
        cached.sign()
        self._objects.replace(f"{model}/{version}/{SIGNATURE}", cached.signature)

    def aliases(self, model: str) -> Mapping[str, str]:
        """Return alias -> version, as the lines of the journal lead to it.

        Raises
        ------
        StoreError: S3 cannot be reached, or the journal is damaged.
        """
        return _aliases(self.history(model))

    def history(self, model: str) -> list[AliasChange]:
        journal = self._journal(model)
        return [] if journal is None else self._changes(model, journal.content)

    def move(self, model: str, decide: Decide) -> AliasChange:
        """Make the move of an alias that `decide` returns: by replacing the journal, if it is still the one read.

        Raises
        ------
        StoreError: S3 cannot be reached, or others kept moving the model's aliases.
        """
        self.check_writable()
        for attempt in range(ATTEMPTS):
            journal = self._journal(model)
            before = b"" if journal is None else journal.content
            changes = self._changes(model, before)
            change = decide(_aliases(changes), changes)
            if self._is_appended(model, journal, before + change_line(change, secrets.token_hex(4))):
                return change
            # Somebody else's move was first: the next one is decided on what it led to.
            time.sleep(random.uniform(0, PAUSE_SECONDS * min(attempt + 1, 10)))  # noqa: S311 # not a secret
        raise StoreError(f"{self._place(model)}: others keep moving aliases of {model}", hint="try again")

    def check_writable(self) -> None:
        """Raise an error if objects cannot be written, or not on a condition; nothing is left on S3.

        Raises
        ------
        StoreError: this, or S3 cannot be reached.
        """
        if self._is_writable:
            return
        if self._objects.write(PROBE, b"", replaces=S3Object(b"", NO_ETAG)):
            self._objects.remove(PROBE)
            raise StoreError(
                f"{self._objects.url}: this server ignores If-Match, so two promotions at once could both be lost",
                hint="use a server with conditional writes, such as AWS S3 or a recent MinIO, or a folder as the store",
            )
        self._is_writable = True

    def unfinished(self) -> list[str]:
        now = time.time()
        return [
            f"{self._objects.url}/{model}/{version}/"
            for model, version, files in self._listed("")
            if MANIFEST not in files and VERSION_NAME.fullmatch(version) and now - max(files.values()) > UPLOAD_SECONDS
        ]

    def _cached(self, model: str, version: str) -> CachedVersion:
        if not NAME.fullmatch(model) or not NAME.fullmatch(version):
            raise StoreError(f"{self._objects.url}: {model!r} has no version {version!r}")
        return CachedVersion(self.disk, model, version, self._objects.url)

    def _listed(self, prefix: str) -> list[tuple[str, str, dict[str, float]]]:
        """Return each model and version whose key begins with a prefix, with its files and when they were written."""
        listed: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        for entry in self._objects.entries(prefix):
            model, _, rest = entry.key.partition("/")
            version, _, file = rest.partition("/")
            # They become folders of this machine.
            if file and NAME.fullmatch(model) and NAME.fullmatch(version):
                listed[model, version][file] = entry.written_at
        self._known |= {key for key, files in listed.items() if MANIFEST in files}
        return [(model, version, files) for (model, version), files in listed.items()]

    def _downloads(self, model: str, version: str, names: Iterable[str]) -> dict[str, bytes]:
        """Return files of a version by name, without those that do not exist."""
        with ThreadPoolExecutor(N_CONNECTIONS) as pool:
            names = list(names)
            stored = pool.map(lambda name: self._objects.read(f"{model}/{version}/{name}"), names)
            return {name: item.content for name, item in zip(names, stored, strict=True) if item is not None}

    def _create(self, key: str, content: bytes) -> None:
        """Write an object that does not exist yet."""
        if self._objects.write(key, content, replaces=None):
            return
        # A request that was repeated after a lost response finds its own object.
        stored = self._objects.read(key)
        if stored is None or hashlib.sha256(stored.content).digest() != hashlib.sha256(content).digest():
            raise StoreError(f"{self._objects.url}/{key}: exists already", hint="train again")

    def _journal(self, model: str) -> S3Object | None:
        journal = self._objects.read(f"{model}/{HISTORY}", self._journals.get(model))
        if journal is None:
            self._journals.pop(model, None)
        else:
            self._journals[model] = journal
        return journal

    def _is_appended(self, model: str, journal: S3Object | None, content: bytes) -> bool:
        """Replace a journal that is still the one read; whether it was, also where the response was lost."""
        failure = None
        try:
            if self._objects.write(f"{model}/{HISTORY}", content, replaces=journal):
                return True
        except StoreError as error:
            failure = error
        try:
            current = self._journal(model)
        except StoreError as error:
            hint = f"whether it moved is not known: see `estimator history {model}` before you try again"
            raise StoreError(error.message, hint=hint if error.hint is None else f"{error.hint}; {hint}") from None
        # Lines are only added, so what begins with ours has it.
        if current is not None and current.content.startswith(content):
            return True
        if failure is not None:
            raise failure
        return False

    def _changes(self, model: str, journal: bytes) -> list[AliasChange]:
        lines = journal.split(b"\n")
        changes = [(number, parsed_line(line)) for number, line in enumerate(lines[:-1], start=1)]
        # What follows the last line break was cut off.
        for number, change in changes if lines[-1] == b"" else [*changes, (len(lines), None)]:
            if change is None:
                raise StoreError(
                    f"{self._place(model)}: line {number} cannot be read, so what is live is not known",
                    hint="restore an earlier version of the object, or remove the line",
                )
        return [change for _, change in changes if change is not None]

    def _place(self, model: str) -> str:
        return f"{self._objects.url}/{model}/{HISTORY}"


def _aliases(changes: Iterable[AliasChange]) -> dict[str, str]:
    return reduce(moved, changes, {})
