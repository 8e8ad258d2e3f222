"""Predictor: a schema and a graph; rows in, answers out. The same value is trained, scored, stored and served."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from estimator.core.task import Predictions, Task
from estimator.data.schema import Batch, Schema
from estimator.data.tables import read_table
from estimator.graph.session import Block, Feed, Session

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Predictor:
    """What answers: `graph` is an ONNX model whose inputs are the schema's features, by name."""

    schema: Schema
    task: Task
    graph: bytes
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
        """Return one answer per row, of shape (rows,): numbers, or the likeliest level as text.

        Takes a polars or pandas frame, a list of dicts or one dict, hence data of any type.

        Raises
        ------
        RowError: the rows break the contract.
        """
        return self.predict_batch(read_table(self.schema, data)).values

    def predict_table(self, data: Any) -> pl.DataFrame:
        """Return the columns of `columns_of` as a polars frame: `prediction`, its interval or set, probabilities."""
        import polars as pl

        return pl.DataFrame(columns_of(self.predict_batch(read_table(self.schema, data))))

    def predict_batch(self, batch: Batch) -> Predictions:
        """Return the answers for rows that have passed the schema."""
        return self.answers_of(self.run(batch.feed))

    def run(self, feed: Feed) -> list[npt.NDArray[Any]]:
        """Return the graph's outputs, in its order, for arrays of shape (rows, 1) by the feature's name."""
        return self._session.run(feed)

    def block(self, numbers: Sequence[str], size: int) -> Block:
        """Return the graph with memory for so many rows, with these inputs side by side."""
        return Block(self._session, numbers, size)

    def answers_of(self, outputs: Sequence[npt.NDArray[Any]]) -> Predictions:
        """Return what the graph's outputs, in its order, say."""
        found = dict(zip(self._session.outputs, outputs, strict=True))
        return Predictions(
            found["prediction"], found.get("probability"), self.task.classes,
            low=found.get("prediction_low"), high=found.get("prediction_high"), sets=found.get("prediction_set"),
        )  # fmt: skip


def columns_of(answers: Predictions) -> Mapping[str, npt.NDArray[Any]]:
    """Return answers as named columns, each of shape (rows,); sets of levels are JSON lists."""
    columns = {"prediction": answers.values}
    if answers.low is not None and answers.high is not None:
        columns |= {"prediction_low": answers.low, "prediction_high": answers.high}
    if answers.sets is not None:
        texts = [json.dumps(levels, ensure_ascii=False) for levels in answers.prediction_sets]
        columns["prediction_set"] = np.array(texts, dtype=object)
    if answers.probabilities is not None:
        for place, level in enumerate(answers.classes):
            columns[f"probability_{level}"] = answers.probabilities[:, place]
    return columns
