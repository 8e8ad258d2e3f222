"""Shelves: the kinds of an extension point by name, shipped or from plug-ins, imported only when used."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeVar

from estimator.core.text import did_you_mean
from estimator.errors import ConfigError, PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Shelf(Generic[Kind]):
    """An extension point: the kinds we ship plus those of installed plug-ins.

    A plug-in registers an entry point in the group `estimator.<noun>`, in the same form as `kinds`:
    name -> "module:Class". It cannot replace a shipped kind. `aliases` are other names of shipped kinds.
    """

    noun: str
    kinds: Mapping[str, str]
    aliases: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _plugins(self) -> dict[str, EntryPoint]:
        # Slow: it reads the metadata of every installed package, so it waits until a name is unknown.
        from importlib.metadata import entry_points

        return {point.name: point for point in entry_points(group=f"estimator.{self.noun}")}

    def __contains__(self, name: object) -> bool:
        return name in self.kinds or name in self.aliases or name in self._plugins

    def __iter__(self) -> Iterator[str]:
        return iter([*self.names(), *self.aliases])

    def names(self) -> list[str]:
        """Return the name of every kind, shipped ones first, without aliases."""
        return [*self.kinds, *sorted(set(self._plugins) - set(self.kinds))]

    def name_of(self, kind: type) -> str:
        """Return the name of a class that `load` returned."""
        return next(name for names in (self.kinds, self) for name in names if self.load(name) is kind)

    def canonical(self, name: str) -> str:
        """Return the name of a kind for one of its aliases; other names are returned as they are."""
        return self.aliases.get(name, name)

    def load(self, name: str) -> type[Kind]:
        """Return the class of a kind.

        Raises
        ------
        ConfigError: the shelf has no such kind.
        PluginError: the kind is of a plug-in that cannot be imported.
        """
        if name not in self:
            raise ConfigError(f"no {self.noun} called {name!r}", hint=did_you_mean(name, self))
        kind = self.canonical(name)
        if kind not in self.kinds:
            return self._load_plugin(self._plugins[kind])
        module, _, attribute = self.kinds[kind].partition(":")
        loaded: type[Kind] = getattr(importlib.import_module(module), attribute)
        return loaded

    def _load_plugin(self, point: EntryPoint) -> type[Kind]:
        try:
            loaded: type[Kind] = point.load()
        # A plug-in is foreign code: importing it may fail in any way.
        except Exception as error:
            package = point.dist.name if point.dist is not None else point.module
            raise PluginError(
                f"package {package!r} registers the {self.noun} {point.name!r} as {point.value}, "
                f"which cannot be imported: {type(error).__name__}: {error}",
                hint=f"update or remove it: pip install --upgrade {package}, or pip uninstall {package}",
            ) from error
        return loaded
