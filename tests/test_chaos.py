"""Nothing is lost, doubled or left behind, wherever a process is killed and whoever works beside it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from estimator.verbs import key
from tests.chaos import at_once, kills

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


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
