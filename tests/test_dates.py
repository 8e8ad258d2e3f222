"""Dates are read right, and a column, a single value and the model page read each the same."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from estimator.config.reader import resolve
from estimator.core.date_formats import BLANKS, compile_format, read_time
from estimator.data.schema.candidates import ColumnOverride
from estimator.data.schema.cells import CellError, read_cell
from estimator.data.schema.column import Column
from estimator.data.schema.date_inference import formats_of
from estimator.data.schema.frames import read_series
from estimator.data.schema.inference import TableChoices, infer_column, scan_table, schema_from_scan
from estimator.data.schema.notes import scan_notes
from estimator.data.schema.overrides import build_schema
from estimator.errors import SchemaError
from estimator.verbs.context import SHELVES

# How many made dates are compared; `make test-dates` compares a million.
N_DATES = int(os.environ.get("ESTIMATOR_TEST_DATES", "20000"))
FORMATS = [
    "%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%y", "%m/%d/%y", "%y.%m.%d", "%Y%m%d", "%d%b%Y",
    "%d-%b-%Y", "%d-%b-%y", "%d %B %Y", "%B %d, %Y", "%b %d, %Y", "%Y-%m", "%b-%Y", "%B %Y", "%Y", "%e.%m.%Y", "%F %T",
    "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%d %H:%M:%S,%f", "%Y-%m-%dT%H:%M:%S%z",
    "%Y-%m-%d %H:%M:%S.%f%z", "%Y%m%dT%H%M%S%z", "%Y%m%d%H%M%S", "%Y%m%d%H%M%S%f", "%m/%d/%Y, %I:%M:%S %p",
    "%m/%d/%Y %I:%M%p", "%I %p %d.%m.%Y", "%d/%b/%Y:%H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %z", "%a %b %d %H:%M:%S %Y",
    "%a %b %d %H:%M:%S %Z %Y", "%a %b %d %Y %H:%M:%S GMT%z (%Z)", "%A, %d. %B %Y", "%Y-%m-%dT%H:%M:%S%z[%Z]",
    "%H:%M %D",    "%d.%m.%Y %H:%M Uhr", "%Y年%m月%d日", "100%% %Y-%m-%d",
]  # fmt: skip
NAMES = {
    "b": ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
    "B": [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ],
    "a": ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"],
    "A": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
}


def written(moment: datetime, date_format: str, made: random.Random) -> str:
    """A moment in a format, with or without leading zeros, in any case, with any kind of fraction and offset."""
    digits = made.choice([1, 2, 2])
    offset = moment.utcoffset() or timedelta()
    minutes = int(abs(offset).total_seconds()) // 60
    sign, colon = "-" if offset < timedelta() else "+", made.choice(["", ":"])
    full = f"{sign}{minutes // 60:02}{colon}{minutes % 60:02}"
    zones = [full, *([f"{sign}{minutes // 60:02}"] if minutes % 60 == 0 else []), *(["Z", "z"] if minutes == 0 else [])]
    fraction = f"{moment.microsecond:06}"
    parts: dict[str, Callable[[], str]] = {
        "Y": lambda: f"{moment.year:04}",
        "y": lambda: f"{moment.year % 100:02}",
        "m": lambda: f"{moment.month:0{digits}}",
        "d": lambda: f"{moment.day:0{digits}}",
        "e": lambda: f"{moment.day:0{digits}}",
        "H": lambda: f"{moment.hour:0{digits}}",
        "I": lambda: f"{(moment.hour + 11) % 12 + 1:0{digits}}",
        "p": lambda: made.choice(["{}M", "{}m"]).format("AP"[moment.hour // 12]),
        "M": lambda: f"{moment.minute:02}",
        "S": lambda: f"{moment.second:02}",
        "f": lambda: made.choice([fraction, fraction.rstrip("0") or "0", f"{fraction}789"]),
        "z": lambda: made.choice(zones),
        "Z": lambda: made.choice(["UTC", "GMT"]) if "%z" not in date_format else made.choice(["CET", "Europe/Paris"]),
        "b": lambda: made.choice([str.lower, str.upper, str])(NAMES["b"][moment.month - 1]),
        "B": lambda: made.choice([str.lower, str.upper, str])(NAMES["B"][moment.month - 1]),
        "a": lambda: NAMES["a"][moment.weekday()],
        "A": lambda: NAMES["A"][moment.weekday()],
        "%": lambda: "%",
    }
    if is_tight(date_format):
        digits, fraction = 2, f"{moment.microsecond:06}"
        parts["f"] = lambda: fraction
    for short, long in (("%T", "%H:%M:%S"), ("%F", "%Y-%m-%d"), ("%D", "%m/%d/%y")):
        date_format = date_format.replace(short, long)
    pieces = date_format.split("%%")
    for index, piece in enumerate(pieces):
        while "%" in piece:
            place = piece.index("%")
            piece = piece[:place] + parts[piece[place + 1]]() + piece[place + 2 :]
        pieces[index] = piece
    return "%".join(pieces)


def is_tight(date_format: str) -> bool:
    return "%Y%m" in date_format


def known_seconds(moment: datetime, date_format: str) -> float:
    """What a text of this format can tell of a moment, by Python's own arithmetic."""
    known = moment if "%z" in date_format else moment.replace(tzinfo=UTC)
    full = date_format.replace("%T", "%H:%M:%S").replace("%F", "%Y-%m-%d").replace("%D", "%m/%d/%y")
    without = {"%f": {"microsecond": 0}, "%S": {"second": 0}, "%M": {"minute": 0}, "%d": {"day": 1}, "%m": {"month": 1}}
    for directive, change in without.items():
        others = {"%d": ("%e",), "%m": ("%b", "%B")}.get(directive, ())
        if not any(item in full for item in (directive, *others)):
            known = known.replace(**change)
    if "%H" not in full and "%I" not in full:
        known = known.replace(hour=0)
    return (known - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)


def made_dates(seed: int, n_dates: int) -> Iterator[tuple[str, list[tuple[str, float | None]]]]:
    """Yield each format with made texts: what Python's arithmetic says of right ones, None for unknown spoiled ones."""
    made = random.Random(seed)
    for date_format in FORMATS:
        pairs: list[tuple[str, float | None]] = []
        for _ in range(max(n_dates // len(FORMATS), 1)):
            first, years = (
                (datetime(1969, 1, 1), 99) if "%y" in date_format or "%D" in date_format else (datetime(1, 1, 3), 9997)
            )
            zone = timezone(timedelta(minutes=made.choice([0, 60, 330, -480, 765])))
            moment = (first + timedelta(microseconds=made.randrange(int(years * 365.2425 * 86400e6)))).replace(
                tzinfo=zone
            )
            text = written(moment, date_format, made)
            if made.random() < 0.3:
                pairs.append((spoiled(text, made), None))
            else:
                pairs.append((text, known_seconds(moment, date_format)))
        yield date_format, pairs


def spoiled(text: str, made: random.Random) -> str:
    """A text with one character more, less or other."""
    place, char = made.randrange(len(text) + 1), made.choice("0123456789-/:.,+ TZzWaApPmM\u00a0\u202f\u0665年é\0\n")
    return made.choice(
        [
            text[:place] + char + text[place + 1 :],
            text[:place] + char + text[place:],
            text[:place] + text[place + 1 :],
            text + char,
        ]
    )


def read_column(texts: list[str], date_formats: list[str]) -> list[float | None]:
    column = Column("x", "datetime", nullable=True, date_formats=tuple(date_formats))
    values, faults = read_series(column, pl.Series("x", texts, dtype=pl.String))
    assert {fault.row - 1 for fault in faults} <= set(np.flatnonzero(np.isnan(values[:, 0])).tolist())
    return [None if math.isnan(value) else value for value in values[:, 0].tolist()]


def read_value(text: str, date_formats: list[str]) -> float | None:
    try:
        value = read_cell(Column("x", "datetime", nullable=True, date_formats=tuple(date_formats)), text)
    except CellError:
        return None
    return None if isinstance(value, str) or math.isnan(value) else value


def test_columns_and_single_values_read_made_dates_alike():
    n_dates = 0
    for date_format, pairs in made_dates(N_DATES, N_DATES):
        texts = [text for text, _ in pairs]
        single = [read_value(text, [date_format]) for text in texts]
        assert read_column(texts, [date_format]) == single, date_format
        wrong = [
            (text, value, known)
            for (text, known), value in zip(pairs, single, strict=True)
            if known is not None and value != known
        ]
        assert wrong == [], date_format
        n_dates += len(texts)
    assert n_dates > 0.9 * N_DATES


@pytest.mark.parametrize(
    "date_formats",
    [
        ["%d/%m/%Y", "%m/%d/%Y"],
        ["%m/%d/%y", "%m/%d/%Y", "%m/%d/%Y %H:%M"],
        ["%Y-%m-%d", "%d.%m.%Y", "%b %d, %Y", "%Y-%m-%dT%H:%M:%S.%f%z"],
        [],
    ],
    ids=str,
)
def test_several_formats_are_tried_in_the_same_order(date_formats):
    made = random.Random(7)
    texts = [text for _, pairs in made_dates(8, N_DATES // 2) for text, _ in pairs]
    texts += [f"{made.randint(1, 31)}/{made.randint(1, 13)}/{made.choice(['20', '2020', '69'])}" for _ in range(500)]
    made.shuffle(texts)
    assert read_column(texts, date_formats) == [read_value(text, date_formats) for text in texts]


ZONES = [None, UTC, timezone(timedelta(hours=-9, minutes=-30)), timezone(timedelta(hours=14))]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.sampled_from(ZONES)),
    st.sampled_from(["T", " "]),
)
def test_what_python_writes_is_read_exactly(moment, mark):
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    assert read_time(moment.isoformat(mark), []) == (aware - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)


@given(st.text("0123456789-:./, TZWz+aApPmMJanFeb\u00a0", max_size=30))
def test_any_text_is_read_alike_in_columns_and_alone(text):
    date_formats = ["%d/%m/%Y %H:%M", "%b %d, %Y", "%Y-%m"]
    assert read_column([text, "2020-01-31"], date_formats) == [read_value(text, date_formats), 1580428800.0]


KNOWN = [
    ("2020-01-31T10:15:00Z", "2020-01-31 10:15:00"),
    ("2020-01-31T10:15:00+00", "2020-01-31 10:15:00"),
    ("2020-01-31T10:15:00+00:00", "2020-01-31 10:15:00"),
    ("2020-01-31T10:15:00+0000", "2020-01-31 10:15:00"),
    ("2020-01-31T10:15:00-05:30", "2020-01-31 15:45:00"),
    ("2020-01-31 10:15:00.123456789Z", "2020-01-31 10:15:00.123456"),
    ("2020-01-31T10:15:00,5", "2020-01-31 10:15:00.500000"),
    ("20200131T101500Z", "2020-01-31 10:15:00"),
    ("20200131T1015", "2020-01-31 10:15:00"),
    ("2020-01-31T10:15", "2020-01-31 10:15:00"),
    ("2020-01-31T24:00:00", "2020-02-01 00:00:00"),
    ("2016-12-31T23:59:60Z", "2017-01-01 00:00:00"),
    ("2020-01-31 10:15:00.5 +0100", "2020-01-31 09:15:00.500000"),
    ("2020-01-31 10:15:00 UTC", "2020-01-31 10:15:00"),
    ("2009-11-10 23:00:00 +0000 UTC", "2009-11-10 23:00:00"),
    ("2020-01-31T10:15:00+01:00[Europe/Paris]", "2020-01-31 09:15:00"),
    ("0001-01-01", "0001-01-01 00:00:00"),
    ("9999-12-31T23:59:59.999999", "9999-12-31 23:59:59.999999"),
    ("Fri Jan 31 2020 10:00:00 GMT+0100 (CET)", "2020-01-31 09:00:00"),
    ("Fri Jan 31 2020 10:00:00 GMT-0330 (Newfoundland Standard Time)", "2020-01-31 13:30:00"),
    ("1/31/2020, 3:45:00 PM", "2020-01-31 15:45:00"),
    ("1/31/2020, 3:45:00\u202fPM", "2020-01-31 15:45:00"),
    ("31/01/2020, 15:45:00", "2020-01-31 15:45:00"),
    ("31.1.2020, 15:45:00", "2020-01-31 15:45:00"),
    ("Fri, 31 Jan 2020 10:00:00 +0100", "2020-01-31 09:00:00"),
    ("Fri, 31 Jan 2020 10:00:00 GMT", "2020-01-31 10:00:00"),
    ("Fri Jan 31 10:00:00 2020", "2020-01-31 10:00:00"),
    ("Fri Jan 31 10:00:00 UTC 2020", "2020-01-31 10:00:00"),
    ("31/Jan/2020:13:55:36 -0700", "2020-01-31 20:55:36"),
    ("31JAN2020:10:00:00", "2020-01-31 10:00:00"),
    ("1/31/2020 12:00 AM", "2020-01-31 00:00:00"),
    ("1/31/2020 12:00PM", "2020-01-31 12:00:00"),
    ("January 31, 2020", "2020-01-31 00:00:00"),
    ("31 January 2020", "2020-01-31 00:00:00"),
    ("Sept 30, 2020", "2020-09-30 00:00:00"),
    ("31-Jan-20", "2020-01-31 00:00:00"),
    ("1/31/20", "2020-01-31 00:00:00"),
    ("31.01.69", "1969-01-31 00:00:00"),
    ("31.01.68", "2068-01-31 00:00:00"),
    ("Mar-2018", "2018-03-01 00:00:00"),
    ("Mar-18", "2018-03-01 00:00:00"),
    ("03/2018", "2018-03-01 00:00:00"),
    ("31-1-2020", "2020-01-31 00:00:00"),
    ("2020/1/31", "2020-01-31 00:00:00"),
    ("2020.01.31", "2020-01-31 00:00:00"),
]


@pytest.mark.parametrize(("text", "expected"), KNOWN)
def test_usual_form_is_inferred_and_read(text, expected):
    column = infer_column(pl.Series("x", [text, f" {text} ", None] * 4 + [text]), ColumnOverride(kind="datetime"))
    moment = datetime.fromisoformat(expected).replace(tzinfo=UTC)
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(seconds=1)
    assert read_cell(column, text) == seconds
    assert read_series(column, pl.Series([text]))[0].item() == seconds


NOT_READ = {
    "2020-W05-3": "a week date of ISO 8601",
    "2020W053": "a week date of ISO 8601",
    "2020-031": "an ordinal date of ISO 8601",
    "1900-01-00": "day 0 of Excel",
    "1/0/1900": "day 0 of Excel",
    "2020-01-31 10:00:00 EST": "whose name does not tell its offset",
    "2020-01-31T25:00": None,
    "2020-01-31T24:00:01": None,
    "2020-01-31T12:34:60": None,
    "2020-02-30": None,
    "0000-01-01": None,
    "0001-01-01T00:00:00+01:00": None,
    "9999-12-31T24:00": None,
    "2020-01-31T10:00:00+24:00": None,
    "2020-01-31T10:00:00.1234567890": None,
    "٢٠٢٠-01-31": None,
    "+2020-01-31": None,
    "2020-01-31T": None,
}


@pytest.mark.parametrize("text", NOT_READ)
def test_what_is_no_date_is_named(text):
    column = Column("x", "datetime", example="2020-01-31")
    with pytest.raises(CellError, match=NOT_READ[text] or "expected a date and time such as '2020-01-31', got"):
        read_cell(column, text)
    assert len(read_series(column, pl.Series([text, "2020-01-31"]))[1]) == 1


@pytest.mark.parametrize(
    ("date_format", "message"),
    [
        ("%Y-%j", "%j is not supported"),
        ("%Y-%U", "%U is not supported"),
        ("%Y-%-j", "%-j is not supported"),
        ("%x", "%x is not supported"),
        ("%d.%m.", "expected a year"),
        ("%Y-%m-%d %I:%M", "%I needs %p"),
        ("%Y-%m-%d %H:%M %p", "%p needs %I"),
        ("%Y-%d", "%d needs %m or %b or %B"),
        ("%Y-%m-%d %z", "%z needs %H or %I"),
        ("%Y-%m-%d %Y", "expected one of %Y and %Y, not both"),
        ("%y-%m-%d %Y", "not both"),
        ("%Y-%m-%d %", "a percent sign is written %%"),
        ("%Y-%m-%d %S", "%S needs %M"),
    ],
)
def test_format_that_cannot_be_read_is_a_sentence(date_format, message):
    with pytest.raises(ValueError, match=message):
        compile_format(date_format)


@pytest.mark.parametrize(
    ("texts", "formats"),
    [
        (["2020-01-31T10:00:00Z", "2020-02-01T10:00:00.5Z"], ["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z"]),
        (["13/1/20", "14/1/2020", "2/1/2020 10:00"], ["%d/%m/%y", "%d/%m/%Y", "%d/%m/%Y %H:%M"]),
        (["1/2/2020", "2/3/2020"], ["%d/%m/%Y", "%m/%d/%Y"]),
        (["1/1/2020", "2/2/2020"], ["%d/%m/%Y"]),
        (["1-2-2020", "2-3-2020"], ["%d-%m-%Y", "%m-%d-%Y"]),
        (["1.2.2020", "2.3.2020"], ["%d.%m.%Y"]),
        (["9.18.2020", "1.2.2020"], ["%m.%d.%Y"]),
        (["20/04/23", "20/05/28", "21/12/01"], ["%y/%m/%d"]),
        (["23/04/20", "28/05/20", "01/12/21"], ["%d/%m/%y"]),
        (["01/02/03", "02/03/04"], ["%d/%m/%y", "%m/%d/%y", "%y/%m/%d"]),
        (["5/6/20", "1/13/20"], ["%m/%d/%y"]),
    ],
)
def test_order_is_read_from_the_values_or_left_open(texts, formats):
    column = infer_column(pl.Series("x", [*texts, *texts, "NA"]))
    assert (column.kind in ("date", "datetime"), list(column.date_formats)) == (True, formats)


def test_order_that_a_late_row_decides_is_taken_from_it():
    early = [f"{1 + number % 12}/{1 + number % 11}/2020" for number in range(70_000)]
    column = infer_column(pl.Series("x", [*early, "1/31/2020 10:00"]))
    assert (column.kind, column.date_formats) == ("datetime", ("%m/%d/%Y", "%m/%d/%Y %H:%M"))


def test_whole_numbers_are_dates_by_a_format_of_the_column_only():
    column = Column("x", "date", date_formats=("%Y%m%d",))
    assert [read_cell(column, value) for value in (20200131, 20200131.0, "20200131")] == [1580428800.0] * 3
    assert read_series(column, pl.Series([20200131]))[0].item() == 1580428800.0
    with pytest.raises(CellError, match="expected a date, got 20200131"):
        read_cell(Column("x", "date"), 20200131)


@pytest.mark.parametrize("dtype", [pl.Datetime("us"), pl.Datetime("ms"), pl.Date])
def test_times_of_a_file_beyond_year_9999_are_named(dtype):
    far = pl.Series([10**8 if dtype == pl.Date else 10**18, 0], dtype=pl.Int64).cast(
        pl.Int32 if dtype == pl.Date else pl.Int64
    )
    values, faults = read_series(Column("x", "datetime", example="2020-01-31"), far.cast(dtype))
    assert values[1, 0] == 0.0
    assert ["since 1970'" in fault.message for fault in faults] == [True]


def notes_of(texts):
    frame = pl.DataFrame({"x": texts, "y": range(len(texts))})
    choices = TableChoices("y")
    scan = scan_table(frame, choices)
    return " | ".join(note for note in scan_notes(scan, schema_from_scan(scan, choices)) if note.startswith("x"))


@pytest.mark.parametrize(
    ("texts", "note"),
    [
        ([f"2020-W{week:02}-3" for week in range(1, 53)], "'2020-W01-3' may be a week date of ISO 8601"),
        ([f"2020-01-{day:02} 10:00:00 EST" for day in range(1, 30)], "a zone whose name does not tell its offset"),
        ([f"2020-01-{day:02}" for day in range(1, 30)] + ["1900-01-00"], "29 of 30 values are dates, but row 30 holds"),
        ([f"{day}.1.20" for day in range(1, 30)], "'1.1.20' is 2020-01-01, '2.1.20' is 2020-01-02, '3.1.20' is"),
        ([f"{day}.1.20" for day in range(1, 30)], "two-digit years are 1969 to 2068"),
        (
            [f"2020-01-{day:02}T10:00+01:00" for day in range(1, 30)],
            "'2020-01-01T10:00+01:00', which is 2020-01-01 09:00:00",
        ),
        ([f"2020-01-{day:02}T10:00Z" for day in range(1, 30)] + ["2020-01-01T10:00"], "those without are taken as UTC"),
        ([f"{month}/1/2020" for month in range(1, 13)], "'2/1/2020' is 2020-01-02 by \"%d/%m/%Y\" and 2020-02-01 by"),
        ([f"2020-01-{day:02}" for day in range(1, 30)], ""),
    ],
)
def test_what_was_guessed_or_converted_is_a_note(texts, note):
    notes = notes_of(texts)
    assert note in notes if note else notes == ""


def test_undecided_days_stop_training_with_both_edits(tmp_path):
    rows = [f"{1 + number % 12}/1/{2000 + number // 12},{number}" for number in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["month,y", *rows]))
    frame, config = pl.read_csv(tmp_path / "t.csv"), resolve({"data": {"path": "t.csv", "target": "y"}}, SHELVES)
    with pytest.raises(
        SchemaError, match=r"'2/1/2000' is 2000-01-02 by .* and 2000-02-01 by .* no value tells"
    ) as error:
        build_schema(frame, config)
    assert 'schema.columns.month.date_formats: ["%d/%m/%Y"] or ["%m/%d/%Y"]' in str(error.value.hint)
    edit = {"columns": {"month": {"date_formats": ["%m/%d/%Y"]}}}
    decided = resolve({"data": {"path": "t.csv", "target": "y"}, "schema": edit}, SHELVES)
    assert (
        build_schema(frame, decided)[0].by_name["month"].training_summary == "training range 2000-01-01 to 2004-12-01"
    )


@pytest.mark.parametrize(
    "texts", [["1.2.3", "1.2.4"], ["10:30", "11:15"], ["May 12", "June 3"], ["A-12-2020", "B-1-2020"]]
)
def test_what_only_resembles_dates_is_no_date(texts):
    assert infer_column(pl.Series("x", texts * 3)).kind not in ("date", "datetime")


@pytest.mark.parametrize("text", ["1/31/2020, 3:45 PM", "31.01.20", "2020-01-31T10:00:00+01", "Mar-2018", "2020-W05-3"])
def test_a_guess_reads_its_text(text):
    assert all(compile_format(form).microseconds(text) is not None for form in formats_of(text))
    assert all(blank not in form for form in formats_of(text) for blank in BLANKS[:5])


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["0000-00-00"] * 20, "though values such as '2024-01-01' are: '0000-00-00' is not"),
        (["soon", "31/12/2024"] * 10, "'soon' is not"),
        (["1:23:45", "0:10:00"] * 60, "times of day or durations: write them as seconds"),
        (["31.01.2024 10:15 Uhr", "03.02.2024 09:00 Uhr"] * 60, "dates: write them as 2024-01-31 10:15:00"),
        (["3 days 00:46:00", "0 days 10:00:00"] * 60, "times of day or durations: write them as seconds"),
        (["PT12H30M", "P1DT2H"] * 60, "times of day or durations: write them as seconds"),
        (["January 5th, 2024", "March 2nd, 2024"] * 60, "dates: write them as 2024-01-31 10:15:00"),
        (["12 Januar 2024", "3. März 2024"] * 60, "dates: months are read in English only"),
    ],
)
def test_what_resembles_dates_and_is_not_read_is_a_note(texts, sentence):
    days = [f"2024-{1 + row % 12:02d}-{1 + row % 28:02d}" for row in range(80)]
    frame = pl.DataFrame({"d": [*days, *texts]}).with_row_index("y").cast(pl.String)
    scan = scan_table(frame, TableChoices("y"))
    (note,) = [note for note in scan_notes(scan, schema_from_scan(scan, TableChoices("y"))) if note.startswith("d: ")]
    assert sentence in note


@given(st.lists(st.datetimes(), min_size=1, max_size=30))
@settings(max_examples=200, deadline=None)
def test_times_of_a_typed_column_are_those_of_single_values(times):
    column = Column("t", "datetime")
    values, _ = read_series(column, pl.Series("t", times, dtype=pl.Datetime("us")))
    assert values[:, 0].tolist() == [read_cell(column, time) for time in times]
    (value,) = read_series(column, pl.Series("t", [datetime(1969, 12, 31, 23, 59, 58, 999_996)]))[0][:, 0]
    assert value == -1.000004
