"""Records finished exchanges: metrics, the prediction log, shadow predictions, traces and the access log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from estimator.prediction_log import Label, LabelCounts, LogEntry, LogWriter, PredictionLog, WriterState
from estimator.serving.shadow import Shadow
from estimator.serving.telemetry.exchange import Exchange
from estimator.serving.telemetry.metrics import ServerMetrics, SharedMetrics, exposition
from estimator.serving.telemetry.traces import Traces

logger = logging.getLogger("estimator.serving")
REQUEST_EVENT = "request"
# The status of a request whose rows violate the schema, or whose body cannot be read.
INVALID = 422


class RequestRecorder:
    """Takes finished exchanges. One per process, used by its event loop alone; only labels come from other threads."""

    def __init__(
        self,
        *,
        connect_log: Callable[[], PredictionLog] | None = None,
        retention_days: float | None = None,
        rejects_when_full: bool = False,
        has_access_log: bool = False,
        metrics_folder: Path | None = None,
        shadow: Shadow | None = None,
        traces: Traces | None = None,
    ) -> None:
        self.metrics = ServerMetrics()
        self.writer = None if connect_log is None else LogWriter(connect_log, retention_days=retention_days)
        self._connect_log, self._rejects_when_full = connect_log, rejects_when_full
        self._has_access_log, self._shadow, self._traces = has_access_log, shadow, traces
        self._shared = None if metrics_folder is None else SharedMetrics(metrics_folder, self.metrics)
        self._label_log: PredictionLog | None = None
        self._label_lock = threading.Lock()

    @property
    def is_full(self) -> bool:
        """Whether predictions must be rejected, because the prediction log cannot take them."""
        return self._rejects_when_full and self.writer is not None and self.writer.is_full

    def record(self, exchange: Exchange) -> None:
        """Count a finished exchange, and write it down."""
        self.metrics.count_request(
            exchange.route, exchange.version, exchange.status, exchange.duration_seconds, exchange.n_rows
        )
        if exchange.rejection is not None:
            self.metrics.count_rejection(exchange.rejection)
        for columns in exchange.out_of_range:
            if columns:
                self.metrics.count_columns("out_of_range_values_total", columns)
        for columns in exchange.imputed:
            if columns:
                self.metrics.count_columns("imputed_values_total", columns)
        if self.writer is not None and exchange.rows is not None and exchange.response is not None:
            entry = LogEntry(
                exchange.id,
                exchange.at,
                exchange.model,
                exchange.version,
                exchange.rows,
                exchange.response,
                exchange.private,
                exchange.allowed_credentials,
            )
            self.writer.offer(entry)
            self.writer.count_request(exchange.model, exchange.at, is_rejected=False)
            if self._shadow is not None:
                self._shadow.offer(entry)
        elif self.writer is not None and exchange.asked_model and exchange.status == INVALID:
            self.writer.count_request(exchange.asked_model, exchange.at, is_rejected=True)
        if self._traces is not None:
            self._traces.record(exchange)
        if self._has_access_log:
            logger.info(REQUEST_EVENT, extra={"fields": exchange.log_fields()})

    @property
    def log_problems(self) -> dict[str, Any]:
        """What is wrong with the prediction log: its `error`, and the requests `set_aside`; empty if nothing is."""
        problems = {"error": self._log_fault(), "set_aside": sum(state.set_aside for state in self._writer_states())}
        return {name: value for name, value in problems.items() if value}

    def _log_fault(self) -> str | None:
        return next((state.fault for state in self._writer_states() if state.fault is not None), None)

    def _writer_states(self) -> list[WriterState]:
        """Return the states of the writer of predictions, and of that of the shadow."""
        writers = (self.writer, None if self._shadow is None else self._shadow.writer)
        return [writer.state for writer in writers if writer is not None]

    def label(self, labels: Sequence[Label], at: float) -> LabelCounts:
        """Store labels; return what became of them. May be called from any thread.

        Raises
        ------
        SourceError: the log cannot be used.
        """
        with self._label_lock:
            counts = self._open_label_log().add_labels(labels, at)
            counted = self.metrics.counters["labels_total"]
            counted["replaced",] += counts.replaced
            counted["accepted",] += len(labels) - counts.replaced
            return counts

    def models_of(self, ids: Sequence[str]) -> dict[str, str]:
        """Return the model of each prediction that is in the log, by its id. May be called from any thread."""
        with self._label_lock:
            return self._open_label_log().models_of(ids)

    def count_rejected_labels(self, n_labels: int) -> None:
        """Count labels that are not those of their target. May be called from any thread."""
        with self._label_lock:
            self.metrics.counters["labels_total"]["rejected",] += n_labels

    def _open_label_log(self) -> PredictionLog:
        """Return the connection for labels, which only the holder of the lock may use."""
        assert self._connect_log is not None, "a server without a prediction log stores no labels"
        self._label_log = self._label_log or self._connect_log()
        return self._label_log

    def share(self) -> None:
        """Share the metrics of this process with the other workers."""
        self._update_log_metrics()
        if self._shared is not None:
            self._shared.write()

    def exposition(self, models: Sequence[tuple[str, str]], *, n_stale_models: int) -> str:
        """Return the metrics of all workers in Prometheus's text format; gauges are those of this process.

        `models` are the names and versions that are served.
        """
        self._update_log_metrics()
        metrics = self.metrics if self._shared is None else self._shared.total()
        gauges = {"stale_models": float(n_stale_models)}
        if self.writer is not None:
            state = self.writer.state
            gauges["prediction_log_queue_length"] = float(state.waiting)
            gauges["prediction_log_failing"] = float(self._log_fault() is not None)
        return exposition(metrics, gauges, models)

    def _update_log_metrics(self) -> None:
        if self.writer is not None:
            state = self.writer.state
            logged = self.metrics.counters["prediction_log_requests_total"]
            logged["written",], logged["dropped",] = state.written, state.dropped
            logged["set_aside",] = sum(state.set_aside for state in self._writer_states())
            restarts = sum(state.restarts for state in self._writer_states())
            self.metrics.counters["prediction_log_restarts_total"][()] = restarts
        if self._shadow is not None:
            self.metrics.counters["shadow_dropped_requests_total"][()] = self._shadow.n_dropped

    def close(self) -> None:
        """Write what is queued, and close everything."""
        if self._shadow is not None:
            self._shadow.close()
        if self.writer is not None:
            self.writer.close()
        if self._traces is not None:
            self._traces.close()
        if self._label_log is not None:
            self._label_log.close()
