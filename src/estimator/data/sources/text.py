"""A file of text lines -> chunks of whole records in UTF-8, with the number of their first line."""

from __future__ import annotations

import codecs
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from estimator.errors import SourceError

# What text that is not UTF-8 nearly always is: it reads every byte, and Latin-1 alike.
OTHER_ENCODING = "Windows-1252"
LOOKED_AT = 1_000_000
CHUNK_BYTES = 16_000_000
LONGEST_RECORD = 64_000_000


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole records as UTF-8, and the line of the file on which they begin, counted from 1."""

    content: bytes
    line: int


def start_of(path: Path) -> bytes:
    """Return the first megabyte of a file, unpacked."""
    with _opened(path) as file:
        return file.read(LOOKED_AT)


def encoding_of(start: bytes) -> str:
    """Tell the encoding of a file from its start."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    return "utf-8" if _is_utf8(start) else OTHER_ENCODING


def chunks_of(path: Path, *, size: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """Read a file in portions of about 16 MB that end with a record, with bounded memory.

    Raises
    ------
    SourceError: a quote is never closed.
    """
    waiting, line = b"", 1
    for portion in _portions(path, size):
        waiting += portion
        end = _end_of_records(waiting)
        if end:
            yield Chunk(waiting[:end], line)
            line += _n_lines(waiting[:end])
            waiting = waiting[end:]
        elif len(waiting) > LONGEST_RECORD:
            raise _unclosed(path, waiting, line)
    if waiting.count(b'"') % 2 and b"\n" in waiting.strip():
        raise _unclosed(path, waiting, line)
    if waiting:
        yield Chunk(waiting, line)


def _unclosed(path: Path, waiting: bytes, line: int) -> SourceError:
    opened = line + waiting.count(b"\n", 0, waiting.find(b'"'))
    return SourceError(
        f"{path}: a quote that is opened on line {opened:,}, or after it, is never closed",
        hint="close it, or double it where it is part of the text",
    )


def _end_of_records(content: bytes) -> int:
    """Return where the last whole record ends: at a line's end that is not inside quotes; 0 if there is none."""
    end = content.rfind(b"\n") + 1
    if b'"' not in content:
        return end
    inside = content.count(b'"', 0, end) % 2
    while end and inside:
        earlier = content.rfind(b"\n", 0, end - 1) + 1
        inside = (inside + content.count(b'"', earlier, end)) % 2
        end = earlier
    return end


def _n_lines(content: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(content, dtype=np.uint8) == ord("\n")))


def _portions(path: Path, size: int) -> Iterator[bytes]:
    """Read a file as UTF-8 with lines that end in a line feed."""
    start = start_of(path)
    encoding = encoding_of(start)
    old_lines = b"\n" not in start and b"\r" in start
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    with _opened(path) as file:
        first = True
        while portion := file.read(size):
            if encoding != "utf-8":
                portion = decoder.decode(portion).encode()
            if first:
                portion, first = portion.removeprefix(codecs.BOM_UTF8), False
            yield portion.replace(b"\r", b"\n") if old_lines else portion


def _opened(path: Path) -> BinaryIO:
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    return opener(path, "rb")  # type: ignore[return-value] # both read bytes


def _is_utf8(start: bytes) -> bool:
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character cut in two by the end of what is looked at is no fault.
        return len(start) == LOOKED_AT and error.start > len(start) - 4
    return True
