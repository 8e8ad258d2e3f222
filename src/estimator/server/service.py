"""A version and how it is served: the bytes of a request in, what is answered as plain data out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from estimator.artefact import Artefact
from estimator.config import Serving
from estimator.schema import Batch
from estimator.server.bodies import Rows, read_rows
from estimator.task import Answers

PREDICT, TUTORIAL = "/v1/predict", "/v1/services/predict"
ID_CHARACTERS = 32


@dataclass(frozen=True)
class Service:
    """A version and how it is served."""

    artefact: Artefact
    serving: Serving

    @cached_property
    def label(self) -> str:
        """What the tutorial's route calls an answer."""
        return self.serving.label or f"Prediction {self.artefact.manifest['target']}"

    @cached_property
    def level(self) -> float:
        """The share of truths that intervals and sets of levels are to hold."""
        return float(self.artefact.config["validation"]["level"])

    def rows_of(self, body: bytes) -> tuple[Rows, Batch]:
        """Return the rows of a body as sent and as read.

        Raises
        ------
        BodyError, RowError: the body or its rows are refused.
        """
        rows = read_rows(body, max_rows=self.serving.max_rows)
        return rows, self.artefact.schema.read_rows(rows)

    def tutorial(self, body: bytes) -> dict[str, Any]:
        """Answer as the tutorial's service does."""
        rows, batch = self.rows_of(body)
        return {"inputData": rows, "predictions": self.labelled(self.artefact.predictor.answer(batch))}

    def predict(self, body: bytes) -> dict[str, Any]:
        """Answer with an id per row, its interval or set, probabilities, and what lies outside the training range."""
        _, batch = self.rows_of(body)
        return self.told(self.artefact.predictor.answer(batch), self.artefact.schema.outside(batch))

    def labelled(self, answers: Answers) -> list[dict[str, Any]]:
        """Return answers in the tutorial's form."""
        return [{f"{self.label} {place}": value} for place, value in enumerate(answers.values.tolist())]

    def told(self, answers: Answers, outside: Sequence[Sequence[str]]) -> dict[str, Any]:
        """Return answers in full; `outside` names each row's columns that training had not seen so."""
        columns: dict[str, Sequence[Any]] = {"id": new_ids(len(answers)), "prediction": answers.values.tolist()}
        level = {"level": self.level} if answers.low is not None or answers.sets is not None else {}
        if answers.probabilities is not None:
            shares = answers.probabilities.tolist()
            columns["probabilities"] = [dict(zip(answers.levels, row, strict=True)) for row in shares]
        if answers.low is not None and answers.high is not None:
            columns["interval"] = list(zip(answers.low.tolist(), answers.high.tolist(), strict=True))
        if answers.sets is not None:
            columns["set"] = answers.likely_levels
        columns["outside"] = [[self._note(name) for name in names] for names in outside]
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return {"model": self.artefact.name, "version": self.artefact.version, **level, "predictions": rows}

    def _note(self, name: str) -> dict[str, str]:
        return {"column": name, "note": self.artefact.schema.by_name[name].saw}


def new_ids(n_rows: int) -> list[str]:
    """Return so many ids that nobody can guess, of 32 hexadecimal digits each."""
    digits = os.urandom(n_rows * ID_CHARACTERS // 2).hex()
    return [digits[start : start + ID_CHARACTERS] for start in range(0, len(digits), ID_CHARACTERS)]
