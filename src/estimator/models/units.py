"""The units that a matrix and its target are fitted in, so that single precision keeps the digits of numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.stored_matrix import StoredMatrix, changed_columns, column_of
from estimator.core.units import NOISE_STEPS, PLAIN, Arithmetic, Units
from estimator.graph.builder import Graph
from estimator.models.dataset import EncodedFitData, EncodedRows

STATE_FILE = "units.json"


@dataclass(frozen=True, slots=True)
class MatrixUnits:
    """The units of the target, and those of the matrix columns that are not plain, by their index."""

    target: Units = PLAIN
    columns: tuple[tuple[int, Units], ...] = ()

    @classmethod
    def of(
        cls,
        data: EncodedFitData,
        *,
        target: Arithmetic | None,
        with_offset: bool,
        with_scale: bool,
        columns: Arithmetic | None,
    ) -> Self:
        """Return the units for the rows to fit; without an `Arithmetic`, values are left as they are.

        A target whose loss does not allow the offset or scale that it needs keeps its units.
        """
        of_target = Units() if target is None else Units.of(data.rows.target[data.rows.weights > 0], target)
        if (of_target.offset and not with_offset) or (of_target.scale != 1.0 and not with_scale):
            of_target = Units()
        if columns is None:
            return cls(of_target)
        numbers = (index for index in range(data.rows.width) if index not in set(data.categorical))
        found = ((index, _column_units(column_of(data.rows.cells, index), columns)) for index in numbers)
        return cls(of_target, tuple((index, units) for index, units in found if not units.are_plain))

    @classmethod
    def from_state(cls, state: Mapping[str, bytes]) -> Self:
        """Return the units that an earlier version was fitted in."""
        if STATE_FILE not in state:
            return cls()
        data = json.loads(state[STATE_FILE])
        return cls(Units(*data["target"]), tuple((index, Units(*units)) for index, *units in data["columns"]))

    @property
    def are_plain(self) -> bool:
        """Whether they leave everything as it is."""
        return self.target.are_plain and not self.columns

    def matrix(self, matrix: Floats) -> Floats:
        """Return a matrix in these units."""
        rescaled = changed_columns(matrix, {index: units.apply for index, units in self.columns})
        assert not isinstance(rescaled, StoredMatrix)
        return rescaled

    def write_matrix(self, graph: Graph, matrix: str, width: int) -> str:
        """Write `matrix`, of shape (rows, width)."""
        if not self.columns:
            return matrix
        offsets, scales = np.zeros((1, width)), np.ones((1, width))
        for index, units in self.columns:
            offsets[0, index], scales[0, index] = units.offset * units.scale, units.scale
        return graph("Sub", graph("Mul", matrix, graph.constant(scales)), graph.constant(offsets))

    def data(self, data: EncodedFitData) -> EncodedFitData:
        """Return rows to fit in these units."""
        return replace(
            data,
            rows=self._rows(data.rows),
            held_out=data.held_out and self._rows(data.held_out),
            validation_fold=data.validation_fold and self._rows(data.validation_fold),
        )

    def _rows(self, rows: EncodedRows) -> EncodedRows:
        cells = changed_columns(rows.cells, {index: units.apply for index, units in self.columns})
        return EncodedRows(cells, self.target.apply(rows.target), rows.weights)

    def to_data(self) -> dict[str, Any]:
        """Return JSON-ready data."""
        columns = [[index, units.offset, units.scale] for index, units in self.columns]
        return {"target": [self.target.offset, self.target.scale], "columns": columns}


def _column_units(values: Floats, arithmetic: Arithmetic) -> Units:
    present = values[np.isfinite(values)]
    if len(present) == 0:
        return Units()
    low, high = float(present.min()), float(present.max())
    with np.errstate(over="ignore"):
        is_constant = high - low <= NOISE_STEPS * np.spacing(max(abs(low), abs(high)))
    return Units() if is_constant else Units.of(present, arithmetic)
