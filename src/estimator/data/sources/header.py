"""The start of a CSV file: lines to skip, Excel's `sep=;`, the delimiter and the names of the columns."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from estimator.core.text import join_names
from estimator.data.sources.files import TableFile
from estimator.data.sources.text import first_lines
from estimator.errors import SourceError

DELIMITERS = (",", ";", "\t", "|")
HEADER_BYTES = 1_000_000
SAMPLE_RECORDS = 60
SEPARATOR_LINE = re.compile(r'"?sep=(.|\\t)"?[,;|\t]*(?:\r\n|\n|\r)', re.IGNORECASE)

# A cell may be as long as its file.
csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True, slots=True)
class Header:
    """The columns' names, the delimiter, where the rows begin, in bytes and lines, and what was guessed."""

    names: list[str]
    delimiter: str
    offset: int
    line: int
    remarks: tuple[str, ...] = ()


def read_header(file: TableFile, start: bytes, *, delimiter: str | None, skip_lines: int) -> Header:
    """Read the header at the start of a file, after the lines to skip.

    Raises
    ------
    SourceError: there is none, names are there twice, or it rather is text above the table.
    """
    offset, line, remarks = first_lines(start, skip_lines), 1 + skip_lines, []
    text = start[offset : offset + HEADER_BYTES].decode("utf-8", errors="replace")
    separator = SEPARATOR_LINE.match(text)
    if separator:
        written = "\t" if separator.group(1) == "\\t" else separator.group(1)
        remarks.append(f"{file.name}: line {line:,} is {separator.group(0).strip()!r}, as Excel writes it: no header")
        offset, line = offset + len(separator.group(0).encode()), line + 1
        text, delimiter = text[separator.end() :], delimiter or written
    elif delimiter is None:
        delimiter = _infer_delimiter(text)
        if delimiter != ",":
            remarks.append(f"{file.name}: the delimiter is {delimiter!r}, inferred from the header")
        _reject_preamble(file, text, delimiter, line)
    else:
        _reject_preamble(file, text, delimiter, line)
    names, n_lines = _first_record(file, text, delimiter, line)
    offset += first_lines(start[offset:], n_lines)
    return Header(names, delimiter, offset, line + n_lines, tuple(remarks))


def _first_record(file: TableFile, text: str, delimiter: str, line: int) -> tuple[list[str], int]:
    """Return the first record that is not blank, and the number of lines it ends after."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = next((cells for cells in reader if cells), [])
    except csv.Error as error:
        raise SourceError(
            f"{file}: line {line:,}: the header cannot be read: {error}", hint="check its quotes"
        ) from None
    if not names:
        after = "" if line == 1 else f" after line {line - 1:,}"
        raise SourceError(f"{file}: the file is empty{after}", hint="the first line must name the columns")
    if any("\0" in name for name in names):
        raise SourceError(f"{file}: line {line:,}: the header holds a NUL byte", hint="is it UTF-16? set data.encoding")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise SourceError(
            f"{file}: the header has {join_names(map(repr, repeated))} more than once", hint="rename one of them"
        )
    return names, reader.line_num


def _infer_delimiter(text: str) -> str:
    """Return the delimiter that gives the header several cells, and most of the next records as many."""
    best, best_score = ",", (0.0, 1)
    for delimiter in DELIMITERS:
        widths = [len(cells) for _, cells in _records(text, delimiter)]
        if len(widths) > 0 and widths[0] > 1:
            agreement = sum(width == widths[0] for width in widths) / len(widths)
            if (agreement, widths[0]) > best_score:
                best, best_score = delimiter, (agreement, widths[0])
    return best


def _records(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of its first line, cells) of the first records that are not blank."""
    reader, line = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), 1
    for cells in islice(reader, SAMPLE_RECORDS):
        if cells:
            yield line, cells
        line = 1 + reader.line_num


def _reject_preamble(file: TableFile, text: str, delimiter: str, line: int) -> None:
    """Reject a first line that is text above the table: later lines have another width, and begin with names."""
    first = list(_records(text, delimiter))
    if not first:
        return
    width = len(first[0][1])
    for candidate in DELIMITERS if width == 1 else (delimiter,):
        records = list(_records(text, candidate))
        start = _table_start([cells for _, cells in records])
        if start and len(records[start][1]) != width:
            number = line + records[start][0] - 1
            raise SourceError(
                f"{file}: line {line:,} is no header: it has {width} cells, "
                f"but the lines from line {number:,} on have {len(records[start][1])}",
                hint=f"if line {number:,} names the columns, set data.skip_lines: {number - 1}; "
                "otherwise check data.delimiter",
            )


def _table_start(records: Sequence[Sequence[str]]) -> int:
    """Return the index of the first of the records that have the most common width, if it may be a header; else 0."""
    # The last record of a sample may be cut.
    widths = [len(cells) for cells in records[:-1] if len(records) == SAMPLE_RECORDS] or [
        len(cells) for cells in records
    ]
    common, _ = Counter(widths[1:]).most_common(1)[0] if len(widths) > 2 else (1, 0)
    start = next((index for index in range(1, len(widths)) if set(widths[index:]) == {common}), 0)
    names = records[start] if start else []
    is_header = len(set(names)) == len(names) and all(name.strip() and not _is_number(name) for name in names)
    return start if common > 1 and is_header and len(widths) - start > 1 else 0


def _is_number(text: str) -> bool:
    try:
        float(text.strip().replace(",", "."))
    except ValueError:
        return False
    return True
