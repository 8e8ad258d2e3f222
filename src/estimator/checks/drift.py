"""What every drift test promises: batch tests in `PROMISES`, sequential tests in `SEQUENTIAL_PROMISES`."""

from __future__ import annotations

import json
import math

import numpy as np

from estimator.core.arrays import Floats, Ints
from estimator.core.task import Predictions
from estimator.data.schema import Batch, Column, Schema
from estimator.drift import BatchTest, CurrentRows, DriftReference, SequentialTest, build_reference

N_REFERENCE, N_CURRENT, N_REPEATS = 1500, 300, 40
CATEGORIES = np.array(["north", "south", "east", "west"], dtype=object)
COLUMNS = (
    Column("size", "number", nullable=True),
    Column("rooms", "integer"),
    Column("place", "category", nullable=True),
)
SCHEMA = Schema(COLUMNS, Column("price", "number"))
# A stream of ten periods, and a threshold that one stream in twenty may reach.
N_PERIODS, PERIOD_ROWS, STREAM_THRESHOLD = 10, 50, 200.0


def rows(n: int, *, seed: int, shift: float = 0.0) -> tuple[Batch, Predictions]:
    """Return rows with their predictions; a shift moves numbers, categories, missing values and predictions."""
    generator = np.random.default_rng(seed)
    size = generator.gamma(4.0, 25.0, n) * (1.0 + shift)
    size[generator.random(n) < 0.03 + 0.2 * shift] = np.nan
    rooms = np.floor(generator.poisson(3.0 + 2.0 * shift, n)).astype(np.float64)
    fractions = np.array([0.4, 0.3, 0.2, 0.1]) * (1.0 - shift) + shift * np.array([0.05, 0.05, 0.3, 0.6])
    districts = CATEGORIES[generator.choice(4, n, p=fractions / fractions.sum())]
    predicted = np.nan_to_num(size, nan=100.0) * 3.0 + rooms * 10.0
    batch = Batch({"size": size[:, None], "rooms": rooms[:, None], "place": districts[:, None]}, n)
    return batch, Predictions(predicted)


def reference(seed: int = 0) -> DriftReference:
    """Return the reference of a version that was trained on rows without a shift."""
    batch, predictions = rows(N_REFERENCE, seed=seed)
    losses: Floats = np.abs(np.random.default_rng([seed, 1]).normal(size=N_REFERENCE))
    return build_reference(SCHEMA, batch, predictions, losses, seed=seed)


def current(of: DriftReference, n: int = N_CURRENT, *, seed: int, shift: float = 0.0) -> CurrentRows:
    """Return current rows as the bins of a reference."""
    return CurrentRows.of(of, *rows(n, seed=seed, shift=shift))


def detects_a_shift(test: BatchTest) -> None:
    """Rows that moved far have a small p-value and a larger effect than rows that did not."""
    trained_on = reference()
    calm = test.compare(trained_on, current(trained_on, seed=1))
    shifted = test.compare(trained_on, current(trained_on, seed=2, shift=0.5))
    assert min(result.p_value for result in shifted) <= 0.01
    assert max(result.effect for result in shifted) > max(result.effect for result in calm)


def keeps_its_false_positive_rate(test: BatchTest) -> None:
    """While nothing changes, p-values are at most as often small as they say."""
    n_small, n_results = 0, 0
    for seed in range(N_REPEATS):
        trained_on = reference(seed=1000 + seed)
        results = test.compare(trained_on, current(trained_on, seed=2000 + seed), seed=seed)
        n_small += sum(result.p_value <= 0.05 for result in results)
        n_results += len(results)
    # Results for the same rows depend on each other a little, hence the margin.
    assert n_small <= 0.05 * n_results + 4.0 * math.sqrt(0.05 * n_results) + 1


def p_values_are_probabilities(test: BatchTest) -> None:
    """P-values lie in [0, 1] and effects are finite: for one row, only missing values, or all rows apart."""
    trained_on = reference()
    batch, predictions = rows(60, seed=3)
    missing = {
        "size": np.full((60, 1), np.nan),
        "rooms": np.full((60, 1), np.nan),
        "place": np.full((60, 1), "", object),
    }
    samples = (
        current(trained_on, 1, seed=4),
        current(trained_on, 2, seed=5),
        current(trained_on, seed=6, shift=0.9),
        CurrentRows.of(trained_on, Batch(missing, 60), predictions),
        CurrentRows.of(trained_on, batch, predictions),
    )
    for sample in samples:
        for result in test.compare(trained_on, sample):
            assert 0.0 <= result.p_value <= 1.0
            assert math.isfinite(result.effect)


def is_deterministic(test: BatchTest) -> None:
    """The same rows and seed give the same results."""
    trained_on = reference()
    sample = current(trained_on, seed=7, shift=0.1)
    assert test.compare(trained_on, sample, seed=3) == test.compare(trained_on, sample, seed=3)


def accepts_a_stored_reference(test: BatchTest) -> None:
    """A reference that was written and read gives the same results."""
    trained_on = reference()
    stored = DriftReference.from_data(json.loads(json.dumps(trained_on.to_data())))
    sample = rows(N_CURRENT, seed=8, shift=0.2)
    results = [test.compare(one, CurrentRows.of(one, *sample)) for one in (trained_on, stored)]
    assert results[0] == results[1]


PROMISES = (
    detects_a_shift,
    keeps_its_false_positive_rate,
    p_values_are_probabilities,
    is_deterministic,
    accepts_a_stored_reference,
)


def _stream(of: DriftReference, *, seed: int, shift: float = 0.0) -> tuple[CurrentRows, Ints]:
    n_rows = N_PERIODS * PERIOD_ROWS
    return current(of, n_rows, seed=seed, shift=shift), np.arange(n_rows) // PERIOD_ROWS


def keeps_its_false_alarm_budget(kind: type[SequentialTest]) -> None:
    """On exchangeable rows, at most one stream in twenty reaches a threshold of twenty times its periods."""
    n_alarms = 0
    for seed in range(N_REPEATS):
        trained_on = reference(seed=3000 + seed)
        test = kind.of(trained_on.columns, threshold=STREAM_THRESHOLD, seed=seed)
        sample, periods = _stream(trained_on, seed=4000 + seed)
        test.update(sample.codes, periods)
        n_alarms += test.drift_detected
    # Expected at most 2 of 40; 5 is about twice the standard deviation above.
    assert n_alarms <= 5


def detects_a_shift_soon(kind: type[SequentialTest]) -> None:
    """A large shift is an alarm within one period, at a threshold of three years of days."""
    trained_on = reference()
    test = kind.of(trained_on.columns, threshold=1000.0, seed=2)
    sample, periods = _stream(trained_on, seed=31, shift=0.5)
    test.update(sample.codes[:PERIOD_ROWS], periods[:PERIOD_ROWS])
    assert test.drift_detected


def does_not_depend_on_batch_sizes(kind: type[SequentialTest]) -> None:
    """Row by row or all at once, the e-values are the same."""
    trained_on = reference()
    sample, periods = _stream(trained_on, seed=21, shift=0.1)
    whole = kind.of(trained_on.columns, threshold=1000.0, seed=1).update(sample.codes, periods)
    test, parts = kind.of(trained_on.columns, threshold=1000.0, seed=1), []
    for start, stop in ((0, 1), (1, 70), (70, 300), (300, len(periods))):
        parts.append(test.update(sample.codes[start:stop], periods[start:stop]))
    assert np.allclose(np.concatenate(parts), whole, rtol=1e-9)


def continues_from_its_state(kind: type[SequentialTest]) -> None:
    """A test that was stored and restored gives the same e-values."""
    trained_on = reference()
    sample, periods = _stream(trained_on, seed=22, shift=0.1)
    first = kind.of(trained_on.columns, threshold=1000.0, seed=1)
    first.update(sample.codes[:120], periods[:120])
    second = kind.of(trained_on.columns, threshold=1000.0, seed=1)
    second.restore(json.loads(json.dumps(first.to_data())))
    expected = first.update(sample.codes[120:], periods[120:])
    assert np.array_equal(second.update(sample.codes[120:], periods[120:]), expected)


def starts_over_after_an_alarm(kind: type[SequentialTest]) -> None:
    """After a restart there is no alarm and no evidence."""
    trained_on = reference()
    test = kind.of(trained_on.columns, threshold=1000.0, seed=3)
    sample, periods = _stream(trained_on, seed=32, shift=0.5)
    test.update(sample.codes, periods)
    test.restart()
    assert not test.drift_detected
    assert test.e_values.max() <= 1.0


def stays_finite(kind: type[SequentialTest]) -> None:
    """However far rows have moved, e-values are finite and positive."""
    trained_on = reference()
    test = kind.of(trained_on.columns, threshold=1000.0, seed=7)
    e_values = test.update(np.zeros((3000, len(trained_on.columns)), np.uint8), np.zeros(3000, np.int64))
    assert np.isfinite(e_values).all()
    assert e_values.min() > 0


SEQUENTIAL_PROMISES = (
    keeps_its_false_alarm_budget,
    detects_a_shift_soon,
    does_not_depend_on_batch_sizes,
    continues_from_its_state,
    starts_over_after_an_alarm,
    stays_finite,
)
