"""What a fit costs: processor seconds by the number of rows, columns and classes.

The constants were measured on the machine of benchmarks/RESULTS.md; `training/forecast.py` allows for a slower one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FitShape:
    """The size of one fit: its matrix, the classes (1 for a number), and whether the rounds of trees are refitted.

    `n_columns` counts the table's features. `rounds` is how many rounds of trees a trial needed, None without one.
    """

    n_rows: int
    width: int
    n_columns: int
    n_outputs: int
    refits: bool = True
    rounds: int | None = None


@dataclass(frozen=True, slots=True)
class FitCost:
    """Seconds of one fit, seconds to predict a row by its graph, and the trees that the graph holds."""

    seconds: float
    row_seconds: float
    n_trees: int = 0


@dataclass(frozen=True, slots=True)
class LibraryCost:
    """What a library takes once: seconds to import it and to compile, and the memory it then holds."""

    seconds: float = 0.0
    memory_bytes: int = 0

    @classmethod
    def together(cls, libraries: Collection[LibraryCost]) -> LibraryCost:
        """Return what several libraries take: half of what each takes is common to all."""
        seconds, memory = ([cost.seconds for cost in libraries], [cost.memory_bytes for cost in libraries])
        return cls((sum(seconds) + max(seconds, default=0.0)) / 2, (sum(memory) + max(memory, default=0)) // 2)
