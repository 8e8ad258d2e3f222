"""Versions, aliases and their history."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest

from estimator.core.clock import Moment
from estimator.errors import ArtefactError, StoreError
from estimator.store.history import AliasChange
from estimator.store.store import Store, version_folder

MOMENT = Moment(datetime(2026, 1, 1, tzinfo=UTC), "me", "abc123")


def make_store(root: Path, *names: str) -> Store:
    for name in names:
        (root / "house" / name).mkdir(parents=True)
        (root / "house" / name / "manifest.json").write_text("{}")
    return Store(root)


def promote(store: Store, version: str, action: str = "promote") -> None:
    store.point("house", "live", version, action=action, reason="test", moment=MOMENT)


def roll_back(store: Store) -> AliasChange:
    return store.roll_back("house", reason="test", moment=MOMENT)


@pytest.fixture
def three(tmp_path) -> Store:
    store = make_store(tmp_path, "v1", "v2", "v3")
    for version in ("v1", "v2", "v3"):
        promote(store, version)
    return store


def test_every_alias_change_is_recorded(three):
    assert [(change.previous, change.version) for change in three.history("house")] == [
        (None, "v1"),
        ("v1", "v2"),
        ("v2", "v3"),
    ]


def test_rollback_goes_back_step_by_step(three):
    promote(three, "v2")
    for expected in ("v3", "v2", "v1"):
        assert roll_back(three).version == expected
    with pytest.raises(StoreError, match="no version was live before v1"):
        roll_back(three)


def test_promoting_a_candidate_clears_the_candidate(tmp_path):
    store = make_store(tmp_path, "v1")
    store.point("house", "candidate", "v1", action="train", reason="", moment=MOMENT)
    promote(store, "v1")
    assert dict(store.aliases("house")) == {"live": "v1"}


@pytest.mark.parametrize("reference", ["house", "house@live", "house/v3", "v3"])
def test_version_is_found_by_several_names(three, reference):
    assert three.find(reference) == ("house", "v3")


@pytest.mark.parametrize(
    ("reference", "hint"), [("hose", "'house'"), ("house@candidate", "live"), ("house/v9", "v1"), ("v33", "v3")]
)
def test_unknown_name_lists_the_known_ones(three, reference, hint):
    with pytest.raises(StoreError) as caught:
        three.find(reference)
    assert hint in (caught.value.hint or "")


def test_unfinished_version_does_not_count(three):
    (three.root / "house" / ".writing-abc").mkdir()
    (three.root / "house" / ".writing-abc" / "manifest.json").write_text("{}")
    (three.root / "house" / "v4").mkdir()
    assert three.versions("house") == ["v1", "v2", "v3"]


def append(store: Store, text: str) -> None:
    with (store.root / "house" / "history.jsonl").open("a") as file:
        file.write(text)


def test_line_that_was_cut_off_is_removed_and_said(three, caplog):
    append(three, '{"time": "2026')
    promote(three, "v2")
    assert "history.jsonl: the last line was cut off, by a kill or a full disk: it was removed" in caplog.text
    assert [change.version for change in three.history("house")] == ["v1", "v2", "v3", "v2"]
    assert roll_back(three).version == "v3"


def test_move_that_was_never_made_is_not_in_history(three, caplog):
    never = three.history("house")[-1]
    append(three, json.dumps({**asdict(never), "previous": "v3", "version": "v1"}) + "\n")
    assert three.history("house")[-1] == never
    assert "the last line tells of a move that was never made" in caplog.text
    assert (three.root / "house" / "history.jsonl").read_text().count("\n") == 3


def test_alias_edited_by_hand_keeps_the_history(three):
    (three.root / "house" / "aliases.json").write_text('{"live": "v1"}')
    assert len(three.history("house")) == 3
    with pytest.raises(StoreError, match="does not say how v1 became live"):
        roll_back(three)


def test_rollback_needs_the_line_of_the_last_move(three):
    """An earlier release appended the next move to a line that was cut off, so that both were lost."""
    append(three, '{"time": "2026{"time": "2026-01-01T00:00:00Z"}\n')
    (three.root / "house" / "aliases.json").write_text('{"live": "v2"}')
    with pytest.raises(StoreError, match="does not say how v2 became live"):
        roll_back(three)
    promote(three, "v3")
    assert roll_back(three).version == "v2"


def _promote_often(root: Path, version: str) -> None:
    store = Store(root)
    for _ in range(40):
        promote(store, version)


def test_concurrent_changes_are_serialized(tmp_path):
    store = make_store(tmp_path, "v1", "v2")
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_promote_often, args=(tmp_path, version)) for version in ("v1", "v2")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    changes = store.history("house")
    assert len(changes) == 80
    assert all(first.version == second.previous for first, second in itertools.pairwise(changes))
    assert store.aliases("house")["live"] == changes[-1].version
    assert not list((tmp_path / "house").glob(".writing-*"))


def test_model_folder_means_its_live_version(three):
    assert version_folder(three.root / "house").name == "v3"


def test_alias_cannot_leave_the_store(three):
    (three.root / "house" / "aliases.json").write_text('{"live": "../../etc"}')
    with pytest.raises(ArtefactError, match="neither a version's folder nor a model's"):
        version_folder(three.root / "house")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_store_is_explained(three):
    (three.root / "house").chmod(0o500)
    with pytest.raises(StoreError, match="cannot be written"):
        promote(three, "v1")
