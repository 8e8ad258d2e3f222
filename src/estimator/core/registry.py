"""A kind's name -> its class, imported only when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

from estimator.core.text import did_you_mean
from estimator.errors import ConfigError

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Shelf(Generic[Kind]):
    """One extension point: the kinds we ship plus those of installed plug-ins.

    A plug-in registers an entry point in the group `estimator.<noun>`, in the same form as `kinds`:
    name -> "module:Class". A shipped name cannot be taken over. `aliases` are other names of shipped kinds.
    """

    noun: str
    kinds: Mapping[str, str]
    aliases: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _plugged(self) -> dict[str, str]:
        # Looking for plug-ins reads the files of every installed package, so it waits until it matters.
        from importlib.metadata import entry_points

        return {point.name: point.value for point in entry_points(group=f"estimator.{self.noun}")}

    def __contains__(self, name: object) -> bool:
        return name in self.kinds or name in self.aliases or name in self._plugged

    def __iter__(self) -> Iterator[str]:
        return iter([*self.names(), *self.aliases])

    def names(self) -> list[str]:
        """Return every kind's name, shipped ones first, aliases left out."""
        return [*self.kinds, *sorted(set(self._plugged) - set(self.kinds))]

    def name_of(self, kind: type) -> str:
        """Return the name of a class that `load` gave; shipped kinds are asked first."""
        return next(name for names in (self.kinds, self) for name in names if self.load(name) is kind)

    def canonical(self, name: str) -> str:
        """Return a kind's own name for one of its aliases."""
        return self.aliases.get(name, name)

    def load(self, name: str) -> type[Kind]:
        """Return the class of a kind.

        Raises
        ------
        ConfigError: no such kind on this shelf.
        """
        if name not in self:
            raise ConfigError(f"no {self.noun} called {name!r}", hint=did_you_mean(name, self))
        kind = self.canonical(name)
        module, _, attribute = (self.kinds.get(kind) or self._plugged[kind]).partition(":")
        found: type[Kind] = getattr(importlib.import_module(module), attribute)
        return found
