"""A thread that writes log entries in batches, so that no response waits for a disk."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from estimator.core.credentials import redacted
from estimator.errors import EstimatorError, RecordError
from estimator.prediction_log.log import PredictionLog
from estimator.prediction_log.records import LogEntry, PredictionRecord, records_of
from estimator.prediction_log.request_counts import RequestCounter

logger = logging.getLogger("estimator.serving")
# A kill loses at most the entries of this time.
PAUSE_SECONDS = 0.1
# Requests parsed at once: parsing holds the interpreter lock, and responses come first.
BATCH_SIZE = 32
SECONDS_PER_HOUR = 3600.0
# A write that takes longer is reported as a fault.
HANGING_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class WriterState:
    """Requests written, dropped because the queue was full, set aside, and waiting; restarts; and what is wrong now.

    A request is set aside when it cannot be stored, whatever the state of the database.
    """

    written: int
    dropped: int
    set_aside: int
    waiting: int
    restarts: int
    fault: str | None


class LogWriter:
    """Takes entries from one thread and writes them in another; `offer` costs less than a microsecond.

    At most `max_bytes` wait in memory. Rows older than `retention_days` are deleted, None keeps them. A batch that
    cannot be written is tried again, so a disk that was full loses nothing that still fits the queue. A single entry
    that cannot be stored is set aside, and the server's log names its id. A thread that has died is replaced.
    """

    def __init__(
        self,
        open_log: Callable[[], PredictionLog],
        *,
        retention_days: float | None = None,
        max_bytes: int = 64_000_000,
        now: Callable[[], float] = time.time,
        write: Callable[[PredictionLog, Sequence[PredictionRecord]], None] = PredictionLog.write,
    ) -> None:
        self._open, self._write, self._now = open_log, write, now
        self._retention_days, self._max_bytes = retention_days, max_bytes
        self._requests = RequestCounter()
        # Each counter has one writing thread, so that no lock is needed.
        self._bytes_in = self._bytes_out = 0
        self._queue: deque[LogEntry] = deque()
        self._written = self._dropped = self._n_set_aside = self._n_restarts = 0
        self._fault: str | None = None
        self._began_at: float | None = None
        self._closing = threading.Event()
        self._restarting = threading.Lock()
        self._thread = self._started()

    @property
    def is_full(self) -> bool:
        """Whether the next entry would be dropped."""
        return self._bytes_in - self._bytes_out >= self._max_bytes

    @property
    def state(self) -> WriterState:
        """The counters, and what is wrong; the fault is None when the last write succeeded."""
        if not self._thread.is_alive():
            self._restart()
        fault, began_at = self._fault, self._began_at
        if fault is None and began_at is not None and time.monotonic() - began_at > HANGING_SECONDS:
            fault = f"a write has taken more than {HANGING_SECONDS:.0f} s"
        return WriterState(self._written, self._dropped, self._n_set_aside, len(self._queue), self._n_restarts, fault)

    def offer(self, entry: LogEntry) -> bool:
        """Queue an entry; False when the queue is full, and the entry is dropped and counted."""
        if not self._thread.is_alive():
            self._restart()
        if self.is_full:
            self._dropped += 1
            return False
        self._bytes_in += entry.size_bytes
        self._queue.append(entry)
        return True

    def count_request(self, model: str, at: float, *, is_rejected: bool) -> None:
        """Count a request for predictions, at a time in seconds since 1970; a rejected one has no entry."""
        self._requests.count(model, at, is_rejected=is_rejected)

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Write what is queued, and stop."""
        if not self._thread.is_alive():
            self._restart()
        self._closing.set()
        self._thread.join(timeout_seconds)
        if self._queue:
            fields = {"requests": len(self._queue), "error": self._fault}
            logger.error("the prediction log was closed before all was written", extra={"fields": fields})

    def _started(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, name="prediction log", daemon=True)
        thread.start()
        return thread

    def _restart(self) -> None:
        with self._restarting:
            if self._thread.is_alive() or self._closing.is_set():
                return
            self._n_restarts += 1
            self._set_fault("the thread that writes it had died, and was started again")
            self._thread = self._started()

    def _run(self) -> None:
        log: PredictionLog | None = None
        cleaned_at = 0.0
        while True:
            is_last = self._closing.wait(PAUSE_SECONDS)
            self._began_at = time.monotonic()
            try:
                log = log or self._open()
                self._write_queue(log)
                self._requests.write(log, float("inf") if is_last else self._now())
                if self._retention_days is not None and self._now() - cleaned_at > SECONDS_PER_HOUR:
                    log.delete_before(self._now() - self._retention_days * 24 * SECONDS_PER_HOUR)
                    cleaned_at = self._now()
                self._set_fault(None)
            except EstimatorError as error:
                self._set_fault(error.message)
            except Exception as error:
                # Whatever a driver raises, the thread lives. The message may quote values, so it is not logged.
                self._set_fault(f"unexpected {type(error).__name__}")
            self._began_at = None
            if is_last:
                break
        if log is not None:
            log.close()

    def _set_fault(self, fault: str | None) -> None:
        # Everyone may read it, at /readyz.
        fault = None if fault is None else redacted(fault)
        if fault != self._fault:
            if fault is None:
                logger.info("the prediction log is written again")
            else:
                logger.error("the prediction log cannot be written", extra={"fields": {"error": fault}})
        self._fault = fault

    def _write_queue(self, log: PredictionLog) -> None:
        n_single = 0
        while self._queue:
            # Entries stay in the queue until they are written.
            size = 1 if n_single else BATCH_SIZE
            batch = [self._queue[index] for index in range(min(size, len(self._queue)))]
            try:
                self._write(log, [record for entry in batch for record in records_of(entry)])
                self._written += len(batch)
            except Exception as error:
                if isinstance(error, EstimatorError) and not isinstance(error, RecordError):
                    raise
                if len(batch) > 1:
                    # One of them cannot be stored: each is written alone.
                    n_single = len(batch)
                    continue
                self._set_aside(batch[0], error)
            n_single = max(n_single - 1, 0)
            for entry in batch:
                self._queue.popleft()
                self._bytes_out += entry.size_bytes

    def _set_aside(self, entry: LogEntry, error: Exception) -> None:
        self._n_set_aside += 1
        # The message of the error may quote values, and these do not belong in the server's log.
        fields = {"request_id": entry.request_id, "model": entry.model, "error": type(error).__name__}
        logger.error("a request cannot be stored in the prediction log, and was set aside", extra={"fields": fields})
