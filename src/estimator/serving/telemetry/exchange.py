"""What a server does, written down: counts for Prometheus, a line per request, answers in the prediction log."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from estimator.prediction_log import Label, LogEntry, LogWriter, PredictionLog
from estimator.serving.service import Reply, Service
from estimator.serving.shadow import Shadow
from estimator.serving.telemetry.metrics import Counts, Shared, exposition
from estimator.serving.telemetry.traces import Traces

logger = logging.getLogger("estimator.serving")


@dataclass(slots=True)
class Exchange:
    """One request and its answer, filled in as it goes; `at` in seconds since 1970.

    `route` is the path as the docs have it, so that there are few; `asked` the rows as JSON where there are any.
    """

    name: str
    at: float
    method: str
    route: str
    key: str | None = None
    status: int = 0
    seconds: float = 0.0
    refusal: str | None = None
    model: str = ""
    version: str = ""
    n_rows: int = 0
    outside: Sequence[Sequence[str]] = ()
    asked: bytes | None = None
    answered: bytes | None = None
    # The `traceparent` that came with the request.
    parent: str | None = None
    private: frozenset[str] = frozenset()

    def answer(self, service: Service, asked: bytes, reply: Reply) -> None:
        """Note that a service answered rows."""
        artefact = service.artefact
        self.model, self.version, self.private, self.asked = artefact.name, artefact.version, service.private, asked
        self.answered, self.n_rows, self.outside = reply


class Ledger:
    """Takes exchanges that are over. One per process, used by its event loop alone; only labels come from threads."""

    def __init__(
        self, *, log: Callable[[], PredictionLog] | None = None, days: float | None = None,
        refuses_when_full: bool = False, writes_lines: bool = False, shared: Path | None = None,
        shadow: Shadow | None = None, traces: Traces | None = None,
    ) -> None:  # fmt: skip
        self.counts = Counts()
        self._shared = None if shared is None else Shared(shared, self.counts)
        self._open, self._refuses_when_full, self._writes_lines = log, refuses_when_full, writes_lines
        self.writer = None if log is None else LogWriter(log, retention_days=days)
        self.shadow, self._traces = shadow, traces
        self._labels: PredictionLog | None = None
        self._lock = threading.Lock()

    @property
    def is_full(self) -> bool:
        """Whether no answer may be given, as it could not be written down."""
        return self._refuses_when_full and self.writer is not None and self.writer.is_full

    def record(self, done: Exchange) -> None:
        """Count an exchange and write it down."""
        self.counts.answered(done.route, done.version, done.status, done.seconds, done.n_rows)
        if done.refusal is not None:
            self.counts.refused(done.refusal)
        for columns in done.outside:
            if columns:
                self.counts.was_outside(columns)
        if self.writer is not None and done.asked is not None and done.answered is not None:
            entry = LogEntry(done.name, done.at, done.model, done.version, done.asked, done.answered, done.private)
            self.writer.offer(entry)
            if self.shadow is not None:
                self.shadow.offer(entry)
        if self._traces is not None:
            self._traces.record(done)
        if self._writes_lines:
            logger.info("request", extra={"told": line_of(done)})

    def label(self, labels: Sequence[Label], at: float) -> int:
        """Keep truths; return how many of their ids are known by now. May be called from any thread.

        Raises
        ------
        SourceError: the log cannot be used.
        """
        assert self._open is not None, "a server without a log takes no labels"
        with self._lock:
            self._labels = self._labels or self._open()
            return self._labels.add_labels(labels, at)

    def share(self) -> None:
        """Let the other processes of the server know what was counted."""
        self._count_log()
        if self._shared is not None:
            self._shared.write()

    def exposition(self, gauges: Mapping[str, tuple[str, float]], served: Sequence[Mapping[str, str]]) -> str:
        """Return what all processes of the server have counted as text for Prometheus; the gauges are this one's."""
        self._count_log()
        counts = self.counts if self._shared is None else self._shared.all()
        own: dict[str, tuple[str, float]] = {}
        if self.writer is not None:
            state = self.writer.state
            own["log_waiting"] = "Requests that wait to be written to the prediction log.", state.waiting
            if self.shadow is not None:
                own["shadow_dropped"] = "Requests that no shadow answered, as too many waited.", self.shadow.dropped
            own["log_failing"] = "1 while the prediction log cannot be written.", float(state.fault is not None)
        return exposition(counts, {**gauges, **own}, served)

    def _count_log(self) -> None:
        if self.writer is not None:
            state = self.writer.state
            self.counts.logged["written",], self.counts.logged["dropped",] = state.written, state.dropped

    def close(self) -> None:
        """Write what waits."""
        if self.shadow is not None:
            self.shadow.close()
        if self.writer is not None:
            self.writer.close()
        if self._traces is not None:
            self._traces.close()
        if self._labels is not None:
            self._labels.close()


def line_of(done: Exchange) -> dict[str, Any]:
    """Return what a line tells of an exchange: no value of any row is in it."""
    told = {
        "id": done.name, "method": done.method, "route": done.route, "status": done.status,
        "ms": round(done.seconds * 1000, 3), "rows": done.n_rows, "model": done.model, "version": done.version,
        "key": done.key, "refusal": done.refusal,
    }  # fmt: skip
    return {name: value for name, value in told.items() if value not in (None, "")}


class JsonLines(logging.Formatter):
    """One JSON object per record: time in ISO 8601 (UTC), level, event, and what `extra={"told": {...}}` adds."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "told", {}),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str)
