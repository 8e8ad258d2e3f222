"""Shadow predictions: another version predicts a copy of the traffic; its responses are logged and never sent."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from estimator.prediction_log import LogEntry, LogWriter, PredictionLog
from estimator.serving.service import ResponseFormat, Service

logger = logging.getLogger("estimator.serving")
# More waiting requests are dropped, so that the live version is not slowed down.
MAX_WAITING_REQUESTS = 1000
SHUTDOWN_TIMEOUT_SECONDS = 10.0


class Shadow:
    """Predicts logged requests again, in a thread of its own, with the shadow of their model.

    `services` are the shadows by model; the caller may change them while the thread runs.
    """

    def __init__(
        self, connect_log: Callable[[], PredictionLog], retention_days: float | None, services: Mapping[str, Service]
    ) -> None:
        self._services = services
        self.n_dropped = 0
        self.writer = LogWriter(connect_log, retention_days=retention_days, write=PredictionLog.write_shadows)
        self._queue: queue.Queue[LogEntry | None] = queue.Queue(MAX_WAITING_REQUESTS)
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def offer(self, entry: LogEntry) -> None:
        """Queue a request whose model has a shadow; drop it when the queue is full."""
        if entry.model in self._services:
            try:
                self._queue.put_nowait(entry)
            except queue.Full:
                self.n_dropped += 1

    def close(self) -> None:
        """Predict and write what is queued, and stop."""
        with suppress(queue.Full):
            self._queue.put(None, timeout=SHUTDOWN_TIMEOUT_SECONDS)
            self._thread.join(SHUTDOWN_TIMEOUT_SECONDS)
        self.writer.close()

    def _run(self) -> None:
        while (entry := self._queue.get()) is not None:
            service = self._services.get(entry.model)
            if service is None:
                continue
            version = service.artefact.version
            if version == entry.version:
                # It predicted the request itself, as a canary.
                continue
            try:
                response = service.respond(entry.rows, entry.request_id, ResponseFormat.FULL)
            except Exception as error:
                # The thread goes on. The message may quote values, and these do not belong in the server's log.
                fields = {"version": version, "request_id": entry.request_id, "error": type(error).__name__}
                logger.warning("the shadow rejected a request that the live version accepted", extra={"fields": fields})
                continue
            self.writer.offer(LogEntry(entry.request_id, entry.at, entry.model, version, entry.rows, response.body))
