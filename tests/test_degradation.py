"""Degradation by labels: moderate harm is found, quiet labels raise no alarm, figures are those of the evidence."""

from __future__ import annotations

import numpy as np
import pytest

from estimator.core.task import Task
from estimator.drift.held_out import HeldOutErrors
from estimator.monitoring.degradation import DegradationTest, LabeledErrors
from estimator.monitoring.mean_detector import MeanDetector

THRESHOLD = 1096.0
PRICES, CLASSES = Task("regression"), Task("binary", ("no", "yes"))


def prices(n, *, seed, scale=1.0, bias=0.0):
    """Rows with errors of a heavy-tailed distribution, of mean size 15, in intervals of 90 %."""
    errors = np.random.default_rng(seed).laplace(0.0, 15.0, n) * scale + bias
    return LabeledErrors(np.abs(errors), errors, (np.abs(errors) <= 15.0 * np.log(10.0)).astype(float))


def churn(n, *, seed, rate=0.22):
    """Rows with a predicted probability of 0.22 on average."""
    generator = np.random.default_rng(seed)
    predicted = generator.beta(2.2, 7.8, n)
    labels = (generator.random(n) < predicted * rate / 0.22).astype(float)
    losses = -np.log(np.where(labels == 1.0, predicted, 1.0 - predicted))
    return LabeledErrors(losses, labels - predicted, np.full(n, np.nan))


def first_alarm(test, rows, *, per_day=500):
    """Return after how many labels the first alarm is raised; None if there is none."""
    alarms = np.flatnonzero(test.update(rows, np.arange(len(rows)) // per_day) >= THRESHOLD)
    return int(alarms[0]) + 1 if len(alarms) else None


def of(rows, coverage):
    return DegradationTest(HeldOutErrors.of(rows.losses, rows.errors), coverage)


@pytest.mark.parametrize(("make", "coverage"), [(prices, 0.9), (churn, None)])
def test_quiet_labels_raise_no_alarm(make, coverage):
    alarms = [first_alarm(of(make(1000, seed=seed), coverage), make(4000, seed=1000 + seed)) for seed in range(12)]
    assert alarms.count(None) >= 11


@pytest.mark.parametrize(("held_out", "later", "coverage", "message"), [
    (prices(2000, seed=1), prices(8600, seed=2, scale=1.15), 0.9, "mean loss 1"),
    (prices(2000, seed=1), prices(8600, seed=2, bias=5.0), 0.9, "too low by a mean of "),
    (prices(2000, seed=1), prices(8600, seed=2, bias=-5.0), 0.9, "too high by a mean of "),
    (churn(2000, seed=1), churn(2000, seed=2, rate=0.12), None, "probabilities are too high by a mean of 0."),
])  # fmt: skip
def test_moderate_harm_is_found_and_named(held_out, later, coverage, message):
    task = CLASSES if coverage is None else PRICES
    test = of(held_out, coverage)
    n_labels = first_alarm(test, later)
    assert n_labels is not None
    assert n_labels < 3000
    assert test.message(task).startswith(f"predictions have become worse: {message}")


def test_intervals_that_hold_too_few_labels_are_an_alarm():
    held_out, later = prices(2000, seed=3), prices(3000, seed=4)
    covered = (np.random.default_rng(5).random(3000) < 0.8).astype(float)
    test = of(held_out, 0.9)
    assert first_alarm(test, LabeledErrors(later.losses, later.errors, covered)) is not None
    assert "intervals hold the label in 8" in test.message(PRICES)
    assert test.message(PRICES).endswith("expected 90%")


def test_the_quoted_mean_is_above_the_usual_one():
    for seed in range(8):
        test = of(prices(500, seed=seed), 0.9)
        later = prices(5000, seed=100 + seed, scale=1.0 + seed / 8)
        n_labels = first_alarm(test, later)
        if n_labels is None:
            continue
        test = of(prices(500, seed=seed), 0.9)
        test.update(
            LabeledErrors(*(values[:n_labels] for values in (later.losses, later.errors, later.covered))),
            np.arange(n_labels) // 500,
        )
        largest = max(test.detectors.values(), key=lambda detector: detector.e_value)
        assert largest.mean > largest.usual


def test_state_does_not_depend_on_batches():
    rows = prices(300, seed=6, scale=1.2)
    periods = np.arange(300) // 100
    whole, parts = of(prices(500, seed=7), 0.9), of(prices(500, seed=7), 0.9)
    at_once = whole.update(rows, periods)
    pieces = []
    for start in range(0, 300, 37):
        restored = of(prices(500, seed=7), 0.9)
        restored.restore(parts.to_data())
        piece = slice(start, start + 37)
        pieces.append(
            restored.update(LabeledErrors(rows.losses[piece], rows.errors[piece], rows.covered[piece]), periods[piece])
        )
        parts = restored
    assert np.allclose(np.concatenate(pieces), at_once)


def test_a_sudden_rise_after_quiet_labels_is_found_the_same_day():
    test = of(prices(1000, seed=8), 0.9)
    assert first_alarm(test, prices(300, seed=9), per_day=10_000) is None
    assert first_alarm(test, prices(100, seed=10, scale=3.0), per_day=10_000) is not None


def test_smaller_losses_are_no_alarm():
    assert first_alarm(of(prices(1000, seed=11), 0.9), prices(2000, seed=12, scale=0.3)) is None


def test_values_that_are_missing_change_nothing():
    detector = MeanDetector(0.2)
    before = detector.update(np.array([1.0, 0.0]), np.zeros(2, np.int64))[-1]
    assert detector.update(np.array([np.nan]), np.zeros(1, np.int64))[0] == before
