"""Several processes on one study: each is the same command, started by this one and ended with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import optuna

from estimator.tuning.search import Search, SearchProgress, search, told
from estimator.tuning.study import take_up

LOOK_SECONDS = 0.3
# A worker that is asked to end keeps its trial for later; longer than this it may not take.
END_SECONDS = 10


def search_together(
    study: optuna.Study, plan: Search, command: Callable[[int], Sequence[str]], *, workers: int,
    show: Callable[[SearchProgress], None],
) -> None:  # fmt: skip
    """Add trials to a study by several processes; `command` gives their words, from this process's number.

    What a killed worker leaves is taken up by the others, and at last by this process.
    """
    words = [sys.executable, "-m", "estimator", *command(os.getpid())]
    started = [
        subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 # our own command
        for _ in range(min(workers, plan.n_trials))
    ]
    try:
        while any(worker.poll() is None for worker in started):
            time.sleep(LOOK_SECONDS)
            take_up(study)
            show(told(study, plan.n_trials))
    finally:
        _end(started)
    search(study, plan, show=show)


def wanted_by(parent: int) -> Callable[[], bool]:
    """Return what tells a worker whether the process that started it still runs."""
    return lambda: os.getppid() == parent


def _end(started: Sequence[subprocess.Popen[bytes]]) -> None:
    for worker in started:
        if worker.poll() is None:
            worker.send_signal(signal.SIGINT)
    for worker in started:
        try:
            worker.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
