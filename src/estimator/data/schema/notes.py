"""What a scan leaves to a person: notes on what was read as missing, converted or not used, and questions."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from estimator.core.names import nfc
from estimator.core.text import join_names
from estimator.data.schema.cells import infinity_of
from estimator.data.schema.column import NA_WORDS, TIME_KINDS, Column
from estimator.data.schema.column_scan import (
    BOOLEAN_WORDS,
    CODE,
    MIN_NUMBER_FRACTION,
    MIN_NUMBERS,
    ColumnScan,
    TableScan,
)
from estimator.data.schema.date_notes import date_notes
from estimator.data.schema.inference import NUMBER_AS_TEXT
from estimator.data.schema.occurrences import Occurrences
from estimator.data.schema.points import way_out
from estimator.data.schema.schema import Schema
from estimator.errors import SchemaError

MAX_NAMES = 5
# From so many different texts on, amounts are more likely a quantity than categories.
MIN_AMOUNTS = 21
QUOTES = "=\u200b\ufeff'\"`\u2018\u2019\u201c\u201d "


def scan_notes(scan: TableScan, schema: Schema) -> tuple[str, ...]:
    """Return a sentence for everything that was guessed or converted when a table was read without a reviewed schema.

    The target has notes of its own; see `estimator.data.target.label_notes`.
    """
    features = {column.name: scan.columns[column.name] for column in schema.features if column.name in scan.columns}
    questions = [sentence for sentences in column_questions(scan, schema).values() for sentence in sentences]
    return (*_conversion_notes(scan, [*features, schema.target.name]), *questions, *_missing_notes(features))


def column_questions(scan: TableScan, schema: Schema) -> dict[str, list[str]]:
    """Return, by column, what a person should confirm: words among numbers, and kinds that may be others."""
    questions: dict[str, list[str]] = {}
    for column in (*schema.columns, schema.target):
        column_scan = scan.columns.get(column.name)
        if column_scan is None or not column.used:
            continue
        if column_scan.odd_words:
            questions[column.name] = [_odd_words_note(column_scan, is_target=column is schema.target)]
        elif column_scan.is_text and column is not schema.target:
            questions[column.name] = [*_doubtful_kind_notes(column, column_scan)]
        if column_scan.is_text and (twins := unicode_twins(column_scan.texts.categories.counts())):
            text, composed = next(iter(twins.items()))
            sentence = f"{column.name}: {composed!r} is written in two Unicode forms, {text!a} and {composed!a}"
            edit = f"schema.columns.{column.name}.replace: {_json(twins)} reads them as one"
            questions[column.name] = [*questions.get(column.name, []), f"{sentence}, which differ; {edit}"]
        if question := _point_question(column_scan):
            sentence = f"{column.name}: {question} {way_out(column.name)}"
            questions[column.name] = [*questions.get(column.name, []), sentence]
        if column_scan.points is not None and column_scan.is_number and (merged := column_scan.points.merged):
            one = f"{column.name}: {' and '.join(map(repr, merged))} are read as one number"
            other = f"schema.columns.{column.name}.kind: category keeps them apart"
            questions[column.name] = [*questions.get(column.name, []), f"{one}; {other}"]
        if column.kind in TIME_KINDS or column_scan.is_text:
            questions[column.name] = [*questions.get(column.name, []), *date_notes(column_scan)]
    return questions


def odd_values(scan: TableScan) -> dict[str, str]:
    """Say of columns of numbers or dates which of their values are none, with their rows."""
    return {name: _numbers_but(item, words) for name, item in scan.columns.items() if (words := item.odd_words)}


def point_questions(scan: TableScan) -> dict[str, str]:
    """Ask of columns of numbers whether their points separate thousands, where the values cannot tell."""
    return {name: question for name, item in scan.columns.items() if (question := _point_question(item))}


def _point_question(scan: ColumnScan) -> str:
    is_open = scan.points is not None and scan.points.may_separate and scan.is_number
    return scan.points.question if scan.points is not None and is_open else ""


def check_values(scan: TableScan, schema: Schema) -> None:
    """Raise for values that only a person can decide on: infinities, and words among the numbers of a target.

    Raises
    ------
    SchemaError: with the rows, the config edit that answers each question, and all such columns.
    """
    questions: list[tuple[str, dict[str, list[str]]]] = []
    for column in (schema.target, *schema.features):
        words = scan.columns[column.name].odd_words if column.name in scan.columns else {}
        is_target = column is schema.target
        asked = {text: found for text, found in words.items() if is_target or infinity_of(text) is not None}
        if asked:
            place = f"the target {column.name!r}" if is_target else f"column {column.name!r}"
            edit = {f"schema.columns.{column.name}.na_values": list(column.na_values)}
            questions.append((f"{place}: {_numbers_but(scan.columns[column.name], asked)}", edit))
    if not questions:
        return
    sentences = [sentence for sentence, _ in questions[:MAX_NAMES]]
    more = [f"{len(questions) - MAX_NAMES:,} more columns"] if len(questions) > MAX_NAMES else []
    edits = "; ".join(f"{key}: {_json(value)}" for _, edit in questions[:MAX_NAMES] for key, value in edit.items())
    hint = f"to read it as a missing value: {edits}"
    if schema.target.name in scan.columns and scan.columns[schema.target.name].odd_words:
        hint += "; to take every value of the target as a class: data.task: classification"
    raise SchemaError("; ".join([*sentences, *more]), hint=f"{hint}; or correct the table")


def check_points(scan: TableScan, schema: Schema) -> None:
    """Raise for numbers whose points may separate thousands, which only a person can decide.

    Raises
    ------
    SchemaError: with all such columns and the config edits to choose from.
    """
    features = {column.name for column in (schema.target, *schema.features)}
    questions = {name: question for name, question in point_questions(scan).items() if name in features}
    if questions:
        shown = list(questions)[:MAX_NAMES]
        more = [f"{len(questions) - MAX_NAMES:,} more columns"] if len(questions) > MAX_NAMES else []
        raise SchemaError(
            "; ".join([*(f"column {name!r}: {questions[name]}" for name in shown), *more]),
            hint="; ".join(f"set {way_out(name)}" for name in shown),
        )


def unused_notes(schema: Schema, reasons: Mapping[str, str], scan: TableScan | None = None) -> tuple[str, ...]:
    """Return a sentence for every reason why columns are not features, with the columns and the way back.

    `reasons` has those of columns that the config excludes.
    """
    names: dict[str, list[str]] = defaultdict(list)
    for column in schema.columns:
        if not column.is_feature:
            column_scan = scan.columns.get(column.name) if scan is not None else None
            names[reasons.get(column.name) or _reason(column, column_scan)].append(column.name)
    return tuple(f"{_columns(columns)}: not used, {reason}" for reason, columns in names.items())


def _reason(column: Column, scan: ColumnScan | None) -> str:
    if not column.used:
        return "the schema says used: false"
    if column.kind == "constant":
        is_missing = column.example is None if scan is None else scan.n_values == 0
        return "missing in every row" if is_missing else "the same value in every row"
    what = "an identifier, which names a row"
    if scan is not None and scan.has_large_integers:
        what = "whole numbers of 2^53 and more that differ in nearly every row, and that a double does not hold exactly"
    return f"{what}; schema.columns.NAME.kind, such as number or category, uses it"


def _conversion_notes(scan: TableScan, features: Sequence[str]) -> Iterable[str]:
    names: dict[str, list[str]] = defaultdict(list)
    for name, text in scan.conversions.items():
        if name in features:
            names[text].append(name)
    return [f"{_columns(columns)}: {text}" for text, columns in names.items()]


def _odd_words_note(scan: ColumnScan, *, is_target: bool) -> str:
    confirmed = f"schema.columns.{scan.name}.na_values: {_json(list(scan.odd_words))} confirms it"
    other = f"schema.columns.{scan.name}.kind: category keeps it as a word"
    if is_target:
        other = "data.task: classification takes every value as a class"
    elif any(re.search(r"\d", word) for word in scan.odd_words):
        noun = "date" if scan.reading.kind in TIME_KINDS else "number"
        other = f"`estimator explore` proposes how to read it as a {noun}, if there is a way"
    return f"{scan.name}: {_numbers_but(scan, scan.odd_words)}: read as a missing value; {confirmed}, {other}"


def _numbers_but(scan: ColumnScan, words: Mapping[str, Occurrences]) -> str:
    """Say how many values are numbers, and which are not, with their rows."""
    total = scan.n_values + sum(found.count for found in scan.odd_words.values())
    noun = "finite numbers" if all(infinity_of(word) is not None for word in words) else "numbers"
    noun = "dates" if scan.reading.kind in TIME_KINDS else noun
    first = list(words.items())[:MAX_NAMES]
    shown = [f"{found} {'holds' if found.count == 1 else 'hold'} {word!r:.60}" for word, found in first]
    more = f", and {len(words) - MAX_NAMES} more" if len(words) > MAX_NAMES else ""
    return f"{scan.n_values:,} of {total:,} values are {noun}, but {', '.join(shown)}{more}"


def _missing_notes(features: Mapping[str, ColumnScan]) -> Iterable[str]:
    """Say of each spelling of a missing value in which columns and how many rows it occurs."""
    columns: dict[str, dict[str, Occurrences]] = defaultdict(dict)
    for name, scan in features.items():
        for text in scan.spellings.keys() - scan.odd_words.keys() - {""}:
            columns[text][name] = scan.spellings[text]
    for text, found in sorted(columns.items()):
        count = sum(occurrences.count for occurrences in found.values())
        if len(found) == 1:
            (occurrences,) = found.values()
            rows = f"{count:,} {'row' if count == 1 else 'rows'} ({occurrences})"
        else:
            rows = f"{count:,} cells of {len(found):,} columns"
        yield f"{_columns(list(found))}: {text!r} is read as a missing value in {rows}"


def _doubtful_kind_notes(column: Column, scan: ColumnScan) -> Iterable[str]:
    """Say where words kept a column from being one of numbers or booleans, and where whole numbers are too large."""
    name = column.name
    if scan.has_large_integers and column.is_feature:
        yield (
            f"{name}: whole numbers of 2^53 and more, which a double does not hold exactly, are read as categories; "
            f"schema.columns.{name}.kind: number reads them as rounded numbers"
        )
    if same := boolean_synonyms(column):
        yield (
            f"{name}: {' and '.join(map(repr, same))} may mean the same, and are read as different categories; "
            f"schema.columns.{name}.kind: boolean reads them as one"
        )
    yield from _numbers_among_words(column, scan)


def boolean_synonyms(column: Column) -> list[str]:
    """Return words for the same boolean, such as 1 and yes, of a column whose categories are all booleans.

    >>> boolean_synonyms(Column("sold", "category", categories={"yes": 3, "1": 2, "no": 5}))
    ['1', 'yes']
    """
    words = {category.strip().lower().removesuffix(".0") for category in column.categories if category not in NA_WORDS}
    same = [sorted(words & known) for known in BOOLEAN_WORDS if len(words & known) > 1]
    return same[0] if same and words <= BOOLEAN_WORDS[0] | BOOLEAN_WORDS[1] else []


def unicode_twins(texts: Iterable[str]) -> dict[str, str]:
    """Return the texts that another one equals in Unicode's composed form (NFC), with that form.

    >>> unicode_twins(["Zu\\u0308rich", "Z\\u00fcrich", "Bern"])
    {'Zu\u0308rich': 'Z\u00fcrich'}
    """
    known = [text for text in texts if not text.isascii()]
    return {text: composed for text in known if (composed := nfc(text)) != text and composed in known}


def _numbers_among_words(column: Column, scan: ColumnScan) -> Iterable[str]:
    """Say that most values are numbers, or numbers with signs and units around them."""
    counts = scan.texts.categories.counts()
    total, n_numbers = sum(counts.values()), sum(count for text, count in counts.items() if _is_number(text))
    used = f"read as {column.kind}" if column.is_feature else f"not used as {column.kind}"
    way = f"schema.columns.{column.name}.kind: number, with na_values, strip, units, thousands or replace"
    way = f"{way}, reads it as numbers; `estimator explore` proposes how"
    # From half of the values on it is worth a question, though only nearly all make a column of numbers.
    is_mostly_numbers = max(MIN_NUMBERS, 0.5 * total) <= n_numbers < total
    if is_mostly_numbers and scan.first_faults and not scan.has_large_integers:
        cells = [f"row {fault.row:,} is {fault.value!r:.60}" for fault in scan.first_faults[:3]]
        yield f"{column.name}: {n_numbers / total:.1%} of the values are numbers, but {', '.join(cells)}: {used}; {way}"
    elif n_numbers < MIN_NUMBER_FRACTION * total and len(counts) >= MIN_AMOUNTS:
        amounts = [text for text in counts if _is_amount(text)]
        if amounts and len(amounts) + sum(map(_is_number, counts)) >= MIN_NUMBER_FRACTION * len(counts):
            examples = ", ".join(map(repr, amounts[:3]))
            yield f"{column.name}: the values are numbers as text, such as {examples}: {used}; {way}"


def _is_amount(text: str) -> bool:
    return NUMBER_AS_TEXT.match(text.strip(QUOTES)) is not None and not _is_number(text) and not CODE.fullmatch(text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    # Python also reads the digits of other scripts.
    return text.isascii()


def _columns(names: Sequence[str]) -> str:
    return join_names(names, limit=MAX_NAMES)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
