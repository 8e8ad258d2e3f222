"""Testing by betting: its promise on skewed, heavy-tailed and dependent differences, its power, and its limits."""

from __future__ import annotations

import numpy as np
import pytest

from estimator.core.task import Task
from estimator.monitoring.betting import BettingTest
from estimator.monitoring.promotion import BoundedLoss

N_RUNS, N_ROWS = 60, 2000


def dependent(generator, n):
    """Differences that resemble those before them, with mean 0: an autoregression with coefficient 0.3."""
    values, noise = np.zeros(n), 0.14 * generator.normal(size=n)
    for index in range(1, n):
        values[index] = 0.3 * values[index - 1] + noise[index]
    return values


NO_GAIN = {
    "equal in every row": lambda generator, n: np.zeros(n),
    "symmetric": lambda generator, n: generator.uniform(-0.2, 0.2, n),
    "a rare large loss": lambda generator, n: np.where(generator.random(n) < 0.01, -0.99, 0.01),
    "a rare large gain": lambda generator, n: np.where(generator.random(n) < 0.01, 0.99, -0.01),
    "heavy tails": lambda generator, n: np.clip(0.05 * generator.standard_t(1.5, n), -1.0, 1.0),
    "mostly a small gain, worse on average": lambda generator, n: np.where(generator.random(n) < 0.02, -0.9, 0.015),
    "neighbors are alike": dependent,
}


def called(draw, *, seed: int = 7) -> float:
    """Return the fraction of runs in which a gain is ever called at alpha 0.05."""
    generator, runs = np.random.default_rng(seed), []
    for _ in range(N_RUNS):
        test = BettingTest(1.0)
        test.update(draw(generator, N_ROWS))
        runs.append(test.e_values().max() >= 20.0)
    return float(np.mean(runs))


@pytest.mark.parametrize("name", NO_GAIN)
def test_no_gain_is_rarely_called_a_gain(name):
    # 0.05 is promised; of 60 runs, more than 8 would have a probability of 0.5 % at that rate.
    assert called(NO_GAIN[name]) <= 8 / N_RUNS


@pytest.mark.parametrize(("draw", "n_rows"), [
    (lambda generator, n: generator.normal(0.08, 0.15, n), 100),
    (lambda generator, n: np.where(generator.random(n) < 0.05, 0.9, -0.01), 200),
])  # fmt: skip
def test_a_gain_is_found_soon(draw, n_rows):
    generator, first = np.random.default_rng(3), []
    for _ in range(N_RUNS):
        test = BettingTest(1.0)
        test.update(draw(generator, N_ROWS))
        first.append(int(np.argmax(test.e_values() >= 20.0)) + 1)
    assert np.median(first) <= n_rows


def test_evidence_and_limits_never_contradict_each_other():
    generator = np.random.default_rng(5)
    for _ in range(N_RUNS):
        test = BettingTest(1.0)
        test.update(np.clip(generator.normal(0.05, 0.2, 150), -1.0, 1.0))
        gain = test.gain(0.05)
        assert gain.low <= gain.value <= gain.high
        assert (gain.low > 0) == (test.e_value >= 20.0)


def test_limits_hold_the_mean():
    generator, missed = np.random.default_rng(6), 0
    for _ in range(N_RUNS):
        test = BettingTest(2.0)
        test.update(generator.choice([-1.0, 0.1, 0.2], 400, p=[0.1, 0.5, 0.4]))
        gain = test.gain(0.05)
        missed += not gain.low <= 0.03 <= gain.high
    assert missed / N_RUNS <= 0.1


def test_the_best_of_many_equal_candidates_is_rarely_promoted():
    generator, promoted = np.random.default_rng(8), 0
    for _ in range(N_RUNS):
        heads = generator.uniform(-0.3, 0.3, (4, 100))
        test = BettingTest(1.0, head=heads[heads.mean(axis=1).argmax()], n_heads=4)
        test.update(generator.uniform(-0.3, 0.3, 500))
        promoted += test.e_values().max() >= 20.0
    assert promoted <= 8


def test_held_out_rows_shorten_the_proof():
    generator = np.random.default_rng(9)
    held_out, live = generator.normal(0.05, 0.2, 150), generator.normal(0.05, 0.2, 400)
    with_head, without = BettingTest(1.0, head=held_out, n_heads=3), BettingTest(1.0)
    for test in (with_head, without):
        test.update(live)
    first = [int(np.argmax(test.e_values() >= 20.0)) for test in (with_head, without)]
    assert first[0] < first[1] / 2


def test_losses_are_bounded_and_proper():
    task = Task("multiclass", ("a", "b", "c"))
    loss = BoundedLoss(task, 1.0)
    truth = np.array([0.6, 0.3, 0.1])

    def expected(probabilities):
        rows = np.tile(probabilities, (3, 1))
        return float(truth @ loss.values(rows, np.arange(3.0)))

    generator = np.random.default_rng(2)
    assert all(expected(truth) <= expected(generator.dirichlet(np.ones(3))) for _ in range(200))
    assert loss.values(np.array([[0.0, 0.0, 1.0]]), np.array([0.0])).tolist() == [1.0]
    numbers = BoundedLoss(Task("regression"), 10.0)
    assert numbers.values(np.array([1.0, 1e9]), np.array([3.0, 0.0])).tolist() == [2.0, 10.0]
