"""The sequential tests of one version: have rows or predictions drifted, and have predictions become worse?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats, Ints
from estimator.drift import DETECTORS, DriftReference, SequentialTest
from estimator.drift.design_effect import NeighborCorrelation
from estimator.drift.reference import BinCodes
from estimator.drift.repeats import RecentRows
from estimator.monitoring.degradation import DegradationTest, LabeledErrors
from estimator.monitoring.records import is_present

DETECTOR = "e_process"
NEIGHBORS_EVERY_ROWS = 50
# A weighted mean of e-values is an e-value.
COLUMNS_WEIGHT, PREDICTIONS_WEIGHT = 0.75, 0.25
COUNTERS = ("n_rows", "n_labels", "n_scored", "n_covered", "total_loss")
TESTS = ("columns", "predictions", "degradation")


@dataclass
class VersionMonitor:
    """The tests of one version and the totals of what they have read; mutable, as it follows a stream.

    Once the rows show that their neighbors are not alike as those of training are, `is_random_order`, and the reference
    counts each row as one. `n_labels` counts labels that arrived, `n_scored` those with a loss, `n_covered` those
    that an interval or set held.
    """

    reference: DriftReference
    threshold: float
    target_coverage: float | None = None
    seed: int = 0
    n_rows: int = 0
    n_labels: int = 0
    n_scored: int = 0
    n_covered: int = 0
    total_loss: float = 0.0
    is_random_order: bool = False
    neighbors: NeighborCorrelation = field(init=False)
    recent: RecentRows = field(init=False)
    columns: SequentialTest = field(init=False)
    predictions: SequentialTest = field(init=False)
    degradation: DegradationTest = field(init=False)

    def __post_init__(self) -> None:
        usual = [column.neighbor_correlation for column in self.reference.columns]
        self.neighbors, self.recent = NeighborCorrelation(np.array(usual)), RecentRows(self.reference)
        self._start_tests()

    def _start_tests(self) -> None:
        kind, reference, threshold = DETECTORS.load(DETECTOR), self.reference, self.threshold
        self.columns = kind.of(reference.columns, threshold=threshold, seed=self.seed)
        self.predictions = kind.of([reference.predictions], threshold=threshold, seed=self.seed + 1)
        self.degradation = DegradationTest(reference.held_out, self.target_coverage, reference.metric)

    @property
    def mean_loss(self) -> float:
        """The mean loss of all scored predictions."""
        return self.total_loss / max(self.n_scored, 1)

    def update(self, codes: BinCodes, predictions: npt.NDArray[Any], periods: Ints) -> Floats:
        """Add rows; return the e-value of "rows and predictions have drifted" after each, of shape (rows,).

        A prediction that is NaN or "" is skipped, as is a row that equals an earlier one where training has few such.
        """
        e_values = []
        while True:
            # Neighbors are looked at after as many rows however rows are split into updates.
            n_rows = NEIGHBORS_EVERY_ROWS - self.n_rows % NEIGHBORS_EVERY_ROWS
            e_values.append(self._update(codes[:n_rows], predictions[:n_rows], periods[:n_rows]))
            codes, predictions, periods = codes[n_rows:], predictions[n_rows:], periods[n_rows:]
            if (
                not self.is_random_order
                and self.n_rows % NEIGHBORS_EVERY_ROWS == 0
                and self.neighbors.shows_random_order
            ):
                self._count_every_row()
            if not len(codes):
                return np.concatenate(e_values)

    def _update(self, codes: BinCodes, predictions: npt.NDArray[Any], periods: Ints) -> Floats:
        self.n_rows += len(codes)
        is_new = ~self.recent.repeats(codes)
        of_columns = np.full(len(codes), np.nan)
        before_columns = float(self.columns.e_values.mean()) if codes.shape[1] else 0.0
        if codes.shape[1] and is_new.any():
            of_columns[is_new] = self.columns.update(codes[is_new], periods[is_new]).mean(axis=1)
        e_values = COLUMNS_WEIGHT * _filled_forward(of_columns, before_columns)
        present, before = is_present(predictions) & is_new, float(self.predictions.e_values[0])
        after = np.full(len(codes), np.nan)
        if present.any():
            prediction_codes = self.reference.predictions.codes(predictions[present])[:, None]
            after[present] = self.predictions.update(prediction_codes, periods[present])[:, 0]
        self.neighbors.update(self.reference.mean_ranks(codes))
        return e_values + PREDICTIONS_WEIGHT * _filled_forward(after, before)

    def _count_every_row(self) -> None:
        """Start the tests over for rows of which any may follow any other."""
        self.is_random_order, self.reference = True, self.reference.in_random_order()
        self._start_tests()

    def update_labels(self, rows: LabeledErrors, periods: Ints) -> Floats:
        """Add rows as their labels arrive; return the e-value of "predictions have become worse" after each."""
        is_finite = np.isfinite(rows.losses)
        self.n_labels += len(rows)
        self.total_loss += float(rows.losses[is_finite].sum())
        self.n_scored += int(is_finite.sum())
        self.n_covered += int(np.nansum(rows.covered))
        return self.degradation.update(rows, periods)

    def restart_rows(self) -> None:
        """Start the tests of rows and predictions over, after an alarm."""
        self.columns.restart()
        self.predictions.restart()

    def e_values_by_column(self) -> dict[str, float]:
        """Return the present e-value of each column, and of the predictions."""
        by_column = {
            column.name: e_value
            for column, e_value in zip(self.reference.columns, self.columns.e_values.tolist(), strict=True)
        }
        return {**by_column, self.reference.predictions.name: float(self.predictions.e_values[0])}

    def to_data(self) -> dict[str, Any]:
        """Return the state as JSON-ready data."""
        totals = {name: getattr(self, name) for name in COUNTERS}
        totals |= {"is_random_order": self.is_random_order, "compared_rows": self.neighbors.n_rows}
        totals |= {"neighbors": self.neighbors.sums.tolist(), "recent": self.recent.to_data()}
        return {**totals, **{name: getattr(self, name).to_data() for name in TESTS}}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Continue from the state that `to_data` returned."""
        if data["is_random_order"]:
            self._count_every_row()
        self.neighbors.n_rows, self.neighbors.sums = data["compared_rows"], np.array(data["neighbors"])
        self.recent.restore(data["recent"])
        for name in COUNTERS:
            setattr(self, name, data[name])
        for name in TESTS:
            getattr(self, name).restore(data[name])


def _filled_forward(values: Floats, before: float) -> Floats:
    """Replace NaN by the last value, and by `before` at the start."""
    indices = np.maximum.accumulate(np.where(np.isnan(values), -1, np.arange(len(values))))
    return np.where(indices < 0, before, values[np.maximum(indices, 0)])
