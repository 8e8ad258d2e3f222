"""Formulas: read without being run, checked against the schema, and computed by the graph as Python computes them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import numpy as np
import pytest

from estimator.config.formula import MAX_DEPTH, MAX_LENGTH, FormulaError, parse_formula
from estimator.config.formula_language import FUNCTIONS
from estimator.data.schema import Column, Schema
from estimator.errors import ConfigError
from estimator.features.formulas import Formulas
from estimator.graph.builder import DOUBLE, Graph
from tests.conftest import ROOT
from tests.formulas import EPOCH, SCHEMA, expected, made_formula, made_rows

N_FUZZED = int(os.environ.get("ESTIMATOR_FUZZ_FORMULAS", "2000"))
RESULTS = ("number", "boolean", "category", "datetime")


def value(text: str, schema: Schema = SCHEMA, **row: object) -> object:
    """Return what a formula is for one row; columns that are left out are missing."""
    cells = {column.name: row.get(column.name) for column in schema.features}
    return Formulas.compile(schema, {"f": text}).json_rows(schema.read_rows([cells]))[0]["f"]


def message(text: str, schema: Schema = SCHEMA) -> str:
    with pytest.raises(ConfigError) as caught:
        Formulas.compile(schema, {"f": text})
    return f"{caught.value.message}\n{caught.value.hint}"


def test_the_graph_computes_as_python_does():
    generator, rows = np.random.default_rng(7), made_rows(40)
    made = (made_formula(generator, RESULTS[index % 4]) for index in range(120))
    texts = {f"f{index}": text for index, text in enumerate(made) if len(text) <= MAX_LENGTH}
    formulas = Formulas.compile(SCHEMA, texts)
    values, wrong, n_present = formulas.values(SCHEMA.read_rows(rows).feed), [], 0
    for name, text in texts.items():
        for index, row in enumerate(rows):
            actual, wanted = values[name][index, 0], expected(text, row)
            n_present += wanted is not None
            if isinstance(wanted, datetime):
                wanted = (wanted - EPOCH) / timedelta(seconds=1)
            if isinstance(actual, str):
                wanted = "" if wanted is None else wanted
            elif wanted is None:
                wanted = pytest.approx(np.nan, nan_ok=True)
            elif not isinstance(wanted, str):
                wanted = pytest.approx(float(wanted), rel=1e-12, abs=0.0)
            if actual != wanted:
                wrong.append((text, row, wanted, actual))
    assert wrong == []
    assert 0.3 * len(texts) * len(rows) < n_present < 0.9 * len(texts) * len(rows)


@pytest.mark.parametrize(
    ("text", "row", "result"),
    [
        ("price / rooms", {"price": 1, "rooms": 0}, None),
        ("price / rooms", {"price": 0, "rooms": 0}, None),
        ("log(price)", {"price": 0}, None),
        ("sqrt(price)", {"price": -1}, None),
        ("price * 1e300", {"price": 1e300}, None),
        ("1 / (price * 1e300)", {"price": 1e300}, None),
        ("exp(-(price * 1e300))", {"price": 1e300}, None),
        ("(price * 1e300) ** -1", {"price": 1e300}, None),
        ("price * 1e300 > 5", {"price": 1e300}, None),
        ("price + rooms", {"price": 1}, None),
        ("price > 5", {}, None),
        ("not price > 5", {}, None),
        ("price > 5 or rooms > 0", {"rooms": 1}, None),
        ("price > 5 and rooms > 0", {"rooms": 0}, None),
        ("city == 'Kiel'", {}, None),
        ("city != 'Kiel'", {}, None),
        ("city not in ['Kiel']", {}, None),
        ("city == kind", {"city": "Kiel"}, None),
        ("rooms in [1, 2]", {}, None),
        ("join(city, kind)", {"city": "Kiel"}, None),
        ("min(price, rooms)", {"price": 1}, None),
        ("1 if price > 5 else 2", {}, None),
        ("days(sold, built)", {"sold": "2020-01-01"}, None),
        ("price if missing(rooms) else rooms", {"price": 3}, 3.0),
        ("missing(price / rooms)", {"price": 1, "rooms": 0}, True),
        ("missing(city)", {}, True),
        ("missing(city)", {"city": "Kiel"}, False),
        ("count_missing(price, city, sold)", {"city": "Kiel"}, 2.0),
        ("coalesce(price, rooms, 9)", {}, 9.0),
        ("coalesce(city, kind, 'none')", {"kind": "flat"}, "flat"),
        ("garden + garden", {"garden": True}, 2.0),
        ("1 < rooms <= 3", {"rooms": 3}, True),
        ("sold >= '2020-06-01'", {"sold": "2020-06-01T00:00:01"}, True),
        ("built in ['2020-06-01']", {"built": "2020-06-01"}, True),
        ("days(sold, '2000-01-01')", {"sold": "2000-01-03T12:00"}, 2.5),
        ("-7 % rooms", {"rooms": 3}, 2.0),
        ("-7 // rooms", {"rooms": 2}, -4.0),
        ("round(price)", {"price": 2.5}, 2.0),
        ("'dear' if price > 10 else 'cheap'", {"price": 11}, "dear"),
        ("sold if garden else built", {"garden": False, "built": "1999-12-31"}, "1999-12-31T00:00:00+00:00"),
    ],
)
def test_a_missing_argument_or_infinite_result_is_missing(text, row, result):
    assert value(text, **row) == result


def test_a_column_of_any_name_is_written_in_backticks():
    names = ("max", "if", "Gr Liv Area", "a`b", "größe", "#'\"")
    schema = Schema(tuple(Column(name, "number") for name in names), Column("y", "number"))
    row = dict(zip(names, (2, 3, 5, 7, 11, 13), strict=True))
    text = "max(max, `if`) * `Gr Liv Area` * `a``b` * größe * `#'\"`"
    assert value(text, schema, **row) == 3 * 5 * 7 * 11 * 13


def test_an_unknown_category_may_be_missing():
    city = Column("city", "category", nullable=True, categories={"Kiel": 3}, unknown="missing")
    schema = Schema((city,), Column("y", "number"))
    assert [value("city == 'Kiel'", schema, city=name) for name in ("Kiel", "Rom", None)] == [True, None, None]


def test_formulas_use_others_in_any_order():
    texts = {"c": "b * 2", "b": "a + 1", "a": "rooms + 1"}
    formulas = Formulas.compile(SCHEMA, texts)
    assert formulas.json_rows(SCHEMA.read_rows([{"rooms": 1}]))[0] == {"a": 2.0, "b": 3.0, "c": 6.0}
    assert [formulas["c"].columns, [item.name for item in formulas.select(["b"])]] == [("rooms",), ["a", "b"]]


def test_formulas_in_a_circle_are_an_error():
    with pytest.raises(ConfigError, match="a -> b -> c -> a"):
        Formulas.compile(SCHEMA, {"a": "b + 1", "b": "rooms + c", "c": "1 - a"})


def test_a_formula_is_not_called_like_a_column():
    with pytest.raises(ConfigError, match=r"formulas\.rooms: the table has a column of this name"):
        Formulas.compile(SCHEMA, {"rooms": "price / 2"})


def test_what_formulas_share_is_written_once():
    graph, texts = Graph(), {f"f{index}": f"log(price / rooms) + {index}" for index in range(1, 50)}
    names = {name: graph.input(name, DOUBLE) for name in ("price", "rooms")}
    Formulas.compile(SCHEMA, texts).write(graph, names)
    assert [node.op_type for node in graph.nodes].count("Log") == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "price / citty",
            "no column or formula called 'citty'\n    price / citty\n            ^^^^^\ndid you mean 'city'?",
        ),
        ("price / city", "column city is a category, and / takes a number\n    price / city\n            ^^^^"),
        ("hour(built)", "column built is a date, and hour takes a datetime: a date has no time of day"),
        ("sold - built", "days(a, b) is the difference of two dates"),
        ("not rooms", "compare it with a number"),
        ("'a' if garden else 3", "the constant 3 is a number, but 'a' is a category"),
        ("join(city, rooms)", "column rooms is a number, and join takes a category"),
        ("y * 2", "'y' is the target"),
        ("sold > 'soon'", "expected a date and time, got 'soon'"),
        ("price = 3", "equality is written =="),
        ("price is None", "write ==, or missing(...)"),
        ("price ^ 2", "a power is written **"),
        ("lgo(price)", "did you mean 'log'?"),
        ("min(price)", "min() takes at least 2 arguments, got 1"),
        ("month(sold, built)", "month() takes 1 argument, got 2"),
        ("рrice * 2", "it differs by a cyrillic small letter er (U+0440)"),
        ("ｌog(price)", "it differs by a fullwidth latin small letter l (U+FF4C)"),
        ("price / 0", "a division by zero is always missing"),
        ("city == ''", "missing(...) is for a missing value"),
        ("1 + 2", "expected a formula of at least one column"),
        ("", "expected a formula, got nothing"),
    ],
)
def test_an_error_shows_the_place_and_what_to_do(text, words):
    assert words in message(text)


def test_a_column_that_is_no_feature_is_an_error():
    columns = (Column("id", "identifier"), Column("later", "number", used=False), Column("x", "number"))
    schema = Schema(columns, Column("y", "number"))
    assert "'id' is of kind identifier" in message("id == 'a'", schema)
    assert "'later' is not used" in message("later + x", schema)


HOSTILE = [
    "__import__('os').system('echo')",
    "price.__class__.__bases__",
    "().__class__",
    "(lambda: price)()",
    "[price for price in price]",
    "f'{price}'",
    "(x := price)",
    "price[0]",
    "eval('price')",
    "log(price, base=2)",
    "log(*price)",
    "10**10**10",
    "0**-1",
    "price**1e9",
    "price**price",
    "9" * 1500 + " * price",
    "1e999 * price",
    "1j * price",
    "b'a' == city",
    "... + price",
    "await price",
    "yield price",
    "price; price",
    "price\nimport os",
    "price # comment",
    "`price",
    "'price",
    "price \0",
    "city == '\\ud800'",
    "city == '\\0'",
    "\ud800 + price",
    "(" * 900 + "price" + ")" * 900,
    "(" * 100_000 + "price" + ")" * 100_000,
    "-" * 1900 + "price",
    "not " * 450 + "garden",
    "[" * 900,
    "{" * 900,
    "price" + "**2" * 500,
    "+".join(["price"] * (MAX_DEPTH + 2)),
    "price if garden else " * 90 + "1" + ".real",
    "log(" * 200 + "price" + ")" * 200,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_formulas_are_errors(text):
    with no_code_runs():
        assert message(text)


_forbidden: list[str] | None = None


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if _forbidden is not None and event in (
        "exec",
        "import",
        "open",
        "os.system",
        "subprocess.Popen",
        "socket.connect",
    ):
        _forbidden.append(event)


sys.addaudithook(_audit)


@contextmanager
def no_code_runs() -> Iterator[None]:
    """Assert that nothing is executed, imported or opened meanwhile."""
    global _forbidden
    _forbidden = []
    try:
        yield
        assert _forbidden == []
    finally:
        _forbidden = None


def fuzzed(generator: np.random.Generator, kind: str) -> str:
    """Return a made formula with a few parts replaced, removed, repeated or inserted."""
    parts = [*FUNCTIONS, *"()[]{}`'\"#.,:;=<>!+-*/%@&|^~\\ \n\t\0", "**", "//", "==", ":=", "in", "not", "if", "else"]
    parts += ["lambda", "__import__", "__class__", "None", "True", "price", "city", "`Gr Liv Area`", "9" * 400, "1e308"]
    parts += [
        "é",
        "\u0301",
        "𝟏",
        "\u202e",
        "\ud800",
        "１",
        "\xa0",
        "f'{",
        "'\\x00'",
        "0x",
        "1_0",
        "for",
        "await",
        "...",
    ]
    letters = list(made_formula(generator, kind, depth=2))
    for _ in range(generator.integers(1, 6)):
        at, part = int(generator.integers(len(letters) + 1)), str(generator.choice(parts))
        length = int(generator.integers(0, 4))
        letters[at : at + length] = [part] * int(generator.choice([0, 1, 1, 1, 2, 300]))
    return "".join(letters)


def test_no_made_text_crashes_the_parser_or_runs():
    generator, n_read = np.random.default_rng(11), 0
    message("price.real / citty")
    with no_code_runs():
        for index in range(N_FUZZED):
            text = fuzzed(generator, RESULTS[index % 4])
            try:
                parse_formula.__wrapped__(text)
                Formulas.compile(SCHEMA, {"f": text})
                n_read += 1
            except (FormulaError, ConfigError):
                continue
    assert n_read > N_FUZZED / 100


def test_every_function_is_documented():
    guide = (ROOT / "docs" / "how-to" / "formulas.md").read_text()
    assert [name for name in FUNCTIONS if f"`{name}(" not in guide] == []
