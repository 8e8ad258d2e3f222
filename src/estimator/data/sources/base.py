"""The contracts of sources: tables that are read in batches, and connectors that open addresses."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from estimator.core.names import nfc
from estimator.core.text import join_names
from estimator.data.sources.address import Address
from estimator.data.sources.files import TableFile, read_errors
from estimator.errors import SourceError

if TYPE_CHECKING:
    import polars as pl

BATCH_ROWS = 131_072

# "missing" reads a line that cannot be read as a row of missing values.
OnBadLines = Literal["error", "skip", "missing"]


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How files are read, as the keys of the config's section `data` say; each kind of file uses those it needs."""

    kind: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    skip_lines: int = 0
    sheet: str | None = None
    on_bad_lines: OnBadLines = "error"

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> ReadOptions:
        """Return the options among the keys of a section `data`."""
        return cls(**{item.name: settings[item.name] for item in fields(cls) if item.name in settings})


PLAIN = ReadOptions()


@dataclass(frozen=True, slots=True)
class Source(ABC):
    """Rows in a fixed order."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files they are read from; () for a database, and for bytes in memory."""
        return ()

    @abstractmethod
    def batches(self, *, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        """Read the rows in order, about `rows` at a time; a table without rows gives one empty frame.

        Raises
        ------
        SourceError: the rows cannot be read as this kind.
        """

    @abstractmethod
    def notes(self) -> list[str]:
        """Return what was skipped, guessed or converted while the rows were read, one sentence each."""

    @property
    def skipped_lines(self) -> int:
        """The number of lines that cannot be read and were left out."""
        return 0

    @abstractmethod
    def fingerprint(self) -> dict[str, str]:
        """Return name -> sha256 of everything that was read; the same rows give the same hashes."""

    def frame(self, check: Callable[[Sequence[str]], None] = lambda columns: None) -> pl.DataFrame:
        """Read all rows; `check` gets the names of the columns before most of them are read."""
        import polars as pl

        return pl.concat(list(checked_batches(self.batches(), check)))


@dataclass(frozen=True, slots=True)
class FileSource(Source):
    """Rows in one or more files with the same columns, in the given order; a kind is chosen by the files' ending.

    `listing` are notes on which files were found. Reading fills `remarks` with further notes and, where lines that
    cannot be read are rows of missing values, `bad_rows` with the reasons by row number from 0; where they are left
    out, `skipped` with their number by the name of the file.
    """

    endings: ClassVar[tuple[str, ...]]
    files: tuple[TableFile, ...] = ()
    options: ReadOptions = PLAIN
    listing: tuple[str, ...] = ()
    remarks: list[str] = field(default_factory=list, compare=False, repr=False)
    bad_rows: dict[int, str] = field(default_factory=dict, compare=False, repr=False)
    skipped: dict[str, int] = field(default_factory=dict, compare=False, repr=False)

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(file for file in self.files if isinstance(file, Path))

    def notes(self) -> list[str]:
        return [*self.listing, *self.remarks]

    @property
    def skipped_lines(self) -> int:
        return sum(self.skipped.values())

    def fingerprint(self) -> dict[str, str]:
        with read_errors(self.files):
            return {name: _file_hash(path) for name, path in zip(_short_names(self.paths), self.paths, strict=True)}


def with_composed_names(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame with its names as they are compared: an accent may be written as one character or as two.

    Raises
    ------
    SourceError: two columns have the same name then.
    """
    names = {name: nfc(name) for name in frame.columns}
    if all(name == composed for name, composed in names.items()):
        return frame
    repeated = [composed for composed, number in Counter(names.values()).items() if number > 1]
    if repeated:
        raise SourceError(
            f"the table has {join_names(map(repr, repeated))} more than once, with accents written in two ways",
            hint="rename one of them",
        )
    return frame.rename(names)


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The result of a query: frames with the same columns, read one by one from an open connection, and notes."""

    frames: Iterator[pl.DataFrame]
    notes: tuple[str, ...] = ()


class FileConnector(ABC):
    """A scheme whose addresses name files, such as s3://: they are downloaded, then read like local ones."""

    @classmethod
    @abstractmethod
    def download(cls, address: Address, scratch: Path, endings: tuple[str, ...]) -> dict[Path, str]:
        """Download the files of an address into `scratch`; return each path with the file's name for messages.

        An address may name several files; only those with one of `endings` are tables.

        Raises
        ------
        SourceError: the files cannot be reached, or a download is incomplete.
        """


class QueryConnector(ABC):
    """A scheme whose addresses name a database or a stream, such as postgresql://: a query selects the rows."""

    needs_query: ClassVar[bool] = True

    @classmethod
    @abstractmethod
    def query(cls, address: Address, query: str, folder: Path) -> AbstractContextManager[QueryResult]:
        """Run a query, and yield its result while the connection is open.

        `query` is a SELECT or a table's name, "" if there is none and the connector does not need one. A path in the
        address is relative to `folder`.

        Raises
        ------
        SourceError: the database cannot be reached, or rejects the query; the message never holds a password.
        """


# What opens the addresses of a scheme.
Connector = FileConnector | QueryConnector


def checked_batches(batches: Iterable[pl.DataFrame], check: Callable[[Sequence[str]], None]) -> Iterator[pl.DataFrame]:
    """Yield batches with composed names; `check` gets the names of the columns when the first one is there."""
    for number, frame in enumerate(map(with_composed_names, batches)):
        if number == 0:
            check(frame.columns)
        yield frame


def check_same_columns(file: TableFile, columns: Sequence[str], expected: Sequence[str]) -> None:
    """Reject a file whose columns differ from those of the files before it."""
    if list(columns) != list(expected):
        other = sorted(set(columns) ^ set(expected))
        difference = f"other columns: {join_names(map(repr, other))}" if other else "the same columns in another order"
        raise SourceError(
            f"{file}: has {difference} than the files before it", hint="files of one table need the same columns"
        )


def _short_names(paths: Sequence[Path]) -> list[str]:
    """Return the names of files, with as many parent folders as make them distinct.

    >>> _short_names([Path("a/1.csv"), Path("b/1.csv")])
    ['a/1.csv', 'b/1.csv']
    """
    n_distinct = len(set(paths))
    n_parts = next(n for n in count(1) if len({path.parts[-n:] for path in paths}) == n_distinct)
    return ["/".join(path.parts[-n_parts:]) for path in paths]


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
