"""What counts as drift: changes that are large enough, of columns that move predictions."""

from __future__ import annotations

import numpy as np
import pytest

from estimator import verbs
from estimator.checks.drift import current, reference
from estimator.core.task import Predictions
from estimator.data.schema import Batch, Column, Schema
from estimator.drift import CurrentRows, build_reference
from estimator.drift.kolmogorov_smirnov import change
from estimator.errors import Fault
from estimator.monitoring.drift_check import check_drift
from estimator.monitoring.events import read_events
from estimator.monitoring.influence import moves_predictions
from estimator.monitoring.records import drift_reference
from estimator.store.store import Store
from tests.market import FOLDER, MODEL, Market, kinds, other_area, same_area

TESTS = ("schema_faults", "kolmogorov_smirnov", "chi_square", "domain_classifier", "prediction_drift")


def numbers(n, *, seed, shift=0.0):
    values = np.random.default_rng(seed).normal(size=n) + shift
    return Batch({"size": values[:, None]}, n), Predictions(values)


def test_a_small_change_of_many_rows_is_shown_and_no_drift():
    schema = Schema((Column("size", "number"),), Column("price", "number"))
    batch, predictions = numbers(20_000, seed=1)
    trained_on = build_reference(schema, batch, predictions, np.abs(predictions.values), seed=0)
    # A population stability index of 0.01.
    moved = CurrentRows.of(trained_on, *numbers(5000, seed=2, shift=0.1))
    assert 0.02 < change(trained_on.columns[0], trained_on.columns[0].count(moved.codes[:, 0])) < 0.05
    every = check_drift(trained_on, moved, TESTS, alpha=0.01)
    large = check_drift(trained_on, moved, TESTS, alpha=0.01, min_effect=0.05)
    assert every.drifted
    assert (large.drifted, large.small) == (False, ["size"])
    assert "changed less than monitoring.min_effect: size" in large.message
    assert large.results["kolmogorov_smirnov"][0].p_value < 0.01, "it is shown"


def test_a_column_that_moves_no_prediction_is_shown_and_no_drift():
    trained_on = reference()
    moved = current(trained_on, seed=3)
    moved.codes[:, 0] = np.where(moved.codes[:, 0] % 3 > 0, 240 - moved.codes[:, 0] % 90, moved.codes[:, 0])
    check = check_drift(trained_on, moved, TESTS, alpha=0.01, moves_predictions=lambda column: column.name != "size")
    assert check_drift(trained_on, moved, TESTS, alpha=0.01).drifted
    assert (check.drifted, check.without_effect) == (False, ["size"])
    assert "changed without moving a prediction: size" in check.message


def test_few_rows_that_violate_the_schema_are_drift():
    trained_on = reference()
    rows = current(trained_on, 1000, seed=4)
    is_valid = np.arange(1020) >= 20
    batch = Batch(rows.batch.feed, 1000, (Fault(0, "size", "x", "expected a number"),) * 20, is_valid)
    violated = CurrentRows(rows.codes, rows.predictions, batch)
    assert check_drift(trained_on, violated, TESTS, alpha=0.01, min_effect=0.05).drifted
    assert not check_drift(trained_on, rows, TESTS, alpha=0.01, min_effect=0.05).drifted


@pytest.fixture
def constant(tmp_path):
    """The moving market with a version that predicts one number."""
    settings = ("model.kind=constant", "evaluation.importance_repeats=0")
    verbs.train.train(FOLDER / "config.yml", verbs.Context(settings, store_path=str(tmp_path / "models")))
    return Market(Store(tmp_path / "models"), tmp_path / "log.db")


def test_rows_that_move_no_prediction_raise_no_alarm_and_are_shown_once(constant):
    constant.send(same_area(200))
    constant.send(other_area(0, 300))
    constant.step()
    events = constant.step()
    assert kinds(events) == []
    log = constant.open_log()
    stored = [event for event in read_events(log, MODEL) if "drifted" in event.details]
    messages = [event.details["message"] for event in stored if "p_value" not in event.details]
    assert len(messages) == 1
    assert messages[0].startswith("no drift; changed without moving a prediction: ")
    assert {event.kind for event in stored} == {"check"}


def test_a_version_is_moved_by_columns_that_it_uses(market):
    version = market.live
    trained_on = drift_reference(version)
    batch = version.schema.read_rows([dict(row) for row, _ in other_area(0, 200)])
    assert moves_predictions(version.predictor, batch, trained_on.by_name["Gr_Liv_Area"])
    same = Batch({**batch.feed, "Gr_Liv_Area": np.full((batch.n_rows, 1), 9000.0)}, batch.n_rows)
    assert moves_predictions(version.predictor, same, trained_on.by_name["Gr_Liv_Area"]), "one value everywhere"
