"""The forms of dates in a column, inferred from its values; what the values cannot decide is kept open.

A text tells its own format, but for the order of day, month and two-digit year. A reading is one order, with every
format in which the column's values come.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from typing import Literal

import numpy as np
import polars as pl

from estimator.core.arrays import Floats
from estimator.core.date_formats import BLANK, MONTHS, SHORT_MONTHS, WEEKDAYS, compile_format
from estimator.data.schema.cells import na_numbers
from estimator.data.schema.column import TIME_KINDS, Column
from estimator.data.schema.frames import read_series
from estimator.data.schema.text_parsing import normalize_series, strip_blanks
from estimator.data.schema.time_columns import parse_times, seconds_of

N_CELLS, N_TEXTS, MAX_FORMATS = 1000, 50, 30
MIN_DATE_LENGTH = 6
OFFSET = r"[+-][0-9]{2}(?::?[0-9]{2}(?::?[0-9]{2})?)?|[Zz](?![A-Za-z])"
CLOCK = re.compile(
    r"(?<![0-9])(?P<hour>[0-9]{1,2}):[0-9]{2}(?P<second>:[0-9]{2})?(?:(?P<point>[.,])[0-9]{1,9})?"
    r"(?P<half>\s?[AaPp][Mm](?![A-Za-z]))?"
    rf"(?P<zone>\s?(?:(?:GMT|UTC)?(?:{OFFSET})|GMT|UTC|UT)(?![A-Za-z0-9:]))?"
    r"(?P<name>\s?\([A-Za-z][A-Za-z0-9_/+ -]*\)|\[[A-Za-z][A-Za-z0-9_/+ -]*\]|\s[A-Z]{2,5})?"
)
COMPACT = re.compile(
    rf"[0-9]{{8}}[Tt][0-9]{{4}}(?P<second>[0-9]{{2}})?(?:(?P<point>[.,])[0-9]{{1,9}})?(?P<zone>{OFFSET})?"
)
# In other years they are more likely codes than months.
MONTH = re.compile(r"(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])|(?:0?[1-9]|1[0-2])/(?:19|20)[0-9]{2}|[A-Za-z]+-[0-9]{2}")
ORDERS = {"Y##": ["Ymd"], "##Y": ["dmY", "mdY"], "###": ["dmy", "mdy", "ymd"], "Y#": ["Ym"], "#Y": ["mY"]}
NAMED_ORDERS = {"#b#": ["dby"], "b##": ["bdy"], "b#": ["by"]}
SEPARATORS = {"/", "-", "."}
# What may stand between the parts of a date; a NUL stands for its time of day.
CLOCK_MARK = "\0"
BETWEEN = {*SEPARATORS, *" ,_:", CLOCK_MARK}
# Of two orders whose years lie in different places, one is taken if its times span this much less.
DECIDING_SPAN = 3.0
DAY_SECONDS = 86_400.0
N_EXAMPLES = 3


def readings(series: pl.Series, na_values: Sequence[str], *, skips_words: bool = False) -> list[tuple[str, ...]]:
    """Return the ways to read the first texts of a column as times, each as its formats.

    With `skips_words`, texts that are no times are left out.

    >>> readings(pl.Series(["1/2/2024", "NA", "3/4/2024 10:00"]), ["NA"])
    [('%d/%m/%Y', '%d/%m/%Y %H:%M'), ('%m/%d/%Y', '%m/%d/%Y %H:%M')]
    """
    texts = strip_blanks(series.drop_nulls().head(N_CELLS))
    first = texts.filter(~texts.is_in(["", *na_values])).head(N_TEXTS).to_list()
    first = [text for text in first if formats_of(text)] if skips_words else first
    if not first or not _may_be_time(first[0]):
        return []
    return _common_readings(first)


@lru_cache(maxsize=10_000)
def formats_of(text: str) -> tuple[str, ...]:
    """Return the formats that read a text, the likeliest first.

    >>> formats_of("1/31/2020, 3:45:00 PM"), formats_of("2020-01-31T10:15:00.5+01:00")
    (('%m/%d/%Y, %I:%M:%S %p',), ('%Y-%m-%dT%H:%M:%S.%f%z',))
    """
    if match := COMPACT.fullmatch(text):
        parts = ("%S" if match["second"] else "", f"{match['point']}%f" if match["point"] else "")
        formats = [f"%Y%m%dT%H%M{''.join(parts)}{'%z' if match['zone'] else ''}"]
    else:
        clock = CLOCK.search(text)
        before, after = (text[: clock.start()], text[clock.end() :]) if clock else (text, "")
        formats = _with_dates(before, _clock_format(clock) if clock else "", after)
    return tuple(form for form in formats if compile_format(form).microseconds(text) is not None)


def fit_times(column: Column, series: pl.Series, *, max_odd_words: int = 0) -> tuple[Floats, Column] | None:
    """Return the times of a column of text, and the column with every format in which they come.

    None if more than `max_odd_words` texts are no times, or one has day, month and year in another order.
    """
    normalized = normalize_series(column, series)
    times = parse_times(normalized, column.date_formats)
    is_unread = times.is_null() & series.is_not_null()
    if not is_unread.any() and not na_numbers(column):
        return seconds_of(times), column
    texts = strip_blanks(normalized.filter(is_unread)).unique(maintain_order=True)
    texts = texts.filter(~texts.is_in(["", *column.na_values]))
    column = _with_formats_of(column, texts)
    values, faults = read_series(column, series)
    odd_words = {str(fault.value).strip() for fault in faults}
    is_fit = len(odd_words) <= max_odd_words and not any(map(formats_of, odd_words))
    return (values[:, 0], column) if is_fit else None


@dataclass(slots=True)
class Rival:
    """Another reading that holds for all values so far: its extremes, and a text that it reads as another time."""

    column: Column
    low: float = np.inf
    high: float = -np.inf
    example: str | None = None

    def add(self, series: pl.Series, values: Floats, *, max_odd_words: int) -> bool:
        """Add a batch that the first reading reads as `values`; return whether the rival still holds."""
        fit = fit_times(self.column, series, max_odd_words=max_odd_words)
        if fit is None:
            return False
        own_values, self.column = fit
        if (np.isnan(own_values) != np.isnan(values)).any():
            return False
        if not np.isnan(own_values).all():
            self.low, self.high = min(self.low, np.nanmin(own_values)), max(self.high, np.nanmax(own_values))
        if self.example is None:
            differs = (own_values != values) & ~np.isnan(values)
            self.example = str(series[int(differs.argmax())]).strip() if differs.any() else None
        return True


@dataclass(slots=True)
class Dates:
    """The readings that hold for all values of a column besides the one by which it is read, and some of its texts.

    `examples` has texts of every format, and three texts at least if there are as many.
    """

    rivals: list[Rival] | None = None
    examples: list[str] = field(default_factory=list)
    n_formats: int = 0

    def add(self, series: pl.Series, values: Floats, candidates: Sequence[Column], *, max_odd_words: int) -> None:
        """Add a batch; the first candidate is the one by which the column is read."""
        reading = candidates[0]
        if self.rivals is None:
            others = (column for column in candidates[1:] if _may_be_rivals(reading, column))
            self.rivals = [Rival(column) for column in others]
        self.rivals = [rival for rival in self.rivals if rival.add(series, values, max_odd_words=max_odd_words)]
        if len(self.examples) < N_EXAMPLES or self.n_formats < len(reading.date_formats):
            self._add_examples(series.filter(pl.Series(~np.isnan(values))), reading.date_formats)

    def _add_examples(self, series: pl.Series, date_formats: Sequence[str]) -> None:
        texts = strip_blanks(series.head(N_CELLS))
        found = texts.unique(maintain_order=True).head(max(N_EXAMPLES - len(self.examples), 0)).to_list()
        for form in date_formats[self.n_formats :]:
            if any(compile_format(form).microseconds(text) is not None for text in (*self.examples, *found)):
                continue
            if parse_times(texts, [form]).null_count() == len(texts):
                texts = strip_blanks(series)
            found += texts.filter(parse_times(texts, [form]).is_not_null()).head(1).to_list()
        self.examples = [*dict.fromkeys([*self.examples, *found])]
        self.n_formats = len(date_formats)

    def undecided(self, reading: Column, span: tuple[float, float]) -> list[Rival]:
        """Return the rivals that are as likely as the reading, whose times have this span; [] if it is worse."""
        likeliest = self._likeliest(reading, span)
        return [rival for rival in likeliest if rival.column is not reading] if self._has(likeliest, reading) else []

    def better(self, reading: Column, span: tuple[float, float]) -> list[Column]:
        """Return the readings that are likelier than the reading, or []."""
        likeliest = self._likeliest(reading, span)
        return [] if self._has(likeliest, reading) else [rival.column for rival in likeliest]

    def _likeliest(self, reading: Column, span: tuple[float, float]) -> list[Rival]:
        different = [rival for rival in self.rivals or [] if rival.example is not None]
        if not different:
            return [Rival(reading, *span)]
        readings = [Rival(reading, *span), *different]
        spans = [max(rival.high - rival.low, DAY_SECONDS) for rival in readings]
        best = readings[int(np.argmin(spans))]
        return [
            rival
            for rival, size in zip(readings, spans, strict=True)
            if _year_place(rival.column) == _year_place(best.column) or size < DECIDING_SPAN * min(spans)
        ]

    @staticmethod
    def _has(rivals: Sequence[Rival], reading: Column) -> bool:
        return any(rival.column is reading for rival in rivals)


def time_candidates(
    text: Column, series: pl.Series, na_values: Sequence[str], *, skips_words: bool = False
) -> list[Column]:
    """Return the ways to read a column of text as times, the likeliest first; see `readings`."""
    if series.dtype != pl.String:
        return []
    found = readings(normalize_series(text, series), na_values, skips_words=skips_words)
    return [replace(text, kind=kind_of_formats(formats), date_formats=formats) for formats in found]


def kind_of_formats(formats: Sequence[str]) -> Literal["date", "datetime"]:
    """Return the kind of a column that is read by these formats."""
    return "datetime" if any("%H" in form or "%I" in form for form in formats) else "date"


def _may_be_rivals(reading: Column, other: Column) -> bool:
    """Whether both may hold for the same values; with dots, the day comes before the month wherever it is written."""
    if other.kind not in TIME_KINDS or other.na_values != reading.na_values:
        return False
    places = _key(reading.date_formats[0]), _key(other.date_formats[0])
    return places[0] != places[1] and not (places[0][1] == "." and _year_place(reading) == _year_place(other))


def _year_place(column: Column) -> int:
    return _key(column.date_formats[0])[0].upper().index("Y")


def _may_be_time(text: str) -> bool:
    """Whether a text is long enough, has a digit and is not a number."""
    if len(text) < MIN_DATE_LENGTH or not re.search(r"[0-9]", text):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False


def _common_readings(texts: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the readings that hold for all texts."""
    formats: dict[tuple[str, str], list[str]] = {}
    for index, text in enumerate(texts):
        own = {_key(form): form for form in formats_of(text)}
        if index == 0:
            formats = {key: [] for key in own}
        formats = {key: [*known, own[key]] for key, known in formats.items() if key in own}
        if not formats:
            return []
    return [tuple(dict.fromkeys(known)) for known in formats.values()]


def _with_formats_of(column: Column, texts: pl.Series) -> Column:
    """Return the column with the formats of texts whose day, month and year are in its order."""
    key = _key(column.date_formats[0])
    while len(texts) and len(column.date_formats) < MAX_FORMATS:
        new = [form for text in texts.head(N_TEXTS) for form in formats_of(text) if _key(form) == key]
        new = [form for form in dict.fromkeys(new) if form not in column.date_formats]
        if not new:
            break
        formats = (*column.date_formats, *new)
        column = replace(column, kind=kind_of_formats(formats), date_formats=formats)
        texts = texts.filter(parse_times(texts, new).is_null())
    return column


def _key(date_format: str) -> tuple[str, str]:
    """Return the order of day, month and year, and what stands between them."""
    places = [match.span() for match in re.finditer("%[YymdbB]", date_format)]
    letters = "".join(date_format[start + 1] for start, _ in places).lower()
    between = (date_format[stop:start] for (_, stop), (start, _) in pairwise(places))
    return letters, next(between, "")


def _clock_format(clock: re.Match[str]) -> str:
    second = "%S" if clock["second"] else ""
    parts = ["%I" if clock["half"] else "%H", ":%M", f":{second}" if second else ""]
    parts.append(f"{clock['point']}%f" if clock["point"] else "")
    parts.append(re.sub("[A-Za-z]+", "%p", clock["half"] or ""))
    zone = clock["zone"] or ""
    has_offset = re.search(rf"(?:{OFFSET})$", zone) is not None
    parts.append(re.sub(rf"(?:{OFFSET})$", "%z", zone) if has_offset else re.sub("[A-Z]+", "%Z", zone))
    parts.append(re.sub(r"[A-Za-z][A-Za-z0-9_/+ -]*", "%Z", clock["name"] or ""))
    return "".join(parts)


def _with_dates(before: str, clock: str, after: str) -> list[str]:
    """Return the formats of a text that has these characters before and after its time of day."""
    tokens = re.findall(r"[0-9]+|[A-Za-z]+|[^0-9A-Za-z]", f"{before}{CLOCK_MARK}{after}")
    kinds = [_token_kind(token, following) for token, following in zip(tokens, [*tokens[1:], ""], strict=True)]
    if None in kinds:
        return []
    shape = "".join(kind.lower() if kind == "B" else kind for kind in kinds if kind and kind in "Y#bB")
    orders = _orders(shape, before + after, tokens, kinds)
    return [_write(order, tokens, kinds, clock) for order in orders]


def _token_kind(token: str, following: str) -> str | None:
    """Return Y for a year, # for one or two digits, a letter of a name, "" for what stands between, None otherwise."""
    if token.isdigit():
        return "Y" if len(token) == 4 else "#" if len(token) <= 2 else None
    word = token.lower()
    if word in SHORT_MONTHS or word in MONTHS:
        return "b" if word in SHORT_MONTHS else "B"
    if word in WEEKDAYS or word in {name[:3] for name in WEEKDAYS}:
        return "A" if word in WEEKDAYS else "a"
    is_between = token in BETWEEN or token.isspace() or (word == "t" and following == CLOCK_MARK)
    return "" if is_between else None


def _orders(shape: str, date: str, tokens: Sequence[str], kinds: Sequence[str | None]) -> list[str]:
    """Return the orders in which a date may have its parts; each is a letter per part."""
    if "b" in shape:
        if "Y" in shape and sorted(shape) in (sorted("#bY"), sorted("bY")):
            return [shape.replace("#", "d")]
        is_month = shape != "b#" or MONTH.fullmatch(date)
        orders = NAMED_ORDERS.get(shape, []) if is_month else []
    elif shape in ("Y#", "#Y"):
        orders = ORDERS[shape] if MONTH.fullmatch(date) else []
    else:
        between = re.split("[0-9]+", date.strip())[1:3]
        is_tight = len(set(between)) == 1 and between[0] in SEPARATORS
        orders = [order for order in ORDERS.get(shape, []) if "y" not in order or is_tight]
    lengths = [len(token) for token, kind in zip(tokens, kinds, strict=True) if kind and kind in "Y#bB"]
    return [order for order in orders if "y" not in order or lengths[order.index("y")] == 2]


def _write(order: str, tokens: Sequence[str], kinds: Sequence[str | None], clock: str) -> str:
    """Return the format in which the parts of a date stand in this order."""
    letters = iter(order)
    parts = []
    for token, kind in zip(tokens, kinds, strict=True):
        if kind and kind in "Y#bB":
            letter = next(letters)
            parts.append(f"%{kind if letter == 'b' else letter}")
        else:
            parts.append(f"%{kind}" if kind else clock if token == CLOCK_MARK else token)
    return re.sub(f"{BLANK}+", " ", "".join(parts))
