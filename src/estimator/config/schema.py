"""The section `schema` of a config: what is known about the table's columns, and what they accept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from estimator.config.section import ColumnName, Section, Text
from estimator.core.date_formats import compile_format


class ColumnChoices(Section):
    """What is known about one column; keys that are left out are inferred from the table."""

    kind: str | None = Field(
        None,
        description="number, integer, boolean, category, date, datetime, text (free text), identifier or constant "
        "(the last two are not features); inferred from the values when left out",
    )
    nullable: bool | None = Field(
        None,
        description="true: values may be missing; false: a missing value is an error; when left out, true if na_values "
        "is given or a value is missing in the table",
    )
    on_missing: Literal["reject", "impute"] | None = Field(
        None,
        description="a missing value where the column is not nullable: reject the row, or impute (the median of "
        "numbers and dates; else what the encoder does with a missing value); when left out, schema.on_missing",
    )
    required: bool | None = Field(
        None,
        description="whether rows and tables must have the column; when left out, false for a column that is nullable, "
        "imputed or has a default: then it may be left out",
    )
    default: str | float | bool | None = Field(
        None, description="value of the column in rows that leave it out; a missing value when left out"
    )
    na_values: list[Text] | None = Field(
        None,
        description='spellings of a missing value besides the empty cell: ["999", "unknown"]; when left out, the usual '
        "ones (NA, null, ?, ...) that the table has",
    )
    range: tuple[float | None, float | None] | None = Field(
        None, description="[low, high]: values outside are errors; null leaves an end open; unbounded when left out"
    )
    unknown: Literal["other", "error", "missing"] | None = Field(
        None,
        description="how to read a category that the training rows do not have: other (a category of its own), missing "
        "(a missing value), error (rejected); other when left out",
    )
    unit: str | None = Field(None, description='unit shown in reports and API docs, such as "m2"; none when left out')
    aliases: list[ColumnName] = Field([], description="other names under which the column is accepted")
    strip: list[Text] = Field([], description='text to remove before or after a number: ["$", "km", "%"]')
    thousands: Literal["", ",", ".", " ", "'"] = Field(
        "", description='thousands separator of numbers in text: "," or "." or " " or "\'", or "" for none'
    )
    decimal: Literal[".", ","] = Field(".", description='decimal separator of numbers in text: "." or ","')
    units: dict[Text, float] = Field(
        {}, description='units after a number, each with the factor to multiply by: {"m2": 10.764}'
    )
    date_formats: list[Text] = Field(
        [],
        description='strptime formats, tried in order before ISO 8601: ["%d.%m.%Y"]; two-digit years are 1969 to 2068; '
        "inferred when empty",
    )
    pattern: str | None = Field(
        None,
        description="regular expression: of a text that matches, only the first group is kept; unused when left out",
    )
    ignore_case: bool = Field(
        False, description="compare categories in lower case, outer blanks removed and inner blanks collapsed"
    )
    replace: dict[Text, Text] = Field({}, description='spellings and what each stands for: {"two": "2"}')

    @field_validator("date_formats")
    @classmethod
    def _formats_are_supported(cls, date_formats: list[str]) -> list[str]:
        for date_format in date_formats:
            compile_format(date_format)
        return date_formats


class SchemaChoices(Section):
    """The schema of the table: what each column is and accepts."""

    file: Text | None = Field(
        None, description="reviewed schema file to use; when left out, the schema is inferred from the table"
    )
    na_values: list[Text] = Field(
        [], description="spellings of a missing value in every column, besides the usual ones (NA, null, ?, ...)"
    )
    on_missing: Literal["reject", "impute"] = Field(
        "reject",
        description="missing values in columns that had none in training: reject the row, or impute, which responses "
        "report; a column's own on_missing and nullable come first",
    )
    unknown_columns: Literal["error", "ignore"] = Field(
        "error", description="columns that the schema does not have: error rejects the rows, ignore drops the columns"
    )
    columns: dict[ColumnName, ColumnChoices] = Field(
        {}, description="what is known about each column, by name; comes before what the schema file says"
    )
