"""Batch prediction: every row once and in order, even if a run is killed halfway."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import polars as pl
import pytest

from estimator import verbs
from estimator.core.lock import locked
from estimator.data.sinks import FileSink
from estimator.data.sources.opener import open_source
from estimator.errors import RowError, SourceError
from estimator.store.batch_prediction import _rows_id, predict_source
from tests.conftest import ROOT, read_example

FILES, ROWS = 11, 40
KILLED = """
import os, signal, sys
from pathlib import Path
from estimator import verbs
from estimator.store.batch_prediction import _rows_id, predict_source
from estimator.data.sinks import FileSink
from estimator.data.sources.opener import open_source

def progress(rows):
    if rows >= int(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)

with open_source(sys.argv[2]) as source:
    predictor = verbs.Context().version(sys.argv[1]).predictor
    predict_source(predictor, source, FileSink(Path(sys.argv[3])), progress=progress)
"""


@pytest.fixture
def houses(tmp_path):
    """A folder of files with rows of Boston; each file is one batch."""
    folder = tmp_path / "houses"
    folder.mkdir()
    table = read_example("boston").drop("MEDV")
    for number in range(FILES):
        table[number * ROWS : (number + 1) * ROWS].write_csv(folder / f"{number:02d}.csv")
    return folder


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 100 kB; only root can make one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def predictor(store):
    return verbs.Context(store_path=str(store)).version("house_pricing_model").predictor


def killed_at(rows: int, store, houses, output) -> None:
    command = [sys.executable, "-c", KILLED, str(store / "house_pricing_model"), str(houses), str(output), str(rows)]
    ended = subprocess.run(command, cwd=ROOT, check=False)
    assert ended.returncode == -signal.SIGKILL


def predict(predictor, houses, output, **options):
    with open_source(str(houses)) as source:
        return predict_source(predictor, source, FileSink(output), **options)


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_killed_run_resumes_without_losing_rows(store, predictor, houses, tmp_path, ending):
    output, whole = tmp_path / f"predictions{ending}", tmp_path / "whole.parquet"
    predict(predictor, houses, whole)
    for rows in (6 * ROWS, 10 * ROWS):
        killed_at(rows, store, houses, output)
        assert not output.exists()
    progress: list[int] = []
    summary = predict(predictor, houses, output, progress=progress.append)
    assert summary.rows_resumed == 8 * ROWS
    assert progress[0] == 9 * ROWS
    assert summary.rows == FILES * ROWS
    table = pl.read_parquet(output) if ending == ".parquet" else pl.read_csv(output)
    assert table["prediction"].to_list() == pl.read_parquet(whole)["prediction"].to_list()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["houses", "predictions" + ending, "whole.parquet"]


def test_run_killed_while_its_parts_are_removed_is_whole_again(predictor, houses, tmp_path, monkeypatch):
    def removes_one(folder):
        next(folder.glob("*.parquet")).unlink()
        raise KeyboardInterrupt

    output = tmp_path / "predictions.parquet"
    with monkeypatch.context() as patched:
        patched.setattr("estimator.store.partial_output.shutil.rmtree", removes_one)
        with pytest.raises(KeyboardInterrupt):
            predict(predictor, houses, output)
    assert predict(predictor, houses, output).rows == pl.read_parquet(output).height == FILES * ROWS
    assert not list(tmp_path.glob(".*"))


def test_parts_that_were_lost_are_predicted_again(store, predictor, houses, tmp_path):
    output = tmp_path / "predictions.parquet"
    killed_at(10 * ROWS, store, houses, output)
    next(tmp_path.glob(".predictions*.parts/00000000.parquet")).unlink()
    summary = predict(predictor, houses, output)
    assert (summary.rows, summary.rows_resumed) == (FILES * ROWS, 0)
    assert pl.read_parquet(output).height == FILES * ROWS


@pytest.mark.parametrize("place", ["scratch", "elsewhere"])
def test_rows_are_known_again(predictor, houses, tmp_path, monkeypatch, place):
    """By their files' sizes and times, or by what they hold where files are copies."""
    monkeypatch.setattr("estimator.store.batch_prediction.gettempdir", lambda: str(tmp_path / place))
    for folder in ("scratch", "scratch2"):
        shutil.copytree(houses, tmp_path / folder)
    identities = set()
    for folder in ("scratch", "scratch", "scratch2"):
        with open_source(str(tmp_path / folder)) as source:
            identities.add(_rows_id(predictor, source, []))
    assert len(identities) == 2


def test_changed_input_does_not_resume(store, predictor, houses, tmp_path):
    output = tmp_path / "predictions.parquet"
    killed_at(6 * ROWS, store, houses, output)
    (houses / "00.csv").write_text((houses / "00.csv").read_text().replace("396.9", "396.8"))
    assert predict(predictor, houses, output).rows_resumed == 0
    assert pl.read_parquet(output).height == FILES * ROWS


def test_faults_are_counted_and_capped(store, predictor, houses, tmp_path):
    for number in (0, 9):
        path = houses / f"{number:02d}.csv"
        path.write_text("\n".join(line.replace("396.9", "many") for line in path.read_text().splitlines()))
    summary = predict(predictor, houses, tmp_path / "predictions.csv", invalid_as_missing=True)
    predictions = pl.read_csv(tmp_path / "predictions.csv")["prediction"]
    assert summary.rows_without_prediction == predictions.null_count() > 2
    assert len(summary.faults) <= 20
    with pytest.raises(RowError):
        predict(predictor, houses, tmp_path / "predictions.parquet")
    assert not list(tmp_path.glob(".*"))


def test_concurrent_runs_do_not_mix(store, predictor, houses, tmp_path):
    output = tmp_path / "predictions.parquet"
    killed_at(6 * ROWS, store, houses, output)
    with (
        locked(output, purpose="predicting into it"),
        pytest.raises(SourceError, match=f"another process is predicting into it: process {os.getpid()}"),
    ):
        predict(predictor, houses, output)
    assert predict(predictor, houses, output).rows == FILES * ROWS


def test_full_disk_is_named_and_the_next_run_goes_on(predictor, houses, tmp_path, small_disk):
    output, whole = small_disk / "predictions.csv", tmp_path / "whole.csv"
    predict(predictor, houses, whole)
    # Some parts fit in what is left, the output does not.
    (small_disk / "other").write_bytes(b"x" * 80_000)
    with pytest.raises(SourceError, match="cannot be written: no space left on the device") as raised:
        predict(predictor, houses, output)
    assert "run the same command again: it goes on from the parts in" in str(raised.value.hint)
    (small_disk / "other").unlink()
    assert predict(predictor, houses, output).rows_resumed > 0
    assert output.read_bytes() == whole.read_bytes()
    assert [path.name for path in small_disk.iterdir() if path.is_dir()] == []
