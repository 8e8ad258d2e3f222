"""Nothing is lost, doubled or left behind, wherever a process is killed and whatever runs at the same time."""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from estimator.core.clock import Moment
from estimator.errors import StoreError
from estimator.store.store import Store
from estimator.verbs import key
from tests.chaos import N_KILLS, at_once, count_kill, kills
from tests.conftest import ROOT, read_example
from tests.servers import PASSWORD, postgresql

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MOMENT = Moment(datetime(2026, 1, 1, tzinfo=UTC), "me", "abc123")


def add_key(path: Path, name: str) -> None:
    key.add(path, name, ["predict"], now=NOW, days=None)


def key_names(path: Path) -> list[str]:
    return [item["name"] for item in json.loads(path.read_text())["keys"]]


def test_keys_survive_a_kill_at_every_write(tmp_path):
    path = tmp_path / "keys.json"
    add_key(path, "old")
    before = path.read_text()
    for _ in kills(partial(add_key, path, "new")):
        assert key_names(path) in (["old"], ["old", "new"])
        path.write_text(before)
    key.revoke(path, "new")
    assert [file.name for file in tmp_path.iterdir()] == ["keys.json"]


def test_keys_of_two_at_once_are_kept_and_revoked_ones_stay_away(tmp_path):
    path = tmp_path / "keys.json"

    def add_many(letter):
        for number in range(20):
            add_key(path, f"{letter}{number}")

    def revoke_all():
        for number in range(20):
            key.revoke(path, f"bad{number}")

    for number in range(20):
        add_key(path, f"bad{number}")
    at_once(partial(add_many, "a"), revoke_all, partial(add_many, "b"))
    assert sorted(key_names(path)) == sorted(f"{letter}{number}" for letter in "ab" for number in range(20))


def store_of(root: Path, *versions: str) -> Store:
    """Return a store in which each of the versions was live in turn."""
    store = Store(root)
    for version in versions:
        (root / "house" / version).mkdir(parents=True)
        (root / "house" / version / "manifest.json").write_text("{}")
        move(store, version)
    return store


def move(store: Store, version: str) -> None:
    store.point("house", "live", version, action="promote", reason="", moment=MOMENT)


def moves_of(store: Store) -> list[tuple[str | None, str]]:
    return [(change.previous, change.version) for change in store.history("house") if change.alias == "live"]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_history_and_alias_agree_after_a_kill_at_every_write_of_a_promotion(tmp_path):
    source = store_of(tmp_path / "source", "v1", "v2", "v3")
    source.point("house", "candidate", "v2", action="train", reason="", moment=MOMENT)
    expected, outcomes = moves_of(source), set()
    for number, _ in enumerate(kills_of_a_copy(source.root, tmp_path / "s", lambda store: move(store, "v2"))):
        store = Store(tmp_path / "s")
        live = store.aliases("house")["live"]
        outcomes.add(live)
        assert moves_of(store) == expected + [("v3", "v2")] * (live == "v2")
        # The next moves go on from there, and clean up.
        assert roll_back(store) == ("v3" if live == "v2" else "v2")
        move(store, "v1")
        assert store.aliases("house")["live"] == "v1"
        assert files(tmp_path / "s" / "house") == ["aliases.json", "history.jsonl", "v1", "v2", "v3"], number
    assert outcomes == {"v2", "v3"}


def kills_of_a_copy(source, target, action):
    """Kill an action on a fresh copy of a store at each of its writes."""
    shutil.copytree(source, target)
    for _ in kills(lambda: action(Store(target))):
        yield
        shutil.rmtree(target)
        shutil.copytree(source, target)


def roll_back(store: Store) -> str:
    return store.roll_back("house", reason="", moment=MOMENT).version


def test_rollback_killed_at_every_write_never_makes_a_wrong_version_live(tmp_path):
    source = store_of(tmp_path / "source", "v1", "v2", "v3")
    for _ in kills_of_a_copy(source.root, tmp_path / "s", roll_back):
        store = Store(tmp_path / "s")
        is_done = store.aliases("house")["live"] == "v2"
        assert roll_back(store) == ("v1" if is_done else "v2")


def test_moves_of_three_at_once_are_all_in_the_history(tmp_path):
    store = store_of(tmp_path, "v1", "v2", "v3")

    def move_often(version):
        for _ in range(15):
            move(store, version)

    at_once(*(partial(move_often, version) for version in ("v1", "v2", "v3")))
    moves = moves_of(store)
    assert len(moves) == 48
    assert all(first[1] == second[0] for first, second in itertools.pairwise(moves))
    assert store.aliases("house")["live"] == moves[-1][1]


def test_rollbacks_at_once_go_back_one_step_each(tmp_path):
    store = store_of(tmp_path, "v1", "v2", "v3", "v4")
    at_once(*[partial(roll_back, store)] * 3)
    assert store.aliases("house")["live"] == "v1"


def test_full_disk_in_the_middle_of_a_line_leaves_history_and_alias_as_they_were(tmp_path):
    """A limit on the size of a file stands in for the end of the disk: the system writes a part of the line."""
    store = store_of(tmp_path, "v1", "v2")
    before = (tmp_path / "house" / "history.jsonl").read_bytes()

    def move_on_a_full_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, len(before) + 20))
        with pytest.raises(StoreError, match=r"history\.jsonl: cannot be written: File too large"):
            move(store, "v1")

    at_once(move_on_a_full_disk)
    assert (tmp_path / "house" / "history.jsonl").read_bytes() == before
    assert store.aliases("house")["live"] == "v2"
    assert files(tmp_path / "house") == ["aliases.json", "history.jsonl", "v1", "v2"]


@pytest.fixture(scope="module")
def postgres():
    with postgresql() as server:
        yield server


@pytest.fixture
def rows(tmp_path):
    """A folder of files with rows of Boston; each is one batch."""
    table = read_example("boston").drop("MEDV")
    (tmp_path / "rows").mkdir()
    for number in range(11):
        table[number * 40 : (number + 1) * 40].write_csv(tmp_path / "rows" / f"{number:02d}.csv")
    return tmp_path / "rows"


def predicting(model: Path, rows: Path, output: str, if_exists: str) -> Callable[[int, float], int]:
    """Return a function that finishes the last run and is killed in the next; it returns the number of calls."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "PGPASSWORD": PASSWORD}

    def run(call: int = 0, seconds: float = 0.0) -> int:
        arguments = map(str, (model, rows, output, if_exists, call, seconds))
        command = [sys.executable, "-m", "tests.predict_chaos", *arguments]
        done = subprocess.run(command, cwd=rows.parent, env=environment, capture_output=True, text=True)
        assert done.returncode in (0, -signal.SIGKILL, -signal.SIGALRM), done.stderr[-4000:]
        return int(done.stdout) if done.returncode == 0 else 0

    return run


KINDS = [("o.csv", "none"), ("sqlite:///o.db", "append")]
MORE_KINDS = [
    *(("o.parquet", "none"), ("sqlite:///o.db", "fail"), ("sqlite:///o.db", "replace")),
    *(("postgresql", "fail"), ("postgresql", "append")),
]


@pytest.mark.parametrize(("output", "if_exists"), [*KINDS, *(MORE_KINDS if N_KILLS else [])])
def test_predictions_killed_anywhere_are_written_once(store, rows, request, output, if_exists):
    if output == "postgresql":
        output = request.getfixturevalue("postgres").address
    run = predicting(store / "house_pricing_model", rows, output, if_exists)
    n_calls, randomness = run(), random.Random(7)
    # Each kill takes a process of two seconds.
    for number in range(N_KILLS // 2 or 2):
        count_kill()
        if number % 3 == 2:
            run(seconds=randomness.uniform(0.01, 0.5))
        else:
            # Most calls are those of reading; those of ending are the last ones.
            run(call=randomness.choice((randomness.randrange(1, n_calls), n_calls - randomness.randrange(1, 80))))
    run()
