"""Kills that land at every write: a forked process counts its calls of the system and dies before one of them."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import count
from types import FrameType
from typing import Any

# Functions in C by which a file, a folder, a database or a remote service changes, a lock is taken or a program starts.
CALLS = frozenset(
    {
        *("open", "write", "pwrite", "flush", "close", "fsync", "ftruncate", "truncate"),
        *("flock", "mkdir", "rename", "replace", "rmdir", "scandir", "unlink"),
        *("sendall", "fork_exec"),
        *("commit", "execute", "executemany", "execute_update", "execute_query", "write_parquet", "collect"),
    }
)
# How many kills `make test-chaos` asks of each writer; otherwise a few seconds must do.
N_KILLS = int(os.environ.get("ESTIMATOR_CHAOS_KILLS", "0"))
# One entry for each kill of this run.
KILLS = list[None]()


def count_kill() -> None:
    """Count a kill of the test that runs."""
    KILLS.append(None)


def is_killed(action: Callable[[], object], at: int) -> bool:
    """Run an action in a forked process that is killed before its call number `at`; whether it came that far.

    Raises
    ------
    AssertionError: the action failed before.
    """
    _, status = os.waitpid(forked(action, at), 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "the action failed, see its stack trace"
    return False


def _run_to_the_kill(action: Callable[[], object], at: int) -> None:
    code = 1
    try:
        n_calls_until_killed(action, at)
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def n_calls_until_killed(action: Callable[[], object], at: int) -> int:
    """Run an action in this process, which is killed before its call number `at`; return the number of its calls."""
    n_calls = 0

    def follow(frame: FrameType, event: str, function: Any) -> None:
        nonlocal n_calls
        if event == "c_call" and getattr(function, "__name__", "") in CALLS:
            n_calls += 1
            if n_calls == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(follow)
    try:
        action()
    finally:
        sys.setprofile(None)
    return n_calls


def kills(action: Callable[[], object]) -> Iterator[int]:
    """Kill the action before its first call, before its second, and so on, until it ends; yield after each kill.

    All of it is done again until there were `N_KILLS`. The caller restores what the action starts from.
    """
    n_kills = 0
    while True:
        for at in count(1):
            if not is_killed(action, at):
                break
            n_kills += 1
            count_kill()
            yield at
        if n_kills >= N_KILLS:
            return


def at_once(*actions: Callable[[], object]) -> None:
    """Run each action in a process of its own, all at the same time.

    Raises
    ------
    AssertionError: an action failed.
    """
    pids = [forked(action) for action in actions]
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * len(pids), "an action failed, see its stack trace"


def forked(action: Callable[[], object], at: int = 0) -> int:
    """Start an action in a process of its own, to be killed before its call number `at`; return that process's id."""
    with warnings.catch_warnings():
        # JAX warns of forks if it was imported; actions do without it.
        warnings.simplefilter("ignore", RuntimeWarning)
        pid = os.fork()
    if pid == 0:
        _run_to_the_kill(action, at)
    return pid
