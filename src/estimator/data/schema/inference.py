"""A table -> its schema: what each column is, told from all of its values, never from a sample of the first."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from estimator.core.text import did_you_mean, format_plain
from estimator.data.schema.column import GAP_WORDS, GAPS, IGNORED_KINDS, KINDS, NUMERIC_KINDS, Column
from estimator.data.schema.column import Kind as ColumnKind
from estimator.data.schema.column_scan import ColumnSurvey, Survey
from estimator.data.schema.contract import Schema
from estimator.data.schema.text_parsing import as_moments, stripped
from estimator.errors import SchemaError

Batches = Callable[[], Iterable[pl.DataFrame]]
FRAME_ROWS = 65_536
LOOKED_AT = 1000
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
MONTH = "%Y-%m"
# Other years are more likely a code.
MONTH_WORD = r"^(?:19|20)\d\d-(?:0[1-9]|1[0-2])$"
DATE_FORMATS = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%b-%Y", "%d-%b-%y", MONTH)
DATETIME_FORMATS = (
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S.%f",
    "%Y-%m-%d %H:%M:%S.%f",
    "%Y-%m-%dT%H:%M:%S%z",
    "%Y-%m-%d %H:%M:%S%z",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M:%S",
    "%Y%m%dT%H%M%S",
)


@dataclass(frozen=True, slots=True)
class Reviewed:
    """What a person settled about a column, in the config or the schema file; None means: look and decide."""

    kind: str | None = None
    gaps: Sequence[str] | None = None
    limits: tuple[float | None, float | None] | None = None
    unseen: Any = None
    unit: str | None = None
    aliases: Sequence[str] = ()
    affixes: Sequence[str] = ()
    thousands: str = ""
    decimal: str = "."
    units: Mapping[str, float] = field(default_factory=dict)
    pattern: str | None = None
    fold: bool = False
    spellings: Mapping[str, str] = field(default_factory=dict)
    formats: Sequence[str] = ()


def infer_schema(
    table: pl.DataFrame | Batches,
    target: str,
    *,
    reviewed: Mapping[str, Reviewed] | None = None,
    gaps: Sequence[str] = (),
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
    survey = first_survey(first, target, settled, gaps)
    while True:
        for frame in batches():
            survey.add(frame)
        if survey.holds:
            return concluded(survey, target, settled, unknown_columns)
        survey = survey.again()


def first_survey(
    first: pl.DataFrame, target: str, reviewed: Mapping[str, Reviewed], gaps: Sequence[str], *, goal: str | None = None
) -> Survey:
    """Return a survey that has seen nothing, for a table that begins with these rows; see `infer_schema`."""
    for name, place in ((target, "data.target"), *((name, "schema.columns") for name in reviewed)):
        if name not in first.columns:
            raise SchemaError(f"{place}: no column {name!r} in the table", hint=did_you_mean(name, first.columns))
    columns = (_surveyed(series, reviewed.get(series.name, Reviewed()), gaps) for series in first.iter_columns())
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


def infer_column(series: pl.Series, reviewed: Reviewed | None = None, *, gaps: Sequence[str] = ()) -> Column:
    """Look at every value of one column and return what it is."""
    settled = reviewed or Reviewed()
    survey = _surveyed(series, settled, gaps)
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


def _surveyed(series: pl.Series, settled: Reviewed, gaps: Sequence[str]) -> ColumnSurvey:
    # What a person calls a category may have as many levels as it likes.
    most = sys.maxsize if settled.kind == "category" else MAX_LEVELS
    return ColumnSurvey(series.name, _trials(series, settled, gaps), most)


def _trials(series: pl.Series, settled: Reviewed, gaps: Sequence[str]) -> list[Column]:
    """Return the ways to read a column, the likeliest first; the last one reads anything."""
    if settled.kind is not None and settled.kind not in KINDS:
        raise SchemaError(
            f"schema.columns.{series.name}.kind: no kind {settled.kind!r}", hint=did_you_mean(settled.kind, KINDS)
        )
    _refuse_pattern(series.name, settled.pattern)
    spelled = tuple(settled.gaps) if settled.gaps is not None else (*GAPS, *gaps)
    words = () if settled.gaps is not None else GAP_WORDS
    bare = Column(
        series.name,
        "category",
        gaps=("", *spelled),
        affixes=tuple(settled.affixes),
        thousands=settled.thousands,
        decimal=settled.decimal,
        units=settled.units,
        pattern=settled.pattern,
        fold=settled.fold,
        spellings=settled.spellings,
    )
    if settled.kind is not None:
        kind, formats = _reading_kind(settled.kind), tuple(settled.formats) or _formats(series, spelled)
        return [
            replace(bare, kind=kind, formats=formats, gaps=bare.gaps if kind == "category" else (*bare.gaps, *words))
        ]
    if series.dtype != pl.String:
        return [replace(bare, kind=_kind_of_type(series.dtype))]
    kinds: list[Column] = [replace(bare, kind="number"), replace(bare, kind="boolean")]
    kinds += [
        replace(bare, kind="date" if form in DATE_FORMATS else "datetime", formats=(form,))
        for form in _formats(series, (*spelled, *words))
    ]
    # Without the words first: in a column of levels they are levels.
    return [*kinds, *(replace(trial, gaps=(*trial.gaps, *words)) for trial in kinds if words), bare]


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


def _formats(series: pl.Series, spelled: Sequence[str]) -> tuple[str, ...]:
    """Return the formats of dates and times that read the first words of a column."""
    if series.dtype != pl.String:
        return ()
    words = stripped(series.drop_nulls().head(LOOKED_AT))
    words = words.filter(~words.is_in(["", *spelled])).head(50)
    # What is a number or has none in it is neither a date nor a time.
    if len(words) == 0 or len(words[0]) < 6 or not re.search(r"\d", words[0]) or _is_number(words[0]):
        return ()
    return tuple(
        form
        for form in (*DATE_FORMATS, *DATETIME_FORMATS)
        if as_moments(words, form).null_count() == 0 and (form != MONTH or words.str.contains(MONTH_WORD).all())
    )


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _concluded(survey: ColumnSurvey, settled: Reviewed) -> Column:
    """Return what a column is, from all that it has shown."""
    reading = survey.reading
    gaps = sorted((survey.spelled | survey.words.spelled) - {""})
    spellings = ("", *gaps) if survey.gaps else ()
    column = replace(
        reading,
        kind=settled.kind or _kind(survey),  # type: ignore[arg-type] # _trials has checked it against KINDS
        gaps=tuple(settled.gaps) if settled.gaps is not None else spellings,
        limits=settled.limits,
        unit=settled.unit,
        aliases=tuple(settled.aliases),
        unseen=settled.unseen or "other",
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
    low, high = column.limits or (None, None)
    beyond = [edge for edge, is_out in ((survey.low, low is not None and survey.low < low),
                                        (survey.high, high is not None and survey.high > high)) if is_out]  # fmt: skip
    place = f"schema.columns.{column.name}: kind {column.kind!r}"
    if survey.n_faults:
        raise SchemaError(
            f"{place} does not hold {survey.n_faults:,} of its values: {survey.faults[0]}",
            hint="change the kind, add the spelling to its gaps, or leave the column out with data.drop",
        )
    if beyond and survey.is_number:
        raise SchemaError(
            f"{place} does not hold all of its values: expected {column.wish}, got {format_plain(beyond[0])}",
            hint="widen its limits, or leave the column out with data.drop",
        )


def _described(column: Column, survey: ColumnSurvey) -> Column:
    """Add what training saw: range, levels with counts and an example."""
    example: Any = survey.words.example if survey.is_words else survey.example
    if survey.known == 0 or not column.is_feature:
        whole = isinstance(example, float) and survey.whole
        return replace(column, example=_plain_value(int(example) if whole else example), formats=())
    if column.kind == "text":
        return replace(column, example=(survey.words.example or "")[:LONGEST_EXAMPLE].strip(), formats=())
    if column.is_text:
        levels = survey.words.levels.counts()
        return replace(column, levels=levels, example=next(iter(levels), None), formats=())
    if column.kind in NUMERIC_KINDS:
        example = int(example) if column.kind == "integer" else float(example)
    elif column.kind == "boolean":
        example = bool(survey.high)
    return replace(column, seen=(survey.low, survey.high), example=_plain_value(example))


def _plain_value(value: object) -> str | float | bool | None:
    if isinstance(value, str | bool | int | float):
        return value.strip() if isinstance(value, str) else value
    return None if value is None else str(value).replace(" ", "T", 1) if hasattr(value, "hour") else str(value)
