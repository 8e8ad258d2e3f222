"""The contract of a place where a store's versions lie: it lists and writes them, copies them here, moves aliases."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from estimator.store.history import AliasChange

# The aliases and their history as they are now -> the move to make.
Decide = Callable[[Mapping[str, str], Sequence[AliasChange]], AliasChange]


class Storage(ABC):
    """Versions by model, each of which appears as a whole and never changes, and aliases, which move one at a time."""

    # A server asks this often whether an alias has moved; 0 means each time it looks, which is each second.
    poll_seconds: ClassVar[float] = 0.0

    @property
    @abstractmethod
    def disk(self) -> Path:
        """The folder of this machine in which versions lie, or are copied."""

    @abstractmethod
    def models(self) -> list[str]:
        """Return the names of all models that have a version."""

    @abstractmethod
    def versions(self, model: str) -> list[str]:
        """Return a model's versions, oldest first; a version that is still being written does not count."""

    def has_model(self, model: str) -> bool:
        """Whether a model has a version."""
        return model in self.models()

    def has_version(self, model: str, version: str) -> bool:
        """Whether a model has this version."""
        return version in self.versions(model)

    @abstractmethod
    def manifests(self, model: str) -> list[tuple[bytes, bytes]]:
        """Return the manifest and the signature, b"" for none, of each of a model's versions, oldest first."""

    @abstractmethod
    def folder(self, model: str, version: str) -> Path:
        """Return the folder of a version on this machine."""

    @abstractmethod
    def write(self, model: str, version: str, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> Path:
        """Write a version, signed, so that it appears as a whole or not at all; return its folder on this machine."""

    @abstractmethod
    def sign(self, model: str, version: str) -> None:
        """Sign a version that was made elsewhere with this user's key."""

    @abstractmethod
    def aliases(self, model: str) -> Mapping[str, str]:
        """Return alias -> version."""

    @abstractmethod
    def history(self, model: str) -> list[AliasChange]:
        """Return every move of a model's aliases, oldest first."""

    @abstractmethod
    def move(self, model: str, decide: Decide) -> AliasChange:
        """Make the move of an alias that `decide` returns, and record it, in one step.

        Of two moves at once, the second is decided on what the first has led to; `decide` may be called again.
        """

    @abstractmethod
    def check_writable(self) -> None:
        """Raise an error if versions and moves cannot be written, where that can be known before hours of training."""

    def unfinished(self) -> list[str]:
        """Return the places of versions that a killed writer has left, and that no list shows."""
        return []
