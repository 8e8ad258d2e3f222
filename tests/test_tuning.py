"""Searches: valid spaces, interrupted studies, and unbiased results."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import polars as pl
import pytest

from estimator import verbs
from estimator.config import read_config, resolve
from estimator.config.space import with_edits
from estimator.config.variant import write_variant
from estimator.errors import ConfigError, TrainingError
from estimator.models import SHELF
from estimator.models.nets.dense import Dense
from estimator.training.prepare import prepare
from estimator.tuning import Space
from estimator.tuning import search as search_module
from estimator.tuning.trial import PrunedError, TrialProgress, pruning_thresholds, run_trial, sample_rows
from estimator.verbs.context import SHELVES
from estimator.verbs.tune import TunedConfig
from tests.conftest import EXAMPLES, ROOT
from tests.servers import PASSWORD, postgresql

TREES = {"kind": "boosting", "n_estimators": 20, "early_stopping_rounds": 0}
RATES = {"model.learning_rate": {"low": 0.01, "high": 0.5, "log": True}, "model.num_leaves": [2, 4, 8]}


def numbers(rows: int = 160) -> pl.DataFrame:
    generator = np.random.default_rng(0)
    x, z = generator.standard_normal((2, rows))
    return pl.DataFrame({"x": x, "z": z, "y": 2 * x + np.square(z) + 0.3 * generator.standard_normal(rows)})


@pytest.fixture
def search_of(config_of):
    """Write a config with a search; by default a small one of small trees."""

    def write(frame: pl.DataFrame | None = None, *, model: Any = None, tuning: Any = None, **sections: Any) -> Path:
        chosen = {"space": RATES, "n_trials": 4, **(tuning or {})}
        return config_of(
            numbers() if frame is None else frame, "y", model=model or TREES, tuning=chosen,
            **{"validation": {"folds": 3}, **sections},
        )  # fmt: skip

    return write


def tune(conf: Path, *overrides: str, **options: Any) -> TunedConfig:
    tuned = verbs.tune.tune(conf, verbs.Context(overrides), **options)
    assert tuned is not None
    return tuned


def tried(made: TunedConfig) -> list[tuple[Any, ...]]:
    """Return what each finished trial tried and came to."""
    return [
        (trial.user_attrs["edits"], trial.state.name, trial.value)
        for trial in made.result.trials
        if "result" in trial.user_attrs
    ]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"model.num_leafs": [2, 4]},
            "tuning.space.model.num_leafs: unknown key 'num_leafs' (did you mean 'num_leaves'?",
        ),
        ({"model.num_leaves": {"low": 2, "hihg": 4}}, "unknown key 'hihg' (did you mean 'high'?"),
        ({"model.num_leaves": {"low": 2, "high": 40}}, "expected a whole number"),
        ({"model.num_leaves": {"low": 1, "high": 40, "integer": True}}, "expected a number of at least 2, got 1"),
        ({"model.num_leaves": {"low": 9, "high": 4}}, "expected low below high, got 9 and 4"),
        ({"model.reg_lambda": {"low": 0, "high": 4, "log": True}}, "log needs a low above 0"),
        ({"model.num_leaves": []}, "expected a list of at least 1, got []"),
        ({"model.kind": ["bosting"]}, "no model called 'bosting' (did you mean 'boosting'?"),
        ({"training.seed": [1, 2]}, "trials would be compared on different rows"),
        ({"evaluation.confidence": [0.5]}, "expected a key of model, training, features"),
        ({"features.columns.x.encoder": ["onehott"]}, "no encoder called 'onehott'"),
    ],
)
def test_an_invalid_space_is_reported_at_its_line(search_of, space, message):
    conf = search_of(tuning={"space": space})
    conf.write_text(json.dumps(json.loads(conf.read_text()), indent=1))
    line = next(n for n, text in enumerate(conf.read_text().splitlines(), 1) if f'"{next(iter(space))}"' in text)
    with pytest.raises(ConfigError) as caught:
        read_config(conf, SHELVES)
    assert message in caught.value.message
    assert f"config.json:{line}" in caught.value.message or "hihg" in message


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"latncy_ms": 4}, "did you mean 'latency_ms'?"),
        ({"r2": 0.5}, "expected a direction before the number"),
        ({"r2": "> 0.5"}, 'expected a number, or ">=" or "<=" and a number'),
    ],
)
def test_invalid_limits_are_rejected(search_of, limits, message):
    with pytest.raises(ConfigError, match=r"tuning\.limits") as caught:
        read_config(search_of(tuning={"limits": limits}), SHELVES)
    assert message in caught.value.message


def test_a_net_keeps_one_activation_per_layer_when_its_layers_change():
    config = read_config(EXAMPLES / "boston" / "config.json", SHELVES)
    values = with_edits(config, {"model.layers": [8, 8, 8, 8]}, SHELVES)
    assert [item["name"] for item in values["model"]["activations"]] == ["relu"] * 4
    assert with_edits(config, {"model.layers": [8], "model.activation": "gelu"}, SHELVES)["model"]["activations"] == [
        "gelu"
    ]


def test_nets_of_one_architecture_share_a_compilation():
    from estimator.core.task import Task

    config = read_config(EXAMPLES / "boston" / "config.json", SHELVES)
    rates = [
        resolve(with_edits(config, {"model.optimizer.learning_rate": rate}, SHELVES), SHELVES) for rate in (0.1, 0.2)
    ]
    first, second = (item.model.architecture(Task("regression")) for item in rates)
    assert first != second
    assert first.program == second.program


@pytest.mark.parametrize("kind", [kind for kind in SHELF.names() if kind != "constant"])
def test_every_kind_has_a_default_space(search_of, kind):
    config = read_config(search_of(model={"kind": kind}, tuning={"space": {}}), SHELVES)
    space = Space.of(config, SHELVES)
    content = {key: item if isinstance(item, list) else item.model_dump() for key, item in space.kinds[kind].items()}
    again = read_config(search_of(model={"kind": kind}, tuning={"space": content}), SHELVES)
    assert Space.of(again, SHELVES).kinds == space.kinds


def test_a_kind_without_settings_has_nothing_to_search(search_of):
    conf = search_of(model={"kind": "constant"}, tuning={"space": {}})
    with pytest.raises(ConfigError, match="no default search space"):
        tune(conf)


def test_the_same_seed_tries_the_same_settings_also_in_two_runs(search_of):
    whole = tried(tune(search_of(tuning={"n_trials": 7, "study": "a.log"})))
    tune(search_of(tuning={"n_trials": 3, "study": "b.log"}))
    parts = tried(tune(search_of(tuning={"n_trials": 7, "study": "b.log"})))
    assert whole == parts
    assert len(whole) == 7
    assert whole[0][0] == {}


def test_another_seed_tries_other_settings(search_of):
    made = [tried(tune(search_of(tuning={"study": f"{seed}.log"}, training={"seed": seed}))) for seed in (0, 1)]
    assert made[0][1][0] != made[1][1][0]


def test_searches_that_start_a_trial_at_once_try_different_settings():
    """They differ, and are those that one search tries one after the other."""

    def search(storage):
        return optuna.create_study(
            storage=storage, study_name="house", load_if_exists=True, sampler=search_module.SeededSampler(7)
        )

    shared = optuna.storages.InMemoryStorage()
    trials = [search(shared).ask(), search(shared).ask()]
    at_once = [trial.suggest_float("penalty", 0.1, 10.0) for trial in trials]
    alone = search(optuna.storages.InMemoryStorage())
    alone.optimize(lambda trial: trial.suggest_float("penalty", 0.1, 10.0), n_trials=2)
    assert at_once == [trial.params["penalty"] for trial in alone.trials]
    assert len(set(at_once)) == 2


def test_a_search_never_uses_the_held_out_rows(search_of):
    frame = numbers()
    config = read_config(search_of(frame), SHELVES)
    test = prepare(frame.cast(pl.String), config).test_mask
    turned = frame.with_columns(
        pl.when(pl.Series(test)).then(pl.col(name).filter(pl.Series(~test)).first() * 0.5).otherwise(pl.col(name))
        for name in frame.columns
    )
    made = tune(search_of(frame, tuning={"study": "a.log"}))
    again = tune(search_of(turned, tuning={"study": "b.log"}))
    assert tried(made) == tried(again)
    assert made.result.held_out != again.result.held_out


def test_the_tuned_config_trains_the_best_trial(search_of):
    conf = search_of(tuning={"n_trials": 6})
    made = tune(conf)
    trained = verbs.train.train(made.conf, verbs.Context(store_path=str(conf.parent / "models")))
    assert trained.report.folds is not None
    assert trained.report.folds["rmse"].value == pytest.approx(made.result.search_score, rel=1e-9)
    assert trained.report.metrics["rmse"].value == pytest.approx(made.result.held_out.value, rel=1e-9)
    assert made.conf.name == "config.tuned.json"


def test_a_net_is_searched_and_its_config_trains_it(search_of):
    space = {
        "model.layers": {"count": {"low": 1, "high": 2}, "units": {"low": 4, "high": 8}},
        "model.optimizer.learning_rate": {"low": 0.001, "high": 0.1, "log": True},
    }
    model = {"kind": "dense", "layers": [4], "activations": ["tanh"]}
    made = tune(search_of(model=model, tuning={"space": space, "n_trials": 3}, training={"epochs": 8}))
    trained = verbs.train.train(made.conf, verbs.Context(store_path=str(made.conf.parent / "models")))
    assert trained.report.folds is not None
    assert trained.report.folds["rmse"].value == pytest.approx(made.result.search_score, rel=1e-4)
    steps = [trial.intermediate_values for trial in made.result.trials if "result" in trial.user_attrs]
    assert set(steps[0]) == {1, 2, 11, 12}


def test_comments_stay_and_overrides_are_written(tmp_path):
    conf = tmp_path / "c.yml"
    conf.write_text(
        "data: {path: t.csv, target: y}   # the table\nmodel:\n  kind: dense\n  # slow and sure\n  optimizer: adam\n"
    )
    overrides = ["training.epochs=7"]
    config = read_config(conf, SHELVES, overrides=overrides)
    edits = {"model.optimizer.learning_rate": 0.02, "model.layers": [8, 4]}
    written = write_variant(conf, config, edits, SHELVES, overrides=overrides)
    text = written.read_text()
    assert "# the table" in text
    assert "# slow and sure" in text
    again = read_config(written, SHELVES)
    assert again == resolve(with_edits(config, edits, SHELVES), SHELVES)


@pytest.mark.parametrize("ending", ["json", "toml"])
def test_other_files_are_written_too(tmp_path, ending):
    if ending == "json":
        conf = EXAMPLES / "boston" / "config.json"
        (tmp_path / "c.json").write_text(conf.read_text())
    else:
        (tmp_path / "c.toml").write_text('[data]\npath = "t.csv"\ntarget = "y"\n[model]\nkind = "dense"\n')
    conf = tmp_path / f"c.{ending}"
    config = read_config(conf, SHELVES)
    edits = {"model.layers": [8, 4, 4, 4], "model.activation": "gelu", "training.batch_size": 16}
    written = write_variant(conf, config, edits, SHELVES)
    assert written.name == "c.tuned.json"
    assert read_config(written, SHELVES) == resolve(with_edits(config, edits, SHELVES), SHELVES)


def test_several_kinds_are_searched_at_once(search_of):
    space = {"model.kind": ["boosting", "linear"], "model.num_leaves": [2, 4]}
    made = tune(search_of(tuning={"space": space, "n_trials": 8}))
    names = [set(trial.params) for trial in made.result.trials if trial.params]
    assert {"model.kind", "boosting.num_leaves"} in names
    assert {"model.kind", "linear.penalty"} in names
    assert read_config(made.conf, SHELVES)


def test_the_same_settings_are_trained_once(search_of, monkeypatch):
    trained = []

    def counted(table: Any, config: Any, *others: Any, **named: Any) -> Any:
        trained.append(config.model.num_leaves)
        return run_trial(table, config, *others, **named)

    monkeypatch.setattr(search_module, "run_trial", counted)
    made = tune(search_of(tuning={"space": {"model.num_leaves": [2, 3]}, "n_trials": 8}))
    assert made.result.progress.done == 8
    assert sorted(trained) == sorted(set(trained))


def test_a_file_that_is_not_a_study_is_rejected(search_of):
    conf = search_of(tuning={"study": "table.csv"})
    table = conf.with_name("table.csv")
    table.write_bytes(table.read_bytes().rstrip())
    before = table.read_bytes()
    with pytest.raises(ConfigError, match=r"tuning\.study: .*table\.csv cannot be used"):
        tune(conf)
    assert table.read_bytes() == before


def test_poor_trials_are_pruned_and_counted(search_of):
    space = {"model.learning_rate": [0.5, 0.4, 0.3, 1e-6], "model.num_leaves": [2, 3, 4, 5, 6, 7, 8]}
    made = tune(search_of(tuning={"space": space, "n_trials": 16}))
    pruned = [trial for trial in made.result.trials if trial.state.name == "PRUNED"]
    assert made.result.progress.pruned == len(pruned) > 0
    assert all("worse than half" in trial.user_attrs["result"]["reason"] for trial in pruned)
    assert made.result.progress.done == 16


def test_trials_are_halved_once_and_not_at_every_step():
    finished = [{0: loss, 1: loss} if loss < 3 else {0: loss} for loss in range(6)]
    assert pruning_thresholds(finished) == {0: 3.0, 1: np.inf}
    assert pruning_thresholds(finished[:3]) == {}
    progress = TrialProgress(pruning_thresholds(finished))
    progress.report(0, 3.0, "here")
    with pytest.raises(PrunedError, match="worse than half of the trials here"):
        progress.report(0, 3.1, "here")


def test_a_sample_is_drawn_first(search_of):
    conf = search_of(tuning={"sample": 0.3, "n_trials": 2})
    made = tune(conf)
    assert all(0 in trial.intermediate_values for trial in made.result.trials)
    config = read_config(conf, SHELVES)
    table = prepare(numbers().cast(pl.String), config).fit_data(config)
    part = sample_rows(table, 0.3, 0)
    assert len(part.rows) == round(0.3 * len(table.rows))
    assert part.n_folds == table.n_folds


def test_a_graph_over_the_size_limit_is_excluded(search_of):
    space = {"model.n_estimators": [5, 300]}
    limits = {"size_mb": 0.02, "r2": ">= -1"}
    made = tune(search_of(tuning={"space": space, "n_trials": 6, "limits": limits}))
    reasons = {trial.user_attrs["result"]["reason"] for trial in made.result.trials}
    assert made.result.edits.get("model.n_estimators", 20) < 300
    assert made.result.progress.over_limit > 0
    assert any(reason and reason.startswith("size_mb") and "expected <= 0.02" in reason for reason in reasons)
    assert "over a limit" in made.result.counts


def test_no_settings_within_the_limits_is_an_explained_failure(search_of):
    conf = search_of(tuning={"limits": {"latency_ms": 1e-6}})
    with pytest.raises(TrainingError, match=r"none of 4 trials .* latency_ms .* expected <= 1e-06"):
        tune(conf)


def test_a_study_belongs_to_one_search(search_of):
    tune(search_of())
    other = search_of(model={**TREES, "reg_lambda": 3.0})
    with pytest.raises(ConfigError, match="belong to another search; changed since: model") as caught:
        tune(other)
    assert "--fresh" in str(caught.value.hint)
    assert tune(other, fresh=True).result.progress.done == 4


def test_an_unfinished_journal_line_is_removed(search_of):
    conf = search_of(tuning={"n_trials": 2})
    tune(conf)
    with (conf.parent / "tuning" / "journal.log").open("a") as journal:
        journal.write('{"op_code": 4, "half')
    assert tune(conf, "tuning.n_trials=3").result.progress.done == 3


def test_no_improvement_is_reported(search_of, run):
    conf = search_of(tuning={"space": {"model.learning_rate": [1e-6, 2e-6]}, "n_trials": 2})
    code, result, _ = run("tune", "--conf", conf, "--json")
    assert code == 0
    assert result["verdict"] == "no settings better than the current config were found"
    code, result, _ = run("tune", "--conf", conf)
    assert "next: estimator train --conf" in result["text"]


def test_a_search_has_one_verdict_that_of_the_held_out_rows(search_of, run):
    conf = search_of(model={**TREES, "learning_rate": 1e-6}, tuning={"space": {"model.learning_rate": [0.1, 0.2]}})
    code, result, _ = run("tune", "--conf", conf)
    assert code == 0
    verdicts = [line for line in result["text"].splitlines() if "better" in line.lower()]
    assert len(verdicts) == 1
    assert verdicts[0].startswith("the best settings compared with the current config, on held-out rows: better: rmse")


def test_the_page_is_self_contained(search_of):
    page = tune(search_of(tuning={"n_trials": 6, "limits": {"size_mb": 9.0}})).page.read_text()
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    for heading in (
        "Search history",
        "Hyperparameter importance",
        "Score against size_mb",
        "All trials",
        "learning_rate",
    ):
        assert heading in page


@dataclass(frozen=True)
class RunningTrials:
    """The trials that a journal says are running, number -> process, and all processes that began a trial."""

    running: Mapping[int, int]
    processes: tuple[int, ...]

    @classmethod
    def of(cls, journal: Path) -> RunningTrials:
        lines = journal.read_text().splitlines(keepends=True) if journal.exists() else []
        entries = [json.loads(line) for line in lines if line.endswith("\n") and '"user_attr"' in line]
        owners, edited, finished = {}, set(), set()
        for entry in entries:
            number, attributes = entry.get("trial_id"), entry["user_attr"]
            if "owner" in attributes:
                owners[number] = int(attributes["owner"].split(":")[-2])
            edited |= {number} if "edits" in attributes else set()
            finished |= {number} if "result" in attributes else set()
        return cls({number: owners[number] for number in edited - finished}, tuple(owners.values()))


def wait_for(is_true: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not is_true():
        assert process.poll() is None, "the search ended before"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stop_in_a_trial(journal: Path, process: subprocess.Popen[str], *, n_started: int) -> int:
    """Stop a process that runs a trial, however slow the machine is, and return its id; it holds no lock."""

    def try_to_stop() -> bool:
        trials = RunningTrials.of(journal)
        if len(trials.processes) < n_started or not trials.running:
            return False
        number = max(trials.running)
        os.kill(trials.running[number], signal.SIGSTOP)
        with journal.with_name(f".{journal.name}.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_stopped = number in RunningTrials.of(journal).running
            except BlockingIOError:
                is_stopped = False
        if not is_stopped:
            os.kill(trials.running[number], signal.SIGCONT)
        stopped.append(trials.running[number])
        return is_stopped

    stopped: list[int] = []
    wait_for(try_to_stop, process)
    return stopped[-1]


# One trial is far longer than the writing of its result, so that a search can be stopped in the middle of one.
SLOW_TREES = {"kind": "boosting", "n_estimators": 500, "early_stopping_rounds": 0}


@pytest.mark.parametrize("interruption", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_search_resumes(search_of, interruption):
    conf = search_of(model=SLOW_TREES, tuning={"n_trials": 100}, validation={"folds": 2})
    process = subprocess.Popen(
        [sys.executable, "-m", "estimator", "tune", "--conf", str(conf)], stderr=subprocess.PIPE, text=True
    )
    journal = conf.parent / "tuning" / "journal.log"
    assert stop_in_a_trial(journal, process, n_started=2) == process.pid
    n_finished = len(RunningTrials.of(journal).processes) - 1
    process.send_signal(interruption)
    process.send_signal(signal.SIGCONT)
    _, message = process.communicate(timeout=60)
    if interruption is signal.SIGINT:
        assert process.returncode == 130
        assert "the same command, without --fresh, continues" in message
    made = tune(conf, f"tuning.n_trials={n_finished + 2}")
    lost = [trial for trial in made.result.trials if trial.state.name == "FAIL"]
    assert made.result.progress.done == n_finished + 2
    assert len(lost) == made.result.progress.retried == 1
    again = [trial for trial in made.result.trials if trial.user_attrs.get("retry_of") == lost[0].number]
    assert [trial.params for trial in again] == [lost[0].params]


def test_two_workers_share_a_study_and_one_may_be_killed(search_of):
    conf = search_of(model=SLOW_TREES, tuning={"n_trials": 6}, validation={"folds": 2})
    command = [sys.executable, "-m", "estimator", "tune", "--conf", str(conf), "--workers", "2", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    journal = conf.parent / "tuning" / "journal.log"
    worker = stop_in_a_trial(journal, process, n_started=1)
    wait_for(lambda: len(set(RunningTrials.of(journal).processes)) == 2, process)
    processes = RunningTrials.of(journal).processes
    os.kill(worker, signal.SIGKILL)
    result = json.loads(process.communicate(timeout=120)[0])
    assert result["trials"]["done"] == 6
    assert result["trials"]["retried"] == 1
    assert result["trials"]["running"] == 0
    assert process.pid not in processes


def test_a_database_holds_a_study_for_several_machines(search_of):
    with postgresql() as server:
        conf = search_of(tuning={"study": server.address})
        context = verbs.Context((), {"PGPASSWORD": PASSWORD})
        searches = [
            verbs.tune.tune(conf, replace(context, overrides=(f"tuning.n_trials={number}",))) for number in (2, 3)
        ]
    assert [made.result.progress.done for made in searches if made is not None] == [2, 3]
    assert searches[0] is not None
    assert PASSWORD not in searches[0].conf.read_text()


def test_the_example_of_the_docs_runs(tmp_path):
    page = (ROOT / "docs" / "how-to" / "tune.md").read_text()
    conf = tmp_path / "config.yml"
    conf.write_text(page.split("```yaml\n")[1].split("```")[0])
    (tmp_path / "boston.csv").write_bytes((EXAMPLES / "boston" / "boston.csv").read_bytes())
    overrides = ("tuning.n_trials=1", "training.epochs=2", "validation.folds=2", "tuning.limits.latency_ms=1000")
    assert tune(conf, *overrides).result.progress.done == 1
    # Nets of other sizes are not trained here, because each is compiled.
    space, study = (
        Space.of(read_config(conf, SHELVES), SHELVES),
        optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)),
    )
    edits = [space.suggested(study.ask()) for _ in range(10)]
    assert all(isinstance(space.varied(item).model, Dense) for item in edits)
    assert len({len(item["model.layers"]) for item in edits}) > 1
