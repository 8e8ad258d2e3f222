"""How many requests for predictions were accepted and rejected, per minute and model: rejected ones are not logged."""

from __future__ import annotations

import threading
from collections import defaultdict
from dataclasses import dataclass

from estimator.prediction_log.columns import column_names, encoded, insert_statement
from estimator.prediction_log.log import PredictionLog

COUNT_SECONDS = 60.0
# Minutes that wait in memory while the database is away; later ones are not counted.
MAX_WAITING = 10_000


@dataclass(frozen=True, slots=True)
class RequestCount:
    """Requests for predictions of a model in the minute that begins `at`, in seconds since 1970."""

    model: str
    at: float
    accepted: int
    rejected: int


COUNT_COLUMNS = column_names(RequestCount)
# Several servers and workers add to the counts of a minute.
ADD_COUNTS = insert_statement(
    "request_counts",
    COUNT_COLUMNS,
    "(model, at) DO UPDATE SET accepted = request_counts.accepted + excluded.accepted, "
    "rejected = request_counts.rejected + excluded.rejected",
)


class RequestCounter:
    """Counts in one thread, and is written to a log by another, once a minute is over."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, float], list[int]] = defaultdict(lambda: [0, 0])
        self._lock = threading.Lock()

    def count(self, model: str, at: float, *, is_rejected: bool) -> None:
        """Count a request."""
        minute = model, at - at % COUNT_SECONDS
        with self._lock:
            if minute in self._counts or len(self._counts) < MAX_WAITING:
                self._counts[minute][is_rejected] += 1

    def write(self, log: PredictionLog, until: float) -> None:
        """Add the counts of the minutes that are over at a time to those in the log.

        Raises
        ------
        SourceError: the log cannot be used; what was not written is written next time.
        """
        with self._lock:
            over = [minute for minute in self._counts if minute[1] + COUNT_SECONDS <= until]
            counts = {minute: tuple(self._counts[minute]) for minute in over}
        if not counts:
            return
        records = [RequestCount(*minute, *both) for minute, both in counts.items()]
        log.execute_many(ADD_COUNTS, [encoded(record, COUNT_COLUMNS) for record in records])
        with self._lock:
            for minute, (accepted, rejected) in counts.items():
                left = self._counts[minute]
                left[0] -= accepted
                left[1] -= rejected
                if not any(left):
                    del self._counts[minute]
