"""The records of a CSV text one by one, in Python: slower, but it knows each line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from estimator.data.sources.files import TableFile
from estimator.data.sources.text import count_lines
from estimator.errors import SourceError


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be read, and why."""

    file: str
    number: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.number:,} ({self.reason})"


@dataclass(frozen=True, slots=True)
class Record:
    """The cells of a record, the number of its first line, and why it cannot be read."""

    line: int
    cells: list[str]
    fault: str | None = None

    @property
    def is_blank(self) -> bool:
        """Whether it holds nothing, or nothing but spaces."""
        return self.fault is None and (not self.cells or (len(self.cells) == 1 and not self.cells[0].strip()))

    def bad_line(self, file: str, width: int) -> BadLine | None:
        """Return what is wrong with a record of a table with `width` columns; None for a good one."""
        if self.fault is not None:
            return BadLine(file, self.line, self.fault)
        if len(self.cells) != width:
            return BadLine(file, self.line, f"{len(self.cells)} cells")
        return BadLine(file, self.line, "a NUL byte") if any("\0" in cell for cell in self.cells) else None


def read_records(file: TableFile, pieces: Iterable[bytes], delimiter: str, *, first_line: int) -> Iterator[Record]:
    """Yield the records of a text that comes in pieces of UTF-8, the first line of which has the given number.

    Raises
    ------
    SourceError: a quote is never closed, or text is not UTF-8.
    """
    reader = csv.reader(_lines(file, pieces, first_line), delimiter=delimiter, strict=True)
    while True:
        line = first_line + reader.line_num
        try:
            yield Record(line, next(reader))
        except StopIteration:
            return
        except csv.Error as error:
            if "end of data" in str(error):
                raise unclosed_quote(file, line) from None
            yield Record(line, [], "text after a closing quote")


def unclosed_quote(file: TableFile, line: int) -> SourceError:
    """Return the error of a quoted cell that does not end, in the record that begins at a line."""
    return SourceError(
        f"{file}: a quote opened on line {line:,} is never closed",
        hint="close it, or double it if it is part of the text; has the file been cut?",
    )


def _lines(file: TableFile, pieces: Iterable[bytes], first_line: int) -> Iterator[str]:
    """Yield the lines of a text with their ends: line feeds, carriage returns, or both."""
    pending, line = b"", first_line
    for piece in chain(pieces, [None]):
        pending += piece or b""
        end = len(pending) if piece is None else pending.rfind(b"\n") + 1
        content, pending = pending[:end], pending[end:]
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            bad_line = line + count_lines(content[: error.start])
            raise SourceError(
                f"{file}: line {bad_line:,} holds bytes that are not UTF-8, which other lines are",
                hint="mend that line, or set data.encoding to read all lines by another encoding",
            ) from None
        yield from io.StringIO(text, newline="")
        line += count_lines(content)
