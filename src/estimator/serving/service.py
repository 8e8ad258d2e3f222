"""A version and how it is served: the bytes of a request in, what is answered as bytes out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import msgspec

from estimator.config import Serving
from estimator.core.task import Predictions
from estimator.core.text import did_you_mean
from estimator.data.schema import Batch
from estimator.errors import ServingError
from estimator.prediction_log import row_id
from estimator.serving.request_body import Rows, read_rows
from estimator.store.artefact import Artefact


class Reply(NamedTuple):
    """An answered body: what is sent as JSON, how many rows it answers, and each row's columns outside of training."""

    body: bytes
    n_rows: int
    outside: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Service:
    """A version and how it is served.

    Raises
    ------
    ServingError: a private column is none.
    """

    artefact: Artefact
    serving: Serving

    def __post_init__(self) -> None:
        known = self.artefact.schema.by_name
        for name in self.serving.private_columns:
            if name not in known:
                raise ServingError(
                    f"serving.private_columns: {self.artefact.name} has no column {name!r}",
                    hint=did_you_mean(name, known),
                )

    @cached_property
    def label(self) -> str:
        """What the tutorial's route calls an answer."""
        return self.serving.label or f"Prediction {self.artefact.manifest['target']}"

    @cached_property
    def coverage(self) -> float:
        """The fraction of actual values that intervals and prediction sets are calibrated to cover."""
        return float(self.artefact.config["validation"]["coverage"])

    @cached_property
    def private(self) -> frozenset[str]:
        """The names under which rows may hold columns that are never written down."""
        columns = [self.artefact.schema.by_name[name] for name in self.serving.private_columns]
        return frozenset(name for column in columns for name in (column.name, *column.aliases))

    def rows_of(self, body: bytes) -> tuple[Rows, Batch]:
        """Return the rows of a body as sent and as read.

        Raises
        ------
        BodyError, RowError: the body or its rows are refused.
        """
        rows = read_rows(body, max_rows=self.serving.max_rows)
        return rows, self.artefact.schema.read_rows(rows)

    def tutorial(self, body: bytes, named: str) -> Reply:
        """Answer as the tutorial's service does; the request's name is not in it."""
        rows, batch = self.rows_of(body)
        told = {
            "inputData": rows,
            "predictions": self.labelled(self.artefact.predictor.predict_batch(batch).values.tolist()),
        }
        return Reply(msgspec.json.encode(told), batch.n_rows, self.artefact.schema.out_of_range(batch))

    def predict(self, body: bytes, named: str) -> Reply:
        """Answer with an id per row, its interval or set, probabilities, and what lies outside the training range.

        An id is the name of the request and the place of the row.
        """
        _, batch = self.rows_of(body)
        outside = self.artefact.schema.out_of_range(batch)
        return self.reply(self.artefact.predictor.predict_batch(batch), outside, named)

    def reply(self, answers: Predictions, outside: list[list[str]], named: str) -> Reply:
        """Return answers in full, each with an id; `outside` names its row's columns that training had not seen so."""
        ids = [row_id(named, place) for place in range(len(answers))]
        told = self.told(answers, self.rows_told(answers, outside, ids))
        return Reply(msgspec.json.encode(told), len(answers), outside)

    def labelled(self, values: Sequence[Any]) -> list[dict[str, Any]]:
        """Return answers in the tutorial's form."""
        return [{f"{self.label} {place}": value} for place, value in enumerate(values)]

    def told(self, answers: Predictions, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return what a request is told: some of the rows of answers."""
        coverage = {"coverage": self.coverage} if answers.low is not None or answers.sets is not None else {}
        return {"model": self.artefact.name, "version": self.artefact.version, **coverage, "predictions": rows}

    def rows_told(
        self, answers: Predictions, outside: Sequence[Sequence[str]], ids: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Return what is told of each row in full."""
        columns: dict[str, Sequence[Any]] = {"id": ids, "prediction": answers.values.tolist()}
        if answers.probabilities is not None:
            shares = answers.probabilities.tolist()
            columns["probabilities"] = [dict(zip(answers.classes, row, strict=True)) for row in shares]
        if answers.low is not None and answers.high is not None:
            columns["interval"] = list(zip(answers.low.tolist(), answers.high.tolist(), strict=True))
        if answers.sets is not None:
            columns["set"] = answers.prediction_sets
        columns["out_of_range"] = [[self._note(name) for name in names] for names in outside]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _note(self, name: str) -> dict[str, str]:
        return {"column": name, "message": self.artefact.schema.by_name[name].training_summary}


def new_name() -> str:
    """Return the name of a request, which nobody can guess: 32 hexadecimal digits."""
    return os.urandom(16).hex()
