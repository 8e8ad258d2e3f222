"""Predictions in a Parquet or CSV file, whose texts a spreadsheet must not run."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import polars as pl

from estimator.core.files import atomic_path
from estimator.data.sinks.base import Sink, SinkPlan
from estimator.errors import SourceError

ENDINGS = (".parquet", ".csv")
# Spreadsheets run a cell of a CSV file that begins so as a formula, which may load an address or start a program. A tab
# or a carriage return is skipped first, and the wide forms are those of East Asian keyboards.
FORMULA = r"^[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]"
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


@dataclass(frozen=True)
class FileSink(Sink):
    """A Parquet or CSV file."""

    numbers_rows: ClassVar[bool] = False
    keeps_attempts: ClassVar[bool] = False
    path: Path
    quotes_formulas: bool = False

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def parts_path(self) -> Path:
        return self.path

    def check(self) -> None:
        if self.path.suffix.lower() not in ENDINGS:
            raise SourceError(
                f"{self.path}: expected a file that ends in {' or '.join(ENDINGS)}",
                hint="or a database: sqlite:///predictions.db, postgresql://...",
            )
        if not self.path.absolute().parent.is_dir():
            raise SourceError(f"{self.path}: cannot be written: the folder {self.path.parent} does not exist")

    def check_existing(self) -> None:
        """A file is replaced."""

    def plan(self, schema: pl.Schema) -> SinkPlan:
        if self.path.is_dir():
            raise SourceError(f"{self.path}: cannot be written: it is a folder")
        if not os.access(self.path.absolute().parent, os.W_OK):
            raise SourceError(f"{self.path}: cannot be written: no permission to write to {self.path.parent}")
        rows = pl.LazyFrame(schema=schema)
        written = (without_formulas(rows) if self.quotes_formulas else rows).collect_schema()
        types = {name: str(dtype) for name, dtype in written.items()}
        return SinkPlan("replace" if self.path.exists() else "create", types)

    def is_written(self, attempt: str) -> bool:
        return False

    def forget(self, attempt: str) -> None:
        """A file keeps no ids."""

    def write(self, parts: Sequence[Path], attempt: str) -> None:
        try:
            with atomic_path(self.path, durable=True) as temporary:
                rows = pl.scan_parquet(list(parts))
                if is_csv(self.path):
                    (without_formulas(rows) if self.quotes_formulas else rows).sink_csv(temporary)
                else:
                    rows.sink_parquet(temporary)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise SourceError(f"{self.path}: cannot be written: {error}") from error


def is_csv(path: Path) -> bool:
    """Whether a path ends as CSV files do."""
    return path.suffix.lower() == ".csv"


def without_formulas(rows: pl.LazyFrame) -> pl.LazyFrame:
    """Return rows with ' before each text and name that a spreadsheet would run as a formula.

    >>> rows = pl.LazyFrame({"=a": ["=1+1", "-5", "-5+A1", None], "b": [-5.0, 1.0, 2.0, 3.0]})
    >>> without_formulas(rows).collect().to_dict(as_series=False)
    {"'=a": ["'=1+1", '-5', "'-5+A1", None], 'b': [-5.0, 1.0, 2.0, 3.0]}
    """
    schema = rows.collect_schema()
    texts = [pl.col(name) for name, dtype in schema.items() if dtype == pl.String]
    quoted_texts = [
        pl.when(text.str.contains(FORMULA) & ~text.str.contains(NUMBER)).then("'" + text).otherwise(text).name.keep()
        for text in texts
    ]
    formulas = [name for name in schema if re.match(FORMULA, name) and not re.match(NUMBER, name)]
    return rows.with_columns(quoted_texts).rename({name: f"'{name}" for name in formulas})
