"""Every error raised on purpose, as a tree.

EstimatorError
├── FileError            a file or folder cannot be written
├── ConfigError          a config file or an override says something we cannot follow
├── SourceError          rows cannot be read
├── SchemaError          a schema file is wrong, or does not fit the table
├── RowError             rows break the contract; carries the faults
├── TrainingError        a model cannot be fitted to these rows with these settings
├── ParityError          the graph and the library disagree, so no version was made
├── ArtefactError        a version's folder is damaged, foreign or from the future
├── StoreError           a model, version or alias is not there, or cannot be moved
├── ServingError         the server cannot start
├── RequestError         an HTTP request is rejected as a whole; carries the status
├── PageError            a version cannot become a page
├── ImageError           a version cannot become a container image, or the image does not do what it must
├── RegistryError        a registry refuses an image or cannot be reached
├── DeploymentError      an image cannot be run where it should, or what runs there does not answer as it must
├── MonitoringError      a version's rows cannot be watched, or what was found cannot be told
├── RetrainingError      fresh rows make no candidate
├── PluginError          a plug-in is installed but cannot be imported
└── MissingExtraError    an optional part is not installed
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar


class EstimatorError(Exception):
    """Base of all errors that explain themselves: place, wish, finding and, as `hint`, the way out."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class FileError(EstimatorError):
    """A file or folder cannot be written."""


class ConfigError(EstimatorError):
    """A config file, an override or an environment variable is wrong."""


class SourceError(EstimatorError):
    """Rows cannot be read from where the config says they are."""


class SchemaError(EstimatorError):
    """A schema file is wrong, or does not fit the table."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken cell: `row` counts from 1; `column` is None when the row as a whole is wrong."""

    row: int
    column: str | None
    value: object
    message: str

    def __str__(self) -> str:
        place = f"row {self.row}" + (f", column {self.column!r}" if self.column is not None else "")
        return f"{place}: {self.message}"


class RowError(EstimatorError):
    """Rows break the contract; `faults` lists the first of them, `n_faults` counts what was found."""

    def __init__(self, faults: Sequence[Fault], *, hint: str | None = None, n_faults: int | None = None) -> None:
        self.faults = tuple(faults)
        self.n_faults = n_faults if n_faults is not None else len(self.faults)
        more = f" (and {self.n_faults - 1:,} more)" if self.n_faults > 1 else ""
        super().__init__(f"{self.faults[0]}{more}", hint=hint)


class TrainingError(EstimatorError):
    """A model cannot be fitted to these rows with these settings."""


class ParityError(EstimatorError):
    """The graph and the library that trained it give different answers."""


class ArtefactError(EstimatorError):
    """A version's folder is damaged, foreign or from a future format."""


class StoreError(EstimatorError):
    """A model, a version or an alias is not in the store, or cannot be moved."""


class ServingError(EstimatorError):
    """The server cannot start."""


class RequestError(EstimatorError):
    """An HTTP request is rejected as a whole, with `status` and, for the metrics, a `reason` of one word."""

    REASONS: ClassVar[Mapping[int, str]] = {
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
    """A version cannot become a page: it has what the page's script does not know, or is too large."""


class ImageError(EstimatorError):
    """A version cannot become a container image, or the image does not do what it must."""


class RegistryError(EstimatorError):
    """A registry refuses an image, or cannot be reached."""


class DeploymentError(EstimatorError):
    """An image cannot be run where it should be, or what runs there does not answer as it must."""


class MonitoringError(EstimatorError):
    """A version's rows cannot be watched, or what was found cannot be told to anybody."""


class RetrainingError(EstimatorError):
    """Fresh rows make no candidate."""


class PluginError(EstimatorError):
    """A plug-in is installed but cannot be imported."""


class MissingExtraError(EstimatorError):
    """An optional part is not installed."""


@contextmanager
def needs_extra(extra: str, purpose: str) -> Iterator[None]:
    """Turn a failing import inside the block into an error that says what to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{purpose} needs the package {error.name!r}, which is not installed",
            hint=f"pip install 'estimator-lifepath[{extra}]'",
        ) from error
