"""CSV and TSV, plain or gzipped: every cell is read as the text that is in the file."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl

from estimator.core.text import join_names
from estimator.data.sources.base import BATCH_ROWS, FileSource, check_same_columns, polars_errors
from estimator.data.sources.text import Chunk, file_encoding, first_bytes, read_chunks
from estimator.errors import SourceError

DELIMITERS = (",", ";", "\t", "|")
MAX_LINES_SHOWN = 10
HEADER_BYTES = 1_000_000

# A cell may be as long as its file.
csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line whose number of cells differs from the header's."""

    file: str
    number: int
    n_cells: int

    def __str__(self) -> str:
        return f"line {self.number:,} ({self.n_cells} cells)"


@dataclass(frozen=True, slots=True)
class Csv(FileSource):
    """Text with a header line; an empty cell is null, leading zeros are kept, blank lines are skipped.

    A missing `delimiter` is inferred from the header. Text that is not UTF-8 is read as Windows-1252, which a note
    reports. Lines with too few or too many cells are an error that lists their numbers or, with `on_bad_lines="skip"`,
    left out and listed in `skipped`.
    """

    endings: ClassVar[tuple[str, ...]] = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
    # Filled while the rows are read, so that notes can report it.
    skipped: list[BadLine] = field(default_factory=list, compare=False)

    def batches(self, *, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        self.skipped.clear()
        delimiter = self.delimiter or _infer_delimiter(first_bytes(self.paths[0]))
        names, is_empty = _header(self.paths[0], delimiter), True
        with polars_errors(self.paths):
            for path in self.paths:
                if path != self.paths[0]:
                    check_same_columns(path, _header(path, delimiter), names)
                for frame in self._frames(path, names, delimiter):
                    is_empty = is_empty and frame.height == 0
                    yield from frame.iter_slices(rows)
        if is_empty:
            yield pl.DataFrame(schema=dict.fromkeys(names, pl.String))

    def notes(self) -> list[str]:
        encodings = {path.name: file_encoding(first_bytes(path)) for path in self.paths}
        notes = [
            f"{name}: not UTF-8, read as {encoding}" for name, encoding in encodings.items() if encoding != "utf-8"
        ]
        delimiter = _infer_delimiter(first_bytes(self.paths[0]))
        if self.delimiter is None and delimiter != ",":
            notes.append(f"{self.paths[0].name}: the delimiter is {delimiter!r}, inferred from the header")
        if self.skipped:
            lines = join_names((f"{line.file} {line}" for line in self.skipped), limit=MAX_LINES_SHOWN)
            notes.append(f"skipped {len(self.skipped):,} lines with a wrong number of cells: {lines}")
        return notes

    def _frames(self, path: Path, names: list[str], delimiter: str) -> Iterator[pl.DataFrame]:
        for index, chunk in enumerate(read_chunks(path)):
            records = _without_header(chunk, delimiter) if index == 0 else chunk
            frame = _read_fast(records, names, delimiter)
            yield frame if frame is not None else self._read_by_record(path, records, names, delimiter)

    def _read_by_record(self, path: Path, chunk: Chunk, names: list[str], delimiter: str) -> pl.DataFrame:
        """Read records one by one, which finds the bad lines."""
        columns: list[list[str | None]] = [[] for _ in names]
        bad_lines = []
        for number, cells in _records(path, chunk, delimiter):
            if len(cells) != len(names):
                bad_lines.append(BadLine(path.name, number, len(cells)))
                continue
            for column, cell in zip(columns, cells, strict=True):
                column.append(cell or None)
        if bad_lines and self.on_bad_lines == "error":
            raise _bad_lines_error(path, bad_lines, len(names))
        self.skipped.extend(bad_lines)
        return pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String), orient="col")


def _read_fast(chunk: Chunk, names: list[str], delimiter: str) -> pl.DataFrame | None:
    """Parse all records at once with polars; None if they need the slower, exact reader."""
    if not chunk.content.strip():
        return None
    try:
        frame = pl.read_csv(
            chunk.content, has_header=False, separator=delimiter, schema=dict.fromkeys(names, pl.String)
        )
    except pl.exceptions.PolarsError:
        return None
    if frame[:, 0].null_count() and (b"\n\n" in chunk.content or b"\n\r\n" in chunk.content):
        return None
    # A null in the last column may be an empty cell or a short line.
    may_be_short = frame[:, -1].null_count() > 0 and len(names) > 1
    return (
        None
        if may_be_short and not _has_delimiters(chunk.content, delimiter, (len(names) - 1) * frame.height)
        else frame
    )


def _has_delimiters(content: bytes, delimiter: str, expected: int) -> bool:
    """Whether the number of delimiters outside quotes is as expected."""
    if b'"' not in content:
        return content.count(delimiter.encode()) == expected
    letters = np.frombuffer(content, dtype=np.uint8)
    inside = np.bitwise_xor.accumulate((letters == ord('"')).astype(np.uint8))
    return int(np.count_nonzero((letters == ord(delimiter)) & (inside == 0))) == expected


def _records(path: Path, chunk: Chunk, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of its first line, cells) of each record that is not blank."""
    try:
        text = chunk.content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = chunk.line + chunk.content.count(b"\n", 0, error.start)
        raise SourceError(
            f"{path}: line {line:,} is not UTF-8, but the first megabyte of the file is",
            hint="save the file as UTF-8, for example with `iconv -f windows-1252 -t utf-8`",
        ) from None
    reader, first = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), chunk.line
    for cells in reader:
        if cells:
            yield first, cells
        first = chunk.line + reader.line_num


def _without_header(chunk: Chunk, delimiter: str) -> Chunk:
    """Return the records of a file's first chunk."""
    text = chunk.content[:HEADER_BYTES].decode("utf-8", errors="replace")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    while not next(reader, ["end"]):
        continue
    lines, end = reader.line_num, -1
    for _ in range(lines):
        end = chunk.content.find(b"\n", end + 1)
    return Chunk(chunk.content[end + 1 :] if end >= 0 else b"", chunk.line + lines)


def _header(path: Path, delimiter: str) -> list[str]:
    text = next(read_chunks(path, size_bytes=HEADER_BYTES), Chunk(b"", 1)).content.decode("utf-8", errors="replace")
    names = next((cells for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if cells), [])
    if not names:
        raise SourceError(f"{path}: the file is empty", hint="the first line must name the columns")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise SourceError(
            f"{path}: the header has {join_names(map(repr, repeated))} more than once", hint="rename one of them"
        )
    return names


def _bad_lines_error(path: Path, bad_lines: list[BadLine], width: int) -> SourceError:
    lines = join_names(map(str, bad_lines), limit=MAX_LINES_SHOWN)
    return SourceError(
        f"{path}: expected {width} cells per line, as in the header, but found: {lines}",
        hint="fix the lines, check quotes and data.delimiter, or set data.on_bad_lines: skip",
    )


def _infer_delimiter(start: bytes) -> str:
    """Return the delimiter that gives the header the most cells, and the second record as many."""
    text = start.decode(file_encoding(start), errors="replace").removeprefix("\ufeff")
    widths: Counter[str] = Counter()
    for delimiter in DELIMITERS:
        records = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        n_cells = [len(cells) for cells in islice(filter(None, records), 2)]
        widths[delimiter] = n_cells[0] if len(set(n_cells)) == 1 else 0
    best, width = widths.most_common(1)[0]
    return best if width > 1 else ","
