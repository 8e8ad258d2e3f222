"""What a server has done, in numbers, and as text in the format that Prometheus reads."""

from __future__ import annotations

import json
import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from estimator.core.files import write_atomic

TEXT = "text/plain; version=0.0.4; charset=utf-8"
# Upper ends in seconds; a row takes tens of microseconds, a thousand rows of a large model a second.
BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
HELP = {
    "requests_total": "Requests by route, version and status.",
    "request_seconds": "Time from a whole request to its answer, by route and version.",
    "rows_total": "Rows answered, by route and version.",
    "refusals_total": "Requests refused, by reason.",
    "outside_total": "Values answered although training had not seen such, by column.",
    "log_requests_total": "Requests for the prediction log: written, or dropped because its queue was full.",
}
Labels = tuple[str, ...]
_SUMS = ("requests", "rows", "refusals", "outside", "logged")


@dataclass
class Counts:
    """Counters of one process; each is changed by one thread alone."""

    requests: dict[Labels, int] = field(default_factory=lambda: defaultdict(int))
    rows: dict[Labels, int] = field(default_factory=lambda: defaultdict(int))
    refusals: dict[Labels, int] = field(default_factory=lambda: defaultdict(int))
    outside: dict[Labels, int] = field(default_factory=lambda: defaultdict(int))
    logged: dict[Labels, int] = field(default_factory=lambda: defaultdict(int))
    seconds: dict[Labels, list[float]] = field(default_factory=dict)

    def answered(self, route: str, version: str, status: int, seconds: float, rows: int = 0) -> None:
        """Count a request that was answered."""
        self.requests[route, version, str(status)] += 1
        place = route, version
        self.rows[place] += rows
        times = self.seconds.get(place)
        if times is None:
            times = self.seconds[place] = [0.0] * (len(BUCKETS) + 2)
        times[bisect_left(BUCKETS, seconds)] += 1
        times[-1] += seconds

    def refused(self, reason: str) -> None:
        """Count a refusal."""
        self.refusals[reason,] += 1

    def was_outside(self, columns: Iterable[str]) -> None:
        """Count values that lie outside what training saw."""
        for column in columns:
            self.outside[column,] += 1

    def to_data(self) -> dict[str, Any]:
        """Return the counts as JSON-ready data."""
        return {
            name: [[list(labels), value] for labels, value in getattr(self, name).items()]
            for name in (*_SUMS, "seconds")
        }

    def add(self, data: Mapping[str, Any]) -> None:
        """Add what another process has counted."""
        for name in _SUMS:
            own = getattr(self, name)
            for labels, value in data[name]:
                own[tuple(labels)] += value
        for labels, times in data["seconds"]:
            place = tuple(labels)
            before = self.seconds.get(place, [0.0] * (len(BUCKETS) + 2))
            self.seconds[place] = [one + other for one, other in zip(before, times, strict=True)]


class Shared:
    """The counts of several processes: each writes its own to a folder, now and then, and any can tell those of all.

    What a process that has ended had counted stays counted.
    """

    def __init__(self, folder: Path, own: Counts) -> None:
        self._folder, self._own = folder, own

    def write(self) -> None:
        """Write the own counts in one step."""
        path = self._folder / f"{os.getpid()}.json"
        write_atomic(path, json.dumps(self._own.to_data()), durable=False)

    def all(self) -> Counts:
        """Return the counts of all processes, the own ones as they are now."""
        found = Counts()
        found.add(self._own.to_data())
        for path in sorted(self._folder.glob("*.json")):
            if path.stem != str(os.getpid()):
                found.add(json.loads(path.read_text()))
        return found


def exposition(counts: Counts, gauges: Mapping[str, tuple[str, float]], served: Sequence[Mapping[str, str]]) -> str:
    """Return counts, gauges (name -> help, value) and labels of all that is served as text for Prometheus (0.0.4)."""
    return "\n".join([*_lines(counts, gauges, served), ""])


def _lines(
    counts: Counts, gauges: Mapping[str, tuple[str, float]], served: Sequence[Mapping[str, str]]
) -> Iterator[str]:
    yield "# HELP estimator_info What is served."
    yield "# TYPE estimator_info gauge"
    for about in served:
        yield f"estimator_info{_labels(about)} 1"
    for name, keys, values in (
        ("requests_total", ("route", "version", "status"), counts.requests),
        ("rows_total", ("route", "version"), counts.rows),
        ("refusals_total", ("reason",), counts.refusals),
        ("outside_total", ("column",), counts.outside),
        ("log_requests_total", ("result",), counts.logged),
    ):
        yield from _head(name, "counter")
        for labels, value in values.items():
            yield f"estimator_{name}{_labels(dict(zip(keys, labels, strict=True)))} {value}"
    yield from _head("request_seconds", "histogram")
    for (route, version), times in counts.seconds.items():
        yield from _histogram({"route": route, "version": version}, times)
    for name, (told, level) in gauges.items():
        yield f"# HELP estimator_{name} {told}"
        yield f"# TYPE estimator_{name} gauge"
        yield f"estimator_{name} {level:g}"


def _head(name: str, kind: str) -> Iterator[str]:
    yield f"# HELP estimator_{name} {HELP[name]}"
    yield f"# TYPE estimator_{name} {kind}"


def _histogram(labels: Mapping[str, str], times: list[float]) -> Iterator[str]:
    total = 0
    for end, count in zip([*map(str, BUCKETS), "+Inf"], times[:-1], strict=True):
        total += int(count)
        yield f"estimator_request_seconds_bucket{_labels({**labels, 'le': end})} {total}"
    yield f"estimator_request_seconds_sum{_labels(labels)} {times[-1]:.9g}"
    yield f"estimator_request_seconds_count{_labels(labels)} {total}"


def _labels(labels: Mapping[str, str]) -> str:
    told = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{told}}}" if told else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
