"""CSV and TSV, plain or gzipped: every cell is read as the text that is in the file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import ClassVar

import numpy as np
import polars as pl

from estimator.core.text import counted, join_names
from estimator.data.sources.base import BATCH_ROWS, FileSource, check_same_columns
from estimator.data.sources.files import TableFile, read_errors
from estimator.data.sources.header import HEADER_BYTES, Header, read_header
from estimator.data.sources.records import BadLine, Record, read_records, unclosed_quote
from estimator.data.sources.text import BLOCK_BYTES, STRETCH_BYTES, count_bytes, count_lines, text_blocks
from estimator.errors import SourceError

MAX_LINES_SHOWN = 10
MAX_RECORD_BYTES = 64_000_000
QUOTE = ord('"')
REPLACEMENT = "\ufffd".encode()


@dataclass(frozen=True, slots=True)
class Csv(FileSource):
    """Text with a header line; an empty cell is null, leading zeros are kept, blank lines are skipped.

    A missing `delimiter` is inferred from the header, the encoding from the bytes. Lines that cannot be read, most of
    them with too few or too many cells, are an error that lists their numbers; with `on_bad_lines`, they are left out
    ("skip") or are rows of nulls ("missing"), with a note.
    """

    endings: ClassVar[tuple[str, ...]] = (".csv", ".csv.gz", ".tsv", ".tsv.gz")

    def batches(self, *, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        self.remarks.clear()
        self.bad_rows.clear()
        names: list[str] = []
        delimiter, n_rows = self.options.delimiter, 0
        with read_errors(self.files):
            for file in self.files:
                reading = _Reading(self, file, delimiter, n_rows)
                check_same_columns(file, reading.header.names, names or reading.header.names)
                names, delimiter = reading.header.names, reading.header.delimiter
                for frame in reading.frames():
                    n_rows += frame.height
                    yield from frame.iter_slices(rows)
        if n_rows == 0:
            self.remarks.append(f"{self.files[0].name}: a header and no rows")
            yield pl.DataFrame(schema=dict.fromkeys(names, pl.String))


class _Reading:
    """The frames of one file; mutable, as it follows the position in it."""

    def __init__(self, source: Csv, file: TableFile, delimiter: str | None, n_rows_before: int) -> None:
        self._source, self._file, self._n_rows = source, file, n_rows_before
        options, remarks = source.options, source.remarks
        self._blocks = text_blocks(file, encoding=options.encoding, size_bytes=BLOCK_BYTES, remarks=remarks)
        start = b""
        while len(start) < HEADER_BYTES and (block := next(self._blocks, None)) is not None:
            start += block
        self.header: Header = read_header(file, start, delimiter=delimiter, skip_lines=options.skip_lines)
        remarks += [remark for remark in self.header.remarks if remark not in remarks]
        self._start, self._pending, self._line = start[self.header.offset :], b"", self.header.line
        self._n_replaced, self._first_replaced = 0, 0
        self._blank_lines: list[int] = []
        self._last_line = 0
        self._bad_lines: list[BadLine] = []

    def frames(self) -> Iterator[pl.DataFrame]:
        """Read the rows after the header, in frames of whole records."""
        for block in chain([self._start], self._blocks):
            end = _end_of_records(block, is_quoted=self._pending.count(b'"') % 2 == 1)
            # One copy of the block, as each takes time.
            content = b"".join((self._pending, memoryview(block)[:end])) if end else b""
            self._pending = block[end:] if end else self._pending + block
            if len(self._pending) > MAX_RECORD_BYTES:
                raise unclosed_quote(self._file, self._line + count_lines(content))
            yield from self._frames_of(content)
        # Without the last line's end, polars takes one cell too many there.
        last, self._pending = self._pending, b""
        yield from self._frames_of(last if last.endswith(b"\n") or not last else last + b"\n")
        self._add_remarks()

    def _frames_of(self, content: bytes) -> Iterator[pl.DataFrame]:
        quotes = _Quotes.of(content, self.header.delimiter)
        if not quotes.is_regular:
            # Quotes do not tell where a record ends: the rest of the file is read one by one.
            yield from self._frames_by_record(chain([content, self._pending], self._blocks))
            self._pending = b""
        elif content:
            self._count_replacements(content)
            frame = _read_fast(content, self.header.names, self.header.delimiter)
            if frame is None:
                yield from self._frames_by_record([content])
            else:
                yield frame.select(pl.when(pl.all() != "").then(pl.all())) if quotes.has_empty else frame
                self._n_rows += frame.height
            self._line += count_lines(content)

    def _frames_by_record(self, pieces: Iterator[bytes] | Sequence[bytes]) -> Iterator[pl.DataFrame]:
        """Read records one by one, which finds the bad lines."""
        columns: list[list[str | None]] = [[] for _ in self.header.names]
        bad_lines: list[BadLine] = []
        for record in read_records(self._file, pieces, self.header.delimiter, first_line=self._line):
            self._add(record, columns, bad_lines)
            if len(columns[0]) >= BATCH_ROWS and not (bad_lines and self._source.options.on_bad_lines == "error"):
                yield self._frame(columns)
        if bad_lines and self._source.options.on_bad_lines == "error":
            raise _bad_lines_error(self._file, bad_lines, len(columns))
        if columns[0]:
            yield self._frame(columns)

    def _add(self, record: Record, columns: list[list[str | None]], bad_lines: list[BadLine]) -> None:
        is_missing = self._source.options.on_bad_lines == "missing"
        if record.is_blank and (not record.cells or len(columns) > 1):
            if len(columns) == 1:
                self._blank_lines.append(record.line)
            return
        self._last_line = record.line
        bad = record.bad_line(self._file.name, len(columns))
        if bad is not None:
            bad_lines.append(bad)
            self._bad_lines.append(bad)
            if is_missing:
                self._source.bad_rows[self._n_rows + len(columns[0])] = f"{bad.file} {bad} cannot be read"
        if bad is None or is_missing:
            cells = record.cells if bad is None else [""] * len(columns)
            for column, cell in zip(columns, cells, strict=True):
                column.append(cell or None)

    def _frame(self, columns: list[list[str | None]]) -> pl.DataFrame:
        frame = pl.DataFrame(columns, schema=dict.fromkeys(self.header.names, pl.String), orient="col")
        self._n_rows += frame.height
        for column in columns:
            column.clear()
        return frame

    def _count_replacements(self, content: bytes) -> None:
        # The first byte is rare in most languages, and found fast.
        if b"\xef" in content and (n_replaced := content.count(REPLACEMENT)):
            line = self._line + count_lines(content[: content.find(REPLACEMENT)])
            self._first_replaced = self._first_replaced or line
            self._n_replaced += n_replaced

    def _add_remarks(self) -> None:
        name, remarks = self._file.name, self._source.remarks
        if self._bad_lines:
            is_missing, is_one = self._source.options.on_bad_lines == "missing", len(self._bad_lines) == 1
            effects = ("is a row", "are rows") if is_missing else ("is left out", "are left out")
            effect = effects[0 if is_one else 1] + (" of missing values" if is_missing else "")
            lines = join_names(map(str, self._bad_lines), limit=MAX_LINES_SHOWN)
            remarks.append(f"{name}: {counted(len(self._bad_lines), 'line')} that cannot be read {effect}: {lines}")
        if self._source.options.on_bad_lines == "skip":
            self._source.skipped[name] = len(self._bad_lines)
        if self._n_replaced:
            remarks.append(
                f"{name}: line {self._first_replaced:,} holds U+FFFD, which stands for a character lost before; "
                f"{self._n_replaced:,} in all"
            )
        blank_lines = [line for line in self._blank_lines if line < self._last_line]
        if blank_lines:
            lines = join_names((f"line {line:,}" for line in blank_lines), limit=MAX_LINES_SHOWN)
            remarks.append(f'{name}: blank lines are no rows: {lines}; a missing value is written ""')


def _read_fast(content: bytes, names: list[str], delimiter: str) -> pl.DataFrame | None:
    """Parse all records at once with polars; None if they need the slower, exact reader."""
    if content.isspace() or b"\0" in content:
        return None
    if b"\r" in content and content.count(b"\r") != content.count(b"\r\n"):
        return None
    try:
        frame = pl.read_csv(content, has_header=False, separator=delimiter, schema=dict.fromkeys(names, pl.String))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return None
    if frame[:, 0].null_count() and (b"\n\n" in content or b"\n\r\n" in content or content[:2] in (b"\n", b"\r\n")):
        return None
    # A null in the last column may be an empty cell or a short line.
    may_be_short = frame[:, -1].null_count() > 0 and len(names) > 1
    if may_be_short and not _has_delimiters(content, delimiter, (len(names) - 1) * frame.height):
        return None
    return frame


def _has_delimiters(content: bytes, delimiter: str, expected: int) -> bool:
    """Whether the number of delimiters outside quotes is as expected."""
    if b'"' not in content:
        return content.count(delimiter.encode()) == expected
    letters = np.frombuffer(content, dtype=np.uint8)
    inside = np.bitwise_xor.accumulate((letters == ord('"')).astype(np.uint8))
    return int(np.count_nonzero((letters == ord(delimiter)) & (inside == 0))) == expected


@dataclass(frozen=True, slots=True)
class _Quotes:
    """Whether every quote opens or closes a cell or is doubled in one, none is left open; whether some may be empty."""

    is_regular: bool
    has_empty: bool

    @classmethod
    def of(cls, content: bytes, delimiter: str) -> _Quotes:
        letters, is_border = np.frombuffer(content, dtype=np.uint8), np.zeros(256, dtype=np.bool_)
        is_border[list(f'{delimiter}\r\n"'.encode())] = True
        n_quotes, has_empty = 0, False
        for start in range(0, len(letters), STRETCH_BYTES) if b'"' in content else ():
            quotes = np.flatnonzero(letters[start : start + STRETCH_BYTES] == QUOTE) + start
            opening = quotes[n_quotes % 2 :: 2]
            n_quotes += len(quotes)
            # A quote at the start of the text is its own neighbor, and counts as a border.
            if not is_border[letters.take(opening - 1, mode="clip")].all():
                return cls(False, has_empty)
            has_empty = has_empty or bool((letters.take(opening + 1, mode="clip") == QUOTE).any())
        return cls(n_quotes % 2 == 0, has_empty)


def _end_of_records(block: bytes, *, is_quoted: bool) -> int:
    """Return where the last whole record ends, at a line break outside quotes; 0 if there is none.

    `is_quoted` says whether the block begins inside of quotes.
    """
    end = block.rfind(b"\n") + 1
    if b'"' not in block:
        return 0 if is_quoted else end
    n_quotes = count_bytes(block, QUOTE) - block.count(b'"', end) + is_quoted
    while end and n_quotes % 2:
        earlier = block.rfind(b"\n", 0, end - 1) + 1
        n_quotes -= block.count(b'"', earlier, end)
        end = earlier
    return end


def _bad_lines_error(file: TableFile, bad_lines: list[BadLine], width: int) -> SourceError:
    lines = join_names(map(str, bad_lines), limit=MAX_LINES_SHOWN)
    return SourceError(
        f"{file}: expected {width} cells per line, as in the header, but found: {lines}",
        hint="fix the lines, check quotes and data.delimiter, or leave such lines out with data.on_bad_lines: skip; "
        "predict gives them a missing prediction with --on-error missing",
    )
