"""Text files as blocks of UTF-8: the encoding is known by a byte order mark, set in the config, or detected."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import IO

import numpy as np

from estimator.data.sources.encoding import detect, encoding_name
from estimator.data.sources.files import TableFile, opened, reject_other_format
from estimator.errors import SourceError

BLOCK_BYTES = 16_000_000
STRETCH_BYTES = 1 << 18
SAMPLE_BYTES = 50_000
MAX_SHOWN = 80
# Marks at the start of a file -> its encoding; the longer ones first.
MARKS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
LINE_END = re.compile(rb"\r\n|\n|\r")


def text_blocks(file: TableFile, *, encoding: str | None, size_bytes: int, remarks: list[str]) -> Iterator[bytes]:
    """Read a file in blocks of UTF-8, with line feeds where it has carriage returns alone.

    Text that is all UTF-8 is passed on as it is; what was guessed about other text is added to `remarks`.

    Raises
    ------
    SourceError: the file is no text, or its encoding cannot be decided.
    """
    with opened(file) as content:
        block = content.read(size_bytes)
        reject_other_format(file, block)
        mark, codec = next((item for item in MARKS if block.startswith(item[0])), (b"", None))
        if codec and encoding and not codecs.lookup(encoding).name.startswith(codec[:6]):
            remarks.append(f"{file.name}: read as {codec}, as its byte order mark says, not as {encoding}")
        blocks: Iterator[bytes] = chain([block[len(mark) :]], iter(lambda: content.read(size_bytes), b""))
        codec = codec or encoding or _wide_codec(file, block, remarks)
        if codec is None:
            blocks = _detected(file, blocks, size_bytes, remarks)
        elif codecs.lookup(codec).name != "utf-8":
            blocks = _converted(file, blocks, codec)
        yield from _with_line_feeds(blocks)


def first_lines(content: bytes, n_lines: int) -> int:
    """Return where the line after the first lines begins; the length of the content if there is none.

    >>> first_lines(b"a\\r\\nb\\nc", 2)
    5
    """
    ends = [match.end() for match in islice(LINE_END.finditer(content), n_lines)]
    return 0 if n_lines == 0 else ends[-1] if len(ends) == n_lines else len(content)


def count_lines(content: bytes) -> int:
    """Return the number of line ends: line feeds, and carriage returns that stand alone."""
    n_lines = count_bytes(content, ord("\n"))
    return n_lines + content.count(b"\r") - content.count(b"\r\n") if b"\r" in content else n_lines


def count_bytes(content: bytes, byte: int) -> int:
    """Return how often a byte occurs, faster than `bytes.count` where it is frequent."""
    letters = np.frombuffer(content, dtype=np.uint8)
    # Stretches that fit into the processor's cache.
    starts = range(0, len(letters), STRETCH_BYTES)
    return sum(int(np.count_nonzero(letters[start : start + STRETCH_BYTES] == byte)) for start in starts)


def _with_line_feeds(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Replace carriage returns by line feeds in a text that has no line feeds at its start."""
    has_only_returns = None
    for block in blocks:
        if has_only_returns is None and block:
            has_only_returns = b"\r" in block[:-1] and b"\n" not in block
        yield block.replace(b"\r", b"\n") if has_only_returns else block


def _wide_codec(file: TableFile, block: bytes, remarks: list[str]) -> str | None:
    """Return UTF-16 for a text of which every other byte is 0, as for ASCII without a byte order mark."""
    start = block[:1000]
    for codec, zeros, others in (("utf-16-le", start[1::2], start[::2]), ("utf-16-be", start[::2], start[1::2])):
        if len(start) > 3 and zeros.count(0) > len(zeros) / 2 and not others.count(0):
            remarks.append(f"{file.name}: read as {codec}, as every other byte is 0; it has no byte order mark")
            return codec
    return None


def _detected(file: TableFile, blocks: Iterator[bytes], size_bytes: int, remarks: list[str]) -> Iterator[bytes]:
    """Pass on ASCII; the first text beyond it decides whether the file is UTF-8 or is converted from here on."""
    for block in blocks:
        if block.isascii() and b"\x1b$" not in block:
            yield block
            continue
        following = next(blocks, b"")
        if b"\x1b$" in block or not _is_utf8(block, is_last=not following):
            codec = _codec_of(file, size_bytes, remarks)
            yield from _converted(file, chain([block, following], blocks), codec)
            return
        yield block
        yield following
        # Later blocks are checked where they are parsed, which costs nothing here.
        yield from blocks


def _is_utf8(block: bytes, *, is_last: bool) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(block, final=is_last)
    except UnicodeDecodeError:
        return False
    return True


def _codec_of(file: TableFile, size_bytes: int, remarks: list[str]) -> str:
    """Return the encoding of a file that is not UTF-8.

    Raises
    ------
    SourceError: most of it is UTF-8, or its letters do not decide.
    """
    with opened(file) as content:
        lines = _lines_beyond_ascii(content)
        sample, n_utf8, n_bytes, first_bad = dict[bytes, int](), 0, 0, 0
        for number, line in lines:
            is_utf8 = _is_utf8(line, is_last=True)
            n_utf8 += is_utf8
            first_bad = first_bad or (0 if is_utf8 else number)
            if n_bytes < SAMPLE_BYTES and line not in sample:
                sample[line], n_bytes = number, n_bytes + len(line)
            if n_bytes >= SAMPLE_BYTES and first_bad:
                break
    n_other = len(sample) - sum(_is_utf8(line, is_last=True) for line in sample)
    if first_bad and n_utf8 > n_other:
        raise SourceError(
            f"{file}: line {first_bad:,} holds bytes that are not UTF-8, which other lines are",
            hint="mend that line, or set data.encoding to read all lines by another encoding",
        )
    codecs_found = detect(b"\n".join(sample))
    line, number = next(iter(sample.items()), (b"", 1))
    shown = [f"{_shown(line, codec)!r} in {encoding_name(codec)}" for codec in codecs_found[:3]]
    if len(codecs_found) != 1:
        readings = f"; line {number:,} would be {', or '.join(shown)}" if shown else ""
        raise SourceError(
            f"{file}: not UTF-8, and its letters do not tell the encoding{readings}",
            hint="set data.encoding, such as windows-1252 or shift_jis, or save the file as UTF-8",
        )
    name = encoding_name(codecs_found[0])
    remarks.append(
        f"{file.name}: not UTF-8, read as {name}; line {number:,} is then {_shown(line, codecs_found[0])!r}; "
        "if that is wrong, set data.encoding"
    )
    return codecs_found[0]


def _lines_beyond_ascii(content: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield (number, line) of the lines that hold more than ASCII, of any line ends."""
    number = 1
    for stretch in content:
        for line in LINE_END.split(stretch.rstrip(b"\r\n")):
            if not line.isascii() or b"\x1b$" in line:
                yield number, line
            number += 1


def _shown(line: bytes, codec: str) -> str:
    text = line.decode(codec, errors="replace")
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _converted(file: TableFile, blocks: Iterable[bytes], codec: str) -> Iterator[bytes]:
    """Convert blocks from an encoding to UTF-8.

    Raises
    ------
    SourceError: bytes have no meaning in that encoding; the message names their line.
    """
    decoder, line = codecs.getincrementaldecoder(codec)(), 1
    for block in chain(blocks, [None]):
        try:
            text = decoder.decode(block or b"", final=block is None).encode()
        except UnicodeDecodeError as error:
            line += count_lines(error.object[: error.start].decode(codec, errors="replace").encode())
            found = " ".join(f"0x{byte:02x}" for byte in error.object[error.start : error.end][:4])
            raise SourceError(
                f"{file}: line {line:,} holds the byte {found}, which has no meaning in {encoding_name(codec)}",
                hint="set data.encoding to the file's encoding, or mend the line",
            ) from None
        except UnicodeEncodeError:
            raise SourceError(
                f"{file}: line {line:,} or later holds half a character of {encoding_name(codec)}", hint="mend the line"
            ) from None
        line += count_lines(text)
        yield text
