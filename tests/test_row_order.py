"""Rows in their natural order, in which neighbors are alike: no false alarms, and drift is still found."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from estimator.config import Monitoring, resolve
from estimator.core.task import Predictions
from estimator.data.schema import Batch, Column, Schema
from estimator.drift import CurrentRows, DriftReference, build_reference
from estimator.drift.design_effect import RowOrder, design_effect, rank_features
from estimator.drift.held_out import HeldOutErrors
from estimator.monitoring.budget import FalseAlarmBudget
from estimator.monitoring.diagnosis import diagnose_rows
from estimator.monitoring.drift_check import check_drift
from estimator.monitoring.mean_detector import MeanDetector
from estimator.monitoring.sequential import VersionMonitor
from estimator.training.prepare import prepare
from estimator.training.row_order import row_order, row_order_notes
from estimator.verbs.context import SHELVES
from tests.market import kinds, other_area, same_area

SCHEMA = Schema((Column("temperature", "number"), Column("size", "number")), Column("price", "number"))
TESTS = ("schema_faults", "kolmogorov_smirnov", "chi_square", "domain_classifier", "prediction_drift")
N_TRAINING, N_ROWS, PERIOD_ROWS, THRESHOLD = 8000, 1500, 150, 200.0


def weather(n, *, seed, memory=0.97):
    """Return rows whose temperature lasts for some 30 rows, with a size that does not, and their predictions."""
    generator = np.random.default_rng(seed)
    shocks = generator.normal(size=n) * np.sqrt(1.0 - memory**2)
    temperature = np.empty(n)
    temperature[0] = generator.normal()
    for row in range(1, n):
        temperature[row] = memory * temperature[row - 1] + shocks[row]
    size = generator.gamma(4.0, 25.0, n)
    return Batch({"temperature": temperature[:, None], "size": size[:, None]}, n), Predictions(temperature + size)


def reference(seed=0, *, ordered=True, by_time=False):
    batch, predictions = weather(N_TRAINING, seed=seed)
    order = RowOrder(np.arange(N_TRAINING), np.arange(N_TRAINING), by_time) if ordered else None
    losses = np.abs(np.random.default_rng([seed, 1]).normal(size=N_TRAINING))
    return build_reference(SCHEMA, batch, predictions, losses, errors=losses, order=order, seed=seed)


def alarm_rows(trained_on, seeds, *, shift=0.0):
    """Return the first row that is an alarm in streams of ten periods each, None where there is none."""
    firsts = []
    for seed in seeds:
        batch, predictions = weather(N_ROWS, seed=[seed, 5])
        batch.feed["size"] = batch.feed["size"] * (1.0 + shift)
        current = CurrentRows.of(trained_on, batch, predictions)
        e_values = VersionMonitor(trained_on, THRESHOLD, seed=seed).update(
            current.codes, predictions.values, np.arange(N_ROWS) // PERIOD_ROWS
        )
        alarms = np.flatnonzero(e_values >= THRESHOLD)
        firsts.append(int(alarms[0]) if len(alarms) else None)
    return firsts


def test_design_effect_of_an_autoregression_is_that_of_theory():
    effects = [design_effect(rank_features(codes_of(seed), seed=0), np.arange(N_TRAINING)) for seed in range(4)]
    theory = 1.97 / 0.03
    assert theory / 1.7 < np.mean(effects) < theory * 1.5


def codes_of(seed):
    trained_on = reference(seed, ordered=False)
    batch, predictions = weather(N_TRAINING, seed=seed)
    return CurrentRows.of(trained_on, batch, predictions).codes[:, 0]


def test_design_effect_of_sampled_rows_is_that_of_all():
    codes, places = codes_of(3), np.flatnonzero(np.random.default_rng(3).random(N_TRAINING) < 0.3)
    whole = design_effect(rank_features(codes, seed=0), np.arange(N_TRAINING))
    sampled = design_effect(rank_features(codes[places], seed=0), places)
    assert whole / 1.8 < sampled < whole * 1.8


def test_order_of_shuffled_rows_makes_no_difference():
    for seed in range(20):
        codes = np.random.default_rng(seed).permutation(codes_of(1))
        assert design_effect(rank_features(codes, seed=0), np.arange(N_TRAINING)) == 1.0


def test_quiet_rows_in_their_natural_order_rarely_raise_an_alarm():
    trained_on = reference()
    assert trained_on.by_name["temperature"].design_effect > 20
    assert trained_on.by_name["size"].design_effect == 1.0
    firsts = alarm_rows(trained_on, range(40))
    assert sum(first is not None for first in firsts) <= 5, "ten periods, and one stream in twenty may"
    unaware = alarm_rows(trained_on.in_random_order(), range(10))
    assert all(first is not None for first in unaware)


def test_a_column_in_random_order_is_an_alarm_as_soon_as_before():
    trained_on = reference()
    firsts = alarm_rows(trained_on, range(10), shift=0.8)
    assert all(first is not None and first < 100 for first in firsts)


def test_scheduled_checks_of_quiet_rows_in_their_natural_order_hold():
    trained_on, p_values = reference(), []
    for seed in range(40):
        current = CurrentRows.of(trained_on, *weather(300, seed=[seed, 6]))
        p_values.append(
            [check_drift(of, current, TESTS, alpha=0.01).p_value for of in (trained_on, unordered(trained_on))]
        )
    aware, unaware = np.array(p_values).T
    assert (aware <= 0.05).sum() <= 6
    assert (unaware <= 0.001).sum() >= 25


def unordered(trained_on):
    return trained_on.in_random_order()


def test_scheduled_check_finds_lost_values_of_an_ordered_column():
    trained_on = reference()
    batch, predictions = weather(300, seed=9)
    batch.feed["temperature"][:100] = np.nan
    assert check_drift(trained_on, CurrentRows.of(trained_on, batch, predictions), TESTS, alpha=0.001).drifted


def test_design_effects_are_stored():
    trained_on = reference()
    stored = DriftReference.from_data(json.loads(json.dumps(trained_on.to_data())))
    assert stored.columns[0].design_effect == trained_on.columns[0].design_effect > 1
    assert stored.columns[0].fault_effects == trained_on.columns[0].fault_effects
    assert stored.held_out == trained_on.held_out


def test_losses_that_come_in_waves_rarely_raise_an_alarm():
    def losses(n, seed):
        wave = weather(n, seed=seed)[0].feed["temperature"][:, 0]
        return np.abs(np.random.default_rng(seed).normal(size=n)) * np.exp(wave)

    usual = losses(N_TRAINING, 1)
    held_out = HeldOutErrors.of(usual, usual, np.arange(N_TRAINING))
    assert held_out.design_effect > 5
    periods, n_alarms = np.arange(N_ROWS) // PERIOD_ROWS, {1.0: 0, held_out.design_effect: 0}
    for seed in range(30):
        values = np.minimum(losses(N_ROWS, [seed, 2]), held_out.bound) / held_out.bound
        for effect in n_alarms:
            detector = MeanDetector(held_out.mean_loss / held_out.bound, effect)
            n_alarms[effect] += detector.update(values, periods).max() >= THRESHOLD
    assert n_alarms[1.0] > 12
    assert n_alarms[held_out.design_effect] <= 4


def test_explanation_leaves_out_columns_in_which_few_rows_always_differ():
    trained_on = reference()
    batch, predictions = weather(60, seed=12)
    batch.feed["size"] = batch.feed["size"] * 3.0
    rows = CurrentRows.of(trained_on, batch, predictions)
    for of, columns in ((trained_on, ["size"]), (unordered(trained_on), ["size", "temperature"])):
        diagnosis = diagnose_rows(of, rows, {"size": 1e6, "temperature": 2.0}, lambda index: {})
        assert [moved.column for moved in diagnosis.columns] == columns


def shuffled_weather(n, seed):
    batch, predictions = weather(n, seed=[seed, 7])
    order = np.random.default_rng(seed).permutation(n)
    return batch.rows(order), Predictions(predictions.values[order])


def monitored(trained_on, rows, *, parts=(N_ROWS,)):
    """Return the monitor of rows that come in parts of a size, and its e-values."""
    batch, predictions = rows
    codes = CurrentRows.of(trained_on, batch, predictions).codes
    monitor, e_values = VersionMonitor(trained_on, THRESHOLD, seed=1), []
    for part in parts:
        rows_of_part = slice(monitor.n_rows, monitor.n_rows + part)
        periods = np.arange(N_ROWS)[rows_of_part] // PERIOD_ROWS
        e_values.append(monitor.update(codes[rows_of_part], predictions.values[rows_of_part], periods))
    return monitor, np.concatenate(e_values)


def test_rows_of_the_log_that_come_in_random_order_count_as_one_each():
    trained_on = reference()
    for seed in range(10):
        monitor, _ = monitored(trained_on, shuffled_weather(N_ROWS, seed))
        assert monitor.is_random_order
        assert monitor.reference.by_name["temperature"].design_effect == 1.0
    warm = shuffled_weather(N_ROWS, 11)
    warm[0].feed["temperature"][300:] += 1.0
    _, e_values = monitored(trained_on, warm)
    assert 300 <= np.flatnonzero(e_values >= THRESHOLD)[0] < 400


def test_rows_of_the_log_in_their_natural_order_stay_so():
    trained_on = reference()
    for seed in range(20):
        assert not monitored(trained_on, weather(N_ROWS, seed=[seed, 8]))[0].is_random_order
    for settled in (trained_on.in_order_of_training(), reference(by_time=True)):
        assert not monitored(settled, shuffled_weather(N_ROWS, 1))[0].is_random_order


def test_random_order_is_seen_at_the_same_row_however_rows_arrive():
    trained_on, rows = reference(), shuffled_weather(N_ROWS, 3)
    whole = monitored(trained_on, rows)[1]
    assert np.allclose(whole, monitored(trained_on, rows, parts=(7, 60, 33, 900, 500))[1])


def test_order_that_was_seen_is_kept_in_the_state():
    trained_on, (batch, predictions) = reference(), shuffled_weather(N_ROWS, 4)
    codes, periods = CurrentRows.of(trained_on, batch, predictions).codes, np.arange(N_ROWS) // PERIOD_ROWS
    whole = VersionMonitor(trained_on, THRESHOLD, seed=1).update(codes, predictions.values, periods)
    for n_before in (30, 700):
        first, second = (VersionMonitor(trained_on, THRESHOLD, seed=1) for _ in range(2))
        first.update(codes[:n_before], predictions.values[:n_before], periods[:n_before])
        second.restore(json.loads(json.dumps(first.to_data())))
        later = second.update(codes[n_before:], predictions.values[n_before:], periods[n_before:])
        assert np.allclose(later, whole[n_before:])


def prepared(frame, **training):
    values = {
        "name": "n",
        "data": {"path": "t.csv", "target": "price"},
        "model": {"kind": "linear"},
        "training": training,
    }
    config = resolve(values, SHELVES)
    return prepare(frame, config), config


def table(n=400):
    generator = np.random.default_rng(0)
    day = [datetime(2024, 1, 1) + timedelta(hours=hour) for hour in range(n)]
    return pl.DataFrame({"sold": day, "size": generator.normal(size=n), "price": generator.normal(size=n)})


def test_rows_are_ordered_by_their_only_time():
    shuffled = table().sample(fraction=1.0, shuffle=True, seed=1)
    order = row_order(*prepared(shuffled))
    assert order.is_by_time
    assert shuffled[order.rows.tolist()]["sold"].is_sorted()


def test_rows_are_ordered_by_the_column_of_a_split_by_time():
    frame = (
        table().with_columns(other=pl.col("sold").reverse(), moment=pl.col("sold")).sample(fraction=1.0, shuffle=True)
    )
    order = row_order(*prepared(frame, split={"kind": "time", "column": "moment"}))
    assert frame[order.rows.tolist()]["moment"].is_sorted()


@pytest.mark.parametrize(
    "column", [pl.Series("kind", ["a"] * 150 + ["c"] * 100 + ["b"] * 150), pl.Series("price", np.arange(400.0))]
)
def test_a_table_that_is_sorted_has_no_natural_order(column):
    assert row_order(*prepared(table().drop("sold"))) is not None
    assert row_order(*prepared(table().drop("sold").with_columns(column))) is None


def test_training_says_in_which_columns_neighbors_are_alike():
    (note,) = row_order_notes(reference())
    assert "temperature (" in note
    assert "size" not in note
    assert "monitoring.row_order: random" in note
    assert row_order_notes(reference(ordered=False)) == []


def test_what_looks_for_drift_shares_the_budget():
    both, rows_alone = (FalseAlarmBudget.of(Monitoring(mode=mode)) for mode in ("both", "rows"))
    assert rows_alone.threshold == pytest.approx(both.threshold * 2 / 3)


def test_rows_alone_are_followed_or_scheduled_checks_alone_are_made(market):
    market.send(same_area())
    market.send(other_area(0, 80))
    events = market.step("monitoring.mode=schedule")
    assert [event.kind for event in events] == ["check", "drift"]
    assert "p_value" in events[1].details
    market.now += 2 * 86_400.0
    market.send(other_area(80, 300))
    assert kinds(market.step("monitoring.mode=rows", "monitoring.repeat_after=1 day")) == ["drift"]
