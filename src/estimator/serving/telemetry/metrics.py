"""The metrics of a server, and Prometheus's text format (0.0.4)."""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from estimator.core.files import write_atomic

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "estimator_"
# Upper bounds in seconds: one row takes tens of microseconds, a thousand rows of a large model a second.
BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class MetricFamily(NamedTuple):
    """The name of a metric, after `PREFIX`, with its type, help text and labels."""

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    help: str
    labels: tuple[str, ...] = ()


MODEL_INFO = MetricFamily("model_info", "gauge", "Models that are served; the value is always 1.", ("model", "version"))
DURATION = MetricFamily(
    "http_request_duration_seconds",
    "histogram",
    "Time from the complete request to its response, in seconds.",
    ("route", "version"),
)
COUNTERS = (
    MetricFamily("http_requests_total", "counter", "HTTP requests.", ("route", "version", "status")),
    MetricFamily("predictions_total", "counter", "Rows predicted.", ("route", "version")),
    MetricFamily("rejected_requests_total", "counter", "HTTP requests rejected, by reason.", ("reason",)),
    MetricFamily("out_of_range_values_total", "counter", "Values outside the training range, by column.", ("column",)),
    MetricFamily("imputed_values_total", "counter", "Missing values that were imputed, by column.", ("column",)),
    MetricFamily(
        "labels_total",
        "counter",
        "Labels accepted, accepted in place of another value (replaced), or rejected as no value of the target.",
        ("result",),
    ),
    MetricFamily(
        "prediction_log_requests_total",
        "counter",
        "Requests written to the prediction log, dropped as its queue was full, or set aside as it cannot hold them.",
        ("result",),
    ),
    MetricFamily("prediction_log_restarts_total", "counter", "Threads that write the prediction log, started again."),
    MetricFamily(
        "shadow_dropped_requests_total", "counter", "Requests that the shadow skipped because its queue was full."
    ),
    MetricFamily(
        "canary_failures_total",
        "counter",
        "Requests that the live version predicted because the canary, the version, failed on them.",
        ("version",),
    ),
)
GAUGES = (
    MetricFamily(
        "stale_models", "gauge", "Models whose newest version could not be loaded, so an older one is served."
    ),
    MetricFamily("prediction_log_queue_length", "gauge", "Requests waiting to be written to the prediction log."),
    MetricFamily("prediction_log_failing", "gauge", "1 while the prediction log cannot be written, else 0."),
)

Labels = tuple[str, ...]


def _counters() -> dict[str, dict[Labels, int]]:
    return {metric.name: defaultdict(int) for metric in COUNTERS}


@dataclass
class ServerMetrics:
    """Counters and durations of one process. Mutable: each counter is changed by one thread alone.

    `durations` holds, by route and version, the number of requests per bucket, of those above the last bound, and the
    sum of all durations in seconds.
    """

    counters: dict[str, dict[Labels, int]] = field(default_factory=_counters)
    durations: dict[Labels, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Looked up once: these are counted in every request.
        self._requests, self._predictions = self.counters["http_requests_total"], self.counters["predictions_total"]

    def count_request(self, route: str, version: str, status: int, duration_seconds: float, n_rows: int = 0) -> None:
        """Count a finished request and its rows."""
        self._requests[route, version, str(status)] += 1
        labels = route, version
        self._predictions[labels] += n_rows
        durations = self.durations.get(labels)
        if durations is None:
            durations = self.durations[labels] = [0.0] * (len(BUCKETS) + 2)
        durations[bisect_left(BUCKETS, duration_seconds)] += 1
        durations[-1] += duration_seconds

    def count_rejection(self, reason: str) -> None:
        """Count a rejected request."""
        self.counters["rejected_requests_total"][reason,] += 1

    def count_canary_failure(self, version: str) -> None:
        """Count a request that a canary could not predict and the live version could."""
        self.counters["canary_failures_total"][version,] += 1

    def count_columns(self, counter_name: str, columns: Iterable[str]) -> None:
        """Count one value for each of these columns."""
        counter = self.counters[counter_name]
        for column in columns:
            counter[column,] += 1

    def to_data(self) -> dict[str, Any]:
        """Return the metrics as JSON-ready data."""
        counters = {
            name: [[list(labels), value] for labels, value in values.items()] for name, values in self.counters.items()
        }
        return {
            "counters": counters,
            "durations": [[list(labels), values] for labels, values in self.durations.items()],
        }

    def add(self, data: Mapping[str, Any]) -> None:
        """Add the metrics of another process, as `to_data` returns them."""
        for name, values in data["counters"].items():
            for labels, value in values:
                self.counters[name][tuple(labels)] += value
        for labels, values in data["durations"]:
            key = tuple(labels)
            sums = self.durations.get(key, [0.0] * (len(BUCKETS) + 2))
            self.durations[key] = [total + value for total, value in zip(sums, values, strict=True)]


class SharedMetrics:
    """The metrics of all workers: each writes its own to a folder now and then, and any can add them up.

    The file of a worker that has stopped stays, so counters never go back.
    """

    def __init__(self, folder: Path, metrics: ServerMetrics) -> None:
        self._folder, self._metrics = folder, metrics
        self._path = folder / f"{os.getpid()}.json"

    def write(self) -> None:
        """Write the metrics of this process."""
        write_atomic(self._path, json.dumps(self._metrics.to_data()), durable=False)

    def total(self) -> ServerMetrics:
        """Return the sum over all workers, with those of this process as they are now."""
        total = ServerMetrics()
        total.add(self._metrics.to_data())
        for path in sorted(self._folder.glob("*.json")):
            if path != self._path:
                total.add(json.loads(path.read_text()))
        return total


def exposition(metrics: ServerMetrics, gauges: Mapping[str, float], models: Sequence[tuple[str, str]]) -> str:
    """Return metrics, gauges by name, and the names and versions of the models in Prometheus's text format."""
    return "\n".join([*_lines(metrics, gauges, models), ""])


def _lines(metrics: ServerMetrics, gauges: Mapping[str, float], models: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield from _family(MODEL_INFO, dict.fromkeys(models, 1))
    for metric in COUNTERS:
        yield from _family(metric, metrics.counters[metric.name])
    yield from _head(DURATION)
    for labels, values in metrics.durations.items():
        yield from _histogram(dict(zip(DURATION.labels, labels, strict=True)), values)
    for metric in GAUGES:
        if metric.name in gauges:
            yield from _family(metric, {(): gauges[metric.name]})


def _family(metric: MetricFamily, samples: Mapping[Labels, float]) -> Iterator[str]:
    yield from _head(metric)
    for labels, value in samples.items():
        number = f"{value:g}" if isinstance(value, float) else str(value)
        yield f"{PREFIX}{metric.name}{_braces(dict(zip(metric.labels, labels, strict=True)))} {number}"


def _head(metric: MetricFamily) -> Iterator[str]:
    yield f"# HELP {PREFIX}{metric.name} {metric.help}"
    yield f"# TYPE {PREFIX}{metric.name} {metric.kind}"


def _histogram(labels: Mapping[str, str], values: Sequence[float]) -> Iterator[str]:
    name = f"{PREFIX}{DURATION.name}"
    n_requests = 0
    for bound, count in zip([*map(str, BUCKETS), "+Inf"], values[:-1], strict=True):
        n_requests += int(count)
        yield f"{name}_bucket{_braces({**labels, 'le': bound})} {n_requests}"
    yield f"{name}_sum{_braces(labels)} {values[-1]:.9g}"
    yield f"{name}_count{_braces(labels)} {n_requests}"


def _braces(labels: Mapping[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
