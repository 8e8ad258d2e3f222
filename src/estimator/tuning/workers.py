"""Search with several processes on one study: each runs the same command, and ends with this process."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import optuna

from estimator.core.child_process import child_environment
from estimator.tuning.search import Search, SearchProgress, run_search, search_progress
from estimator.tuning.study import requeue_lost

POLL_SECONDS = 0.3
# On SIGINT a worker queues its trial again; after this time it is killed.
SHUTDOWN_TIMEOUT_SECONDS = 10


def search_in_processes(
    study: optuna.Study, search: Search, command: Sequence[str], *, workers: int, show: Callable[[SearchProgress], None]
) -> None:
    """Add trials to a study by several processes, each started with the arguments `command`.

    The trial of a killed worker is run again by the others, and in the end by this process.
    """
    arguments = [sys.executable, "-m", "estimator", *command]
    processes = [
        subprocess.Popen(  # noqa: S603 # our own command
            arguments, env=child_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(min(workers, search.n_trials))
    ]
    try:
        while any(worker.poll() is None for worker in processes):
            time.sleep(POLL_SECONDS)
            requeue_lost(study)
            show(search_progress(study, search.n_trials))
    finally:
        _end(processes)
    run_search(study, search, show=show)


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for worker in processes:
        if worker.poll() is None:
            worker.send_signal(signal.SIGINT)
    for worker in processes:
        try:
            worker.wait(SHUTDOWN_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
