"""Independent work gives the same results on every engine, and says what is wrong when an engine is."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from estimator import tuning
from estimator.checks import engines as checks
from estimator.config import EngineChoice
from estimator.config.authority import description
from estimator.engine import LOCAL, SHELF, LocalEngine, open_engine
from estimator.errors import ConfigError, EngineError, MissingExtraError
from estimator.evaluation.metrics import SHELF as METRICS
from estimator.evaluation.validation import out_of_fold_predictions
from estimator.models import SHELF as MODELS
from estimator.models import silent
from estimator.tuning.trial import FIRST_FOLD_STEP, Objective, run_trial
from estimator.verbs.context import SHELVES, Context
from estimator.verbs.tune import Workers, tune
from tests.engine_rows import config_with, graph_hash, houses, patiently, prepared_houses, trained_by

# Jax, loaded by another test of this process, warns of forks; those of Ray are replaced by a program at once.
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")


@pytest.fixture(scope="module")
def cluster():
    """A Ray cluster of one node, which several tests join one after another."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "include_dashboard": False}
    started = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
    yield started
    started.shutdown()


@pytest.fixture(scope="module")
def ray_engine(cluster):
    with open_engine(EngineChoice(kind="ray", address=cluster.address)) as engine:
        yield engine


@pytest.fixture(scope="module")
def rows():
    return prepared_houses()


@pytest.mark.parametrize("kind", ["linear", "boosting", "ensemble"])
def test_model_is_the_same_on_every_engine(rows, ray_engine, kind):
    local, remote = (trained_by(engine, rows, kind) for engine in (LOCAL, ray_engine))
    assert graph_hash(local) == graph_hash(remote)
    assert np.array_equal(local.out_of_fold, remote.out_of_fold, equal_nan=True)


def test_split_uses_the_engine_too(rows, ray_engine):
    prepared, config = rows
    config = config.model_copy(update={"validation": config.validation.model_copy(update={"folds": 1})})
    split = prepared.with_folds(config), config
    members = [{"kind": "linear"}, {"kind": "boosting"}]
    local, remote = (trained_by(engine, split, "ensemble", members=members) for engine in (LOCAL, ray_engine))
    assert graph_hash(local) == graph_hash(remote)


@pytest.mark.parametrize("kind", ["boosting", "ensemble"])
def test_trials_are_the_same_on_every_engine(rows, ray_engine, tmp_path, kind):
    """Scores, losses at the steps where trials are compared, and which trials are pruned."""
    members = {"members": [{"kind": "linear"}, {"kind": "boosting"}]} if kind == "ensemble" else {}
    space = {"features.target_smoothing": [1, 10, 100]} if kind == "ensemble" else {"model.num_leaves": [2, 4, 8, 16]}
    config = config_with(
        {
            "model": {"kind": kind, **members},
            "validation": {"folds": 3},
            "tuning": {"space": space, "n_trials": 4 if kind == "ensemble" else 10, "sample": 0.5},
        }
    )
    assert trials(LOCAL, config, tmp_path / "local") == trials(ray_engine, config, tmp_path / "ray")


def trials(engine, config, folder):
    folder.mkdir(exist_ok=True)
    search = tuning.Search.of(tuning.Space.of(config, SHELVES), tuning.TuningRows(houses(), config, engine=engine))
    spec = tuning.StudySpec.of(config, "a model", {}, folder)
    with tuning.open_study(spec, search.space.current(), fresh=False, environment={}) as study:
        tuning.run_search(study, search)
        found = study.get_trials()
    return [(trial.params, trial.state, trial.value, trial.intermediate_values) for trial in found]


def test_pruned_trial_says_the_same_on_every_engine(rows, ray_engine):
    """A trial that is worse than half of the others ends in its first fold, or after two of three."""
    prepared, config = rows
    config = config.model_copy(update={"model": MODELS.load("boosting")(n_estimators=40)})
    objective = Objective({"rmse": METRICS.load("rmse")()}, [], can_compare_losses=True)
    for step in (1, 2, FIRST_FOLD_STEP + 1, FIRST_FOLD_STEP + 2):
        local, remote = (
            run_trial(
                replace(prepared.fit_data(config), held_out=None, engine=engine),
                config,
                objective,
                sample=None,
                thresholds={step: 0.0},
                progress=silent,
            )
            for engine in (LOCAL, ray_engine)
        )
        assert "worse than half of the trials after" in local.reason
        assert (local.reason, local.steps) == (remote.reason, remote.steps)


def test_lost_engine_is_no_result_of_a_trial(tmp_path):
    """The trial is queued again, so that the same command continues."""
    config = config_with({"model": {"kind": "linear"}, "validation": {"folds": 3}, "tuning": {"n_trials": 3}})
    with pytest.raises(EngineError, match="lost"):
        trials(LostEngine(), config, tmp_path)
    found = trials(LOCAL, config, tmp_path)
    assert [state.name for _, state, *_ in found] == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]


def test_processes_of_a_search_do_not_each_start_a_cluster(tmp_path):
    houses().write_csv(tmp_path / "t.csv")
    (tmp_path / "config.yml").write_text("data: {path: t.csv, target: price}\n")
    with pytest.raises(ConfigError, match="--workers 2: each process would start a cluster of its own") as caught:
        tune(tmp_path / "config.yml", Context(engine_name="ray"), workers=Workers(2))
    assert "--engine ray://HOST:10001" in caught.value.hint


class LostEngine(LocalEngine):
    def map(self, *arguments, **options):
        raise EngineError("the cluster was lost")


def named(promises):
    return pytest.mark.parametrize("promise", promises, ids=lambda promise: promise.__name__)


def engines():
    return pytest.mark.parametrize("name", ["local", "ray"])


@pytest.fixture
def engine(name, request):
    return LocalEngine(2) if name == "local" else request.getfixturevalue("ray_engine")


@named(checks.PROMISES)
@engines()
def test_engines_keep_their_promises(engine, promise):
    promise(engine)


def plus(shared, item):
    return shared + item


def refuses(shared, item):
    raise ConnectionError("no route to the database")


@engines()
def test_lost_connection_of_an_item_is_not_one_of_the_engine(engine):
    with pytest.raises(ConnectionError, match="no route to the database"):
        engine.map(refuses, None, [0])


def dies_once(marker, item):
    if item == 1 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_killed_process_is_replaced(ray_engine, tmp_path):
    assert ray_engine.map(dies_once, tmp_path / "died", range(3)) == [0, 1, 2]
    assert (tmp_path / "died").exists()


def dies(shared, item):
    os.kill(os.getpid(), signal.SIGKILL)


def test_item_that_kills_every_process_is_an_error(ray_engine):
    with pytest.raises(EngineError, match=r"engine: the cluster at .* failed: ") as caught:
        ray_engine.map(dies, None, [0])
    assert "--engine local" in caught.value.hint
    assert ray_engine.map(plus, 1, [1]) == [2]


def sharing(arrays, item):
    return os.getpid(), [array.flags.writeable for array in arrays], [float(array.sum()) for array in arrays]


def test_numbers_are_read_where_they_lie(ray_engine):
    """Arrays in memory that processes share cannot be written; copies could."""
    arrays = [np.arange(200_000.0), np.ones((1000, 50))]
    pid, writeable, sums = ray_engine.map(sharing, arrays, [0])[0]
    assert pid != os.getpid()
    assert (writeable, sums) == ([False, False], [array.sum() for array in arrays])


def test_rows_are_sent_once(ray_engine):
    arrays = [np.zeros(1000)]
    first = ray_engine._put(arrays)
    assert ray_engine._put(arrays) is first
    assert ray_engine._put([np.zeros(1000)]) is not first


def same_batch(batch, item):
    return [(name, values.dtype.str, values.tolist()) for name, values in batch.feed.items()]


def test_texts_arrive_as_they_were(ray_engine, rows):
    batch = rows[0].rows.batch
    assert ray_engine.map(same_batch, batch, [0]) == [same_batch(batch, 0)]


def test_at_most_so_many_run_at_once(ray_engine, tmp_path):
    one = replace(ray_engine, workers=1)
    assert max(one.map(running_at_once, tmp_path, range(4))) == 1


def test_node_with_other_packages_is_an_error():
    pytest.importorskip("ray")
    from estimator.engine.ray import _check_versions, _versions

    _check_versions(_versions())
    with pytest.raises(EngineError, match=r"engine: node .* has numpy .*, not 1.0, as this machine"):
        _check_versions({**_versions(), "numpy": "1.0"})


def running_at_once(folder, item):
    mine = folder / str(item)
    mine.touch()
    n_running = len(list(folder.iterdir()))
    time.sleep(0.1)
    mine.unlink()
    return n_running


def test_address_that_nothing_listens_at_is_an_error_at_once():
    pytest.importorskip("ray")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    began = time.monotonic()
    for prefix in ("", "ray://"):
        with (
            pytest.raises(ConfigError, match=f"engine.address: nothing listens at {address}"),
            open_engine(EngineChoice(kind="ray", address=prefix + address)),
        ):
            pass
    assert time.monotonic() - began < 5


def test_second_connection_of_a_process_is_rejected(ray_engine, cluster):
    with (
        pytest.raises(ConfigError, match="connected to a Ray cluster already"),
        open_engine(EngineChoice(kind="ray", address=cluster.address)),
    ):
        pass
    assert ray_engine.map(plus, 1, [1]) == [2]


def test_missing_extra_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "estimator.engine.ray", raising=False)
    with pytest.raises(MissingExtraError, match="engine kind 'ray' needs the package 'ray'") as caught:
        SHELF.load("ray")
    assert caught.value.hint == "pip install 'estimator-lifepath[ray]'"


def choice(engine_name=None, variable=None, section=None):
    config = config_with({"engine": section} if section else {})
    environment = {"ESTIMATOR_ENGINE": variable} if variable else {}
    return Context(environment=environment, engine_name=engine_name).engine(config)


def test_option_wins_over_the_config_and_the_config_over_the_variable():
    assert choice() == EngineChoice(kind="local")
    assert choice(variable="ray") == EngineChoice(kind="ray")
    assert choice(variable="ray", section={"kind": "local"}) == EngineChoice(kind="local")
    address = "ray://head:10001"
    assert choice(address, "local", {"kind": "local"}) == EngineChoice(kind="ray", address=address)


def test_unknown_engine_names_the_known_ones():
    with pytest.raises(ConfigError, match="no engine called 'dask'") as caught:
        choice("dask")
    assert "local, ray" in caught.value.hint
    with pytest.raises(ConfigError, match="ESTIMATOR_ENGINE: expected local, ray, or the address"):
        choice(variable="http://head")
    with pytest.raises(ConfigError, match=r"engine.kind: no engine called 'spark'"):
        choice(section={"kind": "spark"})


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"address": "head:6379"}, "engine.address: is for kind ray"),
        ({"kind": "ray", "address": "auto"}, "engine.address: expected ray://host:10001 or host:6379, got 'auto'"),
        ({"kind": "ray", "workers": 0}, "engine.workers"),
    ],
)
def test_section_is_checked(section, message):
    with pytest.raises(ConfigError, match=message):
        choice(section=section)


def test_engine_of_somebody_elses_version_is_not_used():
    assert description({"engine": {"kind": "ray", "address": "ray://head:10001"}}) == {"serving": {}}


def test_folds_are_predicted_by_models_that_hold_no_engine(rows):
    """A fold is fitted where it runs: `take` returns rows for one thread of one process."""
    prepared, config = rows
    data = replace(prepared.fit_data(config), engine=LocalEngine(1))
    assert data.take(np.ones(len(data.rows), dtype=np.bool_)).engine is LOCAL
    assert out_of_fold_predictions(data, MODELS.load("linear")(), config.training).shape == (len(data.rows),)
