"""The levels of a category as training saw them, and their positions inside the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Ints
from estimator.graph.builder import ML_DOMAIN, Graph


def training_levels(values: npt.NDArray[Any]) -> tuple[str, ...]:
    """Return the levels that occur, sorted, gaps left out."""
    return tuple(sorted({str(value) for value in values.tolist()} - {""}))


def write_positions(graph: Graph, column: str, levels: tuple[str, ...], *, gap: int, unseen: int) -> str:
    """Write text -> position: 0, 1, ... for the levels, `gap` for "", `unseen` for all else. Shape (rows, 1)."""
    return graph(
        "LabelEncoder",
        column,
        domain=ML_DOMAIN,
        keys_strings=[*levels, ""],
        values_int64s=[*range(len(levels)), gap],
        default_int64=unseen,
    )


def positions(values: npt.NDArray[Any], levels: tuple[str, ...]) -> Ints:
    """Return each value's position among the levels; the number of levels for a gap."""
    known = {level: position for position, level in enumerate(levels)}
    return np.array([known.get(str(value), len(levels)) for value in values.tolist()], dtype=np.int64)
