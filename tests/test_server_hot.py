"""The hot path says what the app says, byte for byte, or nothing."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from estimator import verbs as life
from estimator.config import Serving
from estimator.errors import RowError
from estimator.serving.fast_path.predict import BLOCK_ROWS, Asked, hot_path
from estimator.serving.request_body import BodyError
from estimator.serving.service import Reply, Service
from estimator.store.artefact import Artefact, open_artefact
from estimator.store.store import version_folder

MODELS = ("house_pricing_model", "ames", "credit", "penguins")
FORMS = ("predict", "tutorial")
NAME = "0a1b"


class Pair:
    """The hot path of a version and what the app would answer."""

    def __init__(self, artefact: Artefact, **settings: Any) -> None:
        self.rows = artefact.read_json("golden.json")["rows"]
        self.service = Service(artefact, Serving(**settings))
        self.hot = hot_path(self.service)

    def at_once(self, form: str, body: bytes) -> Reply | None:
        found: list[Reply | None] = getattr(self.hot, form)([Asked(body, NAME)])
        return found[0]

    def slow(self, form: str, body: bytes) -> Reply | None:
        try:
            return getattr(self.service, form)(body, NAME)
        except (BodyError, RowError):
            return None

    def agree(self, body: bytes) -> bool:
        """Whether both paths agree on a body; give whether it was answered at once."""
        found = [self.at_once(form, body) for form in FORMS]
        for form, answer in zip(FORMS, found, strict=True):
            if answer is not None:
                assert answer == self.slow(form, body), body
        return None not in found


@pytest.fixture(scope="module")
def kinds(tmp_path_factory) -> Pair:
    """A model of a table that has every kind of column."""
    folder = tmp_path_factory.mktemp("kinds")
    rows = range(120)
    frame = pl.DataFrame(
        {
            "id": [f"row-{row}" for row in rows],
            "number": [row * 0.37 if row % 7 else None for row in rows],
            "integer": [row % 11 - 3 for row in rows],
            "flag": [row % 3 == 0 for row in rows],
            "gappy": [None if row % 5 == 0 else row % 2 == 0 for row in rows],
            "level": [("red", "green", "blue, dark: navy")[row % 3] for row in rows],
            "code": [f"{row % 4:03d}" for row in rows],
            "known": [("yes!", "no!")[row % 2] for row in rows],
            "day": [f"2024-{row % 12 + 1:02d}-{row % 28 + 1:02d}" for row in rows],
            "moment": [f"2024-01-{row % 28 + 1:02d}T10:{row % 60:02d}:00" for row in rows],
            "price": [f"${row * 1000:,}" for row in rows],
            "words": [f"a note on {('cats', 'dogs', 'mice')[row % 3]} and row {row} of more words" for row in rows],
            "spare": [row % 9 for row in rows],
            "target": [row * 0.5 + row % 3 for row in rows],
        }
    )
    frame.write_csv(folder / "table.csv")
    columns = {
        "number": {"range": [None, 1e6]},
        "integer": {"kind": "integer", "aliases": ["whole"]},
        "known": {"kind": "category", "unknown": "error"},
        "words": {"kind": "text"},
        "price": {"kind": "number", "strip": ["$"], "thousands": ","},
    }
    config = {
        "name": "kinds",
        "data": {"path": "table.csv", "target": "target", "drop": ["spare"]},
        "model": {"kind": "linear"},
        "schema": {"columns": columns},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    new = life.train(folder / "config.json", life.Order(store=str(folder / "models")))
    return Pair(new.artefact, max_rows=50)


@pytest.fixture(scope="module", params=MODELS)
def pair(request, store) -> Pair:
    return Pair(open_artefact(version_folder(store / request.param)))


@pytest.mark.parametrize("n_rows", [1, 2, 7])
def test_good_rows_are_answered_at_once_and_alike(pair, n_rows):
    rows = (pair.rows * n_rows)[:n_rows]
    for body in (msgspec.json.encode(rows), json.dumps(rows).encode(), json.dumps(rows, indent=1).encode()):
        assert pair.agree(body)


@pytest.mark.parametrize("form", FORMS)
def test_requests_that_come_together_are_answered_as_each_alone(pair, form):
    bodies = [msgspec.json.encode([row]) for row in pair.rows]
    bodies[1] = msgspec.json.encode((pair.rows * BLOCK_ROWS)[: BLOCK_ROWS + 1])
    bodies[3] = b"[{}]"
    asked = [Asked(body, f"{place:032x}") for place, body in enumerate(bodies)]
    together = getattr(pair.hot, form)(asked)
    assert [place for place, reply in enumerate(together) if reply is None] == [3]
    for each, reply in zip(asked, together, strict=True):
        if reply is not None:
            alone = getattr(pair.service, form)(*each)
            assert reply[1:] == alone[1:]
            assert near(json.loads(reply.body), json.loads(alone.body))


def near(found: Any, expected: Any) -> bool:
    """Whether two answers are the same but for the last digits of numbers."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(near(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(near, found, expected))
    return bool(found == pytest.approx(expected, rel=1e-5)) if isinstance(expected, float) else found == expected


def test_a_row_that_cannot_be_read_leaves_those_that_came_with_it_alone(kinds):
    rows = [kinds.rows[0], {**kinds.rows[1], "day": "never"}, kinds.rows[2]]
    found = kinds.hot.predict([Asked(msgspec.json.encode([row]), NAME) for row in rows])
    assert [reply is None for reply in found] == [False, True, False]
    for row, reply in zip(rows, found, strict=True):
        assert reply is None or reply == kinds.slow("predict", msgspec.json.encode([row]))


def test_every_kind_of_column_is_answered_at_once(kinds):
    kind_of = {column.kind for column in kinds.service.artefact.schema.features}
    assert kind_of == {"number", "integer", "boolean", "category", "date", "datetime", "text"}
    for row in kinds.rows:
        assert kinds.agree(msgspec.json.encode([row]))
    assert kinds.agree(msgspec.json.encode(kinds.rows))


@pytest.mark.parametrize(
    ("change", "at_once"),
    [
        ({"number": 5}, True),
        ({"number": None}, True),
        ({"number": 9e5}, True),
        ({"number": 2e6}, False),
        ({"number": "5"}, False),
        ({"number": True}, False),
        ({"number": 2**53 + 1}, False),
        ({"integer": 2.0}, True),
        ({"integer": 2.5}, False),
        ({"integer": -99}, True),
        ({"integer": None}, False),
        ({"flag": 1}, True),
        ({"flag": True}, True),
        ({"flag": 1.0}, False),
        ({"gappy": None}, True),
        ({"level": "unheard of"}, True),
        ({"level": 7}, True),
        ({"code": 1}, True),
        ({"code": "NA"}, True),
        ({"known": "maybe"}, False),
        ({"day": "2031-05-05"}, True),
        ({"day": "never"}, False),
        ({"moment": "2024-01-05"}, True),
        ({"price": "$7,100"}, True),
        ({"price": 7100}, True),
        ({"price": "$7,1"}, False),
        ({"words": "Größe \u2028 \x7f / é"}, True),
        ({"words": "nul \x00"}, False),
        ({"spare": 7, "id": "row-5", "target": None}, True),
        ({"spare": [{"deep": "x"}]}, False),
        ({"whole": 3}, False),
        ({"unheard of": 3}, False),
    ],
)
def test_unusual_cells_are_answered_alike_or_left(kinds, change, at_once):
    for rows in ([{**kinds.rows[0], **change}], [kinds.rows[0], {**kinds.rows[1], **change}]):
        assert kinds.agree(msgspec.json.encode(rows)) == at_once
        kinds.agree(json.dumps(rows).encode())


def test_what_training_did_not_see_is_told_alike(kinds):
    odd = {"number": 9e5, "integer": -99, "level": "unheard of", "day": "2031-05-05", "moment": "1999-01-05"}
    for name, value in odd.items():
        answer = kinds.at_once("predict", msgspec.json.encode([{**kinds.rows[0], name: value}]))
        assert answer is not None
        assert [note["column"] for note in json.loads(answer.body)["predictions"][0]["out_of_range"]] == [name]
        assert answer.outside == [[name]]
    assert kinds.agree(msgspec.json.encode([{**row, **odd} for row in kinds.rows]))


def test_rows_come_back_as_they_were_sent(pair):
    row = pair.rows[0]
    backwards = msgspec.json.encode([dict(reversed(row.items()))])
    for body in (backwards, b"  " + backwards + b"\r\n"):
        pair.agree(body)
        found = pair.at_once("tutorial", body)
        assert found is None or json.loads(found.body)["inputData"] == json.loads(body)


def test_a_column_that_is_given_twice_is_refused(pair):
    name = next(iter(pair.rows[0]))
    for twofold in (b'[{"%b":null,', b'[{"%b" : "x\\"", '):
        twice = msgspec.json.encode(pair.rows[:1]).replace(b"[{", twofold % name.encode())
        assert not pair.agree(twice)
        with pytest.raises(RowError, match="given twice") as caught:
            pair.service.predict(twice, NAME)
        assert (caught.value.faults[0].row, caught.value.faults[0].column) == (1, name)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"null", b"[null]", b"[1]", b"[[]]", b"[" * 9999, b'[{"\\ud800": 1}]', b"[{}]", b"\xff"]
)
def test_bad_bodies_are_left_to_the_app(pair, body):
    assert [pair.at_once(form, body) for form in FORMS] == [None, None]


def test_limits_are_left_to_the_app(store):
    artefact = open_artefact(version_folder(store / "penguins"))
    rows = artefact.read_json("golden.json")["rows"]
    assert not Pair(artefact, max_rows=2).agree(msgspec.json.encode(rows[:3]))
    assert not Pair(artefact, max_body_bytes=10).agree(msgspec.json.encode(rows[:1]))


def test_columns_that_are_ignored_are_to_be_sound(kinds, tmp_path):
    artefact = ignoring(kinds.service.artefact)
    pair = Pair(artefact)
    row = {name: value for name, value in pair.rows[0].items() if name != "integer"}
    sound = msgspec.json.encode([{**row, "integer": 1, "other": {"a": [1]}}])
    assert not pair.agree(sound.replace(b'{"a":[1]}', b"1e999"))
    assert not pair.agree(sound.replace(b"[1]", b'"\\ud800"'))
    pair.agree(sound)


def ignoring(artefact: Artefact) -> Artefact:
    """Return the version with a contract that ignores unknown columns."""
    from dataclasses import replace

    copy = Artefact(artefact.folder, artefact.manifest)
    copy.__dict__["schema"] = replace(artefact.schema, unknown_columns="ignore")
    return copy


def test_a_name_that_must_be_escaped_has_no_hot_path(kinds):
    from dataclasses import replace

    artefact = kinds.service.artefact
    copy = Artefact(artefact.folder, artefact.manifest)
    spare = next(column for column in artefact.schema.columns if not column.is_feature)
    columns = (*artefact.schema.columns, replace(spare, name='a "quoted" one'))
    copy.__dict__["schema"] = replace(artefact.schema, columns=columns)
    assert hot_path(Service(copy, Serving())) is None


CELLS = r"""
null true false 0 1 -0 -0.0 1.0 1.50 1e2 1E-2 -1e-400 1e400 01 1. 2.0 0.1 -3 1e308 9007199254740993
18446744073709551616 123456789012345678901234567890 "" " "NA" "1" "true" "red" "RED" "\u0072ed" "2024-02-30"
"2024-02-03" "\ud800" "\ud83d\ude00" [] {} [1]
"""
TOKENS = st.one_of(
    st.floats().map(json.dumps),
    st.integers().map(str),
    st.text(max_size=8).map(json.dumps),
    st.text(max_size=8).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from(CELLS.split()),
)
SPACES = st.sampled_from(["", " ", "  ", "\n", "\t"])
FUZZ = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def bodies(draw, rows: list[dict[str, Any]]) -> bytes:
    """Bodies near to good ones: some cells, names, orders and blanks are others."""
    written = []
    comma, colon = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :")]))
    for row in draw(st.lists(st.sampled_from(rows), min_size=1, max_size=3)):
        cells = [(json.dumps(name, ensure_ascii=False), json.dumps(value)) for name, value in row.items()]
        for place in draw(st.lists(st.integers(0, len(cells) - 1), max_size=2)):
            cells[place] = (cells[place][0], draw(TOKENS))
        if draw(st.booleans()):
            names = st.sampled_from([*(name for name, _ in cells), '"x"'])
            cells += draw(st.lists(st.tuples(names, TOKENS), max_size=1))
        if draw(st.integers(0, 9)) == 0:
            cells = draw(st.permutations(cells))
        if draw(st.integers(0, 9)) == 0:
            cells = cells[1:]
        written.append("{" + comma.join(f"{name}{colon}{value}" for name, value in cells) + "}")
    space = draw(SPACES)
    return f"{space}[{comma.join(written)}{space}]{space}".encode("utf-8", "surrogatepass")


@FUZZ
@given(data=st.data())
def test_bodies_near_to_good_ones_are_answered_alike(kinds, data):
    kinds.agree(data.draw(bodies(kinds.rows)))


@FUZZ
@given(data=st.data())
def test_broken_bytes_are_answered_alike(kinds, data):
    body = bytearray(msgspec.json.encode(kinds.rows[:2]))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(body)))
        body[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    kinds.agree(bytes(body))
