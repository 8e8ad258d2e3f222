"""The fast path gives the response of FastAPI, byte for byte, or none."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from estimator import verbs
from estimator.config import Serving
from estimator.errors import RequestError, RowError
from estimator.serving.fast_path.predict import MAX_BLOCK_ROWS, fast_predictor
from estimator.serving.routes import PredictionRequest
from estimator.serving.service import PredictionResponse, ResponseFormat, Service
from estimator.store.artefact import Artefact, open_artefact
from estimator.store.store import version_folder

MODELS = ("house_pricing_model", "ames", "credit", "penguins")
FORMATS = tuple(ResponseFormat)
REQUEST_ID = "0a1b"


class Pair:
    """The fast path of a version, and the response of FastAPI."""

    def __init__(self, artefact: Artefact, **settings: Any) -> None:
        self.rows = artefact.read_json("golden.json")["rows"]
        self.service = Service(artefact, Serving(**settings))
        self.fast_predictor = fast_predictor(self.service)

    def fast(self, response_format: ResponseFormat, body: bytes) -> PredictionResponse | None:
        (response,) = self.fast_predictor.handler(response_format)([PredictionRequest(body, REQUEST_ID)])
        return response

    def slow(self, response_format: ResponseFormat, body: bytes) -> PredictionResponse | None:
        try:
            return self.service.respond(body, REQUEST_ID, response_format)
        except (RequestError, RowError):
            return None

    def agree(self, body: bytes) -> bool:
        """Check that both paths agree on a body; return whether the fast path handled it."""
        responses = [self.fast(response_format, body) for response_format in FORMATS]
        for response_format, response in zip(FORMATS, responses, strict=True):
            if response is not None:
                assert response == self.slow(response_format, body), body
        return None not in responses


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
            "nullable_flag": [None if row % 5 == 0 else row % 2 == 0 for row in rows],
            "color": [("red", "green", "blue, dark: navy")[row % 3] for row in rows],
            "code": [f"{row % 4:03d}" for row in rows],
            "strict": [("yes!", "no!")[row % 2] for row in rows],
            "day": [f"2024-{row % 12 + 1:02d}-{row % 28 + 1:02d}" for row in rows],
            "moment": [f"2024-01-{row % 28 + 1:02d}T10:{row % 60:02d}:00" for row in rows],
            "price": [f"${row * 1000:,}" for row in rows],
            "note": [f"a note on {('cats', 'dogs', 'mice')[row % 3]} and row {row} of more words" for row in rows],
            "spare": [row % 9 for row in rows],
            "target": [row * 0.5 + row % 3 for row in rows],
        }
    )
    frame.write_csv(folder / "table.csv")
    columns = {
        "number": {"range": [None, 1e6]},
        "integer": {"kind": "integer", "aliases": ["whole"]},
        "strict": {"kind": "category", "unknown": "error"},
        "note": {"kind": "text"},
        "price": {"kind": "number", "strip": ["$"], "thousands": ","},
    }
    config = {
        "name": "kinds",
        "data": {"path": "table.csv", "target": "target", "drop": ["spare"]},
        "model": {"kind": "linear"},
        "schema": {"columns": columns},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    new = verbs.train.train(folder / "config.json", verbs.Context(store_path=str(folder / "models")))
    return Pair(new.artefact, max_rows=50)


@pytest.fixture(scope="module", params=MODELS)
def pair(request, store) -> Pair:
    return Pair(open_artefact(version_folder(store / request.param)))


@pytest.mark.parametrize("n_rows", [1, 2, 7])
def test_valid_rows_take_the_fast_path(pair, n_rows):
    rows = (pair.rows * n_rows)[:n_rows]
    for body in (msgspec.json.encode(rows), json.dumps(rows).encode(), json.dumps(rows, indent=1).encode()):
        assert pair.agree(body)


@pytest.mark.parametrize("response_format", FORMATS)
def test_batched_requests_get_the_responses_of_single_ones(pair, response_format):
    bodies = [msgspec.json.encode([row]) for row in pair.rows]
    bodies[1] = msgspec.json.encode((pair.rows * MAX_BLOCK_ROWS)[: MAX_BLOCK_ROWS + 1])
    bodies[3] = b"[{}]"
    requests = [PredictionRequest(body, f"{index:032x}") for index, body in enumerate(bodies)]
    batched = pair.fast_predictor.handler(response_format)(requests)
    assert [index for index, response in enumerate(batched) if response is None] == [3]
    for request, response in zip(requests, batched, strict=True):
        if response is not None:
            single = pair.service.respond(*request, response_format)
            assert response[1:] == single[1:]
            assert near(json.loads(response.body), json.loads(single.body))


def near(actual: Any, expected: Any) -> bool:
    """Whether two responses are the same but for the last digits of numbers."""
    if isinstance(expected, dict):
        return actual.keys() == expected.keys() and all(near(actual[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(actual) == len(expected) and all(map(near, actual, expected))
    return bool(actual == pytest.approx(expected, rel=1e-5)) if isinstance(expected, float) else actual == expected


def test_invalid_row_does_not_affect_its_batch(kinds):
    rows = [kinds.rows[0], {**kinds.rows[1], "day": "never"}, kinds.rows[2]]
    requests = [PredictionRequest(msgspec.json.encode([row]), REQUEST_ID) for row in rows]
    responses = kinds.fast_predictor.respond_in_full(requests)
    assert [response is None for response in responses] == [False, True, False]
    for row, response in zip(rows, responses, strict=True):
        assert response is None or response == kinds.slow(ResponseFormat.FULL, msgspec.json.encode([row]))


def test_every_kind_of_column_takes_the_fast_path(kinds):
    kind_of = {column.kind for column in kinds.service.artefact.schema.features}
    assert kind_of == {"number", "integer", "boolean", "category", "date", "datetime", "text"}
    for row in kinds.rows:
        assert kinds.agree(msgspec.json.encode([row]))
    assert kinds.agree(msgspec.json.encode(kinds.rows))


@pytest.mark.parametrize(
    ("change", "is_fast"),
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
        ({"nullable_flag": None}, True),
        ({"color": "unheard of"}, True),
        ({"color": 7}, True),
        ({"code": 1}, True),
        ({"code": "NA"}, True),
        ({"strict": "maybe"}, False),
        ({"day": "2031-05-05"}, True),
        ({"day": "never"}, False),
        ({"moment": "2024-01-05"}, True),
        ({"price": "$7,100"}, True),
        ({"price": 7100}, True),
        ({"price": "$7,1"}, False),
        ({"note": "Größe \u2028 \x7f / é"}, True),
        ({"note": "nul \x00"}, False),
        ({"spare": 7, "id": "row-5", "target": None}, True),
        ({"spare": [{"deep": "x"}]}, False),
        ({"whole": 3}, False),
        ({"unheard of": 3}, False),
    ],
)
def test_unusual_cells_agree_or_are_left_to_fastapi(kinds, change, is_fast):
    for rows in ([{**kinds.rows[0], **change}], [kinds.rows[0], {**kinds.rows[1], **change}]):
        assert kinds.agree(msgspec.json.encode(rows)) == is_fast
        kinds.agree(json.dumps(rows).encode())


def test_values_out_of_range_agree(kinds):
    odd = {"number": 9e5, "integer": -99, "color": "unheard of", "day": "2031-05-05", "moment": "1999-01-05"}
    for name, value in odd.items():
        response = kinds.fast(ResponseFormat.FULL, msgspec.json.encode([{**kinds.rows[0], name: value}]))
        assert response is not None
        assert [note["column"] for note in json.loads(response.body)["predictions"][0]["out_of_range"]] == [name]
        assert response.out_of_range == [[name]]
    assert kinds.agree(msgspec.json.encode([{**row, **odd} for row in kinds.rows]))


def test_echoed_rows_are_unchanged(pair):
    row = pair.rows[0]
    backwards = msgspec.json.encode([dict(reversed(row.items()))])
    for body in (backwards, b"  " + backwards + b"\r\n"):
        pair.agree(body)
        response = pair.fast(ResponseFormat.TUTORIAL, body)
        assert response is None or json.loads(response.body)["inputData"] == json.loads(body)


def test_duplicate_column_is_rejected(pair):
    name = next(iter(pair.rows[0]))
    for twofold in (b'[{"%b":null,', b'[{"%b" : "x\\"", '):
        twice = msgspec.json.encode(pair.rows[:1]).replace(b"[{", twofold % name.encode())
        assert not pair.agree(twice)
        with pytest.raises(RowError, match="given twice") as caught:
            pair.service.respond(twice, REQUEST_ID, ResponseFormat.FULL)
        assert (caught.value.faults[0].row, caught.value.faults[0].column) == (1, name)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"null", b"[null]", b"[1]", b"[[]]", b"[" * 9999, b'[{"\\ud800": 1}]', b"[{}]", b"\xff"]
)
def test_invalid_bodies_are_left_to_fastapi(pair, body):
    assert [pair.fast(response_format, body) for response_format in FORMATS] == [None, None]


def test_limits_are_left_to_fastapi(store):
    artefact = open_artefact(version_folder(store / "penguins"))
    rows = artefact.read_json("golden.json")["rows"]
    assert not Pair(artefact, max_rows=2).agree(msgspec.json.encode(rows[:3]))
    assert not Pair(artefact, max_body_bytes=10).agree(msgspec.json.encode(rows[:1]))


def test_ignored_columns_must_be_valid_json(kinds, tmp_path):
    artefact = ignoring(kinds.service.artefact)
    pair = Pair(artefact)
    row = {name: value for name, value in pair.rows[0].items() if name != "integer"}
    sound = msgspec.json.encode([{**row, "integer": 1, "other": {"a": [1]}}])
    assert not pair.agree(sound.replace(b'{"a":[1]}', b"1e999"))
    assert not pair.agree(sound.replace(b"[1]", b'"\\ud800"'))
    pair.agree(sound)


def ignoring(artefact: Artefact) -> Artefact:
    """Return the version with a schema that ignores unknown columns."""
    from dataclasses import replace

    copy = Artefact(artefact.folder, artefact.manifest)
    copy.__dict__["schema"] = replace(artefact.schema, unknown_columns="ignore")
    return copy


def test_column_name_with_quotes_has_no_fast_path(kinds):
    from dataclasses import replace

    artefact = kinds.service.artefact
    copy = Artefact(artefact.folder, artefact.manifest)
    spare = next(column for column in artefact.schema.columns if not column.is_feature)
    columns = (*artefact.schema.columns, replace(spare, name='a "quoted" one'))
    copy.__dict__["schema"] = replace(artefact.schema, columns=columns)
    assert fast_predictor(Service(copy, Serving())) is None


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
    """Valid bodies with some other cells, names, orders and blanks."""
    written = []
    comma, colon = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :")]))
    for row in draw(st.lists(st.sampled_from(rows), min_size=1, max_size=3)):
        cells = [(json.dumps(name, ensure_ascii=False), json.dumps(value)) for name, value in row.items()]
        for index in draw(st.lists(st.integers(0, len(cells) - 1), max_size=2)):
            cells[index] = (cells[index][0], draw(TOKENS))
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
def test_nearly_valid_bodies_agree(kinds, data):
    kinds.agree(data.draw(bodies(kinds.rows)))


@FUZZ
@given(data=st.data())
def test_broken_bytes_agree(kinds, data):
    body = bytearray(msgspec.json.encode(kinds.rows[:2]))
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(body)))
        body[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    kinds.agree(bytes(body))
