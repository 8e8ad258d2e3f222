"""What changed between two schemas, and whom it breaks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from estimator.data.schema import Column, Schema
from estimator.data.schema.compatibility import schema_changes
from estimator.data.schema.file import to_yaml

AREA = Column("area", "integer", range=(0.0, 100.0), strip=("m2",))
CITY = Column("city", "category", categories={"Oslo": 9, "Rome": 8}, unknown="error")
FIRST = Schema((AREA, CITY), Column("price", "number"))


def breaks(columns: tuple[Column, ...], **changes: Any) -> list[tuple[str, str | None]]:
    second = replace(FIRST, columns=columns, **changes)
    return [(change.column, change.breaks) for change in schema_changes(FIRST, second)]


def test_equal_schemas_have_no_changes():
    assert schema_changes(FIRST, FIRST) == []


@pytest.mark.parametrize(
    "changes",
    [{"kind": "number"}, {"nullable": True}, {"range": (0.0, 200.0)}, {"range": None}, {"strip": ("m2", "sqm")}],
    ids=str,
)
def test_a_column_that_accepts_more_is_compatible(changes):
    assert {party for _, party in breaks((replace(AREA, **changes), CITY))} == {None}


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "category", "range": None},
        {"kind": "date", "range": None},
        {"range": (10.0, 100.0)},
        {"strip": ()},
        {"decimal": ","},
        {"unit": "acre"},
    ],
    ids=str,
)
def test_a_column_that_accepts_less_or_reads_otherwise_breaks_callers(changes):
    assert "callers" in {party for _, party in breaks((replace(AREA, **changes), CITY))}


def test_categories_break_callers_only_where_unknown_ones_are_rejected():
    fewer = replace(CITY, categories={"Oslo": 9})
    assert breaks((AREA, fewer)) == [("city", "callers")]
    assert breaks((AREA, replace(fewer, unknown="other"))) == [("city", None)]
    assert breaks((AREA, replace(CITY, categories={**CITY.categories, "Bonn": 1}))) == []


def test_new_and_removed_columns():
    floor = Column("floor", "integer")
    assert breaks((AREA, CITY, floor)) == [("floor", "callers")]
    assert breaks((AREA, CITY, replace(floor, nullable=True))) == [("floor", None)]
    assert breaks((AREA,)) == [("city", "callers")]
    assert breaks((AREA,), unknown_columns="ignore") == [("city", None)]


def test_a_renamed_column_that_knows_its_earlier_name_breaks_no_caller():
    assert breaks((replace(AREA, name="surface", aliases=("area",)), CITY)) == []
    assert ("surface", "callers") in breaks((replace(AREA, name="surface"), CITY))


def test_other_classes_break_readers_of_predictions():
    classes = Column("sold", "category", categories={"no": 5, "yes": 5})
    first = Schema((AREA,), classes)
    second = replace(first, target=replace(classes, categories={"no": 5, "maybe": 1, "yes": 5}))
    assert [change.breaks for change in schema_changes(first, second)] == ["readers"]


def test_the_command_has_one_verdict(run, tmp_path):
    for name, schema in (("a.yml", FIRST), ("b.yml", replace(FIRST, columns=(AREA,)))):
        (tmp_path / name).write_text(to_yaml(schema))
    a, b = tmp_path / "a.yml", tmp_path / "b.yml"
    code, result, _ = run("schema", "diff", a, b, "--json")
    assert (code, result["verdict"], result["breaks"]) == (3, "breaking", ["callers"])
    assert "breaking for callers, whose rows may be rejected" in run("schema", "diff", a, b)[1]["text"]
    code, result, _ = run("schema", "diff", a, a)
    assert (code, result["text"].splitlines()[0]) == (0, "no differences")
    assert run("schema", "diff", a)[0] == 2


def test_versions_are_compared_by_name(run, store):
    both = ("credit@live", "credit@live", "--store", store)
    assert run("schema", "diff", *both)[0] == 0
    assert run("schema", "diff", "credit@live", "penguins@live", "--store", store)[0] == 3
