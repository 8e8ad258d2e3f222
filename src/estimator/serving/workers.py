"""Worker processes that share the socket: one that dies is replaced, and all stop with the first process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess

from estimator.core.child_process import end_with_parent
from estimator.core.signals import deferred_signals
from estimator.errors import EstimatorError, ServingError

# Takes the function to call once the worker is ready.
Work = Callable[[Callable[[], None]], None]
# The message and the hint of an error, as a worker sends them; None when it is ready.
StartupError = tuple[str, str | None] | None
RESTART_PAUSE_SECONDS = 1.0
STOPPING = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Worker:
    """A process, the pipe on which it reports that it is ready or has failed, and its start time.

    `started` is in seconds of `time.monotonic`.
    """

    process: ForkProcess
    pipe: Connection
    started: float

    def wait_until_ready(self) -> StartupError:
        """Wait until the worker serves; return why it does not."""
        try:
            error: StartupError = self.pipe.recv()
        except EOFError:
            return "a worker stopped during start-up", None
        return error


def run_workers(work: Work, n_workers: int, *, shutdown_seconds: float, ready: Callable[[], None]) -> None:
    """Run `work` in forked processes until this process is stopped; call `ready` once all of them serve.

    Raises
    ------
    ServingError: the system cannot fork, or a worker failed during start-up.
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        raise ServingError("this system cannot fork, so it can run only one worker", hint="omit --workers")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    workers: list[Worker] = []
    signal.signal(signal.SIGHUP, lambda *_: _forward(signal.SIGHUP, workers))
    try:
        _start_missing(workers, n_workers, lambda: _start(work, shutdown_seconds))
        for worker in workers:
            if (error := worker.wait_until_ready()) is not None:
                message, hint = error
                raise ServingError(message, hint=hint)
        ready()
        while True:
            _drop_stopped(workers)
            _start_missing(workers, n_workers, lambda: _start(work, shutdown_seconds))
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join(shutdown_seconds)
            worker.process.kill()


def _forward(number: int, workers: list[Worker]) -> None:
    for worker in workers:
        if worker.process.pid is not None and worker.process.is_alive():
            os.kill(worker.process.pid, number)


def _drop_stopped(workers: list[Worker]) -> None:
    """Wait until a worker stops, and remove it."""
    sentinels = wait([worker.process.sentinel for worker in workers])
    stopped = [worker for worker in workers if worker.process.sentinel in sentinels]
    for worker in stopped:
        worker.process.join()
        workers.remove(worker)
    if any(time.monotonic() - worker.started < RESTART_PAUSE_SECONDS for worker in stopped):
        time.sleep(RESTART_PAUSE_SECONDS)


def _start_missing(workers: list[Worker], n_workers: int, start: Callable[[], Worker]) -> None:
    """Add workers up to a number; a signal that stops this process finds every one of them in the list."""
    while len(workers) < n_workers:
        with deferred_signals(*STOPPING):
            workers.append(start())


def _start(work: Work, shutdown_seconds: float) -> Worker:
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=_run, args=(work, sender, os.getpid(), shutdown_seconds)
    )
    # A signal to the new process waits until it has handlers of its own.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    sender.close()
    return Worker(process, receiver, time.monotonic())


def _run(work: Work, sender: Connection, parent: int, shutdown_seconds: float) -> None:
    # Ctrl-C in a terminal goes to the first process, which stops the others.
    os.setpgrp()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # There is nothing to finish and nothing to reload before the worker serves.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
    end_with_parent(parent, grace_seconds=shutdown_seconds)
    try:
        work(lambda: sender.send(None))
    except EstimatorError as error:
        sender.send((error.message, error.hint))
        sys.exit(1)
