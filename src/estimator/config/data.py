"""The section `data` of a config: where the rows are, how files are read, and which column to predict."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from estimator.config.section import ColumnName, Section, Text


class Data(Section):
    """Where the rows are, and which column to predict."""

    path: Text | list[Text] = Field(
        description="file, glob pattern, folder of files, or a list of them; or an address: sqlite://, postgresql://, "
        "s3://, https://; ${NAME} is replaced by an environment variable"
    )
    target: ColumnName = Field(description="column to predict")
    query: Text | None = Field(
        None, description="SELECT statement or table name, for a database; required there, unused for files"
    )
    kind: str | None = Field(
        None,
        description="kind of source: csv, parquet, arrow, excel or sql (a database); when left out, by the ending or "
        "scheme of path",
    )
    delimiter: str | None = Field(
        None, description='character between the cells of a CSV file, such as ";"; detected in the header when left out'
    )
    encoding: str | None = Field(
        None,
        description="encoding of a CSV file, such as windows-1252, shift_jis or utf-16; when left out, UTF-8, else "
        "what a byte order mark or the letters say, with a note",
    )
    skip_lines: int = Field(
        0, ge=0, description="lines of a CSV file, or rows of a sheet, above the one that names the columns"
    )
    sheet: Text | None = Field(
        None, description="sheet of an Excel or OpenDocument workbook; required if it has several"
    )
    on_bad_lines: Literal["error", "skip"] = Field(
        "error",
        description="lines of a CSV file that cannot be read, such as those with too few or too many cells: error "
        "stops, skip leaves them out, with a note; predict never leaves out a row, so it stops",
    )
    drop: list[ColumnName] = Field(
        [],
        description="columns that are not features; later rows may have them or not, except for those that formulas "
        "use",
    )
    sample_weight: ColumnName | None = Field(
        None, description="column of row weights, each at least 0; when left out, all rows weigh the same"
    )
    task: Literal["auto", "regression", "classification"] = Field(
        "auto",
        description="regression predicts a number; classification predicts a class; auto: classification if the target "
        "holds text or only two values, else regression",
    )
    positive_class: Text | None = Field(
        None,
        description="positive class of a binary target, whose probability is scored; when left out, the last class in "
        "sorted order",
    )

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, delimiter: str | None) -> str | None:
        if delimiter is not None and (len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n\0'):
            raise ValueError('expected one ASCII character, such as ";" or "\\t" (a tab) in double quotes')
        return delimiter

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str | None) -> str | None:
        if encoding is not None:
            try:
                "x".encode(encoding)
            except (LookupError, UnicodeError):
                message = (
                    f"no encoding is called {encoding!r}; examples: utf-8, utf-16, windows-1252, shift_jis, gb18030"
                )
                raise ValueError(message) from None
        return encoding
