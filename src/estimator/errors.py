"""Every error that the package raises on purpose, as a tree.

EstimatorError
├── FileError            a file or folder cannot be written
├── ConfigError          a config file, an override or an environment variable is wrong
├── SourceError          rows cannot be read from their source
│   └── RecordError      a database works, but cannot hold a value
├── SchemaError          a schema file is wrong, or does not fit the table
├── RowError             rows do not fit the schema; carries the faults
├── TrainingError        a model cannot be trained on these rows with these settings
│   └── EngineError      what fits run on cannot be used, or was lost
├── ParityError          the ONNX graph and the library that trained it predict differently
├── ArtefactError        the folder of a version is damaged, unknown or of a newer format
│   └── TrustError       somebody else's version asks for what only one's own may do
├── StoreError           a model, version or alias does not exist, or cannot be changed
├── ServingError         the server cannot start
├── RequestError         an HTTP request is rejected as a whole; carries the status
├── PageError            a version cannot become a web page
├── ImageError           a container image cannot be built, or fails its smoke test
├── RegistryError        an image registry rejects an image, or cannot be reached
├── DeploymentError      an image cannot be deployed, or the deployed server does not respond as it must
├── CheckError           a check of the CI pipeline failed, so the later ones are skipped
├── GateError            a new version is not good enough to pass a gate of the CI pipeline
├── MonitoringError      predictions cannot be monitored, or an alert cannot be sent
├── RetrainingError      new rows cannot be used to train a candidate
├── PluginError          a plug-in cannot be imported, or two plug-ins register the same kind
└── MissingExtraError    an optional dependency is not installed
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar


class EstimatorError(Exception):
    """Base of all errors: `message` names the place, what was expected and what was found; `hint` says what to do."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class FileError(EstimatorError):
    """A file or folder cannot be written."""


class ConfigError(EstimatorError):
    """A config file, an override or an environment variable is wrong."""


class SourceError(EstimatorError):
    """Rows cannot be read from their source."""


class RecordError(SourceError):
    """A database works, but cannot hold a value of a record."""


class SchemaError(EstimatorError):
    """A schema file is wrong, or does not fit the table."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One cell that does not fit the schema.

    `row` counts from 1; `column` is None when the row as a whole is wrong.

    >>> print(Fault(3, "rooms", "ten", "expected a number, got 'ten'"))
    row 3, column 'rooms': expected a number, got 'ten'
    """

    row: int
    column: str | None
    value: object
    message: str

    def __str__(self) -> str:
        where = f"row {self.row}" + (f", column {self.column!r}" if self.column is not None else "")
        return f"{where}: {self.message}"


class RowError(EstimatorError):
    """Rows do not fit the schema; `faults` lists the first faults, `n_faults` counts all; `place` is their table."""

    def __init__(
        self, faults: Sequence[Fault], *, hint: str | None = None, n_faults: int | None = None, place: str | None = None
    ) -> None:
        self.faults = tuple(faults)
        self.n_faults = n_faults if n_faults is not None else len(self.faults)
        more = f" (and {self.n_faults - 1:,} more)" if self.n_faults > 1 else ""
        super().__init__(f"{f'{place}: ' if place else ''}{self.faults[0]}{more}", hint=hint)


class TrainingError(EstimatorError):
    """A model cannot be trained on these rows with these settings."""


class EngineError(TrainingError):
    """The engine that fits run on was lost, or a node of it cannot be used; the settings are not at fault."""


class ParityError(EstimatorError):
    """The ONNX graph and the library that trained it predict differently, so no version was made."""


class ArtefactError(EstimatorError):
    """The folder of a version is damaged, unknown or of a newer format."""


class TrustError(ArtefactError):
    """Somebody else's version asks for what only one's own may do."""


class StoreError(EstimatorError):
    """A model, version or alias is not in the store, or cannot be changed."""


class ServingError(EstimatorError):
    """The server cannot start."""


class RequestError(EstimatorError):
    """An HTTP request is rejected as a whole, with `status` and, for the metrics, a `reason` of one word."""

    REASONS: ClassVar[Mapping[int, str]] = {
        400: "encoding",
        404: "not_found",
        408: "timeout",
        413: "too_large",
        415: "media_type",
        422: "body",
        503: "log_unavailable",
    }

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.reason = status, self.REASONS[status]


class PageError(EstimatorError):
    """A version cannot become a web page: it is too large, or uses what the page's script does not support."""


class ImageError(EstimatorError):
    """A container image cannot be built, or fails its smoke test."""


class RegistryError(EstimatorError):
    """An image registry rejects an image, or cannot be reached."""


class DeploymentError(EstimatorError):
    """An image cannot be deployed, or the deployed server does not respond as it must."""


class CheckError(EstimatorError):
    """A check of the CI pipeline failed, so the later ones are skipped."""


class GateError(EstimatorError):
    """A new version works but is not good enough to pass a gate of the CI pipeline."""


class MonitoringError(EstimatorError):
    """Predictions cannot be monitored, or an alert cannot be sent."""


class RetrainingError(EstimatorError):
    """New rows cannot be used to train a candidate."""


class PluginError(EstimatorError):
    """A plug-in cannot be imported, or two plug-ins register the same kind."""


class MissingExtraError(EstimatorError):
    """An optional dependency is not installed."""


@contextmanager
def needs_extra(extra: str, purpose: str) -> Iterator[None]:
    """Context manager: turn a failed import into an error that says which extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{purpose} needs the package {error.name!r}, which is not installed",
            hint=f"pip install 'estimator-lifepath[{extra}]'",
        ) from error
