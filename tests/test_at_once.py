"""Two processes at once: nothing that one of them writes is lost to the other, and the second learns of the first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import optuna
import polars as pl
import pytest
from optuna.storages.journal import JournalFileBackend

from estimator import verbs
from estimator.config.document import read_document
from estimator.config.editor import write_edits
from estimator.errors import DeploymentError, ImageError
from estimator.shipping.deployment import DeploymentContext
from estimator.shipping.deployment.base import deployment_lock
from estimator.shipping.image.build_record import read_record, record_lock, write_record
from estimator.tuning.study import FINISHED
from tests.chaos import at_once
from tests.test_learned_rows import table, trained

# Trains models and starts the command line.
pytestmark = pytest.mark.slow


def commands_at_once(folder: Path, *commands: Sequence[object]) -> list[subprocess.CompletedProcess[str]]:
    """Run several commands of the command line at the same time."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "estimator", *map(str, command)],
            cwd=folder, env=dict(os.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for command in commands
    ]  # fmt: skip
    outputs = [process.communicate(timeout=120) for process in processes]
    return [
        subprocess.CompletedProcess(process.args, process.returncode, *output)
        for process, output in zip(processes, outputs, strict=True)
    ]


@pytest.mark.parametrize("name", ["config.yml", "config.json"])
def test_edits_of_a_config_are_all_kept(tmp_path, name):
    path = tmp_path / name
    path.write_text('{"data": {"path": "t.csv", "target": "y", "drop": []}}')

    def edit_often(letter: str) -> None:
        for number in range(20):
            write_edits(path, {"data.drop": [f"{letter}{number}"]})

    at_once(partial(edit_often, "a"), partial(edit_often, "b"))
    dropped = read_document(path).values["data"]["drop"]
    assert sorted(dropped) == sorted(f"{letter}{number}" for letter in "ab" for number in range(20))
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_explorations_that_accept_findings_keep_both_edits(tmp_path):
    table().with_columns(same=pl.lit(1), number=pl.int_range(pl.len())).write_csv(tmp_path / "t.csv")
    conf = tmp_path / "config.yml"
    conf.write_text("name: house\ndata: {path: t.csv, target: price}\n")
    found = verbs.explore.explore(conf, verbs.Context(), page=tmp_path / "e.html").findings
    edits = {name: finding.number for finding in found for name in (finding.edit or {}).get("data.drop", ())}
    numbers = [edits["same"], edits["number"]]
    arguments = ("explore", "--conf", "config.yml", "--accept")
    done = commands_at_once(tmp_path, *[(*arguments, number) for number in numbers])
    assert [run.returncode for run in done] == [0, 0], [run.stderr for run in done]
    assert set(read_document(conf).values["data"]["drop"]) >= {"same", "number"}


def search(folder: Path, name: str, **tuning: object) -> Path:
    content = {
        "name": "house",
        "data": {"path": "t.csv", "target": "price"},
        "model": {"kind": "linear"},
        "validation": {"folds": 2},
        "evaluation": {"bootstrap_samples": 100, "importance_repeats": 0},
        "tuning": {"n_trials": 12, "space": {"model.penalty": {"low": 0.1, "high": 10.0}}, **tuning},
    }
    (folder / name).write_text(json.dumps(content))
    return folder / name


def test_two_searches_share_a_study(tmp_path):
    """No line of the journal is cut or lost, and no trial runs twice."""
    table().write_csv(tmp_path / "t.csv")
    conf = search(tmp_path, "config.json")
    done = commands_at_once(tmp_path, *[("tune", "--conf", conf)] * 2)
    assert [run.returncode for run in done] == [0, 0], [run.stderr for run in done]
    journal = tmp_path / "tuning" / "journal.log"
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(journal)))
    trials = optuna.load_study(study_name="house", storage=storage).trials
    finished = [trial for trial in trials if trial.state in FINISHED]
    assert 12 <= len(finished) <= 13
    assert len({json.dumps(trial.params) for trial in finished}) == len(finished)
    assert [path.name for path in journal.parent.iterdir()] == ["journal.log"]


def test_another_search_in_the_same_study_is_rejected_whoever_comes_first(tmp_path):
    table().write_csv(tmp_path / "t.csv")
    confs = [search(tmp_path, "a.json"), search(tmp_path, "b.json", space={"model.penalty": [1.0, 2.0]})]
    done = commands_at_once(tmp_path, *[("tune", "--conf", conf) for conf in confs])
    assert sorted(run.returncode for run in done) == [0, 1], [run.stderr for run in done]
    assert "belong to another search" in "".join(run.stderr for run in done)


def test_two_retrainings_keep_their_own_rows(tmp_path):
    """Every candidate can be made again from the rows that it names, and both decisions are kept."""
    trained(tmp_path, table(), retraining={"candidates": ["refit", "new_only"]})
    for number in (2, 3):
        table(number, 60).write_csv(tmp_path / f"new{number}.csv")
    retrain = ("retrain", "house", "--store", "models", "--input")
    done = commands_at_once(tmp_path, *[(*retrain, f"new{number}.csv") for number in (2, 3)])
    assert all(run.returncode in (0, 3) for run in done), [run.stderr for run in done]
    context = verbs.Context(store_path=str(tmp_path / "models"))
    model = tmp_path / "models" / "house"
    records = [json.loads(path.read_text()) for path in model.glob("decisions/*/decision.json")]
    versions = [candidate["version"] for record in records for candidate in record["candidates"]]
    assert len(set(versions)) == 4
    assert [verbs.verify.verify(f"house/{version}", context).is_equal for version in versions] == [True] * 4
    assert len(list((model / "rows").iterdir())) == 2


def count_up(folder: Path) -> None:
    """Read the record of an image and write it with a higher number, as often as the lock is free."""
    n_left = 25
    while n_left:
        try:
            with record_lock(folder, purpose="pushing it"):
                record = read_record(folder)
                write_record({**record, "tag": record["tag"] + 1}, folder)
                n_left -= 1
        except ImageError as error:
            assert "another process is pushing it" in error.message  # it comes or not


def test_records_of_images_change_one_at_a_time(tmp_path):
    write_record({"name": "m", "tag": 0, "builder": "direct", "layout": None}, tmp_path)
    at_once(*[partial(count_up, tmp_path)] * 2)
    assert read_record(tmp_path)["tag"] == 50


def deploy_often(folder: Path) -> None:
    """Deploy into a file as often as the lock is free; no other process is in meanwhile."""
    context, n_left = DeploymentContext(folder, {}), 25
    while n_left:
        try:
            with deployment_lock(context):
                inside = os.open(folder / "inside", os.O_CREAT | os.O_EXCL)
                os.close(inside)
                (folder / "inside").unlink()
                n_left -= 1
        except DeploymentError as error:
            assert "another process is deploying from it" in error.message  # it comes or not


def test_deployments_from_a_folder_run_one_at_a_time(tmp_path):
    at_once(*[partial(deploy_often, tmp_path)] * 2)
    assert list(tmp_path.iterdir()) == []
