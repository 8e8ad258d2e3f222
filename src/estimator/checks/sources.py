"""What every source of files promises."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from estimator.sources.base import Source

ROWS = pl.DataFrame({"code": ["007", "12", None, "x"] * 50, "word": ["a", "NA", "é", ""] * 50})


def write(frame: pl.DataFrame, path: Path) -> Path:
    """Write a frame as the ending says."""
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path, separator="\t" if path.suffix == ".tsv" else ",", quote_style="necessary")
    return path


def text_stays_as_written(kind: type[Source], folder: Path) -> None:
    """Leading zeros, spellings of a gap and accents arrive as they are."""
    path = write(ROWS, folder / f"table{kind.endings[0]}")
    found = kind((path,)).frame()
    assert found["code"].to_list()[:2] == ["007", "12"]
    assert found["word"].to_list()[1:3] == ["NA", "é"]


def several_files_are_read_in_order(kind: type[Source], folder: Path) -> None:
    """Parts are put end to end as they are named."""
    paths = tuple(write(ROWS.head(n), folder / f"part{n}{kind.endings[0]}") for n in (3, 2))
    found = kind(paths).frame()
    assert found["code"].to_list() == ["007", "12", None, "007", "12"]


def batches_are_the_rows_in_order(kind: type[Source], folder: Path) -> None:
    """Reading in portions gives the rows of reading at once."""
    path = write(ROWS, folder / f"many{kind.endings[0]}")
    parts = list(kind((path,)).batches(rows=60))
    assert len(parts) > 1
    assert pl.concat(parts).equals(kind((path,)).frame())


PROMISES = (text_stays_as_written, several_files_are_read_in_order, batches_are_the_rows_in_order)
