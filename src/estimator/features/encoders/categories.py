"""Categories of the training rows, and their codes: the numbers 0, 1, ... in sorted order."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Ints
from estimator.graph.builder import ML_DOMAIN, Graph


def training_categories(values: npt.NDArray[Any]) -> tuple[str, ...]:
    """Return the distinct values, sorted, without the missing value "".

    >>> training_categories(np.array(["b", "a", "", "b"]))
    ('a', 'b')
    """
    return tuple(sorted({str(value) for value in values.tolist()} - {""}))


def category_codes(values: npt.NDArray[Any], categories: tuple[str, ...]) -> Ints:
    """Return each value's code; the number of categories for any other value.

    >>> category_codes(np.array(["b", "a", "new"]), ("a", "b")).tolist()
    [1, 0, 2]
    """
    code_of = {category: code for code, category in enumerate(categories)}
    return np.array([code_of.get(str(value), len(categories)) for value in values.tolist()], dtype=np.int64)


def write_codes(graph: Graph, column: str, categories: tuple[str, ...], *, missing: int, unknown: int) -> str:
    """Write text -> code, of shape (rows, 1): `missing` for "", `unknown` for a category that training did not have."""
    return graph(
        "LabelEncoder",
        column,
        domain=ML_DOMAIN,
        keys_strings=[*categories, ""],
        values_int64s=[*range(len(categories)), missing],
        default_int64=unknown,
    )
