"""What every source promises, and what every source of files does besides."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from estimator.data.sources.base import Files, Source

ROWS = pl.DataFrame({"code": ["007", "12", None, "x"] * 50, "word": ["a", "NA", "é", ""] * 50})


def write(frame: pl.DataFrame, path: Path) -> Path:
    """Write a frame as the ending says."""
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path, separator="\t" if path.suffix == ".tsv" else ",", quote_style="necessary")
    return path


def written(kind: type[Files], folder: Path) -> Files:
    """Return a source of files that holds ROWS."""
    return kind((write(ROWS, folder / f"table{kind.endings[0]}"),))


def text_stays_as_written(source: Source) -> None:
    """Leading zeros, spellings of a gap and accents arrive as they are."""
    found = source.frame()
    assert found["code"].to_list()[:2] == ["007", "12"]
    assert found["word"].to_list()[1:3] == ["NA", "é"]


def batches_are_the_rows_in_order(source: Source) -> None:
    """Reading in portions gives the rows of reading at once."""
    parts = list(source.batches(rows=60))
    assert len(parts) > 1
    assert pl.concat(parts).equals(source.frame())


def the_fingerprint_stays(source: Source) -> None:
    """The same rows have the same fingerprint, and it is one of sha256."""
    found = source.fingerprint()
    assert found == source.fingerprint()
    assert all(len(digest) == 64 for digest in found.values())


def several_files_are_read_in_order(kind: type[Files], folder: Path) -> None:
    """Parts are put end to end as they are named."""
    paths = tuple(write(ROWS.head(n), folder / f"part{n}{kind.endings[0]}") for n in (3, 2))
    found = kind(paths).frame()
    assert found["code"].to_list() == ["007", "12", None, "007", "12"]


def a_table_without_rows_keeps_its_columns(kind: type[Files], folder: Path) -> None:
    """What holds a header and nothing else is a table of no rows."""
    found = kind((write(ROWS.head(0), folder / f"empty{kind.endings[0]}"),)).frame()
    assert found.columns == ROWS.columns
    assert found.height == 0


# For any source that holds ROWS.
PROMISES = (text_stays_as_written, batches_are_the_rows_in_order, the_fingerprint_stays)
# For any kind of files, given a folder to write them into.
FILE_PROMISES = (several_files_are_read_in_order, a_table_without_rows_keeps_its_columns)
