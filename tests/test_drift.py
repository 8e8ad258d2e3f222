"""Drift: the reference of a version, the combination of batch tests, and the sequential tests of a version."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from estimator import verbs
from estimator.checks.drift import N_CURRENT, SCHEMA, current, reference, rows
from estimator.core.task import Predictions
from estimator.data.schema import Batch, Column, Schema
from estimator.drift import CurrentRows, DriftReference, build_reference
from estimator.drift.domain_classifier import DomainClassifier
from estimator.drift.e_process import BETS, BettingPortfolio, ConformalRanks, EProcess
from estimator.drift.reference import MAX_BINS
from estimator.drift.schema_faults import fisher_exact
from estimator.monitoring.drift_check import cauchy, check_drift, simes
from estimator.monitoring.records import drift_reference
from estimator.monitoring.sequential import VersionMonitor

TESTS = ("schema_faults", "kolmogorov_smirnov", "chi_square", "domain_classifier", "prediction_drift")
THRESHOLD = 1000.0


def coded_rows(values):
    batch = Batch({"code": np.array(values, dtype=object)[:, None]}, len(values))
    zeros = np.zeros(len(values))
    return Schema((Column("code", "category"),), SCHEMA.target), batch, Predictions(zeros), zeros


def test_every_version_has_a_reference(store):
    for model in ("house_pricing_model", "ames", "credit", "penguins"):
        training_reference = drift_reference(verbs.Context(store_path=str(store)).version(model))
        assert training_reference.n_rows > 100
        assert training_reference.predictions.n_rows > 50
        assert training_reference.mean_loss > 0


def test_reference_is_small_and_holds_no_row(store):
    data = json.dumps(drift_reference(verbs.Context(store_path=str(store)).version("ames")).to_data())
    assert len(data) < 500_000
    keys = json.loads(data)["columns"][0].keys()
    values = {"name", "counts", "edges", "categories", "is_text", "median", "scale"}
    assert set(keys) == values | {"design_effect", "fault_effects", "neighbor_correlation"}


def test_numbers_have_at_most_250_even_bins():
    values = np.random.default_rng(0).normal(size=5000)
    batch = Batch({"code": values[:, None]}, 5000)
    schema = Schema((Column("code", "number"),), SCHEMA.target)
    (column,) = build_reference(schema, batch, Predictions(values), np.abs(values), seed=0).columns
    assert len(column.counts) <= MAX_BINS + 1
    assert column.counts.sum() == 5000
    assert column.counts[1:].max() <= 2 * 5000 / MAX_BINS


def test_randomly_frequent_categories_do_not_seem_to_fade():
    generator = np.random.default_rng(1)
    schema, batch, predictions, losses = coded_rows(generator.integers(0, 2000, 4000).astype(str))
    training_reference = build_reference(schema, batch, predictions, losses, seed=0)
    _, later, later_predictions, _ = coded_rows(generator.integers(0, 2000, 4000).astype(str))
    sample = CurrentRows.of(training_reference, later, later_predictions)
    assert not check_drift(training_reference, sample, ["chi_square", "schema_faults"], alpha=0.01).drifted


def test_combined_tests_find_a_shift_and_nothing_else():
    training_reference = reference()
    assert check_drift(training_reference, current(training_reference, seed=5, shift=0.4), TESTS, alpha=0.01).drifted
    assert not check_drift(training_reference, current(training_reference, seed=6), TESTS, alpha=0.01).drifted


@pytest.mark.parametrize("copies", [2, 5])
def test_rows_that_are_sent_again_are_a_finding_and_no_drift(copies):
    training_reference = reference()
    for seed in range(6):
        sample = current(training_reference, seed=40 + seed)
        once = check_drift(training_reference, sample, TESTS, alpha=0.01)
        again = check_drift(training_reference, sample.rows(np.tile(np.arange(N_CURRENT), copies)), TESTS, alpha=0.01)
        assert not again.drifted
        assert again.n_compared < N_CURRENT * 1.2
        assert "repeated rows" in again.message
        assert once.findings == []


def test_drift_is_found_among_repeated_rows():
    training_reference = reference()
    sample = current(training_reference, seed=5, shift=0.4)
    check = check_drift(training_reference, sample.rows(np.tile(np.arange(N_CURRENT), 2)), TESTS, alpha=0.01)
    assert check.drifted


def test_rows_of_few_categories_repeat_without_a_finding():
    generator = np.random.default_rng(11)
    schema, batch, predictions, losses = coded_rows(generator.choice(["a", "b", "c"], 2000))
    training_reference = build_reference(schema, batch, predictions, losses, seed=0)
    _, later, later_predictions, _ = coded_rows(generator.choice(["a", "b", "c"], 1000))
    sample = CurrentRows.of(training_reference, later, later_predictions)
    check = check_drift(training_reference, sample, ["chi_square"], alpha=0.01)
    assert (check.n_compared, check.n_repeats, check.findings) == (1000, 997, [])


@pytest.mark.parametrize("n_rows", [1, 19])
def test_a_handful_of_rows_is_too_few_to_tell(n_rows):
    training_reference = reference()
    check = check_drift(training_reference, current(training_reference, n_rows, seed=5, shift=0.9), TESTS, alpha=0.01)
    assert not check.drifted
    assert check.to_data()["message"].startswith("too few rows to tell")
    assert "at least 20" in check.message


def test_classifier_finds_a_changed_correlation():
    generator = np.random.default_rng(2)

    def pair(n, sign):
        first = generator.normal(size=n)
        second = sign * first + 0.5 * generator.normal(size=n)
        return Batch({"a": first[:, None], "b": second[:, None]}, n), Predictions(first)

    schema = Schema((Column("a", "number"), Column("b", "number")), SCHEMA.target)
    batch, predictions = pair(2000, 1.0)
    training_reference = build_reference(schema, batch, predictions, np.ones(2000), seed=0)
    sample = CurrentRows.of(training_reference, *pair(500, -1.0))
    check = check_drift(training_reference, sample, ["kolmogorov_smirnov", "domain_classifier"], alpha=0.01)
    (classified,) = check.results["domain_classifier"]
    assert classified.p_value < 1e-6
    assert min(result.p_value for result in check.results["kolmogorov_smirnov"]) > 0.001


def test_classifier_is_seldom_certain_without_drift():
    # A few seconds: only many checks show a tail. Of 5,000 larger ones .0012 were below .001, and .0098 below .01.
    p_values = []
    for seed in range(250):
        training_reference = build_reference(SCHEMA, *rows(150, seed=5000 + seed), np.ones(150), seed=seed)
        sample = current(training_reference, 100, seed=7000 + seed)
        p_values.append(DomainClassifier().compare(training_reference, sample, seed=seed)[0].p_value)
    # Cross-validated scores gave 3 and 7.
    assert np.less_equal(p_values, 0.001).sum() <= 1
    assert np.less_equal(p_values, 0.01).sum() <= 5


def test_p_values_combine_within_bounds():
    assert simes([0.5, 0.5, 0.5]) == 0.5
    assert simes([1.0]) == 1.0
    assert cauchy([0.2]) == pytest.approx(0.2)
    assert cauchy([1e-12, 1.0, 1.0]) < 1e-11


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12))
def test_no_test_hides_what_another_found(p_values):
    for combined in (simes(p_values), cauchy(p_values)):
        assert 0.0 <= combined <= len(p_values) * max(min(p_values), 1e-300)


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=12), st.floats(0.0, 1.0))
def test_a_larger_p_value_never_lowers_the_combined_one(p_values, larger):
    raised = [max(p_values[0], larger), *p_values[1:]]
    for combine in (simes, cauchy):
        assert combine(raised) >= combine(p_values) - 1e-12


def test_combined_p_values_keep_their_level():
    uniform = np.random.default_rng(8).random((20_000, 4))
    below = np.mean([cauchy(row) <= 0.01 for row in uniform.tolist()])
    # 1.02 times 0.01, and four standard errors.
    assert below <= 0.0102 + 4 * np.sqrt(0.01 / 20_000)


@pytest.mark.parametrize("correlation", [0.3, 0.9])
def test_combined_p_values_keep_their_level_when_tests_depend_on_each_other(correlation):
    generator = np.random.default_rng(9)
    shared, own = generator.normal(size=(20_000, 1)), generator.normal(size=(20_000, 5))
    p_values = ndtr(np.sqrt(correlation) * shared + np.sqrt(1.0 - correlation) * own)
    for combine in (simes, cauchy):
        below = np.mean([combine(row) <= 0.01 for row in p_values.tolist()])
        assert below <= 0.011 + 4 * np.sqrt(0.01 / 20_000)


def test_a_test_that_finds_nothing_hides_no_other():
    generator = np.random.default_rng(10)
    for row in generator.random((1000, 5)):
        assert cauchy([0.003, 1.0, *row]) <= 7 * 0.003


def test_unreadable_rows_are_drift_although_columns_are_as_before():
    fisher = fisher_exact(5, 100, 0, 200)
    assert fisher < 0.01 / 2
    assert cauchy([1.0, fisher]) <= 2 * fisher


def test_every_bet_pays_1_on_average():
    assert np.allclose(BETS.mean(axis=0), 1.0)
    assert BETS.min() > 0


def test_uniform_ranks_rarely_reach_the_threshold():
    generator, n_alarms = np.random.default_rng(3), 0
    for _ in range(40):
        portfolio, largest = BettingPortfolio(np.ones(4)), 0.0
        for _ in range(10):
            portfolio.start_period()
            largest = max(largest, float(portfolio.update(generator.random((50, 4))).mean(axis=1).max()))
        n_alarms += largest >= 10 / 0.05
    # Ten periods, and a threshold that one in twenty streams may reach.
    assert n_alarms <= 5


def test_ranks_are_uniform_while_nothing_changes():
    training_reference = reference()
    ranks = ConformalRanks(training_reference.columns, seed=4)
    values = np.concatenate([ranks.update(current(training_reference, seed=seed).codes) for seed in range(10, 20)])
    for column in values.T:
        counts, _ = np.histogram(column, 10, (0.0, 1.0))
        assert np.abs(counts - len(column) / 10).max() < 5 * np.sqrt(len(column) / 10)


def test_detector_reports_drift_until_the_next_update():
    training_reference = reference()
    test = EProcess.of(training_reference.columns, threshold=THRESHOLD)
    assert not test.drift_detected
    shifted = current(training_reference, 300, seed=31, shift=0.5)
    test.update(shifted.codes, np.zeros(300, np.int64))
    assert test.drift_detected
    test.restart()
    test.update(current(training_reference, 20, seed=32).codes, np.zeros(20, np.int64))
    assert not test.drift_detected


@pytest.mark.parametrize("sizes", [[300], [1, 299], [70, 80, 150]])
def test_e_values_do_not_depend_on_batch_sizes(sizes):
    training_reference = reference()
    sample, predictions = current(training_reference, seed=21, shift=0.1), rows(N_CURRENT, seed=21, shift=0.1)[1].values
    periods = np.arange(N_CURRENT) // 100
    whole = VersionMonitor(training_reference, THRESHOLD, seed=1).update(sample.codes, predictions, periods)
    monitor, parts, start = VersionMonitor(training_reference, THRESHOLD, seed=1), [], 0
    for size in sizes:
        part = slice(start, start + size)
        parts.append(monitor.update(sample.codes[part], predictions[part], periods[part]))
        start += size
    assert np.allclose(np.concatenate(parts), whole, rtol=1e-9)


def test_monitor_continues_from_its_stored_state():
    training_reference = reference()
    sample, predictions = current(training_reference, seed=22, shift=0.1), rows(N_CURRENT, seed=22, shift=0.1)[1].values
    periods = np.zeros(N_CURRENT, np.int64)
    first = VersionMonitor(training_reference, THRESHOLD, seed=1)
    first.update(sample.codes[:100], predictions[:100], periods[:100])
    second = VersionMonitor(training_reference, THRESHOLD, seed=1)
    second.restore(json.loads(json.dumps(first.to_data())))
    rest = [monitor.update(sample.codes[100:], predictions[100:], periods[100:]) for monitor in (first, second)]
    assert np.array_equal(*rest)
    assert second.n_rows == N_CURRENT


def test_drift_is_detected_within_60_rows():
    training_reference = reference()
    calm = VersionMonitor(training_reference, THRESHOLD, seed=2).update(
        *_stream(training_reference, 2000, 0.0, seed=30)
    )
    assert calm.max() < THRESHOLD
    shifted = VersionMonitor(training_reference, THRESHOLD, seed=2).update(
        *_stream(training_reference, 300, 0.5, seed=31)
    )
    assert int(np.argmax(shifted >= THRESHOLD)) < 60


def _stream(training_reference: DriftReference, n: int, shift: float, *, seed: int):
    sample, predictions = (
        current(training_reference, n, seed=seed, shift=shift),
        rows(n, seed=seed, shift=shift)[1].values,
    )
    return sample.codes, predictions, np.arange(n) // 500


def without_equal_rows(n, *, seed, shift=0.0):
    """Return numbers, of which no two rows are equal, and their predictions."""
    values = np.random.default_rng(seed).normal(size=(n, 3)) + shift
    batch = Batch({f"x{index}": values[:, [index]] for index in range(3)}, n)
    return batch, Predictions(values.sum(axis=1))


def test_rows_that_are_sent_again_are_no_evidence_row_by_row():
    schema = Schema(tuple(Column(f"x{index}", "number") for index in range(3)), SCHEMA.target)
    batch, predictions = without_equal_rows(4000, seed=1)
    trained_on = build_reference(schema, batch, predictions, np.abs(predictions.values), seed=0)
    for seed in range(20):
        batch, predictions = without_equal_rows(30, seed=[seed, 1])
        again = np.random.default_rng(seed).integers(0, 30, 400)
        codes = CurrentRows.of(trained_on, batch, predictions).codes[again]
        monitor = VersionMonitor(trained_on, THRESHOLD, seed=seed)
        e_values = monitor.update(codes, predictions.values[again], np.zeros(400, np.int64))
        assert e_values.max() < THRESHOLD
        restored = VersionMonitor(trained_on, THRESHOLD, seed=seed)
        restored.restore(json.loads(json.dumps(monitor.to_data())))
        later = [one.update(codes, predictions.values[again], np.zeros(400, np.int64)) for one in (monitor, restored)]
        assert np.array_equal(*later)
        assert np.all(later[0] == e_values[-1])
    moved = CurrentRows.of(trained_on, *without_equal_rows(200, seed=7, shift=1.5))
    twice = np.repeat(np.arange(200), 2)
    values = without_equal_rows(200, seed=7, shift=1.5)[1].values[twice]
    e_values = VersionMonitor(trained_on, THRESHOLD, seed=1).update(moved.codes[twice], values, np.zeros(400, np.int64))
    assert e_values.max() >= THRESHOLD, "drift is found though each row is sent twice"
