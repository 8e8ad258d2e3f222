"""Metrics in Prometheus's format, also over several processes."""

from __future__ import annotations

import json
import os

import pytest
from prometheus_client import parser

from estimator.serving.telemetry.metrics import (
    COUNTERS,
    DURATION,
    GAUGES,
    MODEL_INFO,
    ServerMetrics,
    SharedMetrics,
    exposition,
)


def families(metrics: ServerMetrics, **gauges: float):
    text = exposition(metrics, gauges, [('a "b"\\c', "v1")])
    return {family.name: family for family in parser.text_string_to_metric_families(text)}


def samples(family) -> dict[tuple[str, ...], float]:
    return {(sample.name, *sample.labels.values()): sample.value for sample in family.samples}


def test_exposition_parses_back_to_the_counts():
    metrics = ServerMetrics()
    metrics.count_request("/v1/predict", "v1", 200, 0.0004, n_rows=3)
    metrics.count_request("/v1/predict", "v1", 200, 20.0, n_rows=1)
    metrics.count_request("/v1/predict", "v1", 422, 0.001)
    metrics.count_rejection("schema")
    metrics.count_columns("out_of_range_values_total", ["RM", "RM", 'odd "name"\n'])
    parsed = families(metrics, prediction_log_queue_length=7.0)
    assert samples(parsed["estimator_http_requests"])["estimator_http_requests_total", "/v1/predict", "v1", "200"] == 2
    assert samples(parsed["estimator_predictions"])["estimator_predictions_total", "/v1/predict", "v1"] == 4
    assert samples(parsed["estimator_rejected_requests"])["estimator_rejected_requests_total", "schema"] == 1
    assert samples(parsed["estimator_out_of_range_values"])["estimator_out_of_range_values_total", 'odd "name"\n'] == 1
    assert parsed["estimator_model_info"].samples[0].labels == {"model": 'a "b"\\c', "version": "v1"}
    assert parsed["estimator_prediction_log_queue_length"].samples[0].value == 7


def test_histogram_buckets_are_cumulative():
    metrics = ServerMetrics()
    for seconds in (0.00005, 0.0001, 0.3, 99.0):
        metrics.count_request("/r", "v", 200, seconds)
    values = samples(families(metrics)["estimator_http_request_duration_seconds"])
    buckets = {key[-1]: value for key, value in values.items() if key[0].endswith("_bucket")}
    assert (buckets["0.0001"], buckets["0.25"], buckets["0.5"], buckets["+Inf"]) == (2, 2, 3, 4)
    assert sorted(buckets.values()) == list(buckets.values())
    assert values["estimator_http_request_duration_seconds_sum", "/r", "v"] == pytest.approx(99.30015)
    assert values["estimator_http_request_duration_seconds_count", "/r", "v"] == 4


def test_metrics_of_all_processes_are_added(tmp_path):
    this_process, other = ServerMetrics(), ServerMetrics()
    this_process.count_request("/r", "v", 200, 0.1, n_rows=2)
    other.count_request("/r", "v", 200, 0.1, n_rows=5)
    other.count_rejection("body")
    (tmp_path / f"{os.getpid() + 1}.json").write_text(json.dumps(other.to_data()))
    shared = SharedMetrics(tmp_path, this_process)
    for _ in range(2):
        shared.write()
        total = shared.total()
        assert total.counters["predictions_total"]["/r", "v"] == 7
        assert total.counters["http_requests_total"]["/r", "v", "200"] == 2
        assert total.counters["rejected_requests_total"]["body",] == 1
        assert sum(total.durations["/r", "v"][:-1]) == 2


def test_names_follow_prometheus_conventions():
    for metric in (MODEL_INFO, DURATION, *COUNTERS, *GAUGES):
        assert metric.help.endswith(".")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.name.endswith("_seconds") == (metric.kind == "histogram")
