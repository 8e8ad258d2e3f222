"""One process at a time changes a file; the death of a holder, however it comes, releases its lock."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from estimator.core.lock import locked
from estimator.errors import FileError, StoreError
from tests.chaos import at_once, forked


def _count_up(path: Path, times: int) -> None:
    for _ in range(times):
        with locked(path):
            path.write_text(str(int(path.read_text()) + 1))


def _hold(path: Path, held: Path) -> None:
    with locked(path, purpose="writing it"):
        held.touch()
        time.sleep(60)


@contextmanager
def holder(path: Path) -> Iterator[int]:
    """Yield the id of a process that holds the lock of a path, and kill it at the end."""
    held = path.with_name("held")
    pid = forked(partial(_hold, path, held))
    while not held.exists():
        time.sleep(0.002)
    held.unlink()
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_no_change_of_several_processes_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("0")
    at_once(*[partial(_count_up, path, 200)] * 4)
    assert path.read_text() == "800"
    assert [file.name for file in tmp_path.iterdir()] == ["number"]


def test_threads_of_one_process_exclude_each_other(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("0")
    threads = [threading.Thread(target=_count_up, args=(path, 100)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() == "400"


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    with holder(tmp_path / "file"):
        pass
    assert (tmp_path / ".file.lock").exists()
    with locked(tmp_path / "file", timeout_seconds=0):
        pass
    assert list(tmp_path.iterdir()) == []


def test_holder_is_named(tmp_path: Path) -> None:
    with (
        holder(tmp_path / "file") as pid,
        pytest.raises(StoreError, match=f"file: another process is writing it: process {pid}$"),
        locked(tmp_path / "file", purpose="writing it", timeout_seconds=0, error_type=StoreError),
    ):
        pass


def test_long_wait_is_said_and_ends_with_the_holder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with holder(tmp_path / "file") as pid:
        threading.Timer(1.3, os.kill, (pid, signal.SIGKILL)).start()
        with locked(tmp_path / "file", purpose="writing it"):
            pass
    assert f"another process is writing it: process {pid}; waiting for it" in caplog.text


def test_all_names_of_a_file_share_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    monkeypatch.chdir(tmp_path)
    with (
        locked(Path("link")),
        pytest.raises(FileError, match="another process"),
        locked(tmp_path / "file", timeout_seconds=0),
    ):
        pass


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StoreError, match="below: cannot be written"),
        locked(tmp_path / "file" / "below", error_type=StoreError),
    ):
        pass
