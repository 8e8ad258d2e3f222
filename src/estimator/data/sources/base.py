"""The contracts of a source: rows of the same columns, read in portions, the same every time."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from estimator.core.text import join_names
from estimator.errors import SourceError

if TYPE_CHECKING:
    import polars as pl

    from estimator.data.sources.address import Address

BATCH_ROWS = 131_072

Ragged = Literal["error", "skip"]


@dataclass(frozen=True, slots=True)
class Source(ABC):
    """Rows in a fixed order; `paths` are the files they are read from, () for a database."""

    paths: tuple[Path, ...] = ()

    @abstractmethod
    def batches(self, *, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        """Read the rows in order, about `rows` at a time; without a row there is one empty frame.

        Raises
        ------
        SourceError: the rows cannot be read as this kind.
        """

    @abstractmethod
    def notes(self) -> list[str]:
        """Return what a reader should know of how the rows were read, a sentence each."""

    @abstractmethod
    def fingerprint(self) -> dict[str, str]:
        """Return name -> sha256 of everything that was read; the same rows give the same."""

    def frame(self) -> pl.DataFrame:
        """Read all rows."""
        import polars as pl

        return pl.concat(list(self.batches()))


@dataclass(frozen=True, slots=True)
class Files(Source):
    """Rows in one or several files of the same columns, in the order given; told by their endings.

    `delimiter` and `on_bad_lines` speak of text, where every column arrives as text and nothing is guessed.
    """

    endings: ClassVar[tuple[str, ...]]
    delimiter: str | None = None
    on_bad_lines: Ragged = "error"

    def fingerprint(self) -> dict[str, str]:
        with explained(self.paths):
            return {name: _file_hash(path) for name, path in zip(_short_names(self.paths), self.paths, strict=True)}


@dataclass(frozen=True, slots=True)
class Database(Source):
    """The answer to a query; told by the scheme of its address."""

    schemes: ClassVar[tuple[str, ...]]

    @classmethod
    @abstractmethod
    def asked(cls, address: Address, query: str, *, folder: Path, scratch: Path) -> Self:
        """Ask once and copy the answer into `scratch`, so that every reading sees the same rows.

        `query` is a SELECT or a table's name; a path in the address is relative to `folder`.

        Raises
        ------
        SourceError: the database cannot be reached or does not answer; the message never holds a password.
        """


def refuse_other_columns(path: Path, found: Sequence[str], names: Sequence[str]) -> None:
    """Refuse a file whose columns are not those of the files before it."""
    if list(found) != list(names):
        other = sorted(set(found) ^ set(names))
        what = f"other columns: {join_names(map(repr, other))}" if other else "the same columns in another order"
        raise SourceError(f"{path}: has {what} than the files before it", hint="files of one table share them")


class explained:  # noqa: N801 # reads as a verb after `with`
    """Turn polars' own failures inside the block into a SourceError that names the files."""

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self.paths = paths

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        import polars as pl

        if not isinstance(error, pl.exceptions.PolarsError | OSError | UnicodeError):
            return
        names = ", ".join(str(path) for path in self.paths[:3])
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SourceError(f"{names}: cannot be read: {first_line}", hint=_way_out(str(error))) from error


def _way_out(reason: str) -> str | None:
    if "utf-8" in reason.lower() or "utf8" in reason.lower():
        return "some text far down is not UTF-8; save the file as UTF-8, for example with `iconv -f latin1 -t utf-8`"
    if "empty" in reason.lower() or "no data" in reason.lower():
        return "the file holds no rows"
    return None


def _short_names(paths: Sequence[Path]) -> list[str]:
    """Return the files' names, with as many of their folders as it takes to tell them apart.

    >>> _short_names([Path("a/1.csv"), Path("b/1.csv")])
    ['a/1.csv', 'b/1.csv']
    """
    distinct = len(set(paths))
    parts = next(n for n in count(1) if len({path.parts[-n:] for path in paths}) == distinct)
    return ["/".join(path.parts[-parts:]) for path in paths]


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
