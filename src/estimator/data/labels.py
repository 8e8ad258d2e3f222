"""Labels -> numbers or class codes, read as training read the target: by the target's own column of the schema.

One label at a time, without polars, for a server; `data.target` reads whole columns by the same value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats
from estimator.core.task import Task
from estimator.core.text import closest, format_plain, join_names
from estimator.data.schema.cells import CellError, read_cell
from estimator.data.schema.column import FALSE_WORDS, NUMERIC_KINDS, TRUE_WORDS, Column

MAX_NAMED_CLASSES = 12


def open_target(column: Column) -> Column:
    """Return the target as a column of numbers or of classes that accepts any of them, and missing labels."""
    is_constant_number = column.kind == "constant" and isinstance(column.example, int | float)
    kind: Any = "number" if is_constant_number else column.kind if column.kind in NUMERIC_KINDS else "category"
    return replace(column, kind=kind, nullable=True, range=None, categories={}, unknown="other")


@dataclass(frozen=True)
class TargetReader:
    """Reads labels of a target, whose `column` is that of the schema.

    A label of a class may have any spelling that the column reads as that class. Where the two classes are a true and a
    false one, such as "yes" and "no", any spelling of a boolean will do, and JSON's true and false.

    >>> reader = TargetReader(Column("sold", "boolean"), Task("binary", ("False", "True")))
    >>> [reader.read(value) for value in ("True", "true", True, 1, "no")]
    [1.0, 1.0, 1.0, 1.0, 0.0]
    """

    column: Column
    task: Task

    @cached_property
    def open_column(self) -> Column:
        """The target without limits, which reads a single cell."""
        return open_target(self.column)

    def read(self, value: object) -> float:
        """Return a label as a number or as the code of its class.

        Raises
        ------
        CellError: it is missing, or is not a number or a class.
        """
        try:
            cell = read_cell(self.open_column, value)
        except CellError as error:
            code = self._boolean_code(value)
            if code is None:
                raise (error if self.task.is_regression else self._unknown(value)) from None
            return code
        code = self._code(cell, value)
        if math.isnan(code):
            is_missing = cell == "" or cell != cell
            raise self._missing(value) if is_missing else self._unknown(value)
        return code

    def label(self, value: object) -> float | str:
        """Return a label as it is stored: a number, or the name of its class.

        >>> TargetReader(Column("sold", "boolean"), Task("binary", ("False", "True"))).label(True)
        'True'

        Raises
        ------
        CellError: see `read`.
        """
        code = self.read(value)
        return code if self.task.is_regression else self.task.classes[int(code)]

    def codes(self, raw: npt.NDArray[Any]) -> Floats:
        """Return cells of the open column, of shape (rows,), as numbers or class codes; NaN where they are neither."""
        if self.task.is_regression:
            return raw.astype(np.float64)
        return self.task.codes(class_names(self.open_column, raw))

    def _code(self, cell: float | str, value: object) -> float:
        code = float(self.codes(np.array([cell], dtype=object if isinstance(cell, str) else np.float64))[0])
        boolean = self._boolean_code(value) if math.isnan(code) else None
        return code if boolean is None else boolean

    @cached_property
    def _code_by_boolean(self) -> Mapping[bool, float]:
        """The class that is true and the one that is false; empty unless there is one of each."""
        meanings = [_as_boolean(name) for name in self.task.classes]
        return {True: float(meanings.index(True)), False: float(meanings.index(False))} if _is_pair(meanings) else {}

    def _boolean_code(self, value: object) -> float | None:
        if not isinstance(value, bool) and self.column.kind not in ("boolean", *NUMERIC_KINDS):
            return None
        meaning = _as_boolean(value)
        return None if meaning is None else self._code_by_boolean.get(meaning)

    @property
    def expectation(self) -> str:
        """What a label must be, as in "expected a number"."""
        if self.task.is_regression:
            return self.open_column.expectation
        return f"one of the classes {join_names(map(repr, self.task.classes), limit=MAX_NAMED_CLASSES)}"

    def _unknown(self, value: object) -> CellError:
        guess = closest(value, self.task.classes) if isinstance(value, str) else None
        question = f"; did you mean {guess!r}?" if guess else ""
        return CellError(f"expected {self.expectation}, got {_shown(value)}{question}")

    def _missing(self, value: object) -> CellError:
        return CellError(f"expected {self.expectation}, got a missing value ({_shown(value)})")


def class_names(column: Column, raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return cells of an open target, of shape (rows,), as names of classes; "" where a label is missing."""
    if column.is_string:
        return raw
    return np.array(["" if np.isnan(value) else format_plain(value) for value in raw.tolist()], dtype=object)


def _is_pair(meanings: list[bool | None]) -> bool:
    return len(meanings) == 2 and set(meanings) == {True, False}


def _as_boolean(value: object) -> bool | None:
    word = str(value).strip().lower() if isinstance(value, bool | int | float | str) else ""
    return True if word in TRUE_WORDS else False if word in FALSE_WORDS else None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
