"""Tables of every kind with known content, for tests that compare what is written with what is read.

A cell knows its text, as a text format writes it, its value, as a typed format stores it, and what it means. A reading
that is none of a cell's meanings is a fault.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import strategies as st

MISSING_SPELLINGS = (
    *("NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "-", "?", "."),
    *("None", "#DIV/0!", "\\N", "<NA>", "NaT", "(null)", "N.A."),
)
BOOLEAN_PAIRS = (("true", "false"), ("TRUE", "FALSE"), ("yes", "no"), ("Y", "N"), ("t", "f"), ("1", "0"))
TRUE_WORDS = frozenset({"true", "t", "yes", "y", "1", "1.0"})
FALSE_WORDS = frozenset({"false", "f", "no", "n", "0", "0.0"})
DATE_SPELLINGS = ("%Y-%m-%d", "%d.%m.%Y", "%Y/%m/%d", "%d-%b-%Y", "%b %d, %Y", "%Y%m%d")
TIME_SPELLINGS = (
    *("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ"),
    *("%Y-%m-%dT%H:%M:%S+00:00", "%Y-%m-%d %H:%M:%S+00", "%d.%m.%Y %H:%M:%S"),
)
WORDS = (
    *("Oslo", "oslo", "OSLO", "São Paulo", "Sa\u0303o Paulo", "東京", "Ω", "ß", "Łódź", "😀"),
    *("x,y", "a;b", "a|b", "tab\there", 'say "hi"', "'quoted'", "line\nbreak", " lead", "trail "),
    *("007", "1e5", "0x1F", "=1+1", "#1", "--x", "True story", "NA-East", "None of these", "null set"),
)
ODD_CELLS = (
    *("#REF!", "inf", "-Infinity", "1e400", "twelve", "n.v.", "12,5", "1 234", "(5)", "1/2", "$5", "5%"),
    *("TOTAL", "٣", "1_000", "0x10", "+-3"),
)
NAMES = (
    *("x", "größe", "gro\u0308ße", "a b", " a", "b ", "a.b", "a[0]", 'say "x"', "x,y", "x;y", "line\nbreak"),
    *("null", "yes", "1", "NA", "#", "-", "prediction", "id", "__proto__", "key: value", "😀", "Ж", "n" * 300),
)


@dataclass(frozen=True)
class Cell:
    """A cell's text in a text format, its value in a typed format, and what it means: a number or time, or None."""

    text: str
    value: Any
    meaning: float | None = None

    def accepts(self, reading: float | str, kind: str) -> bool:
        """Whether a reading is one of the cell's meanings."""
        stripped = self.text.strip()
        if reading == "" or (isinstance(reading, float) and math.isnan(reading)):
            return self.value is None or stripped in ("", *MISSING_SPELLINGS)
        if isinstance(reading, str):
            # SQLite stores booleans as 0 and 1.
            return reading in (self.text, _python_text(self.value), str(self.value), str(_as_integer(self.value)))
        if self.value is None:
            return False
        if kind in ("date", "datetime"):
            return self.meaning is not None and abs(reading - self.meaning) < 1e-5
        if kind == "boolean":
            return stripped.lower() in (TRUE_WORDS if reading else FALSE_WORDS)
        return reading in (_plain_number(stripped), _as_integer(self.value))


@dataclass(frozen=True)
class CruelTable:
    """Columns of cells by name, all of the same length; the last column is the target."""

    columns: Mapping[str, Sequence[Cell]]

    @property
    def target(self) -> str:
        """The name of the last column."""
        return list(self.columns)[-1]

    def texts(self) -> list[list[str]]:
        """Return the rows as texts; a missing value without a spelling is empty."""
        return [[cell.text for cell in row] for row in zip(*self.columns.values(), strict=True)]

    def frame(self) -> pl.DataFrame:
        """Return the table with typed columns; a column whose values have several types is text."""
        return pl.DataFrame([_series(name, cells) for name, cells in self.columns.items()])


def _series(name: str, cells: Sequence[Cell]) -> pl.Series:
    types = {type(cell.value) for cell in cells if cell.value is not None}
    if types in ({float}, {int}, {bool}, {date}, {datetime}) and not any(_is_too_long(cell.value) for cell in cells):
        return pl.Series(name, [cell.value for cell in cells])
    return pl.Series(name, [None if cell.value is None else cell.text for cell in cells], dtype=pl.String)


def _is_too_long(value: Any) -> bool:
    return isinstance(value, int) and abs(value) >= 2**63


def _python_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)


def _as_integer(value: Any) -> Any:
    return int(value) if isinstance(value, bool) else value


def _plain_number(text: str) -> float | None:
    """Return the double next to a decimal number; None for any other text."""
    try:
        return float(Fraction(text)) if "/" not in text and text.isascii() and "_" not in text else None
    except (ValueError, OverflowError):
        return None


def _numbers() -> st.SearchStrategy[Cell]:
    doubles = st.floats(allow_nan=False, allow_infinity=False).map(lambda value: Cell(repr(value), value))
    decimals = st.decimals(-10000, 10000, places=2).map(lambda value: Cell(str(value), float(value)))
    return st.one_of(decimals, doubles)


def _integers() -> st.SearchStrategy[Cell]:
    return st.one_of(st.integers(-100, 100), st.integers(-(2**64), 2**64)).map(lambda value: Cell(str(value), value))


def _times(spelling: str) -> st.SearchStrategy[Cell]:
    moments = st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)).map(
        lambda moment: moment if "%f" in spelling else moment.replace(microsecond=0)
    )
    return moments.map(lambda moment: Cell(moment.strftime(spelling), moment, _seconds(moment)))


def _dates(spelling: str) -> st.SearchStrategy[Cell]:
    days = st.dates(date(1700, 1, 1), date(2200, 1, 1))
    return days.map(lambda day: Cell(day.strftime(spelling), day, _seconds(datetime(day.year, day.month, day.day))))


def _seconds(moment: datetime) -> float:
    return (moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)


def _booleans(words: tuple[str, str]) -> st.SearchStrategy[Cell]:
    return st.booleans().map(lambda value: Cell(words[0] if value else words[1], value))


def _texts() -> st.SearchStrategy[Cell]:
    characters = st.characters(exclude_categories=("Cs",), exclude_characters="\x00\r")
    words = st.one_of(st.sampled_from(WORDS), st.text(characters, max_size=12))
    return words.map(lambda text: Cell(text, text if text.strip() else None))


FAMILIES = st.one_of(
    st.just(_numbers()),
    st.just(_integers()),
    st.just(_texts()),
    st.sampled_from(BOOLEAN_PAIRS).map(_booleans),
    st.sampled_from(DATE_SPELLINGS).map(_dates),
    st.sampled_from(TIME_SPELLINGS).map(_times),
)
MISSING = st.sampled_from(["", *MISSING_SPELLINGS]).map(lambda text: Cell(text, None))
ODD = st.sampled_from(ODD_CELLS).map(lambda text: Cell(text, text))


@st.composite
def columns(draw: st.DrawFn, n_rows: int) -> list[Cell]:
    """Draw the cells of a column: one family, perhaps with missing values in one spelling, perhaps with an odd cell."""
    family = draw(FAMILIES)
    cells = draw(st.lists(family, min_size=n_rows, max_size=n_rows))
    if draw(st.booleans()):
        missing = draw(MISSING)
        cells = [missing if draw(st.integers(0, 4)) == 0 else cell for cell in cells]
    if draw(st.integers(0, 3)) == 0:
        cells[draw(st.integers(0, n_rows - 1))] = draw(ODD)
    return cells


@st.composite
def cruel_tables(draw: st.DrawFn) -> CruelTable:
    """Draw a table of one to four features and a target of numbers."""
    n_rows = draw(st.integers(1, 8))
    # SQLite and other databases do not tell x from X.
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique_by=str.lower))
    features = {name: draw(columns(n_rows)) for name in names}
    target = [Cell(str(row * 1.5), row * 1.5) for row in range(n_rows)]
    return CruelTable({**features, "the target": target})


Writer = Callable[[CruelTable, Path], str]


def csv_text(table: CruelTable, *, delimiter: str = ",", line_end: str = "\n", quote_all: bool = False) -> str:
    """Return the table as CSV."""
    file = io.StringIO()
    quoting = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
    writer = csv.writer(file, delimiter=delimiter, lineterminator=line_end, quoting=quoting)
    writer.writerow(table.columns)
    writer.writerows(table.texts())
    return file.getvalue()


def _write_bytes(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def _write_frame(path: Path, table: CruelTable) -> str:
    table.frame().write_parquet(path)
    return str(path)


def _write_sqlite(path: Path, table: CruelTable) -> str:
    names = ", ".join('"' + name.replace('"', '""') + '"' for name in table.columns)
    rows = [[_sqlite_value(cell) for cell in row] for row in zip(*table.columns.values(), strict=True)]
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(f"CREATE TABLE rows ({names})")
        connection.executemany(f"INSERT INTO rows VALUES ({', '.join('?' * len(table.columns))})", rows)
    connection.close()
    return f"sqlite:///{path}"


def _sqlite_value(cell: Cell) -> Any:
    if cell.value is None or isinstance(cell.value, date) or _is_too_long(cell.value):
        return cell.text or None
    return _as_integer(cell.value)


# Every way to write a table as a file or database; each returns its address.
WAYS: Mapping[str, Writer] = {
    "csv": lambda table, folder: _write_bytes(folder / "t.csv", csv_text(table).encode()),
    "csv with a byte order mark": lambda table, folder: _write_bytes(
        folder / "bom.csv", csv_text(table).encode("utf-8-sig")
    ),
    "csv of Excel": lambda table, folder: _write_bytes(
        folder / "excel.csv", csv_text(table, delimiter=";", line_end="\r\n").encode("utf-8-sig")
    ),
    "csv in UTF-16": lambda table, folder: _write_bytes(folder / "wide.csv", csv_text(table).encode("utf-16")),
    "csv with quotes": lambda table, folder: _write_bytes(folder / "q.csv", csv_text(table, quote_all=True).encode()),
    "tsv": lambda table, folder: _write_bytes(folder / "t.tsv", csv_text(table, delimiter="\t").encode()),
    "gzip": lambda table, folder: _write_bytes(folder / "t.csv.gz", gzip.compress(csv_text(table).encode())),
    "parquet": lambda table, folder: _write_frame(folder / "t.parquet", table),
    "sqlite": lambda table, folder: _write_sqlite(folder / "t.db", table),
}
