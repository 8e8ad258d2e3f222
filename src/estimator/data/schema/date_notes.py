"""What a person should know of how dates are read: formats with examples, zones, and days that cannot be decided."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence

import polars as pl

from estimator.core.date_formats import compile_format, read_time, refusal, rival_formats
from estimator.core.text import join_names
from estimator.data.schema.column import TIME_KINDS, Column, format_time
from estimator.data.schema.column_scan import ColumnScan
from estimator.data.schema.date_inference import formats_of
from estimator.data.schema.schema import Schema
from estimator.data.schema.text_parsing import strip_blanks
from estimator.data.schema.time_columns import parse_times
from estimator.data.stored_table import Table
from estimator.errors import SchemaError

ISO_START = "%Y-%m-%d"
MAX_TEXTS_TRIED = 100
# What resembles a time and is not read as one, with what to write instead.
_DURATIONS = (
    r"-?\d{1,3}:[0-5]\d(?::[0-5]\d(?:[.,]\d+)?)?",
    r"-?\d+ days?,? .*\d",
    r"P(?:\d+D)?T.+",
    r"(?:\d+ ?[dhms](?:in|ec|rs?)?\.? ?){2,}",
)
_OTHER_DATES = (
    r"\d{4}年.*",
    r"\d{1,4}[-/.]\d{1,2}[-/.]\d{2,4}[ T].*[^\W\d_].*",
    r"[^\W\d_]{3,} \d{1,2}(?:st|nd|rd|th),? \d{4}",
    r"\d{1,2}-[A-Za-z]{3}-\d{2,4} [\d.]+ [AP]M",
)
LIKE_TIMES = {
    re.compile("|".join(_DURATIONS)): "times of day or durations: write them as seconds",
    re.compile(r"\d{1,2}\.?[ -](?:de )?[^\W\d_]{3,}\.?(?: de)?[ -]\d{4}.*"): "dates: months are read in English only",
    re.compile("|".join(_OTHER_DATES)): "dates: write them as 2024-01-31 10:15:00",
}
# A value for the error where the table has none that the formats read differently.
UNDECIDED_DAY = {"d": "1", "m": "2", "y": "03"}


def date_notes(scan: ColumnScan) -> list[str]:
    """Return what was guessed or converted in a column of dates as text; nothing for ISO 8601 without zones.

    For a column of other texts, say what resembles a date and is not read.
    """
    if scan.is_text:
        return _unread_notes(scan)
    if scan.reading.kind not in TIME_KINDS or not scan.dates.examples:
        return []
    undecided = scan.dates.undecided(scan.reading, (scan.low, scan.high))
    if undecided:
        pair = (scan.reading.date_formats[0], undecided[0].column.date_formats[0])
        return [f"{scan.name}: {_two_days(str(undecided[0].example), pair)}: keep one of both in its date_formats"]
    formats = scan.reading.date_formats
    notes = [] if all(form.startswith(ISO_START) for form in formats) else [f"{scan.name}: {_examples(scan)}"]
    if any("%y" in form for form in formats):
        notes = [f"{note}; two-digit years are 1969 to 2068" for note in notes]
    return [*notes, *_zone_notes(scan)]


def date_comments(scan: ColumnScan) -> list[str]:
    """Return how a column of dates as text is read, with examples, where `date_notes` say nothing."""
    is_plain = scan.reading.kind in TIME_KINDS and bool(scan.dates.examples) and not date_notes(scan)
    return [_examples(scan)] if is_plain else []


def check_dates(schema: Schema, frame: Table, *, schema_file: str | None) -> None:
    """Raise for a feature whose `date_formats` read the same values as different days.

    `schema_file` is the reviewed schema that lists them, if there is one.

    Raises
    ------
    SchemaError: with a value, its two days, and both edits to choose from.
    """
    for column in schema.features:
        pair = rival_formats(column.date_formats) if column.kind in TIME_KINDS else None
        if pair is None:
            continue
        first, second = (
            [form for form in column.date_formats if rival_formats((form, other)) is None] for other in pair
        )
        key = f"schema.columns.{column.name}.date_formats"
        place = f"in {schema_file}, column {column.name!r}, keep date_formats:" if schema_file else f"set {key}:"
        raise SchemaError(
            f"column {column.name!r}: {_two_days(_undecided_text(column, frame, pair), pair)}",
            hint=f"{place} {json.dumps(first)} or {json.dumps(second)}, or leave the column out with "
            f"data.drop: {json.dumps([column.name], ensure_ascii=False)}",
        )


def _undecided_text(column: Column, frame: Table, pair: tuple[str, str]) -> str:
    """Return a value that two formats read as different days."""
    if column.name in frame.columns and frame[column.name].dtype == pl.String:
        texts = strip_blanks(frame[column.name].drop_nulls())
        one, other = (parse_times(texts, [date_format]) for date_format in pair)
        differing = texts.filter((one != other).fill_null(False))
        if len(differing):
            return str(differing[0])
    text = pair[0]
    for letter, digits in {**UNDECIDED_DAY, "Y": "2003", "H": "00", "M": "00", "S": "00"}.items():
        text = text.replace(f"%{letter}", digits)
    return text


def _two_days(text: str, formats: Sequence[str]) -> str:
    one, other = (_written(text, [date_format]) for date_format in formats)
    return (
        f"{text!r} is {one} by {json.dumps(formats[0])} and {other} by {json.dumps(formats[1])}, "
        "and no value tells which is meant"
    )


def _written(text: str, date_formats: Sequence[str]) -> str:
    seconds = read_time(text, date_formats)
    return "no day" if seconds is None else format_time(seconds)


def _examples(scan: ColumnScan) -> str:
    formats = scan.reading.date_formats
    shown = [f"{text!r} is {_written(text, formats)}" for text in scan.dates.examples[:3]]
    more = f" and {len(formats) - 3} more" if len(formats) > 3 else ""
    return f"read by {', '.join(map(json.dumps, formats[:3]))}{more}: {', '.join(shown)}"


def _unread_notes(scan: ColumnScan) -> list[str]:
    text = str(scan.texts.example or "").strip()
    if sentence := refusal(text):
        return [f"{scan.name}: not read as dates: {text!r} may be {sentence}"]
    counts = Counter(scan.texts.categories.counts()).most_common(MAX_TEXTS_TRIED)
    half = 0.5 * sum(count for _, count in counts)
    dates = {text: count for text, count in counts if formats_of(text.strip())}
    if not counts or sum(dates.values()) < half:
        for form, what in LIKE_TIMES.items():
            alike = [(text, count) for text, count in counts if form.fullmatch(text.strip())]
            if alike and sum(count for _, count in alike) >= half:
                return [f"{scan.name}: values such as {alike[0][0]!r} are read as words, not as {what}"]
        return []
    others = [repr(text) for text, _ in counts if text not in dates]
    why = f"{join_names(others, limit=3)} is not" if len(others) == 1 else f"{join_names(others, limit=3)} are not"
    if not others:
        why = "day and month stand in another order in some of them"
    key = f"schema.columns.{scan.name}"
    ways = f"{key}.kind: date names them, {key}.na_values reads them as missing"
    return [f"{scan.name}: not read as dates, though values such as {next(iter(dates))!r} are: {why}; {ways}"]


def _zone_notes(scan: ColumnScan) -> list[str]:
    """Say that times with an offset are converted, and what those without are taken for."""
    formats = scan.reading.date_formats
    aware = [form for form in formats if "%z" in form]
    naive = [form for form in formats if "%z" not in form and "%Z" not in form]
    if not aware:
        return []
    note = f"{scan.name}: times with an offset are converted to UTC, such as {_example_of(scan, aware)}"
    return [f"{note}; those without are taken as UTC, such as {_example_of(scan, naive)}" if naive else note]


def _example_of(scan: ColumnScan, formats: Sequence[str]) -> str:
    """Return an example that one of the formats reads, and the time that it is."""
    text = next(
        text for text in scan.dates.examples if any(compile_format(form).microseconds(text) for form in formats)
    )
    return f"{text!r}, which is {_written(text, formats)}"
