"""Findings that a careful reader would sign: each once, none against another, gone when accepted."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from estimator.config import resolve
from estimator.data.schema import Column
from estimator.data.schema.frames import read_series
from estimator.exploration import explore
from estimator.exploration.findings import Finding, Numbered, run_rules
from estimator.exploration.findings.edits import date_edit, number_edit, number_question
from estimator.exploration.findings.numerals import accounting_negative, parse_numeral
from estimator.exploration.findings.personal import kind_of_person_data
from estimator.exploration.findings.settlement import numbered, settle
from estimator.verbs.context import SHELVES

N = 200
DRAW = np.random.default_rng(5)


def findings_of(columns: Mapping[str, Any], **options: Any) -> list[Finding]:
    frame = pl.DataFrame({**columns, "y": DRAW.standard_normal(N) if "y" not in columns else columns["y"]})
    config = resolve({"data": {"path": "t.csv", "target": "y"}}, SHELVES)
    explored = explore(lambda: [frame], config)
    return run_rules(explored.schema, explored.profile, frame, odd_values=explored.odd_values, **options)


def only(findings: Sequence[Finding], rule: str) -> Finding:
    (found,) = [item for item in findings if item.rule == rule]
    return found


def grouped(number: float, thousands: str, decimal: str, *, in_india: bool = False) -> str:
    whole, fraction = f"{number:.2f}".split(".")
    groups, rest = [whole[-3:]], whole[:-3]
    size = 2 if in_india else 3
    while rest:
        groups.insert(0, rest[-size:])
        rest = rest[:-size]
    return thousands.join(groups) + decimal + fraction


WRITTEN: dict[str, Callable[[float], str]] = {
    "Germany": lambda number: f"{grouped(number, '.', ',')} €",
    "US": lambda number: f"${grouped(number, ',', '.')}",
    "US, negative": lambda number: f"-${grouped(number, ',', '.')}",
    "Switzerland": lambda number: f"CHF {grouped(number, chr(39), '.')}",
    "Poland": lambda number: f"{grouped(number, chr(0xA0), ',')} zł",
    "France": lambda number: f"{grouped(number, chr(0x202F), ',')} EUR",
    "India": lambda number: f"₹{grouped(number, ',', '.', in_india=True)}",
    "percent": lambda number: f"{number:.1f}%",
    "thousands": lambda number: f"{number:.2f}k",
    "months": lambda number: f"{number:.0f} month{'' if f'{number:.0f}' == '1' else 's'}",
}


@pytest.mark.parametrize("country", WRITTEN)
def test_amounts_of_the_world_are_read(country):
    numbers = [random.Random(7).uniform(1, 10) ** random.Random(index).uniform(0, 6) for index in range(300)]
    texts = {WRITTEN[country](number): number for number in numbers}
    edit = number_edit("x", dict.fromkeys(texts, 1))
    assert edit is not None
    column = Column("x", **{key.rpartition(".")[2]: _frozen(value) for key, value in edit.items()})
    values, faults = read_series(column, pl.Series(list(texts)))
    scale = {"thousands": 1000.0, "US, negative": -1.0}.get(country, 1.0)
    digits = {"percent": 0.05, "months": 0.5, "thousands": 5.0}.get(country, 0.005)
    assert faults == []
    assert np.abs(values[:, 0] - scale * np.array(list(texts.values()))).max() <= digits * 1.001


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


NUMBERS = [f"{number / 7:.2f}" for number in range(20, 60)]


@pytest.mark.parametrize(
    "odd",
    ["(5)", "1/2", "<5", "~5", "5+", "3 - 4", "5±1", "A5", "about 5", "5 (est)", "2x4", "5:30", "$5 or €6", "½ 1"],
)
def test_a_text_never_becomes_another_number(odd):
    assert number_edit("x", Counter([*(f"{number} m" for number in NUMBERS), odd])) is None
    assert number_edit("x", Counter([*NUMBERS, odd])) is None


def test_currencies_and_percents_are_not_mixed():
    assert number_edit("x", Counter([f"${number}" for number in NUMBERS] + ["€5.00"])) is None
    assert number_edit("x", Counter([f"{number}%" for number in NUMBERS] + ["0.05", "0.07"])) is None
    assert "several currencies" in number_question(Counter(["$5.10", "€7.20"]))


def test_three_decimals_are_not_taken_for_thousands():
    assert (
        number_edit("x", Counter([f"{number},{index:03d} kg" for index, number in enumerate([1, 2, 3, 4] * 9)])) is None
    )
    edit = number_edit("x", Counter(["0,125", "1,250", "2,375", "3,500"]))
    assert edit == {"schema.columns.x.kind": "number", "schema.columns.x.decimal": ","}


def test_brackets_are_a_question_with_accountings_meaning():
    assert accounting_negative("($1,250.00)") == "-$1,250.00"
    assert parse_numeral("(5)") is None
    assert "in accounting, '-5'" in number_question(Counter(["3", "(5)"]))
    texts = [f"{number:.2f}" for number in DRAW.uniform(1, 99, N)]
    found = only(findings_of({"x": [*texts[:-4], *["(5)"] * 4]}), "words among numbers")
    assert (found.edit, "-5" in found.sentence) == (None, True)


def test_words_among_numbers_are_read_or_confirmed_as_missing():
    texts = [f"{number:.0f}" for number in DRAW.uniform(1, 9, N)]
    found = only(findings_of({"x": [*texts[:-4], *["three"] * 4]}), "number as text")
    assert found.edit == {"schema.columns.x.kind": "number", "schema.columns.x.replace": {"three": "3"}}
    found = only(findings_of({"x": [*texts[:-4], *["broken"] * 4]}), "words among numbers")
    assert found.edit == {"schema.columns.x.na_values": ["broken"]}
    assert not [item for item in findings_of({"x": [*texts[:-4], *["#DIV/0!"] * 4]}) if "words" in item.rule]


def test_euros_are_no_identifier():
    amounts = [f"{grouped(number, '.', ',')} €" for number in DRAW.uniform(100, 90_000, N)]
    findings = findings_of({"x": amounts})
    assert only(findings, "number as text").edit is not None
    assert not [item for item in findings if item.rule == "identifier"]


@pytest.mark.parametrize(
    ("text", "date_format"),
    [("Mar-2018", "%b-%Y"), ("March 2018", "%B %Y"), ("03/2018", "%m/%Y"), ("2018-03", "%Y-%m")],
)
def test_months_are_dates(text, date_format):
    edit = date_edit("x", [text, text.replace("2018", "2019")])
    assert edit == {"schema.columns.x.kind": "date", "schema.columns.x.date_formats": [date_format]}


PEOPLE = ["Mary Smith", "John Brown", "Ana García", "Peter Müller", "Li Wei", "Fatima Khan", "Paul Jones", "Eva Novak"]
PERSONAL = {
    "mail addresses": [f"{name.split()[0].lower()}{i}@mail{i % 3}.example.org" for i, name in enumerate(PEOPLE * 3)],
    "names of persons": [f"{first.split()[0]} {last.split()[1]}" for first in PEOPLE for last in PEOPLE],
    "phone numbers": [f"+49 30 {1234500 + i}" for i in range(30)] + [f"(212) 555-{1000 + i}" for i in range(30)],
    "postal addresses": [f"{i} {street}" for i in range(9) for street in ("Main Street", "Oak Ave.", "rue Hugo")],
    "network addresses": [f"10.0.{i}.{i + 7}" for i in range(20)] + ["2001:db8::1", "::1"],
    "bank accounts (IBAN)": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "FR1420041010050500013M02606"]
    * 4,
    "card numbers": ["4111 1111 1111 1111", "5500-0000-0000-0004", "340000000000009", "30000000000004"] * 3,
    "social security numbers": [f"{100 + i}-{10 + i}-{2000 + i}" for i in range(20)],
}
IMPERSONAL = {
    "cities": ["New York", "San Francisco", "Los Angeles", "Rio de Janeiro", "Den Haag", "Buenos Aires"] * 4,
    "versions": [f"1.{i}.3" for i in range(30)],
    "dates": [f"2018-03-{i:02d}" for i in range(1, 29)],
    "german dates": [f"{i:02d}.03.2018" for i in range(1, 29)],
    "times": [f"{i:02d}:{i + 9}:11" for i in range(23)],
    "numbers": [str(4_000_000_000_000_000 + 10_007 * i) for i in range(60)],
    "amounts": [f"{i}.234,50" for i in range(30)],
    "products": [f"Deluxe Coffee Maker {i}" for i in range(30)],
    "ranges": [f"{i} - {i + 5}" for i in range(30)],
}


@pytest.mark.parametrize("what", PERSONAL)
def test_personal_data_is_recognized_by_its_values(what):
    assert kind_of_person_data(PERSONAL[what])[0] == what


@pytest.mark.parametrize("what", IMPERSONAL)
def test_other_values_are_not_personal(what):
    assert kind_of_person_data(IMPERSONAL[what])[0] == ""


def test_personal_data_is_one_finding_for_all_columns():
    names = [f"{DRAW.choice(PEOPLE).split()[0]} {DRAW.choice(PEOPLE).split()[1]}" for _ in range(N)]
    mails = [f"user{index}@example.org" for index in range(N)]
    findings = findings_of({"a": names, "b": mails, "name": DRAW.choice(list("uvw"), N)})
    found = only(findings, "personal data")
    assert (found.columns, found.edit) == (("a", "b"), {"data.drop": ["a", "b"]})
    assert not [item for item in findings if item.rule == "identifier"]


@pytest.mark.parametrize("name", ["Unnamed: 0", "", "index", "__index_level_0__", "rownames"])
def test_index_of_a_data_frame_is_named(name):
    for numbers in (np.arange(N), DRAW.permutation(5 * N)[:N]):
        found = only(findings_of({name: numbers, "x": DRAW.standard_normal(N)}), "row numbers")
        assert found.edit == {"data.drop": [name]}
    assert not [item for item in findings_of({name: DRAW.standard_normal(N)}) if item.rule == "row numbers"]


def test_whole_numbers_tell_the_order_in_time():
    days = [int(f"2020{month:02d}{day:02d}") for month in range(1, 9) for day in range(1, 26)]
    found = only(findings_of({"day": days, "x": DRAW.standard_normal(N)}), "time-ordered rows")
    assert found.edit == {"training.split": {"kind": "time", "column": "day"}}
    years = np.repeat(np.arange(2000, 2020), 10)
    assert only(findings_of({"year": years, "x": DRAW.standard_normal(N)}), "time-ordered rows").columns == ("year",)
    assert not [item for item in findings_of({"size": np.sort(DRAW.integers(0, 999, N))}) if "time" in item.rule]


def test_a_constant_that_may_be_missing_is_a_question_if_that_says_something():
    y = DRAW.standard_normal(N)
    shown = pl.Series(np.where(DRAW.random(N) < 0.5, "x", "")).replace("", None)
    assert only(findings_of({"flag": shown, "y": y}), "constant or missing").edit == {"data.drop": ["flag"]}
    by_target = pl.Series(np.where(y + 0.8 * DRAW.standard_normal(N) > 0, "x", "")).replace("", None)
    assert only(findings_of({"flag": by_target, "y": y}), "constant or missing").edit is None


def test_one_fact_is_one_line():
    columns = {f"empty {index}": pl.Series([None] * N, dtype=pl.String) for index in range(12)}
    findings = findings_of({**columns, "x": DRAW.standard_normal(N)})
    found = only(findings, "empty column")
    assert found.columns == tuple(columns)
    assert found.edit == {"data.drop": list(columns)}


def test_accepting_all_keeps_one_of_columns_that_are_alike():
    x = DRAW.standard_normal(N)
    letters = DRAW.choice(list("abcde"), N)
    columns = {
        "x": x, "twice": 2 * x, "minus": 5 - x, "near": x + 0.01 * DRAW.standard_normal(N),
        "code": letters, "word": np.char.add("word ", letters), "number": [ord(letter) for letter in letters],
    }  # fmt: skip
    findings = findings_of(columns, model="linear")
    dropped = [name for item in findings if item.edit for name in item.edit.get("data.drop", [])]
    assert {"x", "twice", "minus", "near"} - set(dropped)
    assert {"code", "word", "number"} - set(dropped)
    assert len([item for item in findings if item.rule in ("duplicate columns", "collinearity")]) == 3
    assert not [item for item in findings_of(columns, model="boosting") if item.rule == "collinearity"]


def test_two_findings_never_write_two_values_of_one_key():
    split = [
        Finding("grouped rows", "medium", (name,), name, {}, {"training.split": {"column": name}}) for name in "ab"
    ]
    assert [item.edit is None for item in settle(split, {})] == [False, True]
    pair = Finding("duplicate columns", "low", ("a", "b"), "", {}, {"data.drop": ["b"]}, alike=("a", "b"))
    leak = Finding("leakage", "high", ("a",), "", {}, {"data.drop": ["a"]})
    assert [item.edit for item in settle([pair, leak], {})] == [{"data.drop": ["a"]}, None]


def test_what_the_config_says_is_left_out():
    drop = Finding("constant", "low", ("a.b",), "", {}, {"data.drop": ["a.b"]})
    kind = Finding("code as number", "low", ("a.b",), "", {}, {"schema.columns.a.b.kind": "category"})
    config = {"data": {"drop": ["z"]}, "schema": {"columns": {"a.b": {"kind": "category"}}}}
    assert settle([drop, kind], config) == [drop]
    assert settle([drop, kind], {"data": {"drop": ["a.b"]}}) == [kind]


def test_numbers_of_the_other_findings_stay():
    before = [Numbered(1, "leakage", ("a",)), Numbered(2, "constant", ("b", "c")), Numbered(3, "duplicate rows", ())]
    findings = [Finding("duplicate rows", "low", (), ""), Finding("constant", "low", ("c",), "")]
    findings.append(Finding("outliers", "low", ("d",), ""))
    assert [item.number for item in numbered(findings, before)] == [3, 2, 4]
    assert [item.number for item in numbered(findings)] == [1, 2, 3]


def test_accepted_findings_are_gone_and_the_others_keep_their_numbers(run, tmp_path: Path):
    x = DRAW.standard_normal(N)
    frame = pl.DataFrame(
        {"id": range(N), "x": x, "twice": 2 * x, "same": ["a"] * N, "age": DRAW.integers(1, 9, N), "y": DRAW.random(N)}
    )
    frame.write_csv(tmp_path / "t.csv")
    conf = tmp_path / "c.yml"
    conf.write_text("data:\n  path: t.csv\n  target: y\n")
    command = ("explore", "--conf", conf, "--page", tmp_path / "p.html", "--json")
    first = {item["number"]: item for item in run(*command)[1]["findings"]}
    accepted = next(number for number, item in first.items() if item["rule"] == "sensitive attribute")
    assert run(*command, "--accept", str(accepted))[0] == 0
    second = {item["number"]: item for item in run(*command)[1]["findings"]}
    assert set(second) == set(first) - {accepted}
    assert all(second[number]["sentence"] == first[number]["sentence"] for number in second)
    everything = ",".join(str(number) for number, item in second.items() if item["edit"])
    assert run(*command, "--accept", everything)[0] == 0
    run("explore", tmp_path / "t.csv", "--target", "x", "--page", tmp_path / "other.html")
    other = run("explore", tmp_path / "t.csv", "--target", "y", "--page", tmp_path / "other.html", "--json")
    assert sorted(item["number"] for item in other[1]["findings"])[0] == 1
    left = run(*command)[1]["findings"]
    assert [item for item in left if item["edit"]] == []
    assert run("train", "--conf", conf, "--set", "model.kind=linear", "--store", tmp_path / "m")[0] == 0


def test_coordinates_called_x_number_no_rows():
    findings = findings_of({"x": DRAW.integers(400_000, 600_000, N), "z": DRAW.standard_normal(N)})
    assert not [item for item in findings if item.rule == "row numbers"]


def test_thousands_and_millions_go_together():
    texts = [f"{number / 10}{unit}" for number in range(110, 110 + N // 2) for unit in "KM"]
    found = only(findings_of({"followers": texts}), "number as text")
    assert found.edit["schema.columns.followers.units"] == {"K": 1e3, "M": 1e6}
    assert "schema.columns.followers.strip" not in found.edit


def test_three_digits_after_every_comma_are_a_question():
    weights = [f"{1.0 + 0.731 * row:.3f}".replace(".", ",") for row in range(N)]
    found = only(findings_of({"weight": weights}), "number as text")
    assert found.edit is None
    assert "does a comma or point separate thousands or decimals?" in found.sentence


def test_days_in_two_orders_have_no_edit():
    days = [f"{13 + row % 15}/{1 + row % 12}/2020" for row in range(N // 2)]
    days += [f"{1 + row % 12}/{13 + row % 15}/2020" for row in range(N // 2)]
    assert only(findings_of({"day": days}), "mixed date formats").edit is None
