"""What the server counts, in the words of Prometheus, also over several processes."""

from __future__ import annotations

import json
import os

import pytest
from prometheus_client import parser

from estimator.serving.telemetry.metrics import Counts, Shared, exposition


def families(counts: Counts, **gauges: tuple[str, float]):
    text = exposition(counts, gauges, [{"model": 'a "b"\\c', "version": "v1"}])
    return {family.name: family for family in parser.text_string_to_metric_families(text)}


def samples(family) -> dict[tuple[str, ...], float]:
    return {(sample.name, *sample.labels.values()): sample.value for sample in family.samples}


def test_counts_are_read_by_prometheus_as_they_were_counted():
    counts = Counts()
    counts.answered("/v1/predict", "v1", 200, 0.0004, rows=3)
    counts.answered("/v1/predict", "v1", 200, 20.0, rows=1)
    counts.answered("/v1/predict", "v1", 422, 0.001)
    counts.refused("contract")
    counts.was_outside(["RM", "RM", 'odd "name"\n'])
    found = families(counts, log_waiting=("Requests that wait to be logged.", 7))
    assert samples(found["estimator_requests"])["estimator_requests_total", "/v1/predict", "v1", "200"] == 2
    assert samples(found["estimator_rows"])["estimator_rows_total", "/v1/predict", "v1"] == 4
    assert samples(found["estimator_refusals"])["estimator_refusals_total", "contract"] == 1
    assert samples(found["estimator_outside"])["estimator_outside_total", 'odd "name"\n'] == 1
    assert found["estimator_info"].samples[0].labels == {"model": 'a "b"\\c', "version": "v1"}
    assert found["estimator_log_waiting"].samples[0].value == 7


def test_a_time_is_in_every_bucket_that_ends_above_it():
    counts = Counts()
    for seconds in (0.00005, 0.0001, 0.3, 99.0):
        counts.answered("/r", "v", 200, seconds)
    found = samples(families(counts)["estimator_request_seconds"])
    buckets = {key[-1]: value for key, value in found.items() if key[0].endswith("_bucket")}
    assert (buckets["0.0001"], buckets["0.25"], buckets["0.5"], buckets["+Inf"]) == (2, 2, 3, 4)
    assert sorted(buckets.values()) == list(buckets.values())
    assert found["estimator_request_seconds_sum", "/r", "v"] == pytest.approx(99.30015)
    assert found["estimator_request_seconds_count", "/r", "v"] == 4


def test_counts_of_processes_are_added_and_those_of_ended_ones_stay(tmp_path):
    own, other = Counts(), Counts()
    own.answered("/r", "v", 200, 0.1, rows=2)
    other.answered("/r", "v", 200, 0.1, rows=5)
    other.refused("body")
    (tmp_path / f"{os.getpid() + 1}.json").write_text(json.dumps(other.to_data()))
    shared = Shared(tmp_path, own)
    for _ in range(2):
        shared.write()
        found = shared.all()
        assert found.rows["/r", "v"] == 7
        assert found.requests["/r", "v", "200"] == 2
        assert found.refusals["body",] == 1
        assert sum(found.seconds["/r", "v"][:-1]) == 2
