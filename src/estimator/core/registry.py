"""Shelves: the kinds of an extension point by name, shipped or from plug-ins, imported only when used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeVar

from estimator.core.text import did_you_mean, join_names
from estimator.errors import ConfigError, PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

Kind = TypeVar("Kind")


# How messages call what entry points name shorter.
NOUN_TEXTS = {"drift": "drift test", "detector": "sequential drift test"}


@dataclass(frozen=True)
class Shelf(Generic[Kind]):
    """An extension point: the kinds we ship plus those of installed plug-ins.

    A plug-in registers an entry point in the group `estimator.<noun>`, in the same form as `kinds`:
    name -> "module:Class". It cannot replace a shipped kind or an alias. `aliases` are other names of shipped kinds.

    >>> shelf = Shelf[object]("metric", {"mae": "estimator.evaluation.metrics.regression:MeanAbsoluteError"})
    >>> "mae" in shelf, shelf.load("mae").__name__
    (True, 'MeanAbsoluteError')
    """

    noun: str
    kinds: Mapping[str, str]
    aliases: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _plugins(self) -> dict[str, list[EntryPoint]]:
        # Slow: it reads the metadata of every installed package, so it waits until a name is unknown.
        from importlib.metadata import entry_points

        plugins: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=f"estimator.{self.noun}"):
            if point.name not in self.kinds and point.name not in self.aliases:
                plugins.setdefault(point.name, []).append(point)
        return plugins

    def __contains__(self, name: object) -> bool:
        return name in self.kinds or name in self.aliases or name in self._plugins

    def __iter__(self) -> Iterator[str]:
        return iter([*self.names(), *self.aliases])

    def names(self) -> list[str]:
        """Return the name of every kind, shipped ones first, without aliases."""
        return [*self.kinds, *sorted(self._plugins)]

    def name_of(self, kind: type) -> str:
        """Return the name of a class that `load` returned."""
        for name, path in self.kinds.items():
            if _is_at(path, kind):
                return name
        return next(
            name for name, points in self._plugins.items() if _is_at(f"{points[0].module}:{points[0].attr}", kind)
        )

    def canonical(self, name: str) -> str:
        """Return the name of a kind for one of its aliases; other names are returned as they are."""
        return self.aliases.get(name, name)

    def package_of(self, name: str) -> str | None:
        """Return the package whose plug-in adds a kind, None for a shipped kind."""
        is_shipped = name in self.kinds or name in self.aliases
        return None if is_shipped or name not in self._plugins else _package(self._plugins[name][0])

    def load(self, name: str) -> type[Kind]:
        """Return the class of a kind.

        Raises
        ------
        ConfigError: the shelf has no such kind.
        PluginError: the kind is of a plug-in that cannot be imported, or of two.
        """
        if name not in self:
            raise ConfigError(
                f"no {NOUN_TEXTS.get(self.noun, self.noun)} called {name!r}", hint=did_you_mean(name, self)
            )
        kind = self.canonical(name)
        if kind not in self.kinds:
            return self._load_plugin(self._plugins[kind])
        module, _, attribute = self.kinds[kind].partition(":")
        loaded: type[Kind] = getattr(importlib.import_module(module), attribute)
        return loaded

    def _load_plugin(self, points: Sequence[EntryPoint]) -> type[Kind]:
        point, *others = points
        package = _package(point)
        if others:
            packages = join_names(repr(_package(item)) for item in points)
            raise PluginError(
                f"more than one package registers the {self.noun} {point.name!r}: {packages}",
                hint=f"remove all but one of them, for example pip uninstall {package}",
            )
        try:
            loaded: type[Kind] = point.load()
            if not isinstance(loaded, type):
                raise TypeError(f"expected a class, got {loaded!r:.80}")
        # A plug-in is foreign code: importing it may fail in any way.
        except Exception as error:
            raise PluginError(
                f"package {package!r} registers the {self.noun} {point.name!r} as {point.value}, "
                f"which cannot be imported: {type(error).__name__}: {error}",
                hint=f"update or remove it: pip install --upgrade {package}, or pip uninstall {package}",
            ) from error
        return loaded


def _package(point: EntryPoint) -> str:
    return str(point.dist.name) if point.dist is not None else point.module


def _is_at(path: str, kind: type) -> bool:
    """Whether a class is the one at "module:Class"; it was imported, so a module that was not need not be."""
    module, _, attribute = path.partition(":")
    return getattr(sys.modules.get(module), attribute, None) is kind
