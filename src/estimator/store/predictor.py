"""The predictor: a schema and an ONNX graph, which turn rows into predictions in training and serving alike."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Indices
from estimator.core.task import Predictions, Task
from estimator.data.schema import Batch, Schema
from estimator.data.schema.schema import MAX_FAULTS
from estimator.data.tables import read_table
from estimator.errors import Fault, RowError
from estimator.graph.session import Block, Feed, Session

if TYPE_CHECKING:
    import polars as pl

# Columns named as the reason of a prediction that is not finite.
MAX_EXTREMES = 3


@dataclass(frozen=True)
class Predictor:
    """A model ready to predict: `graph` is an ONNX model whose inputs are the schema's features, by name."""

    schema: Schema
    task: Task
    graph: bytes = field(repr=False)
    name: str = "model"
    version: str | None = None

    @cached_property
    def _session(self) -> Session:
        return Session(self.graph)

    @property
    def outputs(self) -> list[str]:
        """The names of the graph's outputs."""
        return self._session.outputs

    def predict(self, data: Any) -> npt.NDArray[Any]:
        """Return one prediction per row, of shape (rows,): a number, or the predicted class as text.

        Takes a polars or pandas frame, a list of dicts or one dict, hence data of any type.

        Raises
        ------
        RowError: a row breaks the schema, or has no finite prediction.
        """
        return self.predict_finite(read_table(self.schema, data)).values

    def predict_table(self, data: Any) -> pl.DataFrame:
        """Return a polars frame of `prediction`, its interval or set, and the class probabilities, one row per row.

        Raises
        ------
        RowError: a row breaks the schema, or has no finite prediction.
        """
        import polars as pl

        return pl.DataFrame(prediction_columns(self.predict_finite(read_table(self.schema, data))))

    def predict_batch(self, batch: Batch) -> Predictions:
        """Return the predictions for rows that have passed the schema."""
        blocks = [self.run(block.feed) for block in batch.blocks()]
        outputs = blocks[0] if len(blocks) == 1 else [np.concatenate(parts) for parts in zip(*blocks, strict=True)]
        return self.predictions_from(outputs)

    def predict_finite(self, batch: Batch, numbers: Indices | None = None) -> Predictions:
        """Return the predictions for rows that have passed the schema, all of them finite numbers.

        `numbers` are those of the rows in messages; from 1 if left out.

        Raises
        ------
        RowError: a row has no finite prediction.
        """
        predictions = self.predict_batch(batch)
        if faults := self.non_finite(batch, predictions, numbers):
            raise RowError(faults[:MAX_FAULTS], n_faults=len(faults))
        return predictions

    def non_finite(self, batch: Batch, predictions: Predictions, numbers: Indices | None = None) -> list[Fault]:
        """Return the rows whose prediction is infinite or not a number, each with the values that may be the reason."""
        is_finite = predictions.is_finite
        if is_finite.all():
            return []
        indices = np.flatnonzero(~is_finite)
        out_of_range = self.schema.out_of_range(batch.rows(indices))
        rows = indices + 1 if numbers is None else numbers[indices]
        messages = map(self._non_finite_message, out_of_range)
        return [Fault(row, None, None, message) for row, message in zip(rows.tolist(), messages, strict=True)]

    def _non_finite_message(self, out_of_range: Sequence[str]) -> str:
        columns = [self.schema.by_name[name] for name in out_of_range[:MAX_EXTREMES]]
        extremes = [f"{column.name!r}, {column.training_summary}" for column in columns]
        reason = f"out of range: {'; '.join(extremes)}" if extremes else "no value is out of its training range"
        return f"the model has no finite prediction for this row; {reason}"

    def run(self, feed: Feed) -> list[npt.NDArray[Any]]:
        """Return the graph's outputs, in its order, for arrays of shape (rows, 1) by feature name."""
        return self._session.run(feed)

    def block(self, numbers: Sequence[str], size: int) -> Block:
        """Return the graph with preallocated memory for `size` rows, the inputs `numbers` side by side."""
        return Block(self._session, numbers, size)

    def predictions_from(self, outputs: Sequence[npt.NDArray[Any]]) -> Predictions:
        """Return the predictions that the graph's outputs, in its order, hold."""
        by_name = dict(zip(self._session.outputs, outputs, strict=True))
        return Predictions(
            by_name["prediction"],
            by_name.get("probability"),
            self.task.classes,
            low=by_name.get("prediction_low"),
            high=by_name.get("prediction_high"),
            sets=by_name.get("prediction_set"),
        )


def prediction_columns(predictions: Predictions) -> Mapping[str, npt.NDArray[Any]]:
    """Return predictions as named columns, each of shape (rows,); a prediction set is a JSON list of classes."""
    columns = {"prediction": predictions.values}
    if predictions.low is not None and predictions.high is not None:
        columns |= {"prediction_low": predictions.low, "prediction_high": predictions.high}
    if predictions.sets is not None:
        lists = [json.dumps(classes, ensure_ascii=False) for classes in predictions.prediction_sets]
        columns["prediction_set"] = np.array(lists, dtype=object)
    if predictions.probabilities is not None:
        for index, name in enumerate(predictions.classes):
            columns[f"probability_{name}"] = predictions.probabilities[:, index]
    return columns
