"""Whole columns of texts -> times, in numpy, exactly as `core.date_formats` reads a single text.

The expression of a format reads one text. Where its parts lie in that text is a layout, which then reads every text of
the same length that is the same between its parts. Each text is read by a layout or by the expression itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import polars as pl

from estimator.core.arrays import Floats, Ints, Mask
from estimator.core.date_formats import (
    DAY_SECONDS,
    DIGITS,
    ISO_8601,
    WORDS,
    TimeFormat,
    compile_format,
    moment_of,
    offset_seconds,
)

NO_TIME = np.iinfo(np.int64).min
# Longer texts are no dates.
MAX_LENGTH = 200
MAX_LAYOUTS = 100
# Rows of a block, which stays in the processor's cache.
BLOCK_ROWS = 8192
LOWER_CASE = 0x20
# The bytes of texts of one length: shape (length, rows).
Bytes = npt.NDArray[np.uint8]
# The values of one part of all texts; 0 where a part says nothing.
Part = npt.NDArray[np.int32] | int


def parse_times(texts: pl.Series, date_formats: Sequence[str], *, with_iso: bool = False) -> pl.Series:
    """Return texts without outer blanks as datetimes in UTC, each by the first format that reads it, or null.

    >>> parse_times(pl.Series(["31/1/2020", "2020-01-31"]), ["%d/%m/%Y"]).to_list()
    [datetime.datetime(2020, 1, 31, 0, 0), None]
    """
    formats = [*map(compile_format, date_formats), *([ISO_8601] if with_iso else [])]
    lengths = texts.str.len_bytes().fill_null(0).to_numpy()
    if len(texts) and lengths.min() == lengths.max():
        microseconds = _read_equal(texts, int(lengths[0]), formats)
    else:
        microseconds = np.full(len(texts), NO_TIME, dtype=np.int64)
        for length in np.unique(lengths).tolist():
            rows = np.flatnonzero(lengths == length)
            microseconds[rows] = _read_equal(texts.gather(rows), length, formats)
    # The least integer is numpy's NaT, which polars reads as null.
    return pl.Series(texts.name, microseconds.view("datetime64[us]"))


def seconds_of(times: pl.Series) -> Floats:
    """Return datetimes as seconds since 1970; NaN where there is no time."""
    microseconds = times.to_physical().fill_null(NO_TIME).to_numpy()
    is_missing = microseconds == NO_TIME
    seconds: Floats = microseconds / 1e6
    is_distant = (np.abs(microseconds) >= 2**53) & ~is_missing
    if is_distant.any():
        # Doubles do not hold their microseconds: divided whole, they would be rounded twice.
        distant = microseconds[is_distant]
        whole = distant // 1_000_000
        seconds[is_distant] = whole + (distant - whole * 1_000_000) / 1e6
    seconds[is_missing] = np.nan
    return seconds


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of a format lie in texts of one length: `parts` are (letter, first byte, byte after the last)."""

    sample: bytes
    parts: tuple[tuple[str, int, int], ...]

    def read(self, block: Bytes) -> tuple[Ints, Mask]:
        """Return microseconds since 1970 UTC, and the texts that are of this layout and a moment."""
        is_read = np.ones(block.shape[1], dtype=np.bool_)
        inner = {position for _, start, stop in self.parts for position in range(start, stop)}
        for position, byte in enumerate(self.sample):
            if position not in inner:
                is_read &= _equals(block[position], byte)
        if not is_read.any():
            return np.zeros(len(is_read), dtype=np.int64), is_read
        values: dict[str, Any] = {}
        for letter, start, stop in self.parts:
            values[letter] = self._part(letter, block[start:stop], self.sample[start:stop], is_read)
        days, seconds, is_moment = moment_of(values)
        microseconds = (days.astype(np.int64) * DAY_SECONDS + seconds) * 1_000_000 + values.get("f", 0)
        return microseconds, is_read & is_moment

    def _part(self, letter: str, block: Bytes, sample: bytes, is_read: Mask) -> Part:
        """Return the values of a part, and unmark the texts that have something else there."""
        if letter == "f":
            # Digits below a microsecond are cut off.
            _number(block[6:], is_read)
            return cast("Part", _number(block[:6], is_read) * 10 ** max(6 - len(block), 0))
        if letter in DIGITS:
            return _number(block, is_read)
        if letter == "z" and sample[0] in b"+-":
            return _offset(block, sample, is_read)
        return _word(WORDS.get(letter, {}), block, sample, is_read)


def _equals(row: Bytes, byte: int) -> Mask:
    """Mark bytes that are equal, for English letters in any case."""
    is_letter = chr(byte).isascii() and chr(byte).isalpha()
    mask: Mask = (row | LOWER_CASE) == byte | LOWER_CASE if is_letter else row == byte
    return mask


def _number(block: Bytes, is_read: Mask) -> npt.NDArray[np.int32]:
    value = np.zeros(block.shape[1], dtype=np.int32)
    for row in block:
        digit = row - ord("0")
        is_read &= digit <= 9
        value *= 10
        value += digit
    return value


def _offset(block: Bytes, sample: bytes, is_read: Mask) -> Part:
    is_read &= (block[0] == ord("+")) | (block[0] == ord("-"))
    digits = [position for position, byte in enumerate(sample) if chr(byte).isdigit()]
    for position in range(1, len(sample)):
        if position not in digits:
            is_read &= block[position] == sample[position]
    pairs = [_number(block[digits[index : index + 2]], is_read) for index in range(0, len(digits), 2)]
    hours, minutes, seconds = [*pairs, *[np.zeros_like(pairs[0])] * 2][:3]
    offset: Part = offset_seconds(np.where(block[0] == ord("+"), np.int32(1), np.int32(-1)), hours, minutes, seconds)
    return offset


def _word(words: Mapping[str, int], block: Bytes, sample: bytes, is_read: Mask) -> Part:
    """Return what words stand for; a word that is in no list must be that of the sample."""
    candidates = {word: value for word, value in words.items() if len(word) == len(sample)}
    if sample.decode().lower() not in candidates:
        for row, byte in zip(block, sample, strict=True):
            is_read &= row == byte
        return 0
    value = np.zeros(block.shape[1], dtype=np.int32)
    is_known = np.zeros(block.shape[1], dtype=np.bool_)
    lower = block | LOWER_CASE
    for word, meaning in candidates.items():
        is_word = lower[0] == ord(word[0])
        for row, letter in zip(lower[1:], word[1:], strict=True):
            is_word &= row == ord(letter)
        value[is_word] = meaning
        is_known |= is_word
    is_read &= is_known
    return value


@dataclass(slots=True)
class _Reader:
    """One format and the layouts met so far."""

    format: TimeFormat
    layouts: list[Layout] = field(default_factory=list)

    def read(self, block: Bytes, texts: npt.NDArray[np.uint8], unread: Ints, microseconds: Ints) -> Ints:
        """Fill in the microseconds of the rows that the format reads; return the others."""
        for known in self.layouts:
            unread = _fill(known, block, unread, microseconds)
        others = []
        while len(unread):
            row, unread = unread[:1], unread[1:]
            text = texts[row[0]].tobytes().decode()
            layout = self._layout(text)
            if layout is None or len(self.layouts) == MAX_LAYOUTS:
                value = self.format.microseconds(text) if layout is not None else None
                microseconds[row] = NO_TIME if value is None else value
            else:
                self.layouts.append(layout)
                _fill(layout, block, row, microseconds)
                unread = _fill(layout, block, unread, microseconds)
            if microseconds[row[0]] == NO_TIME:
                others.append(row[0])
        return np.array(others, dtype=np.int64)

    def _layout(self, text: str) -> Layout | None:
        match = self.format.regex.fullmatch(text)
        if match is None:
            return None
        starts = [len(text[:position].encode()) for position in range(len(text) + 1)]
        parts = (
            (letter, starts[match.start(group)], starts[match.end(group)])
            for group, letter in enumerate(self.format.letters, start=1)
            if match.group(group) is not None
        )
        return Layout(text.encode(), tuple(parts))


def _fill(layout: Layout, block: Bytes, unread: Ints, microseconds: Ints) -> Ints:
    if len(unread) == 0:
        return unread
    is_whole = len(unread) == block.shape[1]
    values, is_read = layout.read(block if is_whole else block[:, unread])
    if is_whole and is_read.all():
        microseconds[:] = values
        return unread[:0]
    microseconds[unread[is_read]] = values[is_read]
    return unread[~is_read]


def _read_equal(texts: pl.Series, length: int, formats: Sequence[TimeFormat]) -> Ints:
    """Return the microseconds of texts that have the same length in bytes."""
    if not 0 < length <= MAX_LENGTH:
        return np.full(len(texts), NO_TIME, dtype=np.int64)
    all_bytes = np.frombuffer(texts.str.join("").item().encode(), dtype=np.uint8).reshape(-1, length)
    microseconds = np.full(len(texts), NO_TIME, dtype=np.int64)
    readers = [_Reader(date_format) for date_format in formats]
    for start in range(0, len(texts), BLOCK_ROWS):
        rows = all_bytes[start : start + BLOCK_ROWS]
        block, unread = np.ascontiguousarray(rows.T), np.arange(len(rows))
        for reader in readers:
            if len(unread):
                unread = reader.read(block, rows, unread, microseconds[start : start + BLOCK_ROWS])
    return microseconds
