"""A version that is not live answers a copy of the traffic: its answers are logged, and never sent."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from estimator.errors import EstimatorError
from estimator.prediction_log import LogEntry, LogWriter, PredictionLog
from estimator.serving.request_body import BodyError
from estimator.serving.service import Service

logger = logging.getLogger("estimator.serving")
# Requests that wait; more are left out, so that what is live is not slowed down.
MOST_WAITING = 1000
# Seconds that answering what waits may take at the end.
PATIENCE = 10.0


class Shadow:
    """Predictions entries of the log again in a thread of its own, by the services of `services`, by model."""

    def __init__(self, log: Callable[[], PredictionLog], days: float | None) -> None:
        self.services: Mapping[str, Service] = {}
        self.dropped = 0
        self._writer = LogWriter(log, retention_days=days, write=PredictionLog.write_shadows)
        self._queue: queue.Queue[LogEntry | None] = queue.Queue(MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, entry: LogEntry) -> None:
        """Take an entry whose model has a shadow; leave it out when too many wait."""
        if entry.model in self.services:
            try:
                self._queue.put_nowait(entry)
            except queue.Full:
                self.dropped += 1

    def close(self) -> None:
        """Answer what waits, and write it."""
        with suppress(queue.Full):
            self._queue.put(None, timeout=PATIENCE)
            self._thread.join(PATIENCE)
        self._writer.close()

    def _work(self) -> None:
        while (entry := self._queue.get()) is not None:
            service = self.services.get(entry.model)
            if service is None:
                continue
            version = service.artefact.version
            try:
                reply = service.predict(entry.rows, entry.request_id)
            except (BodyError, EstimatorError) as error:
                # What was wrong with which value is not for the server's lines.
                told = {"version": version, "id": entry.request_id, "why": type(error).__name__}
                logger.warning("a shadow refused what a live version answered", extra={"told": told})
                continue
            self._writer.offer(LogEntry(entry.request_id, entry.at, entry.model, version, entry.rows, reply.body))
