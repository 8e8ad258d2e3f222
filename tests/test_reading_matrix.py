"""Every awkward table by every way in: the same rows, the same predictions, the same sentence."""

from __future__ import annotations

import gzip
import io
import json
import re
import zipfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from estimator.cli import main
from estimator.data.sources.opener import open_files
from estimator.store.artefact import Artefact, open_artefact
from estimator.store.store import version_folder
from tests.clients import Client, gateway

CONFIG = """\
data: {path: t.csv, target: y}
model: {kind: linear}
schema: {columns: {x: {nullable: true}, city: {nullable: true, kind: category}}}
validation: {folds: 0}
evaluation: {bootstrap_samples: 100, importance_repeats: 0}
"""
CITIES = ("Oslo", "Ålesund", "Tromsø", "Zürich", "a, b", 'the "x"')
ROWS = [{"x": 1.5, "city": "Oslo"}, {"x": None, "city": "Ålesund"}, {"x": 7.0, "city": "Tromsø"}]
PLAIN = "x,city\n1.5,Oslo\n,Ålesund\n7,Tromsø\n"
QUOTED = [{"x": 1.5, "city": "a, b"}, {"x": 2.0, "city": 'the "x"'}]


@dataclass(frozen=True)
class Table:
    """A file's content; the rows that it holds, or the sentence that says why it cannot be read; and its notes."""

    content: bytes
    rows: list[dict[str, Any]] | None = None
    error: str = ""
    notes: tuple[str, ...] = ()


def utf8(text: str, rows: list[dict[str, Any]] | None = ROWS, **more: Any) -> Table:
    return Table(text.encode(), rows, **more)


def bad(text: str | bytes, error: str) -> Table:
    return Table(text.encode() if isinstance(text, str) else text, None, error)


SEMICOLONS = "{}: the delimiter is ';', inferred from the header"
WESTERN = ("{}: not UTF-8, read as Windows-1252; line 3 is then ',Ålesund'; if that is wrong, set data.encoding",)
CSV_TABLES = {
    "plain": utf8(PLAIN),
    "no line end at the end": utf8(PLAIN.rstrip("\n")),
    "blank lines": utf8(PLAIN.replace("\n,", "\n\n,") + "\n\n"),
    "a blank line above": utf8("\n" + PLAIN),
    "a line of spaces": utf8(PLAIN.replace("\n,", "\n   \n,")),
    "CRLF": utf8(PLAIN.replace("\n", "\r\n")),
    "CR": utf8(PLAIN.replace("\n", "\r")),
    "CR CR LF": utf8(PLAIN.replace("\n", "\r\r\n")),
    "byte order mark": utf8("\ufeff" + PLAIN),
    "UTF-16": Table(PLAIN.encode("utf-16"), ROWS),
    "UTF-16, big-endian": Table(b"\xfe\xff" + PLAIN.encode("utf-16-be"), ROWS),
    "UTF-16 without a mark": Table(
        PLAIN.encode("utf-16-le"),
        ROWS,
        notes=("{}: read as utf-16-le, as every other byte is 0; it has no byte order mark",),
    ),
    "UTF-32": Table(PLAIN.encode("utf-32"), ROWS),
    "Windows-1252": Table(PLAIN.encode("cp1252"), ROWS, notes=WESTERN),
    "semicolons": utf8(PLAIN.replace(",", ";"), notes=(SEMICOLONS,)),
    "tabs": utf8(PLAIN.replace(",", "\t"), notes=("{}: the delimiter is '\\t', inferred from the header",)),
    "Excel's sep=": utf8(
        "sep=;\n" + PLAIN.replace(",", ";"), notes=("{}: line 1 is 'sep=;', as Excel writes it: no header",)
    ),
    "quotes": utf8('"x","city"\n"1.5","a, b"\n2,"the ""x"""\n', QUOTED),
    "empty cells in quotes": utf8('x,city\n1.5,Oslo\n"",Ålesund\n7,"Tromsø"\n'),
    "columns in another order": utf8("city,x\nOslo,1.5\nÅlesund,\nTromsø,7\n"),
    "a short line": bad(
        "x,city\n1.5,Oslo\n2\n", "expected 2 cells per line, as in the header, but found: line 3 (1 cells)"
    ),
    "a long line": bad("x,city\n1.5,Oslo,1\n2,Oslo\n", "but found: line 2 (3 cells)"),
    "a long line at the end": bad("x,city\n1.5,Oslo\n2,Oslo,", "but found: line 3 (3 cells)"),
    "a short and a long line": bad("x,city\n1.5\n1,Oslo,\n2,\n", "but found: line 2 (1 cells), line 3 (3 cells)"),
    "a name twice": bad("x,x,city\n1,40,Oslo\n", "the header has 'x' more than once"),
    "an open quote": bad('x,city\n1,"Oslo\n2,Oslo\n3,Oslo\n', "a quote opened on line 2 is never closed"),
    "cut inside quotes": bad('x,city\n1,Oslo\n2,"Osl', "a quote opened on line 3 is never closed"),
    "text after a quote": bad('x,city\n1,"Oslo" n\n2,Oslo\n', "line 2 (text after a closing quote)"),
    "quotes escaped by backslashes": bad('x,city\n1,"an \\"Oslo\\""\n', "line 2 (text after a closing quote)"),
    "a NUL byte": bad("x,city\n1,Os\0lo\n2,Oslo\n", "line 2 (a NUL byte)"),
    "comments above": bad(
        "# made in May\n# by us\nx,city\n1,Oslo\n2,Oslo\n",
        "line 1 is no header: it has 1 cells, but the lines from line 3",
    ),
    "one byte that is not UTF-8": bad(
        "x,city\n1,Ålesund\n2,Tromsø\n".encode() + b"3,Troms\xf8\n",
        "line 4 holds bytes that are not UTF-8, which other lines are",
    ),
    "letters of no known encoding": bad(
        b"x,city\n1,\x8f@\n2,\x8d@\n", "not UTF-8, and its letters do not tell the encoding; line 2 would be '1,"
    ),
    "empty": bad(b"", "the file is empty"),
    "gzip": bad(gzip.compress(PLAIN.encode()), "expected text, got a gzip file"),
    "zip": bad(b"PK\x03\x04" + b"\0" * 40, "expected text, got a zip archive"),
    "a workbook": bad(b"PK\x03\x04" + b"\0" * 26 + b"[Content_Types].xml", "expected text, got an Excel workbook"),
    "Parquet": bad(b"PAR1" + b"\0" * 40, "expected text, got a Parquet file"),
    "SQLite": bad(b"SQLite format 3\0" + b"\0" * 40, "expected text, got an SQLite database"),
    "a web page": bad("<!DOCTYPE html><html><body>log in</body></html>", "expected text, got a web page"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("matrix")
    lines = [{"y": 3.0 * n, "x": float(n), "city": CITIES[n % len(CITIES)]} for n in range(90)]
    pl.DataFrame(lines).write_csv(folder / "t.csv")
    (folder / "c.yml").write_text(CONFIG)
    assert run("train", "--conf", f"{folder}/c.yml", "--store", f"{folder}/models").code == 0
    return folder


@pytest.fixture(scope="module")
def version(folder) -> Artefact:
    return open_artefact(version_folder(folder / "models" / "t"))


@pytest.fixture(scope="module")
def client(version) -> Client:
    return Client(gateway(version))


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


def run(*words: str) -> Result:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(list(words))
    return Result(code, out.getvalue(), err.getvalue())


@dataclass(frozen=True)
class Outcome:
    """What a way in made of a table: predictions and notes, or an error; the table is called {} in every sentence."""

    predictions: list[float] | None
    notes: tuple[str, ...]
    error: str


def from_file(folder: Path, content: bytes, ending: str = ".csv") -> Outcome:
    path, output = folder / f"new{ending}", folder / "out.csv"
    path.write_bytes(content)
    output.unlink(missing_ok=True)
    result = run("predict", "--model", f"{folder}/models/t", "--input", str(path), "--output", str(output), "--json")
    data = json.loads(result.out)
    if result.code:
        return Outcome(None, (), data["error"]["message"].replace(str(path), "{}"))
    notes = tuple(note.replace(path.name, "{}") for note in data["notes"])
    return Outcome(pl.read_csv(output)["prediction"].to_list(), notes, "")


def from_request(client: Client, content: bytes, kind: str = "text/csv", **headers: str) -> Outcome:
    response = client.post("/v1/predict", content, **{"content-type": kind, **headers})
    if response.status_code != 200:
        assert response.status_code == 422, response.text
        return Outcome(None, (), response.json()["detail"][0]["msg"].replace("the body", "{}", 1))
    notes = tuple(note.replace("the body", "{}") for note in json.loads(response.headers.get("x-notes", "[]")))
    return Outcome([row["prediction"] for row in response.json()["predictions"]], notes, "")


def expected(version: Artefact, rows: list[dict[str, Any]]) -> list[float]:
    values: list[float] = version.predictor.predict(rows).tolist()
    return values


@pytest.mark.parametrize("name", CSV_TABLES)
def test_a_file_and_a_request_are_read_alike(folder, version, client, name):
    table = CSV_TABLES[name]
    of_file, of_request = from_file(folder, table.content), from_request(client, table.content)
    assert of_request == of_file
    if table.rows is None:
        assert of_file.error.startswith("{}: ")
        assert table.error in of_file.error
    else:
        assert of_file.predictions == pytest.approx(expected(version, table.rows))
        assert of_file.notes == table.notes


@pytest.mark.parametrize("name", [name for name, table in CSV_TABLES.items() if table.rows])
def test_gzip_changes_nothing(folder, client, name):
    packed = gzip.compress(CSV_TABLES[name].content)
    plain = from_file(folder, CSV_TABLES[name].content)
    assert from_file(folder, packed, ".csv.gz") == plain
    assert from_request(client, packed, **{"content-encoding": "gzip"}) == plain


@pytest.mark.parametrize("name", CSV_TABLES)
def test_explore_says_what_predict_says(folder, name):
    """A table to learn from: the same content with its target."""
    table = CSV_TABLES[name]
    path = folder / "learn.csv"
    path.write_bytes(table.content)
    result = run("explore", str(path), "--target", "city", "--page", f"{folder}/e.html", "--json")
    report = json.loads(result.out)
    if table.rows is None:
        assert result.code == 1
        assert from_file(folder, table.content).error == report["error"]["message"].replace(str(path), "{}")
    elif result.code == 0:
        assert report["profile"]["rows"] == len(table.rows)
        assert set(table.notes) <= {note.replace(path.name, "{}") for note in report["notes"]}


FORMATS: dict[str, tuple[str, str, Callable[[pl.DataFrame, io.BytesIO], object]]] = {
    "Parquet": (".parquet", "application/vnd.apache.parquet", pl.DataFrame.write_parquet),
    "Arrow file": (".arrow", "application/vnd.apache.arrow.file", pl.DataFrame.write_ipc),
    "Arrow stream": (".arrows", "application/vnd.apache.arrow.stream", pl.DataFrame.write_ipc_stream),
}


@pytest.mark.parametrize("name", FORMATS)
def test_typed_tables_are_read_alike(folder, version, client, name):
    ending, kind, write = FORMATS[name]
    file = io.BytesIO()
    write(pl.DataFrame(ROWS), file)
    content = file.getvalue()
    of_file, of_request = from_file(folder, content, ending), from_request(client, content, kind)
    assert of_file == of_request == Outcome(pytest.approx(expected(version, ROWS)), (), "")
    for damaged in (b"", b"x,city\n1,Oslo\n", content[: len(content) // 2], gzip.compress(content)):
        of_file, of_request = from_file(folder, damaged, ending), from_request(client, damaged, kind)
        assert of_file.predictions is None
        assert of_file.error == of_request.error
        assert "\n" not in of_file.error


def test_workbooks_are_read_like_text(folder, version):
    for name in ("new.xlsx",):
        path = folder / name
        pl.DataFrame(ROWS).write_excel(path)
        assert from_file(folder, path.read_bytes(), ".xlsx").predictions == pytest.approx(expected(version, ROWS))


def test_rows_of_json_and_frames_are_read_alike(version, client):
    values = expected(version, ROWS)
    response = client.post("/v1/predict", ROWS).json()
    assert [row["prediction"] for row in response["predictions"]] == pytest.approx(values)
    assert version.predictor.predict(pl.DataFrame(ROWS)).tolist() == pytest.approx(values)
    assert version.predictor.predict(pl.DataFrame(ROWS).to_pandas()).tolist() == pytest.approx(values)


@pytest.mark.parametrize(
    ("charset", "codec"), [("windows-1250", "cp1250"), ("utf-16le", "utf-16-le"), ("iso-8859-1", "latin-1")]
)
def test_a_charset_is_obeyed(folder, client, charset, codec):
    content = "x,city\n1,Zürich\n".encode(codec)
    plain = from_file(folder, "x,city\n1,Zürich\n".encode())
    assert from_request(client, content, f"text/csv; charset={charset}").predictions == plain.predictions
    response = client.post("/v1/predict", content, **{"content-type": "text/csv; charset=nope"})
    assert (response.status_code, "no encoding is called 'nope'" in response.text) == (415, True)


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/services/predict"])
def test_json_may_have_a_byte_order_mark(client, path):
    body = json.dumps(ROWS, ensure_ascii=False)
    plain = client.post(path, body.encode())
    marked = client.post(path, body.encode("utf-8-sig"))
    assert (plain.status_code, marked.status_code) == (200, 200)
    assert predictions_of(marked.json()) == predictions_of(plain.json())
    for codec in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"):
        response = client.post(path, body.encode(codec))
        assert (response.status_code, "not UTF-8" in response.text) == (400, True), codec


def predictions_of(data: Any) -> Any:
    return (
        data["predictions"]
        if "predictions" not in data
        else [
            row["prediction"] if isinstance(row, dict) and "prediction" in row else row for row in data["predictions"]
        ]
    )


@pytest.mark.parametrize(
    "body",
    ['[{"x": NaN, "city": "Oslo"}]', '{"x": [NaN], "city": ["Oslo"]}', '[{"x": 1e999, "city": "Oslo"}]',
     '[{"x": 1, "city": "\\ud800"}]', '{"x": [1], "city": ["\\ud800"]}', '[{"x": 1, "ci\\ud800ty": "Oslo"}]',
     '[{"x": -Infinity, "city": "Oslo"}]', '[{"x": 1, "city": ["\\udfff"]}]', "[NaN]", "NaN", '[{"x": [NaN]}]'],
)  # fmt: skip
def test_json_that_is_none_is_a_422(client, body):
    for path in ("/v1/predict", "/v1/services/predict"):
        for kind in ("application/json", "text/csv"):
            response = client.post(path, body.encode(), accept=kind)
            assert response.status_code == 422, (path, response.text)


# One row of output for each row of input


LINES = "x,city\n1.5,Oslo\n2\n3,Oslo\n4,Oslo,5\n5,Oslo\n"


@pytest.mark.parametrize("on_bad_lines", ["error", "skip"])
def test_predict_never_leaves_out_a_row(folder, on_bad_lines):
    (folder / "bad.csv").write_text(LINES)
    words = ("predict", "--model", f"{folder}/models/t", "--input", f"{folder}/bad.csv")
    words = (*words, "--output", f"{folder}/out.csv", "--set", f"data.on_bad_lines={on_bad_lines}", "--json")
    refused = run(*words)
    assert refused.code == 1
    assert "line 3 (1 cells), line 5 (3 cells)" in json.loads(refused.out)["error"]["message"]
    filled = run(*words, "--on-error", "missing")
    data = json.loads(filled.out)
    assert (data["rows"], data["rows_without_prediction"]) == (5, 2)
    assert data["faults"] == [
        "row 2: bad.csv line 3 (1 cells) cannot be read", "row 4: bad.csv line 5 (3 cells) cannot be read"
    ]  # fmt: skip
    predictions = pl.read_csv(folder / "out.csv")["prediction"].to_list()
    assert [value is None for value in predictions] == [False, True, False, True, False]
    good = from_file(folder, b"x,city\n1.5,Oslo\n3,Oslo\n5,Oslo\n").predictions
    assert predictions[::2] == pytest.approx(good)


@pytest.mark.parametrize("rows", ["", "a,b\n"])
def test_a_file_without_a_valid_row_has_rows_all_the_same(folder, rows):
    (folder / "none.csv").write_text(f"x,city\n{rows}")
    words = ("predict", "--model", f"{folder}/models/t", "--input", f"{folder}/none.csv", "--output", f"{folder}/o.csv")
    result = run(*words, "--on-error", "missing", "--json")
    assert (result.code, json.loads(result.out)["rows"]) == (0, rows.count("\n")), result.err
    assert pl.read_csv(folder / "o.csv").height == rows.count("\n")


def test_bad_lines_are_named_where_they_are_left_out(folder):
    (folder / "y.csv").write_text(
        "y,x,city\n" + "".join(f"{3 * n + 1},{n},Oslo\n" for n in range(60)) + "7,7\n8,8,Oslo,8\n"
    )
    note = "y.csv: 2 lines that cannot be read are left out: line 62 (2 cells), line 63 (4 cells)"
    skip = ("--set", "data.on_bad_lines=skip", "--json")
    evaluated = run("evaluate", "--model", f"{folder}/models/t", "--input", f"{folder}/y.csv", *skip)
    assert json.loads(evaluated.out)["rows"] == 60
    conf = ("--conf", f"{folder}/c.yml", "--set", f"data.path={folder}/y.csv")
    explored = run("explore", *conf, "--page", f"{folder}/e.html", *skip)
    trained = run("train", *conf, "--store", f"{folder}/others", *skip)
    for result in (evaluated, explored, trained):
        assert note in json.loads(result.out)["notes"]
        assert f"note: {note}\n" in result.err
        assert result.err.count(note) == 1
    assert run("evaluate", "--model", f"{folder}/models/t", "--input", f"{folder}/y.csv").code == 1


# Keys that say how a file is read


def test_lines_above_the_header_are_skipped_as_configured(folder, version):
    content = '# made in 5" pieces\n\n# by "us\n' + PLAIN
    (folder / "comments.csv").write_text(content)
    words = ("predict", "--model", f"{folder}/models/t", "--input", f"{folder}/comments.csv")
    words = (*words, "--output", f"{folder}/out.csv", "--set", "data.skip_lines=3")
    assert run(*words).code == 0
    assert pl.read_csv(folder / "out.csv")["prediction"].to_list() == pytest.approx(expected(version, ROWS))


def test_an_encoding_is_read_as_configured(folder):
    words = ("predict", "--model", f"{folder}/models/t", "--output", f"{folder}/out.csv", "--json")
    (folder / "jis.csv").write_bytes("x,city\n1,東\n2,西\n".encode("shift_jis"))
    read = run(*words, "--input", f"{folder}/jis.csv", "--set", "data.encoding=shift_jis")
    assert (read.code, json.loads(read.out)["rows"]) == (0, 2)
    (folder / "bytes.csv").write_bytes(b"x,city\n1,Oslo\n2,\x9d\n")
    report = run(*words, "--input", f"{folder}/bytes.csv", "--set", "data.encoding=windows-1252")
    message = json.loads(report.out)["error"]["message"]
    assert message.endswith("line 3 holds the byte 0x9d, which has no meaning in windows-1252")
    assert "no encoding is called 'x'" in run(*words, "--input", f"{folder}/jis.csv", "--set", "data.encoding=x").err


def test_a_character_that_was_lost_before_is_named(folder):
    outcome = from_file(folder, "x,city\n1,Oslo\n2,Troms\ufffd\n3,\ufffd\n".encode())
    assert outcome.notes[0] == "{}: line 3 holds U+FFFD, which stands for a character lost before; 2 in all"


# Files that cannot be read


def cut(folder: Path) -> Path:
    path = folder / "cut.csv.gz"
    path.write_bytes(gzip.compress(PLAIN.encode() * 100)[:-20])
    return path


def followed(folder: Path) -> Path:
    path = folder / "tail.csv.gz"
    path.write_bytes(gzip.compress(PLAIN.encode()) + b"garbage")
    return path


def not_packed(folder: Path) -> Path:
    path = folder / "plain.csv.gz"
    path.write_text(PLAIN)
    return path


def dangling(folder: Path) -> Path:
    path = folder / "link.csv"
    path.symlink_to("nowhere.csv")
    return path


def in_a_circle(folder: Path) -> Path:
    path = folder / "circle.csv"
    path.symlink_to("circle.csv")
    return path


def without_tables(folder: Path) -> Path:
    path = folder / "empty"
    path.mkdir()
    (path / ".a.csv").write_text(PLAIN)
    return path


FILES = {
    cut: "the gzip data ends too early",
    followed: "other bytes follow the end of the gzip data",
    not_packed: "expected a gzip file, as its name ends in .gz, got text or another format",
    dangling: "is a link to 'nowhere.csv', which does not exist",
    in_a_circle: "is a link to 'circle.csv', which does not exist",
    without_tables: "no table in this folder",
}


@pytest.mark.parametrize("make", FILES, ids=lambda make: make.__name__)
def test_what_cannot_be_read_is_a_sentence(folder, tmp_path, make):
    path = make(tmp_path)
    for words in (
        ("predict", "--model", f"{folder}/models/t", "--input", str(path), "--output", f"{folder}/out.csv"),
        ("explore", str(path), "--target", "city", "--page", f"{folder}/e.html"),
    ):
        result = run(*words, "--json")
        assert (result.code, "Traceback" in result.err) == (1, False)
        assert json.loads(result.out)["error"]["message"] == f"{path}: {FILES[make]}"


def test_hidden_files_are_no_parts_of_a_folder(folder, tmp_path):
    (tmp_path / "a.csv").write_text(PLAIN)
    for name in ("._a.csv", ".DS_Store", ".old.csv"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7 Mac OS X")
    words = ("predict", "--model", f"{folder}/models/t", "--input", str(tmp_path), "--output", f"{folder}/out.csv")
    data = json.loads(run(*words, "--json").out)
    assert (data["rows"], data["notes"]) == (3, [f"{tmp_path}: hidden files are left out: .old.csv"])


def test_a_sheet_is_named_where_there_are_several(folder, tmp_path):
    import xlsxwriter

    path = tmp_path / "two.xlsx"
    with xlsxwriter.Workbook(path) as book:
        for name in ("notes", "rows"):
            sheet = book.add_worksheet(name)
            for row, cells in enumerate([("x", "city"), (1.5, "Oslo"), (2, "Oslo")]):
                sheet.write_row(row, 0, cells)
        sheet.write_formula(2, 0, "=1/0", value="#DIV/0!")
    words = (
        "predict",
        "--model",
        f"{folder}/models/t",
        "--input",
        str(path),
        "--output",
        f"{folder}/out.csv",
        "--json",
    )
    assert json.loads(run(*words).out)["error"] == {
        "message": f"{path}: the workbook has several sheets: 'notes', 'rows'",
        "hint": "set data.sheet, such as 'notes'",
    }
    data = json.loads(run(*words, "--set", "data.sheet=rows").out)
    assert data["rows"] == 2
    assert data["notes"] == ["two.xlsx, sheet 'rows': cells that hold an error are missing values: A3"]


def test_formulas_without_a_result_are_named(folder):
    import xlsxwriter

    with xlsxwriter.Workbook(folder / "saved.xlsx") as book:
        sheet = book.add_worksheet('rows & "more"')
        for row, cells in enumerate([("x", "city"), (1, "Oslo"), (2, "Rome"), (3, "Oslo")]):
            sheet.write_row(row, 0, cells)
        sheet.write_formula(2, 0, "=A2*2", value=2)
        sheet.write_formula(3, 1, '=IF(A2>0,"Oslo","Rome")', value=7)
    # Programs that write workbooks without calculating leave the results out.
    path = folder / "formulas.xlsx"
    with zipfile.ZipFile(folder / "saved.xlsx") as saved, zipfile.ZipFile(path, "w") as written:
        for part in saved.namelist():
            written.writestr(part, re.sub(rb"(</f>)<v>[27]</v>", rb"\1<v />", saved.read(part)))
    source = open_files(str(path))
    assert pl.concat(source.batches())["x"].to_list() == [1, None, 3]
    (note,) = source.notes()
    assert "the results of 2 formulas are not in the file and are missing values: A3, B4;" in note


def test_the_first_row_with_a_cell_names_the_columns_and_text_among_numbers_is_no_error(folder):
    import xlsxwriter

    path = folder / "rows.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("s")
        for row, cells in enumerate([("x", "city"), (1.5, "Oslo"), ("NA", "Rome"), (3, "Oslo")], start=2):
            sheet.write_row(row, 0, cells)
        sheet.write_formula(6, 0, "=1/0", value="#DIV/0!")
        sheet.write(6, 1, "Rome")
    source = open_files(str(path))
    assert pl.concat(source.batches()).to_dict(as_series=False) == {
        "x": ["1.5", "NA", "3", None],
        "city": ["Oslo", "Rome", "Oslo", "Rome"],
    }
