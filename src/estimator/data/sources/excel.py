"""Workbooks of Excel and OpenDocument: one sheet, whose cells keep their types where a column has only one."""

from __future__ import annotations

import html
import io
import logging
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Any, ClassVar

import polars as pl

from estimator.core.text import did_you_mean, join_names
from estimator.data.sources.base import BATCH_ROWS, FileSource
from estimator.data.sources.files import TableFile, expect_signature, read_errors
from estimator.data.sources.parquet import check_same_types
from estimator.errors import SourceError, needs_extra

SIGNATURES = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
MAX_EXACT = 2**53
# Rows without a cell above the header.
MAX_EMPTY_ROWS = 1000
MAX_CELLS_SHOWN = 10
# The dates that times of day have in a workbook.
TIME_DATES = (date(1899, 12, 30), date(1899, 12, 31))

SHEET, LINK = re.compile(rb"<sheet\s[^>]*>"), re.compile(rb"<Relationship\s[^>]*>")
ATTRIBUTE = re.compile(rb'([\w:]+)="([^"]*)"')
FORMULA_WITHOUT_RESULT = re.compile(
    rb'<c r="([A-Z]{1,3}\d{1,7})"[^>]*><f\b(?:[^>]*/>|[^>]*>[^<]*</f>)(?:<v ?/>|<v></v>)?</c>'
)

# It warns of columns without a value, which the schema reports.
logging.getLogger("fastexcel").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Excel(FileSource):
    """One sheet per workbook, `sheet`; the first row after `skip_lines` rows names the columns, empty rows are no rows.

    Whole numbers, dates and times of day are read as such; a column of several types is read as text.
    """

    endings: ClassVar[tuple[str, ...]] = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")

    def batches(self, *, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        self.remarks.clear()
        first: pl.DataFrame | None = None
        is_empty = True
        for file in self.files:
            with read_errors((file,)):
                frame = self._frame(file)
                first = frame if first is None else first
                check_same_types(file, frame.schema, first.schema)
                for part in frame.iter_slices(rows) if frame.height else ():
                    is_empty = False
                    yield part
        if is_empty and first is not None:
            self.remarks.append(f"{self.files[0].name}: a header and no rows")
            yield first

    def _frame(self, file: TableFile) -> pl.DataFrame:
        expect_signature(file, SIGNATURES, "a workbook")
        # Besides fastexcel, pyarrow, which says which cells hold an error.
        with needs_extra("excel", "reading a workbook"), file.open("rb") as content:
            import fastexcel

            try:
                stored = content.read()
                workbook = fastexcel.read_excel(stored)
                sheet = _sheet_name(file, workbook.sheet_names, self.options.sheet)
                frame = self._sheet(file, workbook, sheet)
            except fastexcel.FastExcelError as error:
                reason = str(error).strip().splitlines()[0]
                raise SourceError(f"{file}: cannot be read as a workbook: {reason:.200}") from None
        cells = _formulas_without_result(stored, sheet) if any(column.null_count() for column in frame) else []
        if cells:
            self.remarks.append(
                f"{file.name}, sheet {sheet!r}: the results of {len(cells):,} formulas are not in the file and are "
                f"missing values: {join_names(cells, limit=MAX_CELLS_SHOWN)}; open it in a spreadsheet program and "
                "save it there"
            )
        return frame

    def _sheet(self, file: TableFile, workbook: Any, sheet: str) -> pl.DataFrame:
        place, skip = f"{file.name}, sheet {sheet!r}", self.options.skip_lines
        # Without `skip_rows`, empty rows at the top would not count.
        top = workbook.load_sheet(
            sheet, header_row=None, skip_rows=0, n_rows=skip + MAX_EMPTY_ROWS, dtypes="string"
        ).to_polars()
        header = next((row for row in range(skip, top.height) if any(top.row(row))), None)
        if header is None:
            raise SourceError(f"{place}: the sheet is empty", hint="the first row names the columns; see data.sheet")
        names = _column_names(place, top.row(header))
        options = {"header_row": None, "column_names": names, "skip_rows": header + 1, "schema_sample_rows": None}
        batch, errors = workbook.load_sheet(sheet, **options).to_arrow_with_errors()
        frame = pl.DataFrame(pl.from_arrow(batch))
        if frame.width > len(names):
            raise SourceError(f"{place}: {frame.width} columns have cells, but only {len(names)} have a name")
        if errors is not None:
            positions = [error.position for error in errors.errors]
            texts = workbook.load_sheet(sheet, **options, dtypes="string").to_polars()
            # A column whose other cells hold text, such as NA, is text; the schema reads its numbers.
            mixed = {column for row, column in positions if texts[row - header - 1, column] is not None}
            frame = frame.with_columns(texts[frame.columns[column]] for column in sorted(mixed))
            cells = [f"{_letters(column)}{row + 1}" for row, column in positions if column not in mixed]
            if cells:
                self.remarks.append(
                    f"{place}: cells that hold an error are missing values: {join_names(cells, limit=MAX_CELLS_SHOWN)}"
                )
        is_blank = frame.select(pl.all_horizontal(pl.all().is_null())).to_series()
        rows = frame.filter(~is_blank)
        if is_blank[: frame.height - _n_trailing(is_blank)].any():
            n_blank = int(is_blank.sum())
            what = "1 empty row is no row" if n_blank == 1 else f"{n_blank:,} empty rows are no rows"
            self.remarks.append(f"{place}: {what}")
        return rows.select(_typed(rows[name]) for name in rows.columns)


def _sheet_name(file: TableFile, names: Sequence[str], wanted: str | None) -> str:
    """Return the sheet to read.

    Raises
    ------
    SourceError: there are several and none is named, or there is no such sheet.
    """
    if wanted is None and len(names) == 1:
        return names[0]
    if wanted is None:
        raise SourceError(
            f"{file}: the workbook has several sheets: {join_names(map(repr, names))}",
            hint=f"set data.sheet, such as {names[0]!r}" if names else None,
        )
    if wanted not in names:
        raise SourceError(f"{file}: data.sheet: no sheet {wanted!r}", hint=did_you_mean(wanted, names))
    return wanted


def _formulas_without_result(workbook: bytes, sheet: str) -> list[str]:
    """Return the cells of a sheet whose formula was written without its result, as programs write it.

    Only Office Open XML in its usual layout is looked at (ECMA-376, parts 1 and 2).
    """
    if not zipfile.is_zipfile(io.BytesIO(workbook)):
        return []
    with zipfile.ZipFile(io.BytesIO(workbook)) as parts:
        if not {"xl/workbook.xml", "xl/_rels/workbook.xml.rels"} <= set(parts.namelist()):
            return []
        sheets = _attributes(SHEET, parts.read("xl/workbook.xml"))
        links = _attributes(LINK, parts.read("xl/_rels/workbook.xml.rels"))
        keys = [item["r:id"] for item in sheets if item.get("name") == sheet and "r:id" in item]
        targets = [item.get("Target", "").removeprefix("/xl/") for item in links if item.get("Id") in keys]
        cells: list[str] = []
        for target in targets:
            if f"xl/{target}" in parts.namelist():
                cells += [cell.decode() for cell in FORMULA_WITHOUT_RESULT.findall(parts.read(f"xl/{target}"))]
        return cells


def _attributes(element: re.Pattern[bytes], content: bytes) -> list[dict[str, str]]:
    return [
        {name.decode(): html.unescape(value.decode()) for name, value in ATTRIBUTE.findall(match)}
        for match in element.findall(content)
    ]


def _letters(column: int) -> str:
    """Return the name of a sheet's column, counted from 0.

    >>> _letters(0), _letters(25), _letters(26), _letters(701), _letters(702)
    ('A', 'Z', 'AA', 'ZZ', 'AAA')
    """
    letters = ""
    while column >= 0:
        letters = chr(ord("A") + column % 26) + letters
        column = column // 26 - 1
    return letters


def _column_names(place: str, cells: Sequence[str | None]) -> list[str]:
    names = [cell or "" for cell in cells]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise SourceError(
            f"{place}: the header has {join_names(map(repr, repeated))} more than once",
            hint="rename one of them; if the header is below, set data.skip_lines to the number of rows above it",
        )
    return names


def _n_trailing(is_blank: pl.Series) -> int:
    """Return how many of the last values are true."""
    filled = (~is_blank).arg_true()
    return len(is_blank) - 1 - int(filled[-1]) if len(filled) else len(is_blank)


def _typed(column: pl.Series) -> pl.Series:
    """Return a column as its values are meant: every number of a workbook is a double, every date a datetime."""
    values = column.drop_nulls()
    if values.is_empty():
        return column
    if column.dtype == pl.Float64:
        is_whole = ((values % 1 == 0) & (values.abs() < MAX_EXACT)).all()
        return column.cast(pl.Int64) if is_whole else column
    if column.dtype == pl.Datetime:
        if values.dt.date().is_in(TIME_DATES).all():
            return column.dt.to_string("%H:%M:%S")
        return column.cast(pl.Date) if (values.dt.time() == time()).all() else column
    return column
