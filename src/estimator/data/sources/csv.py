"""Comma-separated text, plain or gzipped: every cell arrives as the text it was written with."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl

from estimator.core.text import join_names
from estimator.data.sources.base import BATCH_ROWS, Files, explained, refuse_other_columns
from estimator.data.sources.text import Chunk, chunks_of, encoding_of, start_of
from estimator.errors import SourceError

SEPARATORS = (",", ";", "\t", "|")
SHOWN_LINES = 10
HEADER_BYTES = 1_000_000

# A cell may be as long as its file.
csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file with another number of cells than the header."""

    file: str
    number: int
    cells: int

    def __str__(self) -> str:
        return f"line {self.number:,} ({self.cells} cells)"


@dataclass(frozen=True, slots=True)
class Csv(Files):
    """Text with a header line; empty cells are null, leading zeros and spellings of a gap stay, blank lines do not.

    A delimiter that is not given is told from the header; text that is not UTF-8 is read as Windows-1252, and a
    note says so. Lines with too few or too many cells are refused with their numbers or, if `on_bad_lines` says so, left
    out and noted in `left_out`.
    """

    endings: ClassVar[tuple[str, ...]] = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
    left_out: list[Line] = field(default_factory=list, compare=False)

    def batches(self, *, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        self.left_out.clear()
        delimiter = self.delimiter or _separator(start_of(self.paths[0]))
        names, found = _header(self.paths[0], delimiter), False
        with explained(self.paths):
            for path in self.paths:
                if path != self.paths[0]:
                    refuse_other_columns(path, _header(path, delimiter), names)
                for frame in self._frames(path, names, delimiter):
                    found = found or frame.height > 0
                    yield from frame.iter_slices(rows)
        if not found:
            yield pl.DataFrame(schema=dict.fromkeys(names, pl.String))

    def _frames(self, path: Path, names: list[str], delimiter: str) -> Iterator[pl.DataFrame]:
        for place, chunk in enumerate(chunks_of(path)):
            records = _without_header(chunk, delimiter) if place == 0 else chunk
            frame = _quickly(records, names, delimiter)
            yield frame if frame is not None else self._carefully(path, records, names, delimiter)

    def _carefully(self, path: Path, chunk: Chunk, names: list[str], delimiter: str) -> pl.DataFrame:
        """Read records one by one, which tells the lines that do not fit."""
        columns: list[list[str | None]] = [[] for _ in names]
        on_bad_lines = []
        for number, cells in _records(path, chunk, delimiter):
            if len(cells) != len(names):
                on_bad_lines.append(Line(path.name, number, len(cells)))
                continue
            for column, cell in zip(columns, cells, strict=True):
                column.append(cell or None)
        if on_bad_lines and self.on_bad_lines == "error":
            raise _ragged_error(path, on_bad_lines, len(names))
        self.left_out.extend(on_bad_lines)
        return pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String), orient="col")

    def notes(self) -> list[str]:
        starts = {path.name: start_of(path) for path in self.paths}
        found = [
            f"{name}: not UTF-8, read as {encoding_of(start)}"
            for name, start in starts.items()
            if encoding_of(start) != "utf-8"
        ]
        delimiter = _separator(start_of(self.paths[0]))
        if self.delimiter is None and delimiter != ",":
            found.append(f"{self.paths[0].name}: cells are parted by {delimiter!r}, as the header tells")
        if self.left_out:
            lines = join_names((f"{line.file} {line}" for line in self.left_out), limit=SHOWN_LINES)
            found.append(f"{len(self.left_out):,} lines with another number of cells left out: {lines}")
        return found


def _quickly(chunk: Chunk, names: list[str], delimiter: str) -> pl.DataFrame | None:
    """Read records at once; None when there is something about them that only a careful reader can tell."""
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
    is_short = frame[:, -1].null_count() > 0 and len(names) > 1
    return None if is_short and not _is_even(chunk.content, delimiter, (len(names) - 1) * frame.height) else frame


def _is_even(content: bytes, delimiter: str, expected: int) -> bool:
    """Whether there are as many separators outside quotes as there should be."""
    if b'"' not in content:
        return content.count(delimiter.encode()) == expected
    letters = np.frombuffer(content, dtype=np.uint8)
    inside = np.bitwise_xor.accumulate((letters == ord('"')).astype(np.uint8))
    return int(np.count_nonzero((letters == ord(delimiter)) & (inside == 0))) == expected


def _records(path: Path, chunk: Chunk, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of each record that is not blank; a record of several lines has the number of its first."""
    try:
        text = chunk.content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = chunk.line + chunk.content.count(b"\n", 0, error.start)
        raise SourceError(
            f"{path}: line {line:,} is not UTF-8, although the file's first megabyte is",
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
    text = next(chunks_of(path, size=HEADER_BYTES), Chunk(b"", 1)).content.decode("utf-8", errors="replace")
    names = next((cells for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if cells), [])
    if not names:
        raise SourceError(f"{path}: the file is empty", hint="expected a header line with the names of the columns")
    again = sorted({name for name in names if names.count(name) > 1})
    if again:
        raise SourceError(
            f"{path}: the header names {join_names(map(repr, again))} more than once", hint="rename one of them"
        )
    return names


def _ragged_error(path: Path, on_bad_lines: list[Line], width: int) -> SourceError:
    lines = join_names(map(str, on_bad_lines), limit=SHOWN_LINES)
    return SourceError(
        f"{path}: the header has {width} cells, but not these lines: {lines}",
        hint="mend them, check quotes and data.delimiter, or leave such lines out with data.on_bad_lines: skip",
    )


def _separator(start: bytes) -> str:
    """Return the delimiter that parts the header into most cells, and the second line into as many."""
    lines = start.decode(encoding_of(start), errors="replace").splitlines()[:2]
    if not lines:
        return ","
    widths: Counter[str] = Counter()
    for delimiter in SEPARATORS:
        cells = [len(next(csv.reader([line], delimiter=delimiter), [])) for line in lines]
        widths[delimiter] = cells[0] if len(set(cells)) == 1 else 0
    best, width = widths.most_common(1)[0]
    return best if width > 1 else ","
