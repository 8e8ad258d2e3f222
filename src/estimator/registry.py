"""A kind's name -> its class, imported only when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from estimator.errors import ConfigError
from estimator.wording import did_you_mean

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Shelf(Generic[Kind]):
    """One extension point: the kinds we ship plus those of installed plug-ins.

    A plug-in registers an entry point in the group `estimator.<noun>`, in the same form as `kinds`:
    name -> "module:Class". A shipped name cannot be taken over.
    """

    noun: str
    kinds: Mapping[str, str]

    @cached_property
    def _all(self) -> dict[str, str]:
        plugged = {point.name: point.value for point in entry_points(group=f"estimator.{self.noun}")}
        return {**plugged, **self.kinds}

    def names(self) -> list[str]:
        """Return every kind's name, shipped ones first."""
        return [*self.kinds, *sorted(set(self._all) - set(self.kinds))]

    def load(self, kind: str) -> type[Kind]:
        """Return the class of a kind.

        Raises
        ------
        ConfigError: no such kind on this shelf.
        """
        path = self.kinds.get(kind) or self._all.get(kind)
        if path is None:
            raise ConfigError(f"no {self.noun} called {kind!r}", hint=did_you_mean(kind, self.names()))
        module, _, name = path.partition(":")
        found: type[Kind] = getattr(importlib.import_module(module), name)
        return found
