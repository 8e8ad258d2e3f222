"""What every source promises, and what every file source promises in addition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from estimator.data.sources.base import FileSource, Source

ROWS = pl.DataFrame({"code": ["007", "12", None, "x"] * 50, "word": ["a", "NA", "é", ""] * 50})


# Writes a frame to a path, in the format that a kind reads.
Writer = Callable[[pl.DataFrame, Path], object]


def write_frame(frame: pl.DataFrame, path: Path) -> None:
    """Write a frame in a format that a shipped kind reads, by the ending."""
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    elif path.suffix == ".arrow":
        frame.write_ipc(path)
    elif path.suffix == ".xlsx":
        frame.write_excel(path)
    else:
        frame.write_csv(path, separator="\t" if path.suffix == ".tsv" else ",", quote_style="necessary")


def example(kind: type[FileSource], folder: Path, write: Writer = write_frame) -> FileSource:
    """Return a file source that holds ROWS; `write` is for a kind of a plug-in."""
    return kind((_written(ROWS, folder / f"table{kind.endings[0]}", write),))


def text_stays_as_written(source: Source) -> None:
    """Leading zeros, spellings of a missing value, and accents are kept."""
    frame = source.frame()
    assert frame["code"].to_list()[:2] == ["007", "12"]
    assert frame["word"].to_list()[1:3] == ["NA", "é"]


def batches_are_the_rows_in_order(source: Source) -> None:
    """Reading in batches gives the same rows as reading all at once."""
    batches = list(source.batches(rows=60))
    assert len(batches) > 1
    assert pl.concat(batches).equals(source.frame())


def fingerprint_is_stable(source: Source) -> None:
    """The same rows have the same fingerprint, a sha256."""
    fingerprint = source.fingerprint()
    assert fingerprint == source.fingerprint()
    assert all(len(digest) == 64 for digest in fingerprint.values())


def several_files_are_read_in_order(kind: type[FileSource], folder: Path, write: Writer = write_frame) -> None:
    """Files are concatenated in the given order."""
    paths = tuple(_written(ROWS.head(n), folder / f"part{n}{kind.endings[0]}", write) for n in (3, 2))
    frame = kind(paths).frame()
    assert frame["code"].to_list() == ["007", "12", None, "007", "12"]


def empty_table_keeps_its_columns(kind: type[FileSource], folder: Path, write: Writer = write_frame) -> None:
    """A file with a header and nothing else is a table without rows."""
    frame = kind((_written(ROWS.head(0), folder / f"empty{kind.endings[0]}", write),)).frame()
    assert frame.columns == ROWS.columns
    assert frame.height == 0


def _written(frame: pl.DataFrame, path: Path, write: Writer) -> Path:
    write(frame, path)
    return path


# For any source that holds ROWS.
PROMISES = (text_stays_as_written, batches_are_the_rows_in_order, fingerprint_is_stable)
# For any kind of file source, given a folder to write files into and, for a kind of a plug-in, what writes one.
FILE_PROMISES = (several_files_are_read_in_order, empty_table_keeps_its_columns)
