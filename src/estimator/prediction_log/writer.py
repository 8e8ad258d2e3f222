"""A thread that writes log entries in batches, so that no response waits for a disk."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from estimator.errors import EstimatorError
from estimator.prediction_log.log import PredictionLog
from estimator.prediction_log.records import LogEntry, PredictionRecord, records_of

# A kill loses at most the entries of this time.
PAUSE_SECONDS = 0.1
# Requests parsed at once: parsing holds the interpreter lock, and responses come first.
BATCH_SIZE = 32
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class WriterState:
    """Requests written, dropped because the queue was full, and waiting; and the last error."""

    written: int
    dropped: int
    waiting: int
    fault: str | None


class LogWriter:
    """Takes entries from one thread and writes them in another; `offer` costs less than a microsecond.

    At most `max_bytes` wait in memory. Rows older than `retention_days` are deleted, None keeps them. A batch that
    cannot be written is tried again, so a disk that was full loses nothing that still fits the queue.
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
        # Each counter has one writing thread, so that no lock is needed.
        self._bytes_in = self._bytes_out = 0
        self._queue: deque[LogEntry] = deque()
        self._written = self._dropped = 0
        self._fault: str | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prediction log", daemon=True)
        self._thread.start()

    @property
    def is_full(self) -> bool:
        """Whether the next entry would be dropped."""
        return self._bytes_in - self._bytes_out >= self._max_bytes

    @property
    def state(self) -> WriterState:
        """The counters and the last error, None when the last write succeeded."""
        return WriterState(self._written, self._dropped, len(self._queue), self._fault)

    def offer(self, entry: LogEntry) -> bool:
        """Queue an entry; False when the queue is full, and the entry is dropped and counted."""
        if self.is_full:
            self._dropped += 1
            return False
        self._bytes_in += entry.size_bytes
        self._queue.append(entry)
        return True

    def close(self, timeout_seconds: float = 10.0) -> None:
        """Write what is queued, and stop."""
        self._closing.set()
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        log: PredictionLog | None = None
        cleaned_at = 0.0
        while True:
            is_last = self._closing.wait(PAUSE_SECONDS)
            try:
                log = log or self._open()
                self._write_queue(log)
                if self._retention_days is not None and self._now() - cleaned_at > SECONDS_PER_HOUR:
                    log.delete_before(self._now() - self._retention_days * 24 * SECONDS_PER_HOUR)
                    cleaned_at = self._now()
                self._fault = None
            except EstimatorError as error:
                self._fault = error.message
            if is_last:
                break
        if log is not None:
            log.close()

    def _write_queue(self, log: PredictionLog) -> None:
        while self._queue:
            # Entries stay in the queue until they are written.
            batch = [self._queue[index] for index in range(min(BATCH_SIZE, len(self._queue)))]
            self._write(log, [record for entry in batch for record in records_of(entry)])
            for entry in batch:
                self._queue.popleft()
                self._bytes_out += entry.size_bytes
            self._written += len(batch)
