"""A thread that writes answers down in batches, so that no answer waits for a disk."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from estimator.errors import EstimatorError
from estimator.prediction_log.database import Database
from estimator.prediction_log.records import Entry, Logged, records_of

# What was answered within so many seconds before a kill is lost.
PAUSE = 0.1
# Requests that are read at once: reading holds the interpreter, and answers come first.
AT_ONCE = 32
HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class State:
    """How the log is: requests written, dropped because the queue was full, waiting, and the last fault there was."""

    written: int
    dropped: int
    waiting: int
    fault: str | None


class Writer:
    """Takes entries from one thread and writes them in another; `offer` costs less than a microsecond.

    At most `most_bytes` wait in memory. `days` says how long rows are kept, None for ever. A batch that cannot be
    written is tried again: a disk that was full for a while loses nothing that still fits the queue.
    """

    def __init__(
        self, open_: Callable[[], Database], *, days: float | None = None,
        most_bytes: int = 64_000_000, now: Callable[[], float] = time.time,
        write: Callable[[Database, Sequence[Logged]], None] = Database.write,
    ) -> None:  # fmt: skip
        self._write = write
        self._open, self._days, self._now = open_, days, now
        self._most_bytes, self._bytes_in, self._bytes_out = most_bytes, 0, 0
        self._queue: deque[Entry] = deque()
        self._written = self._dropped = 0
        self._fault: str | None = None
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._work, name="prediction log", daemon=True)
        self._thread.start()

    @property
    def is_full(self) -> bool:
        """Whether the next entry would be dropped."""
        return self._bytes_in - self._bytes_out >= self._most_bytes

    @property
    def state(self) -> State:
        """How the log is."""
        return State(self._written, self._dropped, len(self._queue), self._fault)

    def offer(self, entry: Entry) -> bool:
        """Take an entry to be written; False when the queue is full and it was dropped, which is counted."""
        if self.is_full:
            self._dropped += 1
            return False
        self._bytes_in += entry.size
        self._queue.append(entry)
        return True

    def close(self, patience: float = 10.0) -> None:
        """Write what waits, for at most so many seconds."""
        self._ends.set()
        self._thread.join(patience)

    def _work(self) -> None:
        database: Database | None = None
        cleared = 0.0
        while True:
            ends = self._ends.wait(PAUSE)
            try:
                database = database or self._open()
                self._write_all(database)
                if self._days is not None and self._now() - cleared > HOUR:
                    database.forget(self._now() - self._days * 24 * HOUR)
                    cleared = self._now()
                self._fault = None
            except EstimatorError as error:
                self._fault = error.message
            if ends:
                break
        if database is not None:
            database.close()

    def _write_all(self, database: Database) -> None:
        while self._queue:
            # They stay in the queue until they are written.
            batch = [self._queue[place] for place in range(min(AT_ONCE, len(self._queue)))]
            self._write(database, [record for entry in batch for record in records_of(entry)])
            for entry in batch:
                self._queue.popleft()
                self._bytes_out += entry.size
            self._written += len(batch)
