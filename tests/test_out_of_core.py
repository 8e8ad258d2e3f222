"""A table that does not fit into memory is trained on in parts, and gives the same version as in memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.core import stored_matrix
from estimator.core.scratch import scratch_on_demand
from estimator.core.text import parse_bytes
from estimator.data import stored_table
from estimator.data.schema import Column, Schema
from estimator.data.stored_columns import StoredColumns, read_rows
from estimator.data.stored_table import StoredTable, read_table
from estimator.errors import EstimatorError, RowError
from estimator.evaluation import explanation
from estimator.training.forecast import Forecast
from estimator.verbs.context import Context

N_ROWS = 3000


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(0)
    area, age = generator.gamma(4.0, 30.0, N_ROWS), generator.integers(0, 90, N_ROWS)
    cities = generator.choice([f"city {number}" for number in range(300)], N_ROWS)
    price = 50.0 * area - 20.0 * age + 100.0 * generator.standard_normal(N_ROWS)
    frame = pl.DataFrame(
        {
            "area": np.where(generator.random(N_ROWS) < 0.1, np.nan, area),
            "age": age,
            "city": cities,
            "heating": generator.choice(["gas", "oil", None], N_ROWS),
            "sold": pl.Series(generator.integers(0, 3000, N_ROWS)).cast(pl.Date),
            "price": np.where(generator.random(N_ROWS) < 0.02, np.nan, price),
        }
    )
    path = tmp_path_factory.mktemp("table") / "houses.parquet"
    frame.fill_nan(None).write_parquet(path)
    return path


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep every table in files of 500 rows, of which 100 are loaded at once."""
    for verb in (verbs.train, verbs.verify):
        monkeypatch.setattr(verb, "fits_memory", lambda config: lambda n_cells, n_bytes: False)
    monkeypatch.setattr(stored_table, "MAX_FILE_ROWS", 500)
    monkeypatch.setattr(stored_matrix, "LOADED_ROWS", 100)
    yield


def trained(table: Path, store: Path, model: dict[str, object], **sections: object) -> tuple[Path, Context]:
    config = {"name": "houses", "data": {"path": str(table), "target": "price"}, "model": model, **sections}
    context = Context(store_path=str(store))
    return verbs.train.train(config, context).artefact.folder, context


def content(folder: Path, name: str) -> str:
    return hashlib.sha256((folder / name).read_bytes()).hexdigest()


MODELS = [
    ({"kind": "boosting", "n_estimators": 30}, {}),
    ({"kind": "linear"}, {"features": {"formulas": {"ratio": "area / age", "old": "'old' if age > 50 else 'new'"}}}),
    # Some files hold held-out rows only, and one holds none.
    (
        {"kind": "boosting", "n_estimators": 30},
        {"training": {"split": {"kind": "rows", "test": "501-1000,1401-1600,2801-3000", "unused": "1-400"}}},
    ),
    (
        {"kind": "ensemble", "members": [{"kind": "linear"}, {"kind": "boosting", "n_estimators": 30}]},
        {"validation": {"folds": 1}, "features": {"max_categories": 20}},
    ),
]


@pytest.mark.parametrize(("model", "sections"), MODELS, ids=lambda value: value.get("kind", ""))
def test_a_version_trained_from_files_is_the_one_trained_in_memory(
    table: Path, tmp_path: Path, model: dict[str, object], sections: dict[str, object], request: pytest.FixtureRequest
) -> None:
    in_memory, _ = trained(table, tmp_path / "memory", model, **sections)
    request.getfixturevalue("in_parts")
    in_files, context = trained(table, tmp_path / "files", model, **sections)
    for name in ("model.onnx", "schema.json", "golden.json", "profile.json", "conformal.json", "explanation.json"):
        assert content(in_files, name) == content(in_memory, name), name
    metrics = [json.loads((folder / "manifest.json").read_text())["metrics"] for folder in (in_memory, in_files)]
    assert metrics[0] == metrics[1]
    assert any("training.memory_limit" in note for note in context.notes.to_data())
    assert verbs.verify.verify(str(in_files), context).is_equal
    assert [path.name for path in (tmp_path / "files").iterdir() if path.name.startswith(".")] == []


def test_a_bad_cell_of_a_table_in_files_is_named_by_its_row(tmp_path: Path, in_parts: None) -> None:
    ages = [str(number % 90) for number in range(N_ROWS)]
    ages[1672], ages[2900] = "old", "new"
    schema = Schema((Column("age", "integer"),), Column("price", "number"))
    with scratch_on_demand(tmp_path) as opened:
        scratch = opened()
        stored = StoredTable.write(pl.DataFrame({"age": ages}).iter_slices(700), scratch)
        with pytest.raises(RowError, match=r"row 1673, column 'age'.*'old'") as raised:
            read_rows(schema, stored)
    assert [fault.row for fault in raised.value.faults] == [1673, 2901]


def test_a_full_disk_ends_training_with_an_error_and_an_empty_scratch_folder(
    table: Path, tmp_path: Path, in_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scratch").mkdir()
    free = shutil.disk_usage(tmp_path)._replace(free=100_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    with pytest.raises(EstimatorError, match=r"training cannot write .* 100 MB are free") as raised:
        trained(table, tmp_path / "models", {"kind": "boosting"}, training={"scratch": str(tmp_path / "scratch")})
    assert "training.scratch" in str(raised.value.hint)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_models_that_need_their_rows_in_memory_learn_from_those_that_fit_and_say_so(
    table: Path, tmp_path: Path, in_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Forecast, "affordable_rows", lambda forecast, width: 1000)
    members = [{"kind": "linear"}, {"kind": "boosting", "n_estimators": 30}]
    folder, context = trained(table, tmp_path / "models", {"kind": "ensemble", "members": members})
    assert any(note.startswith("linear: learns from 1,000 of ") for note in context.notes.to_data())
    linear, boosting = json.loads((folder / "config.resolved.json").read_text())["model"]["members"]
    assert (linear["max_rows"], boosting["max_rows"]) == (1000, None)


def test_what_a_killed_training_has_left_in_the_scratch_folder_is_removed_by_the_next_one(
    table: Path, tmp_path: Path
) -> None:
    left = tmp_path / "scratch" / ".writing-12345-0123abcd"
    left.mkdir(parents=True)
    (left / "c0.arrow").write_bytes(b"rows")
    trained(table, tmp_path / "models", {"kind": "linear"}, training={"scratch": str(tmp_path / "scratch")})
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_matrix_in_a_file_is_removed_as_soon_as_nothing_uses_it(tmp_path: Path) -> None:
    schema, frame = Schema((Column("age", "integer"),), Column("price", "number")), pl.DataFrame({"age": range(3000)})
    with scratch_on_demand(tmp_path) as opened:
        scratch = opened()
        columns = StoredColumns(schema, StoredTable.write([frame], scratch))
        kept = columns.kept(columns.encoded(lambda batch: batch.feed["age"] * 2.0, 1))
        assert [path.suffix for path in sorted(scratch.folder.iterdir())].count(".matrix") == 1
        assert kept.block(2998, 3000).tolist() == [[5996.0], [5998.0]]
        assert kept.rows(np.array([1, 2999])).tolist() == [[2.0], [5998.0]]
        del kept
        assert [path.suffix for path in scratch.folder.iterdir()] == [".arrow"]


def test_a_scratch_folder_that_cannot_be_written_is_named(table: Path, tmp_path: Path, in_parts: None) -> None:
    (tmp_path / "file").write_text("")
    for folder, problem in ((tmp_path / "file", "is no folder"), (Path("/proc/sys"), "cannot be written")):
        with pytest.raises(EstimatorError, match=f"{folder}: {problem}") as raised:
            trained(table, tmp_path / "models", {"kind": "linear"}, training={"scratch": str(folder)})
        assert "training.scratch" in str(raised.value.hint)


def test_sigterm_removes_the_files(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended, scratch_on_demand(tmp_path / "new") as opened:
        (opened().folder / "c0.arrow").write_bytes(b"rows")
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 143
    assert not (tmp_path / "new").exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_long_texts_count_by_their_bytes(tmp_path: Path) -> None:
    frame = pl.DataFrame({"text": ["a long text " * 1000] * 200})
    limits = []
    with scratch_on_demand(tmp_path) as opened:
        read = read_table(frame.iter_slices(50), opened, lambda n_cells, n_bytes: limits.append(n_bytes) or False)
        assert isinstance(read, StoredTable)
        assert read["text"].to_list() == frame["text"].to_list()
    assert limits[0] >= 50 * 12_000


@pytest.mark.parametrize(
    ("text", "size"), [("4GB", 4e9), ("500 MB", 5e8), ("1gb", 1e9), ("2 GiB", 2**31), ("1.5kB", 1500)]
)
def test_a_size_has_a_number_and_a_unit(text: str, size: float) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["4", "0GB", "lots", "-1GB", "1e9", "GB"])
def test_what_is_no_size_is_rejected_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as 4GB or 500 MB"):
        parse_bytes(text)


def test_weak_slices_of_many_rows_are_looked_for_in_some_of_them(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explanation, "MAX_SLICED_ROWS", 400)
    folder, _ = trained(table, tmp_path / "models", {"kind": "linear"})
    assert json.loads((folder / "explanation.json").read_text())["weak_slices"]["rows"] == 400
