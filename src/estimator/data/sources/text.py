"""Text files: encoding, and chunks of whole records in UTF-8."""

from __future__ import annotations

import codecs
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from estimator.errors import SourceError

# Text that is not UTF-8 almost always has this encoding, a superset of Latin-1 that decodes every byte.
FALLBACK_ENCODING = "Windows-1252"
SAMPLE_BYTES = 1_000_000
CHUNK_BYTES = 16_000_000
MAX_RECORD_BYTES = 64_000_000


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole records as UTF-8; `line` is the number of their first line in the file, from 1."""

    content: bytes
    line: int


def first_bytes(path: Path) -> bytes:
    """Return the first megabyte of a file, decompressed."""
    with _opened(path) as file:
        return file.read(SAMPLE_BYTES)


def file_encoding(start: bytes) -> str:
    """Return the encoding of a file, inferred from its first bytes: UTF-8, UTF-16 or Windows-1252."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    return "utf-8" if _is_utf8(start) else FALLBACK_ENCODING


def read_chunks(path: Path, *, size_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
    """Read a file in chunks of about `size_bytes` that end with a whole record.

    Raises
    ------
    SourceError: a quote is opened and never closed.
    """
    pending, line = b"", 1
    for block in _decoded(path, size_bytes):
        pending += block
        end = _end_of_records(pending)
        if end:
            yield Chunk(pending[:end], line)
            line += _n_lines(pending[:end])
            pending = pending[end:]
        elif len(pending) > MAX_RECORD_BYTES:
            raise _unclosed(path, pending, line)
    if pending.count(b'"') % 2 and b"\n" in pending.strip():
        raise _unclosed(path, pending, line)
    if pending:
        yield Chunk(pending, line)


def _unclosed(path: Path, pending: bytes, line: int) -> SourceError:
    line_of_quote = line + pending.count(b"\n", 0, pending.find(b'"'))
    return SourceError(
        f"{path}: a quote opened on line {line_of_quote:,} or later is never closed",
        hint="close it, or double it if it is part of the text",
    )


def _end_of_records(content: bytes) -> int:
    """Return where the last whole record ends, at a line break outside quotes; 0 if there is none."""
    end = content.rfind(b"\n") + 1
    if b'"' not in content:
        return end
    is_quoted = content.count(b'"', 0, end) % 2
    while end and is_quoted:
        earlier = content.rfind(b"\n", 0, end - 1) + 1
        is_quoted = (is_quoted + content.count(b'"', earlier, end)) % 2
        end = earlier
    return end


def _n_lines(content: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(content, dtype=np.uint8) == ord("\n")))


def _decoded(path: Path, size_bytes: int) -> Iterator[bytes]:
    """Read a file as UTF-8, with line feeds as line breaks."""
    start = first_bytes(path)
    encoding = file_encoding(start)
    has_cr_only = b"\n" not in start and b"\r" in start
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
    with _opened(path) as file:
        is_first = True
        while block := file.read(size_bytes):
            if encoding != "utf-8":
                block = decoder.decode(block).encode()
            if is_first:
                block, is_first = block.removeprefix(codecs.BOM_UTF8), False
            yield block.replace(b"\r", b"\n") if has_cr_only else block


def _opened(path: Path) -> BinaryIO:
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    return opener(path, "rb")  # type: ignore[return-value] # both read bytes


def _is_utf8(start: bytes) -> bool:
    try:
        start.decode("utf-8")
    except UnicodeDecodeError as error:
        # The sample may end in the middle of a character.
        return len(start) == SAMPLE_BYTES and error.start > len(start) - 4
    return True
