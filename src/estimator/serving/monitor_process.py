"""`estimator monitor` as a process next to the server: one per model, restarted when it stops.

A process of its own, because its computations would block the interpreter lock of the server.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from estimator.core.child_process import child_environment
from estimator.errors import ServingError
from estimator.store.artefact import Artefact
from estimator.store.store import store_of

logger = logging.getLogger("estimator.serving")
# What stopped the process may stop it again at once.
RESTART_PAUSE_SECONDS = 5.0
SHUTDOWN_TIMEOUT_SECONDS = 20.0
POLL_SECONDS = 0.2


@contextmanager
def monitor_process(artefact: Artefact, log: str) -> Iterator[None]:
    """Monitor the model of a version while the block runs; its messages go to this process's stderr.

    Raises
    ------
    ServingError: the version is not in a store, as in a container image.
    """
    store = store_of(artefact.folder)
    if "live" not in store.aliases(artefact.folder.parent.name):
        raise ServingError(
            f"{artefact.folder} is not in a store, so its live version cannot be determined",
            hint="run the monitor where the store is: estimator monitor MODEL --schedule --log DATABASE",
        )
    arguments = [artefact.name, "--schedule", "--json", "--log", log, "--store", str(store.location)]
    stop = threading.Event()
    thread = threading.Thread(target=_keep_running, args=(arguments, stop), name="monitor", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(SHUTDOWN_TIMEOUT_SECONDS)


def _keep_running(arguments: Sequence[str], stop: threading.Event) -> None:
    while not stop.is_set():
        process = subprocess.Popen(  # noqa: S603 # this program, with arguments of our own
            [sys.executable, "-m", "estimator", "monitor", *arguments],
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            start_new_session=True,
        )
        while process.poll() is None and not stop.wait(POLL_SECONDS):
            pass
        if stop.is_set():
            process.terminate()
            try:
                process.wait(SHUTDOWN_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
        else:
            logger.error("the monitor stopped and is restarted", extra={"fields": {"exit_code": process.returncode}})
            stop.wait(RESTART_PAUSE_SECONDS)
