"""Processes that end with the one that started them, however that one ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping

# The id of the process that starts another one, for `end_with_parent` in that one.
PARENT_VARIABLE = "ESTIMATOR_PARENT"
POLL_SECONDS = 0.2
# What a process may take to save its work after SIGTERM.
GRACE_SECONDS = 5.0
# prctl's number for "send me a signal when my parent ends".
PR_SET_PDEATHSIG = 1


def child_environment(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return an environment, by default this process's, for a program that calls `end_with_parent`."""
    return {**(os.environ if environment is None else environment), PARENT_VARIABLE: str(os.getpid())}


def end_with_parent(
    parent: int | None = None, *, thread_stays: bool = True, grace_seconds: float = GRACE_SECONDS
) -> None:
    """End this process when its parent has ended: SIGTERM, and after `grace_seconds` SIGKILL.

    `parent` is its id, else the one in the environment; without one, nothing happens. On Linux the system sends
    SIGTERM, which also ends a computation that holds the interpreter lock; elsewhere, a thread does. The system does
    so when the thread that started this process ends: pass `thread_stays=False` if that may come earlier.
    """
    named = os.environ.pop(PARENT_VARIABLE, "")
    parent = int(named) if parent is None and named.isdecimal() else parent
    if parent is None:
        return
    # A parent that ended before the system was asked is noticed by the thread.
    is_sent = thread_stays and sys.platform == "linux" and _signal_at_end_of_parent() and os.getppid() == parent
    watch = threading.Thread(target=_watch, args=(parent, is_sent, grace_seconds), name="parent", daemon=True)
    watch.start()


def _signal_at_end_of_parent() -> bool:
    """Ask Linux for a SIGTERM when the parent ends; whether it will come: a sandbox may forbid it."""
    code: int = ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    return code == 0


def _watch(parent: int, is_sent: bool, grace_seconds: float) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    if not is_sent:
        # A second one would interrupt what the first one began.
        os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace_seconds)
    os.kill(os.getpid(), signal.SIGKILL)
