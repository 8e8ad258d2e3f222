"""A process beside the server that watches a model's log: one for all workers, started again when it ends.

It is apart so that what it works out never holds the interpreter of those who answer.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from estimator.errors import ServingError
from estimator.store.artefact import Artefact
from estimator.store.store import read_aliases

logger = logging.getLogger("estimator.serving")
# It is not started again at once: what ended it may end it again.
PAUSE_SECONDS = 5.0
PATIENCE = 20.0


@contextmanager
def watched(artefact: Artefact, log: str) -> Iterator[None]:
    """Watch the model of a version in its store for a block; what is told goes to where this process tells.

    Raises
    ------
    ServingError: the version lies in no store, as in an image.
    """
    if "live" not in read_aliases(artefact.folder.parent):
        raise ServingError(
            f"{artefact.folder} lies in no store, so nobody can say which version is live",
            hint="watch from where the store is: estimator monitor MODEL --schedule --log PLACE",
        )
    words = [artefact.name, "--schedule", "--json", "--log", log, "--store", str(artefact.folder.parent.parent)]
    ends = threading.Event()
    thread = threading.Thread(target=_keep_running, args=(words, ends), name="watcher", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join(PATIENCE)


def _keep_running(words: Sequence[str], ends: threading.Event) -> None:
    while not ends.is_set():
        process = subprocess.Popen(  # noqa: S603 # this program and words of our own
            [sys.executable, "-m", "estimator", "monitor", *words, "--parent", str(os.getpid())],
            stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), start_new_session=True,
        )  # fmt: skip
        while process.poll() is None and not ends.wait(0.2):
            pass
        if ends.is_set():
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
        else:
            logger.error("the watcher ended, and is started again", extra={"told": {"code": process.returncode}})
            ends.wait(PAUSE_SECONDS)
