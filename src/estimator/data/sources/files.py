"""A table's bytes, in a file or in memory: opened, decompressed, and a sentence for what cannot be read."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from estimator.errors import SourceError

SIGNATURE_BYTES = 4096
ZIP = b"PK\x03\x04"
# How files of other formats begin -> what they are, and what to do with one that is taken for a table of text.
SIGNATURES: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "a gzip file", "name it {name}.gz"),
    (b"PAR1", "a Parquet file", "name it {stem}.parquet, or set data.kind: parquet"),
    (b"ARROW1", "an Arrow file", "name it {stem}.arrow, or set data.kind: arrow"),
    (b"SQLite format 3\x00", "an SQLite database", "use sqlite:///{path} with a query"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook", "name it {stem}.xls, or set data.kind: excel"),
    (b"BZh", "a bzip2 file", "unpack it with `bunzip2`"),
    (b"\xfd7zXZ\x00", "an xz file", "unpack it with `unxz`"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it with `unzstd`"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it"),
    (b"Rar!\x1a\x07", "a rar archive", "unpack it"),
    (b"\x89HDF\r\n", "an HDF5 file", "export it as CSV or Parquet"),
    (b"Obj\x01", "an Avro file", "export it as CSV or Parquet"),
    (b"ORC", "an ORC file", "export it as CSV or Parquet"),
    (b"%PDF-", "a PDF", "export the table as CSV"),
    (b"<!doctype html", "a web page", "is it a login page? download the file itself"),
    (b"<html", "a web page", "is it a login page? download the file itself"),
    (b"<?xml", "an XML file", "export it as CSV or Parquet"),
)


@dataclass(frozen=True, slots=True)
class MemoryFile:
    """A file whose bytes are in memory, such as the body of a request; `name` is for messages."""

    name: str
    content: bytes = field(repr=False)

    def open(self, mode: str = "rb") -> IO[bytes]:
        """Open it as `Path.open` does, for reading bytes."""
        assert mode == "rb"
        return io.BytesIO(self.content)

    def __str__(self) -> str:
        return self.name


# What a file source reads.
TableFile = Path | MemoryFile


def polars_input(file: TableFile) -> Path | io.BytesIO:
    """Return what polars reads a file from."""
    return file if isinstance(file, Path) else io.BytesIO(file.content)


@contextmanager
def opened(file: TableFile) -> Iterator[IO[bytes]]:
    """Open a file for reading, decompressed if its name ends in .gz.

    Raises
    ------
    SourceError: it is no gzip file although its name says so.
    """
    with file.open("rb") as raw:
        if not file.name.lower().endswith(".gz"):
            yield raw
            return
        start = raw.read(SIGNATURE_BYTES)
        if start and not start.startswith(b"\x1f\x8b"):
            is_what = described(start) or "text or another format"
            raise SourceError(
                f"{file}: expected a gzip file, as its name ends in .gz, got {is_what}",
                hint=f"name it {file.name[:-3]}",
            )
        raw.seek(0)
        with gzip.open(raw) as content:
            # A gzip file reads as bytes.
            yield content  # type: ignore[misc]


def described(start: bytes) -> str | None:
    """Say which format other than text a file has, by its first bytes; None if none is recognized.

    >>> described(b"PAR1..."), described(b"a,b")
    ('a Parquet file', None)
    """
    found = _signature(start)
    return found and found[0]


def reject_other_format(file: TableFile, start: bytes) -> None:
    """Reject a file that is no text, by its first bytes.

    Raises
    ------
    SourceError: it has another format.
    """
    found = _signature(start)
    if found is not None:
        stem = file.name.removesuffix(".gz").rpartition(".")[0] or file.name
        raise SourceError(
            f"{file}: expected text, got {found[0]}", hint=found[1].format(name=file.name, stem=stem, path=file)
        )


def expect_signature(file: TableFile, signatures: tuple[bytes, ...], is_what: str) -> bytes:
    """Check that a file has the format it should have by its first bytes, and return them.

    Raises
    ------
    SourceError: it has another.
    """
    with file.open("rb") as content:
        start = content.read(SIGNATURE_BYTES)
    if not start.startswith(signatures):
        found = described(start) or ("text or another format" if start else "an empty file")
        raise SourceError(f"{file}: expected {is_what}, got {found}", hint="name it, or set data.kind, by what it is")
    return start


def _signature(start: bytes) -> tuple[str, str] | None:
    if start.startswith(ZIP):
        if b"opendocument.spreadsheet" in start:
            return "an OpenDocument spreadsheet", "name it {stem}.ods, or set data.kind: excel"
        if b"[Content_Types].xml" in start or b"xl/" in start or b"_rels/" in start:
            return "an Excel workbook", "name it {stem}.xlsx, or set data.kind: excel"
        return "a zip archive", "unpack it"
    lower = start.lstrip(b"\xef\xbb\xbf \t\r\n")[:20].lower()
    for signature, is_what, hint in SIGNATURES:
        if start.startswith(signature) or (signature.startswith(b"<") and lower.startswith(signature)):
            return is_what, hint
    return None


@contextmanager
def read_errors(files: Sequence[TableFile]) -> Iterator[None]:
    """Turn failures of polars, of the file system and of compression into a SourceError that names the files."""
    import polars as pl

    names = ", ".join(str(file) for file in files[:3]) + (", ..." if len(files) > 3 else "")
    try:
        yield
    except OSError as error:
        name = error.filename if isinstance(error.filename, str) else names
        message, hint = _system_message(error)
        raise SourceError(f"{name}: {message}", hint=hint) from error
    except (EOFError, zlib.error) as error:
        reason = "ends too early" if isinstance(error, EOFError) else "is damaged"
        raise SourceError(f"{names}: the gzip data {reason}", hint="copy or download the file again") from error
    # A damaged file can make polars panic, and PanicException is not an Exception.
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, UnicodeError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        hint = "the file has no rows" if "empty" in lines[0].lower() or "no data" in lines[0].lower() else None
        raise SourceError(f"{names}: cannot be read: {lines[0]:.300}", hint=hint) from error


def _system_message(error: OSError) -> tuple[str, str | None]:
    path = Path(error.filename) if isinstance(error.filename, str) else None
    if isinstance(error, gzip.BadGzipFile):
        if "Not a gzipped file" in str(error):
            return "other bytes follow the end of the gzip data", "copy or download the file again"
        return "the gzip data is damaged: its checksum is wrong", "copy or download the file again"
    if isinstance(error, PermissionError):
        return "permission denied: this user may not read it", None
    if path is not None and path.is_symlink():
        return f"is a link to {str(path.readlink())!r}, which does not exist", "mend the link, or remove it"
    if isinstance(error, FileNotFoundError):
        return "no such file", None
    if isinstance(error, IsADirectoryError):
        return "expected a file, got a folder", None
    return f"cannot be read: {error.strerror or error}", None
