"""Several processes that do the same work: one that dies is replaced, and all end when the first is told to."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from time import perf_counter

from estimator.errors import EstimatorError, ServingError

Work = Callable[[Callable[[], None]], None]
PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Worker:
    """A process, where it says that it is ready or why it is not, and when it began."""

    process: ForkProcess
    news: Connection
    began: float

    def fault(self) -> tuple[str, str | None] | None:
        """Wait until it is ready; return why it is not, and the way out."""
        try:
            told: tuple[str, str | None] | None = self.news.recv()
        except EOFError:
            return "a worker ended before it could answer", None
        return told


def keep_working(work: Work, n_workers: int, *, seconds_to_end: float, ready: Callable[[], None]) -> None:
    """Run `work` in so many forks until this process is told to end; `work` calls its argument when it is ready.

    Raises
    ------
    ServingError: processes cannot be forked here, or the first ones could not begin.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        raise ServingError("this system cannot fork, so there can be only one worker", hint="leave out --workers")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    workers: list[Worker] = []
    signal.signal(signal.SIGHUP, lambda *_: _pass_on(signal.SIGHUP, workers))
    try:
        workers += [_started(work) for _ in range(n_workers)]
        for worker in workers:
            if (fault := worker.fault()) is not None:
                raise ServingError(fault[0], hint=fault[1])
        ready()
        while True:
            workers[:] = _replaced(workers, work)
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join(seconds_to_end)
            worker.process.kill()


def _pass_on(number: int, workers: list[Worker]) -> None:
    for worker in workers:
        if worker.process.pid is not None and worker.process.is_alive():
            os.kill(worker.process.pid, number)


def _replaced(workers: list[Worker], work: Work) -> list[Worker]:
    """Wait until a worker has ended; return those that run and new ones for those that do not."""
    sentinels = wait([worker.process.sentinel for worker in workers])
    ended = [worker for worker in workers if worker.process.sentinel in sentinels]
    for worker in ended:
        worker.process.join()
    if any(perf_counter() - worker.began < PAUSE_SECONDS for worker in ended):
        time.sleep(PAUSE_SECONDS)
    return [_started(work) if worker in ended else worker for worker in workers]


def _started(work: Work) -> Worker:
    news, told = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_work, args=(work, told))
    process.start()
    told.close()
    return Worker(process, news, perf_counter())


def _work(work: Work, news: Connection) -> None:
    # Ctrl-C in a terminal is for the first process, which then ends the others.
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Until it serves there is nothing to load again.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work(lambda: news.send(None))
    except EstimatorError as error:
        news.send((error.message, error.hint))
        sys.exit(1)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
