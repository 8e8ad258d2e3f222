"""Does a column that has moved move any prediction? If its values are put back to those of training, what changes?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats
from estimator.core.task import Predictions
from estimator.data.schema import Batch
from estimator.drift.reference import BinCodes, ColumnReference
from estimator.store.predictor import Predictor

MAX_ROWS = 500
# A mean change of predictions, in standard deviations of all, that is none.
MIN_INFLUENCE = 0.01


def moves_predictions(predictor: Predictor, batch: Batch, column: ColumnReference, *, seed: int = 0) -> bool:
    """Return whether predictions change when a column's values are replaced by values as in training.

    A text that is no category is taken to move them, as its training values are not kept.
    """
    values = batch.feed.get(column.name)
    if values is None or (values.dtype == object) != column.is_text or batch.n_rows == 0:
        return True
    generator = np.random.default_rng([seed, 82])
    rows = batch.rows(np.sort(generator.permutation(batch.n_rows)[:MAX_ROWS]))
    codes = generator.choice(len(column.counts), rows.n_rows, p=column.fractions).astype(np.uint8)
    usual = _values(column, codes, rows.feed[column.name][:, 0])
    before = _numbers(predictor.predict_batch(rows))
    after = _numbers(predictor.predict_batch(Batch({**rows.feed, column.name: usual[:, None]}, rows.n_rows)))
    scale = float(before.std(axis=0).max()) or float(np.abs(before).max()) or 1.0
    return float(np.abs(after - before).mean()) / scale >= MIN_INFLUENCE


def _values(column: ColumnReference, codes: BinCodes, current: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Return a value of each bin; a category that training did not keep stays as it is."""
    if column.is_text:
        names = np.array(["", *column.categories, ""], dtype=object)
        return np.where(codes == len(names) - 1, current, names[codes])
    edges = column.edges if len(column.edges) else np.zeros(1)
    return np.where(codes == 0, np.nan, edges[np.clip(codes.astype(np.int64) - 1, 0, len(edges) - 1)])


def _numbers(predictions: Predictions) -> Floats:
    """Return predictions as numbers, of shape (rows, outputs)."""
    return np.asarray(predictions.raw, dtype=np.float64).reshape(len(predictions.raw), -1)
