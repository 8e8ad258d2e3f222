"""One version behind the predict routes: the bytes of a request body in, the bytes of a response body out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from typing import Any, NamedTuple

import msgspec

from estimator.config import Serving
from estimator.config.secrets import allowed_fingerprints
from estimator.core.names import nfc
from estimator.core.task import Predictions
from estimator.core.text import did_you_mean
from estimator.data.schema import Batch
from estimator.errors import ServingError
from estimator.prediction_log import row_id
from estimator.serving.request_body import JsonRows, as_row_list, read_rows
from estimator.serving.traffic import TrafficShare
from estimator.store.artefact import Artefact


class ResponseFormat(Enum):
    """The JSON of a predict route: ids, intervals and notes, or what the tutorial's service returns."""

    FULL = "full"
    TUTORIAL = "tutorial"


class PredictionResponse(NamedTuple):
    """A response body as JSON, its number of rows, and per row the columns outside the training range and imputed."""

    body: bytes
    n_rows: int
    out_of_range: Sequence[Sequence[str]]
    imputed: Sequence[Sequence[str]] = ()


class CanaryService(NamedTuple):
    """The service of a canary, and the requests that it predicts."""

    service: Service
    traffic: TrafficShare


@dataclass(frozen=True)
class Service:
    """A version, how it is served, and its canary, if it has one.

    Raises
    ------
    ServingError: `serving.private_columns` or `serving.canary.by` names a column that the version does not have.
    """

    artefact: Artefact
    serving: Serving
    canary: CanaryService | None = None

    def __post_init__(self) -> None:
        columns = self.artefact.schema.by_name
        named = [("private_columns", name) for name in self.serving.private_columns]
        canary = self.serving.canary
        if canary is not None and canary.by is not None and self.artefact.schema.unknown_columns == "error":
            named.append(("canary.by", canary.by))
        for key, name in named:
            if name not in columns:
                raise ServingError(
                    f"serving.{key}: {self.artefact.name} has no column {name!r}", hint=did_you_mean(name, columns)
                )

    def with_canary(self, canary: Service | None) -> Service:
        """Return this service with another canary, or with none: a version is no canary of its own."""
        settings = self.serving.canary
        if canary is None or settings is None or canary.artefact.folder == self.artefact.folder:
            return self if self.canary is None else replace(self, canary=None)
        column = self.artefact.schema.by_name.get(settings.by or "")
        names = [settings.by] if column is None else [column.name, *column.aliases]
        keys = frozenset(nfc(name) for name in names if name is not None)
        return replace(self, canary=CanaryService(canary, TrafficShare(settings.share, canary.artefact.version, keys)))

    @cached_property
    def label(self) -> str:
        """The key of a prediction in the tutorial's format, before the row's number."""
        return self.serving.label or f"Prediction {self.artefact.manifest['target']}"

    @cached_property
    def coverage(self) -> float:
        """The fraction of actual values that intervals and prediction sets are calibrated to cover."""
        return float(self.artefact.config["validation"]["coverage"])

    @cached_property
    def private(self) -> frozenset[str]:
        """The keys of a row whose values are never written to the prediction log: private columns and their aliases."""
        columns = [self.artefact.schema.by_name[name] for name in self.serving.private_columns]
        return frozenset(nfc(name) for column in columns for name in (column.name, *column.aliases))

    @cached_property
    def allowed_credentials(self) -> frozenset[str]:
        """The fingerprints of what looks like a credential in rows and is none."""
        return frozenset(allowed_fingerprints(self.artefact.config))

    @cached_property
    def example_rows(self) -> list[dict[str, Any]] | None:
        """A training row for the documentation; None where columns are private."""
        rows: list[dict[str, Any]] = self.artefact.read_json("golden.json")["rows"][:1]
        return None if self.private else rows

    def read(self, body: bytes) -> tuple[JsonRows, Batch]:
        """Return the rows of a JSON body, as sent and as the graph takes them.

        Raises
        ------
        RequestError, RowError: the body or its rows are invalid.
        """
        rows = read_rows(body, max_rows=self.serving.max_rows)
        return rows, self.artefact.schema.read_rows(rows)

    def rows_to_log(self, body: bytes) -> bytes:
        """Return a valid body as a JSON list of rows, with what stands in for columns that they leave out."""
        optional = [column for column in self.artefact.schema.features if not column.is_required]
        if not optional:
            return as_row_list(body)
        rows = msgspec.json.decode(as_row_list(body))
        for row in rows:
            for column in optional:
                if not any(name in row for name in (column.name, *column.aliases)):
                    row[column.name] = column.default
        return msgspec.json.encode(rows)

    def respond(self, body: bytes, request_id: str, response_format: ResponseFormat) -> PredictionResponse:
        """Predict the rows of a JSON body.

        In the full format, a prediction's id is `request_id` and the row's index; the tutorial's format has no ids.

        Raises
        ------
        RequestError, RowError: the body or its rows are invalid.
        """
        rows, batch = self.read(body)
        predictions = self.artefact.predictor.predict_finite(batch)
        if response_format is ResponseFormat.FULL:
            return self.full_response(batch, predictions, request_id)
        content = {"inputData": rows, "predictions": self.tutorial_rows(predictions.values.tolist())}
        schema = self.artefact.schema
        return PredictionResponse(
            msgspec.json.encode(content), batch.n_rows, schema.out_of_range(batch), schema.imputed(batch)
        )

    def full_response(self, batch: Batch, predictions: Predictions, request_id: str) -> PredictionResponse:
        """Return the predictions of rows in the full format."""
        schema = self.artefact.schema
        out_of_range, imputed = schema.out_of_range(batch), schema.imputed(batch)
        rows = self.full_rows(
            predictions, out_of_range, [row_id(request_id, index) for index in range(len(predictions))]
        )
        for row, names in zip(rows, imputed, strict=False):
            if names:
                row["imputed"] = names
        content = self.full_content(predictions, rows)
        return PredictionResponse(msgspec.json.encode(content), len(predictions), out_of_range, imputed)

    def tutorial_rows(self, values: Sequence[Any]) -> list[dict[str, Any]]:
        """Return predictions in the tutorial's format, one object per row."""
        return [{f"{self.label} {index}": value} for index, value in enumerate(values)]

    def full_content(self, predictions: Predictions, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the full response that holds `rows`, which are some of those that `full_rows` gives."""
        has_coverage = predictions.low is not None or predictions.sets is not None
        coverage = {"coverage": self.coverage} if has_coverage else {}
        return {"model": self.artefact.name, "version": self.artefact.version, **coverage, "predictions": rows}

    def full_rows(
        self, predictions: Predictions, out_of_range: Sequence[Sequence[str]], ids: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Return predictions in the full format, one object per row."""
        columns: dict[str, Sequence[Any]] = {"id": ids, "prediction": predictions.values.tolist()}
        if predictions.probabilities is not None:
            probabilities = predictions.probabilities.tolist()
            columns["probabilities"] = [dict(zip(predictions.classes, row, strict=True)) for row in probabilities]
        if predictions.low is not None and predictions.high is not None:
            columns["interval"] = list(zip(predictions.low.tolist(), predictions.high.tolist(), strict=True))
        if predictions.sets is not None:
            columns["set"] = predictions.prediction_sets
        columns["out_of_range"] = [[self._note(name) for name in names] for names in out_of_range]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _note(self, name: str) -> dict[str, str]:
        return {"column": name, "message": self.artefact.schema.by_name[name].training_summary}


def new_request_id() -> str:
    """Return 32 random hexadecimal digits, so that clients cannot guess each other's request ids."""
    return os.urandom(16).hex()
