"""A table -> its schema: what each column is, told from all of its values, never from a sample of the first."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from estimator.core.text import did_you_mean, format_plain
from estimator.data.schema.column import IGNORED_KINDS, KINDS, NA_VALUES, NA_WORDS, NUMERIC_KINDS, Column
from estimator.data.schema.column import Kind as ColumnKind
from estimator.data.schema.column_scan import ColumnSurvey, Survey
from estimator.data.schema.date_formats import DATE_FORMATS, matching_formats
from estimator.data.schema.schema import Schema
from estimator.errors import SchemaError

Batches = Callable[[], Iterable[pl.DataFrame]]
FRAME_ROWS = 65_536
MAX_LEVELS = 10_000
# Longer than this it is no level but a text; YAML, too, reads no longer key.
LONGEST_LEVEL = 500
LONGEST_EXAMPLE = 80
NUMBER_AS_TEXT = re.compile(
    r"^\s*(?:[$€£]|USD|EUR)?\s*[-+]?\d{1,3}(?:[,.\s\u00a0]?\d{3})*(?:[.,]\d+)?"
    r"\s*(?:%|[A-Za-z]{1,4}\.?\s?[A-Za-z]{0,6}[23²³]?)?\s*$"
)
IDENTIFIER_NAME = re.compile(
    r"(?:^|[_\s.-])(?:id|uuid|guid|key)$|^(?:id|uuid|guid)(?:$|[_\s.-])|[a-z]Id$|[a-z]ID$|^[A-Z]ID$"
)


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What a person settled about a column, in the config or the schema file; None means: look and decide."""

    kind: str | None = None
    nullable: bool | None = None
    na_values: Sequence[str] | None = None
    range: tuple[float | None, float | None] | None = None
    unknown: Any = None
    unit: str | None = None
    aliases: Sequence[str] = ()
    strip: Sequence[str] = ()
    thousands: str = ""
    decimal: str = "."
    units: Mapping[str, float] = field(default_factory=dict)
    pattern: str | None = None
    ignore_case: bool = False
    replace: Mapping[str, str] = field(default_factory=dict)
    date_formats: Sequence[str] = ()


def infer_schema(
    table: pl.DataFrame | Batches,
    target: str,
    *,
    reviewed: Mapping[str, Reviewed] | None = None,
    na_values: Sequence[str] = (),
    unknown_columns: Any = "error",
) -> Schema:
    """Look at every value of a table and return its contract; the table is a frame, or a call that gives its batches.

    Batches are asked for again when a column turns out to be another kind than its first rows show.

    Raises
    ------
    SchemaError: the target or a reviewed column is not in the table, or a reviewed kind cannot hold its values.
    """
    batches = (lambda: table.iter_slices(FRAME_ROWS)) if isinstance(table, pl.DataFrame) else table
    first = table if isinstance(table, pl.DataFrame) else next(iter(batches()), pl.DataFrame())
    settled = dict(reviewed or {})
    survey = first_survey(first, target, settled, na_values)
    while True:
        for frame in batches():
            survey.add(frame)
        if survey.holds:
            return concluded(survey, target, settled, unknown_columns)
        survey = survey.again()


def first_survey(
    first: pl.DataFrame,
    target: str,
    reviewed: Mapping[str, Reviewed],
    na_values: Sequence[str],
    *,
    goal: str | None = None,
) -> Survey:
    """Return a survey that has seen nothing, for a table that begins with these rows; see `infer_schema`."""
    for name, place in ((target, "data.target"), *((name, "schema.columns") for name in reviewed)):
        if name not in first.columns:
            raise SchemaError(f"{place}: no column {name!r} in the table", hint=did_you_mean(name, first.columns))
    columns = (_surveyed(series, reviewed.get(series.name, Reviewed()), na_values) for series in first.iter_columns())
    return Survey({column.name: column for column in columns}, goal)


def concluded(survey: Survey, target: str, reviewed: Mapping[str, Reviewed], unknown_columns: Any) -> Schema:
    """Return the contract of a table that has been surveyed to the end.

    Raises
    ------
    SchemaError: a reviewed kind or reviewed limits cannot hold the values.
    """
    found = {name: _concluded(column, reviewed.get(name, Reviewed())) for name, column in survey.columns.items()}
    goal = _as_target(found.pop(target), survey.columns[target], reviewed.get(target, Reviewed()))
    return Schema(tuple(found.values()), goal, unknown_columns)


def infer_column(series: pl.Series, reviewed: Reviewed | None = None, *, na_values: Sequence[str] = ()) -> Column:
    """Look at every value of one column and return what it is."""
    settled = reviewed or Reviewed()
    survey = _surveyed(series, settled, na_values)
    survey.add(series, None)
    while not survey.holds:
        survey = survey.again()
        survey.add(series, None)
    return _concluded(survey, settled)


def _as_target(column: Column, survey: ColumnSurvey, settled: Reviewed) -> Column:
    """A target that counts up is still a quantity: only a feature can be an identifier."""
    if settled.kind is not None or column.kind != "identifier":
        return column
    return _described(replace(column, kind="number" if survey.is_number else "category"), survey)


def _surveyed(series: pl.Series, settled: Reviewed, na_values: Sequence[str]) -> ColumnSurvey:
    # What a person calls a category may have as many levels as it likes.
    most = sys.maxsize if settled.kind == "category" else MAX_LEVELS
    return ColumnSurvey(series.name, _trials(series, settled, na_values), most)


def _trials(series: pl.Series, settled: Reviewed, na_values: Sequence[str]) -> list[Column]:
    """Return the ways to read a column, the likeliest first; the last one reads anything."""
    if settled.kind is not None and settled.kind not in KINDS:
        raise SchemaError(
            f"schema.columns.{series.name}.kind: no kind {settled.kind!r}", hint=did_you_mean(settled.kind, KINDS)
        )
    _refuse_pattern(series.name, settled.pattern)
    is_default = settled.na_values is None and settled.nullable is not False
    spelled = (*NA_VALUES, *na_values) if is_default else tuple(settled.na_values or ())
    words = NA_WORDS if is_default else ()
    bare = Column(
        series.name,
        "category",
        nullable=True,
        na_values=spelled,
        strip=tuple(settled.strip),
        thousands=settled.thousands,
        decimal=settled.decimal,
        units=settled.units,
        pattern=settled.pattern,
        ignore_case=settled.ignore_case,
        replace=settled.replace,
    )
    if settled.kind is not None:
        kind = _reading_kind(settled.kind)
        spellings = spelled if kind == "category" else (*spelled, *words)
        date_formats = tuple(settled.date_formats) or matching_formats(series, spelled)
        return [replace(bare, kind=kind, date_formats=date_formats, na_values=spellings)]
    if series.dtype != pl.String:
        return [replace(bare, kind=_kind_of_type(series.dtype))]
    kinds: list[Column] = [replace(bare, kind="number"), replace(bare, kind="boolean")]
    kinds += [
        replace(bare, kind="date" if form in DATE_FORMATS else "datetime", date_formats=(form,))
        for form in matching_formats(series, (*spelled, *words))
    ]
    # Without the words first: in a column of levels they are levels.
    return [*kinds, *(replace(trial, na_values=(*trial.na_values, *words)) for trial in kinds if words), bare]


def _refuse_pattern(name: str, pattern: str | None) -> None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise SchemaError(f"schema.columns.{name}.pattern: {pattern!r} is no regular expression: {error}") from None


def _reading_kind(kind: str) -> ColumnKind:
    """Return the kind under which a column is surveyed; texts and those that are no features are read as levels."""
    found: ColumnKind = "category" if kind in (*IGNORED_KINDS, "text") else kind  # type: ignore[assignment] # checked against KINDS
    return found


def _kind_of_type(dtype: pl.DataType) -> ColumnKind:
    if dtype == pl.Boolean:
        return "boolean"
    if dtype.is_temporal() and dtype not in (pl.Time, pl.Duration):
        return "date" if dtype == pl.Date else "datetime"
    return "number" if dtype.is_numeric() else "category"


def _concluded(survey: ColumnSurvey, settled: Reviewed) -> Column:
    """Return what a column is, from all that it has shown."""
    reading = survey.reading
    spelled = sorted((survey.spelled | survey.words.spelled) - {""})
    is_nullable = bool(settled.na_values) or survey.gaps > 0
    column = replace(
        reading,
        kind=settled.kind or _kind(survey),  # type: ignore[arg-type] # _trials has checked it against KINDS
        nullable=is_nullable if settled.nullable is None else settled.nullable,
        na_values=tuple(spelled if settled.na_values is None else settled.na_values),
        range=settled.range,
        unit=settled.unit,
        aliases=tuple(settled.aliases),
        unknown=settled.unknown or "other",
    )
    _refuse_faults(column, survey)
    return _described(column, survey)


def _kind(survey: ColumnSurvey) -> ColumnKind:
    if survey.known == 0 or (survey.gaps == 0 and survey.n_distinct == 1):
        return "constant"
    kind = survey.reading.kind
    if kind == "number":
        return _kind_of_numbers(survey)
    return _kind_of_words(survey) if kind == "category" else kind


def _kind_of_numbers(survey: ColumnSurvey) -> ColumnKind:
    if not survey.whole:
        return "number"
    enough = survey.known >= 20
    named = IDENTIFIER_NAME.search(survey.name) is not None or not survey.name.strip()
    if enough and (survey.counts_up or (named and survey.is_unique(share=0.95))):
        return "identifier"
    return "identifier" if max(abs(survey.low), abs(survey.high)) >= 2**53 else "integer"


def _kind_of_words(survey: ColumnSurvey) -> ColumnKind:
    lengths = survey.words.lengths
    if survey.n_distinct > 20 and survey.is_unique(share=0.98):
        return "text" if lengths.mean_blanks >= 1.5 else "identifier"
    many = survey.words.given_up or (survey.n_distinct > 50 and lengths.mean_blanks >= 4)
    return "text" if many or lengths.longest > LONGEST_LEVEL else "category"


def _refuse_faults(column: Column, survey: ColumnSurvey) -> None:
    """Refuse what a person settled when it does not hold the values."""
    if not column.is_feature:
        return
    low, high = column.range or (None, None)
    beyond = [edge for edge, is_out in ((survey.low, low is not None and survey.low < low),
                                        (survey.high, high is not None and survey.high > high)) if is_out]  # fmt: skip
    place = f"schema.columns.{column.name}: kind {column.kind!r}"
    if survey.n_faults:
        raise SchemaError(
            f"{place} does not hold {survey.n_faults:,} of its values: {survey.faults[0]}",
            hint="change the kind, add the spelling to its na_values, or leave the column out with data.drop",
        )
    if beyond and survey.is_number:
        raise SchemaError(
            f"{place} does not hold all of its values: expected {column.expectation}, got {format_plain(beyond[0])}",
            hint="widen its range, or leave the column out with data.drop",
        )


def _described(column: Column, survey: ColumnSurvey) -> Column:
    """Add what training saw: range, levels with counts and an example."""
    example: Any = survey.words.example if survey.is_words else survey.example
    if survey.known == 0 or not column.is_feature:
        whole = isinstance(example, float) and survey.whole
        return replace(column, example=_plain_value(int(example) if whole else example), date_formats=())
    if column.kind == "text":
        return replace(column, example=(survey.words.example or "")[:LONGEST_EXAMPLE].strip(), date_formats=())
    if column.is_string:
        levels = survey.words.levels.counts()
        return replace(column, categories=levels, example=next(iter(levels), None), date_formats=())
    if column.kind in NUMERIC_KINDS:
        example = int(example) if column.kind == "integer" else float(example)
    elif column.kind == "boolean":
        example = bool(survey.high)
    return replace(column, training_range=(survey.low, survey.high), example=_plain_value(example))


def _plain_value(value: object) -> str | float | bool | None:
    if isinstance(value, str | bool | int | float):
        return value.strip() if isinstance(value, str) else value
    return None if value is None else str(value).replace(" ", "T", 1) if hasattr(value, "hour") else str(value)
