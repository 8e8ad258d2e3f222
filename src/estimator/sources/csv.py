"""Comma-separated text, plain or gzipped: every cell arrives as the text it was written with."""

from __future__ import annotations

import codecs
import csv
import gzip
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import polars as pl

from estimator.errors import SourceError
from estimator.sources.base import Files
from estimator.wording import listing

SEPARATORS = (",", ";", "\t", "|")
# What text that is not UTF-8 nearly always is: it reads every byte, and Latin-1 alike.
OTHER_ENCODING = "Windows-1252"
LOOKED_AT = 1_000_000


@dataclass(frozen=True, slots=True)
class Csv(Files):
    """Text with a header line; empty cells are null, leading zeros and spellings of a gap stay.

    A separator that is not given is told from the header; text that is not UTF-8 is read as Windows-1252, and a
    note says so.
    """

    endings: ClassVar[tuple[str, ...]] = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
    separator: str | None = None

    def scan(self) -> pl.LazyFrame:
        separator = self.separator or _separator(_start(self.paths[0]))
        _refuse_same_names(self.paths[0], separator)
        if all(_is_plain(_start(path)) for path in self.paths):
            return pl.scan_csv(list(self.paths), infer_schema=False, separator=separator, glob=False)
        parts = [_transcoded(path) for path in self.paths]
        return pl.scan_csv(parts, infer_schema=False, separator=separator)

    def notes(self) -> list[str]:
        starts = {path.name: _start(path) for path in self.paths}
        found = [
            f"{name}: not UTF-8, read as {_encoding(start)}"
            for name, start in starts.items()
            if _encoding(start) != "utf-8"
        ]
        separator = _separator(_start(self.paths[0]))
        if self.separator is None and separator != ",":
            found.append(f"{self.paths[0].name}: cells are parted by {separator!r}, as the header tells")
        return found


def _start(path: Path) -> bytes:
    """Return the first megabyte of a file, unpacked."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as file:
        content: bytes = file.read(LOOKED_AT)
    return content


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character cut in two by the end of what is looked at is no fault.
        return len(content) == LOOKED_AT and error.start > len(content) - 4
    return True


def _transcoded(path: Path) -> bytes:
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    with opener(path, "rb") as file:
        content: bytes = file.read()
    text = content.decode(_encoding(content[:LOOKED_AT]), errors="replace")
    return (text if "\n" in text else text.replace("\r", "\n")).encode()


def _encoding(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    return "utf-8" if _is_utf8(content) else OTHER_ENCODING


def _is_plain(content: bytes) -> bool:
    """Whether the reader can take the file as it is: UTF-8 with lines that end as it expects."""
    return _encoding(content) == "utf-8" and (b"\n" in content or b"\r" not in content)


def _refuse_same_names(path: Path, separator: str) -> None:
    lines = _start(path).decode(_encoding(_start(path)), errors="replace").splitlines()[:1]
    names = next(csv.reader(lines, delimiter=separator), [])
    again = sorted({name for name in names if names.count(name) > 1})
    if again:
        raise SourceError(
            f"{path}: the header names {listing(map(repr, again))} more than once", hint="rename one of them"
        )


def _separator(content: bytes) -> str:
    """Return the separator that parts the header into most cells, and the second line into as many."""
    lines = content.decode(_encoding(content), errors="replace").splitlines()[:2]
    if not lines:
        return ","
    widths: Counter[str] = Counter()
    for separator in SEPARATORS:
        cells = [len(next(csv.reader([line], delimiter=separator), [])) for line in lines]
        widths[separator] = cells[0] if len(set(cells)) == 1 else 0
    best, width = widths.most_common(1)[0]
    return best if width > 1 else ","
