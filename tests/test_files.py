"""Atomic writes survive a killed process, and two processes at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import time
from pathlib import Path

import pytest

from estimator.core.files import atomic_path, temporary_file, write_atomic, write_folder_atomic
from estimator.errors import FileError

OLD, NEW = b"old" * 1000, b"new" * 2_000_000


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".writing-")]


def _write_forever(path: Path, contents: tuple[bytes, ...]) -> None:
    while True:
        for content in contents:
            write_atomic(path, content, durable=False)


def _start(path: Path, *contents: bytes) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=_write_forever, args=(path, contents), daemon=True)
    process.start()
    return process


def test_killed_write_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(OLD)
    interrupted = 0
    for attempt in range(40):
        if attempt >= 4 and interrupted:
            break
        process = _start(path, NEW, OLD)
        while not leftovers(tmp_path) and process.is_alive():
            time.sleep(0.001)
        time.sleep(0.003 * (attempt % 4))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert path.read_bytes() in (OLD, NEW)
        for name in leftovers(tmp_path):
            interrupted += 1
            (tmp_path / name).unlink()
    assert interrupted, "no write was killed halfway, so nothing was tested"


def test_two_writers_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(OLD)
    writers = [_start(path, OLD), _start(path, NEW)]
    contents = set()
    deadline = time.monotonic() + 60
    while len(contents) < 2 and time.monotonic() < deadline:
        contents.add(path.read_bytes())
    for writer in writers:
        writer.kill()
        writer.join()
    assert contents == {OLD, NEW}


def test_failed_block_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_atomic(path, "old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("new")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert leftovers(tmp_path) == []


def test_unnamed_temporary_file_is_removed(tmp_path: Path) -> None:
    with temporary_file(tmp_path) as first, temporary_file(tmp_path) as second:
        first.write_text("1")
        second.write_text("2")
        second.rename(tmp_path / "kept")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomic(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "x"


def test_pipe_is_written_in_place(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_atomic(tmp_path / "pipe", "x")
    assert os.read(reader, 9) == b"x"
    os.close(reader)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_mode_is_set_before_the_content(tmp_path: Path) -> None:
    write_atomic(tmp_path / "secret", "x", mode=0o600)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


def test_folder_appears_whole(tmp_path: Path) -> None:
    write_folder_atomic(tmp_path / "version", {"a": b"1", "state/b": b"2"})
    assert (tmp_path / "version" / "state" / "b").read_bytes() == b"2"
    with pytest.raises(FileError, match="version: cannot be written"):
        write_folder_atomic(tmp_path / "version", {"a": b"3"})
    assert (tmp_path / "version" / "a").read_bytes() == b"1"
    assert leftovers(tmp_path) == []


def test_unwritable_path_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="file/below: cannot be written"):
        write_atomic(tmp_path / "file" / "below", "x")


def test_leftovers_of_a_killed_writer_are_removed_and_no_others(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    process = _start(path, NEW)
    while not leftovers(tmp_path) and process.is_alive():
        time.sleep(0.001)
    process.kill()
    process.join()
    (tmp_path / ".writing-1-0123abcd").mkdir()
    (tmp_path / ".writing-by-hand").touch()
    with temporary_file(tmp_path) as unfinished:
        write_atomic(path, "x")
        assert sorted(leftovers(tmp_path)) == sorted([unfinished.name, ".writing-by-hand"])
