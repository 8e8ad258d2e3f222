"""CSV as found in the wild: bad lines, quotes, blank lines, chunks, encodings, several files."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from estimator.data.schema.inference import infer_schema
from estimator.data.sources import csv
from estimator.data.sources.base import ReadOptions
from estimator.data.sources.csv import Csv
from estimator.errors import SourceError


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    def write(content: str | bytes, name: str = "t.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


BAD_LINES = 'a,b,c\n1,2,3\n"x\ny",5,6\n7,8\n9,10,11,12\n13,14,\n'


def test_bad_lines_are_an_error_with_their_numbers(written):
    with pytest.raises(SourceError) as caught:
        Csv((written(BAD_LINES),)).frame()
    assert "expected 3 cells per line, as in the header, but found: line 5 (2 cells), line 6 (4 cells)" in str(
        caught.value
    )
    assert "data.on_bad_lines: skip" in str(caught.value.hint)


def test_skipped_lines_are_noted(written):
    source = Csv((written(BAD_LINES),), ReadOptions(on_bad_lines="skip"))
    assert source.frame().rows() == [("1", "2", "3"), ("x\ny", "5", "6"), ("13", "14", None)]
    assert source.notes() == ["t.csv: 2 lines that cannot be read are left out: line 5 (2 cells), line 6 (4 cells)"]


def test_short_line_differs_from_empty_cell(written):
    assert Csv((written("a,b\n1,\n2,\n"),)).frame()["b"].null_count() == 2
    with pytest.raises(SourceError, match=r"line 3 \(1 cells\)"):
        Csv((written("a,b\n1,\n2\n"),)).frame()
    assert Csv((written('a,b\n"1,1",\n"2\n2",\n'),)).frame()["a"].to_list() == ["1,1", "2\n2"]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("a,b\n1,2\n\n3,4\n", [("1", "2"), ("3", "4")]),
        ("\na,b\r\n1,2\r\n\r\n3,4", [("1", "2"), ("3", "4")]),
        ('a,b\n1,ab"c\n', [("1", 'ab"c')]),
        ('a,b\n"x ""q"" y",2\n', [('x "q" y', "2")]),
        ("a\n007\n\n12\n", [("007",), ("12",)]),
        ("a,b\n", []),
    ],
)
def test_quotes_and_blank_lines_are_read(written, content, rows):
    assert Csv((written(content),), ReadOptions(delimiter=",")).frame().rows() == rows


def test_unclosed_quote_is_located(written):
    with pytest.raises(SourceError, match="opened on line 3 is never closed"):
        Csv((written('a,b\n1,2\n3,"x\n' + "4,5\n" * 50),)).frame()


def test_late_bytes_that_are_not_utf8_are_located(written, monkeypatch):
    monkeypatch.setattr(csv, "BLOCK_BYTES", 10)
    monkeypatch.setattr(csv, "HEADER_BYTES", 5)
    with pytest.raises(SourceError, match="line 4 holds bytes that are not UTF-8, which other lines are"):
        Csv((written("a,b\n1,é\n3,4\n".encode() + b"5,\xe9\n"),)).frame()


def test_records_are_whole_whatever_the_size_of_blocks(written, monkeypatch):
    rows = [(f"{n}", f'line\n"{n}",\r\nend' if n % 7 == 0 else f"w{n}") for n in range(300)]
    path = written("")
    pl.DataFrame(rows, schema=["a", "b"], orient="row").write_csv(path)
    monkeypatch.setattr(csv, "HEADER_BYTES", 4)
    for size in (7, 64, 100, 1000):
        monkeypatch.setattr(csv, "BLOCK_BYTES", size)
        assert Csv((path,)).frame().rows() == rows


def test_gzip_and_encodings_are_read_in_chunks(written, monkeypatch):
    content = "a;b\n" + "".join(f"{n};größe {n}\n" for n in range(500))
    monkeypatch.setattr(csv, "BLOCK_BYTES", 37)
    monkeypatch.setattr(csv, "HEADER_BYTES", 4)
    for path in (
        written(gzip.compress(content.encode()), "t.csv.gz"),
        written(content.encode("cp1252"), "w.csv"),
        written(content.encode("utf-16"), "u.csv"),
        written(b"\xef\xbb\xbf" + content.encode(), "b.csv"),
        written(content.replace("\n", "\r").encode(), "r.csv"),
    ):
        assert Csv((path,)).frame()["b"].to_list() == [f"größe {n}" for n in range(500)], path.name


def test_files_with_other_columns_are_rejected(written):
    paths = (written("a,b\n1,2\n", "1.csv"), written("b,a\n1,2\n", "2.csv"))
    with pytest.raises(SourceError, match="the same columns in another order"):
        Csv(paths).frame()


LATE = {
    "a word among numbers": ([*map(str, range(60)), "x"], "identifier"),
    "a fraction among whole numbers": ([*map(str, [1, 2] * 30), "1.5"], "number"),
    "a missing value among numbers": ([*map(str, [1, 2] * 30), "missing", "3.5"], "number"),
    "a leading zero": ([*map(str, [100, 200] * 30), "007"], "category"),
    "text among dates": (["2024-01-02"] * 59 + ["2024-01-03", "soon"], "category"),
    "a word among booleans": (["yes", "no"] * 30 + ["maybe"], "category"),
    "one boolean and missing values": (["yes", None] * 30, "category"),
    "nothing at first": ([None] * 50 + ["1.5", "2", "7"], "number"),
}


@pytest.mark.parametrize("name", LATE)
def test_inferred_kind_ignores_the_batch_size(name):
    values, kind = LATE[name]
    frame = pl.DataFrame({"x": values, "y": list(map(str, range(len(values))))}, schema=dict.fromkeys("xy", pl.String))
    whole = infer_schema(frame, "y")
    assert whole.by_name["x"].kind == kind
    for rows in (1, 7, 30):
        column = infer_schema(lambda rows=rows: frame.iter_slices(rows), "y").by_name["x"]
        assert (column.kind, column.nullable, column.na_values, column.categories) == (
            kind,
            whole.by_name["x"].nullable,
            whole.by_name["x"].na_values,
            whole.by_name["x"].categories,
        )


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_delimiter_is_inferred_from_records(written, start):
    path = written(start + '"x;y";y\r\n"a\nb";1\r\n')
    assert Csv((path,)).frame().rows(named=True) == [{"x;y": "a\nb", "y": "1"}]
