"""The contract of an engine: an ordered map of a function over items, which may run anywhere."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, TypeVar

from estimator.config import EngineChoice

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")


def ignored(item: Any, result: Any) -> None:
    """Do nothing as an item ends."""


class Engine(ABC):
    """Where independent work runs. The same function, items and threads give the same results on every engine.

    `is_here`: items run in this process, and share its memory; otherwise `shared`, items and results are copied.
    """

    is_here: ClassVar[bool]

    @classmethod
    @abstractmethod
    def open(cls, choice: EngineChoice) -> AbstractContextManager[Engine]:
        """Context manager: the engine that a config's section `engine` describes.

        Raises
        ------
        ConfigError: it cannot be reached.
        """

    @abstractmethod
    def map(
        self,
        function: Callable[[Shared, Item], Result],
        shared: Shared,
        items: Sequence[Item],
        *,
        n_jobs: int = 0,
        threads: int = 1,
        on_end: Callable[[Item, Result], None] = ignored,
    ) -> list[Result]:
        """Return `function(shared, item)` for every item, in the order of the items.

        `shared` is what all items need, such as the rows; it travels once, and must not be changed. `n_jobs` items
        run at once on this machine, 0 for one per processor; another machine takes as many as it has processors for.
        Each may use so many `threads`, 0 for all of its machine; BLAS is held to one. `on_end` is called here, for one
        item at a time, in the order in which they end.

        An error of an item or of `on_end` is raised as it is, that of the first item where there are several; items
        that have not begun are dropped.

        Raises
        ------
        EngineError: the engine was lost.
        """
