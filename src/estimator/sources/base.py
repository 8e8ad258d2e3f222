"""The contract of a source: paths in, a lazy polars frame out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from estimator.errors import SourceError
from estimator.wording import listing

if TYPE_CHECKING:
    import polars as pl

BATCH_ROWS = 131_072


@dataclass(frozen=True, slots=True)
class Source(ABC):
    """Rows in one or several files of the same columns, in the order given."""

    endings: ClassVar[tuple[str, ...]]
    paths: tuple[Path, ...]

    @abstractmethod
    def batches(self, *, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        """Read the rows in order, at most `rows` at a time; text sources give every column as text, nothing guessed.

        Raises
        ------
        SourceError: a file cannot be read as this kind.
        """

    @abstractmethod
    def notes(self) -> list[str]:
        """Return what a reader should know of how the files were read, a sentence each."""

    def frame(self) -> pl.DataFrame:
        """Read all rows."""
        import polars as pl

        return pl.concat(list(self.batches()))


def refuse_other_columns(path: Path, found: Sequence[str], names: Sequence[str]) -> None:
    """Refuse a file whose columns are not those of the files before it."""
    if list(found) != list(names):
        other = sorted(set(found) ^ set(names))
        what = f"other columns: {listing(map(repr, other))}" if other else "the same columns in another order"
        raise SourceError(
            f"{path}: has {what} than the files before it", hint="the files of a table share their columns"
        )


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
    if "fields" in reason.lower() or "ragged" in reason.lower():
        return "a line has more cells than the header; check quotes and data.separator"
    if "empty" in reason.lower() or "no data" in reason.lower():
        return "the file holds no rows"
    return None
