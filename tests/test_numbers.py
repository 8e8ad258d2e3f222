"""Numbers at their edges, far from zero, huge, tiny, a step of a double apart: every kind learns them as others."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from estimator.checks.models import SCHEMA, WIDTH, graph_predictions, to_batch
from estimator.config import Training
from estimator.core.task import Task
from estimator.core.units import DOUBLES, SINGLES, Units
from estimator.features.encoders.standard import Scale
from estimator.features.matrix import Features
from estimator.models import SHELF, Dataset, FitData, WarmStart
from estimator.models.ensemble import Ensemble

REGRESSION, TRAINING = Task("regression"), Training(epochs=40, batch_size=16)
N_ROWS = 400
SETTINGS = {
    "boosting": {"n_estimators": 80, "learning_rate": 0.2},
    "catboost": {"n_estimators": 80, "learning_rate": 0.2},
    "xgboost": {"n_estimators": 80, "learning_rate": 0.2},
    "dense": {"layers": [16]},
    "tabm": {"members": 2, "width": 16, "epochs": 12},
    "linear": {},
    "ensemble": {"members": [{"kind": "linear"}, {"kind": "boosting", "n_estimators": 60}]},
}
LIBRARIES = {"boosting": "lightgbm", "catboost": "catboost", "xgboost": "xgboost"}
every_kind = pytest.mark.parametrize("kind", SETTINGS)


def fit(kind, matrix, target):
    if kind in LIBRARIES:
        pytest.importorskip(LIBRARIES[kind])
    return SHELF.load(kind)(**SETTINGS[kind]).fit(data(matrix, target), TRAINING)


def data(matrix, target):
    n_rows = len(target)
    rows = Dataset(to_batch(matrix), target, np.ones(n_rows), np.ones(n_rows))
    return FitData(SCHEMA, REGRESSION, rows, np.arange(n_rows) % 5 == 0, np.arange(n_rows)[None, :] % 3)


def table():
    """Return numbers and a target that is mostly linear in them."""
    generator = np.random.default_rng(5)
    matrix = generator.standard_normal((2 * N_ROWS, WIDTH))
    return matrix, matrix[:, 0] * 2 + np.sin(matrix[:, 1]) + generator.standard_normal(2 * N_ROWS) / 10


def relative_error(kind, matrix, target):
    """Return the error on the second half, over the target's deviation, and check the graph against the library."""
    fitted = fit(kind, matrix[:N_ROWS], target[:N_ROWS])
    batch = to_batch(matrix[N_ROWS:])
    predictions = graph_predictions(fitted, batch)
    size = np.abs(predictions - fitted.offset).mean() + 4 * np.spacing(abs(fitted.offset))
    assert np.abs(fitted.predict(batch) - predictions).max() <= max(
        1e-12, fitted.tolerance
    ) * 10 * size + 2 * np.spacing(np.abs(predictions).max())
    center, size = float(np.median(target)), float(np.abs(target - np.median(target)).max())
    errors, spread = (predictions - target[N_ROWS:]) / size, (target[N_ROWS:] - center) / size
    return float(np.sqrt(np.mean(errors**2)) / spread.std())


@every_kind
def test_target_far_from_zero_is_learned_as_one_near(kind):
    matrix, near = table()
    expected = relative_error(kind, matrix, near)
    for offset in (1e7, 1.7e9, -1.7e9, 1e12):
        assert relative_error(kind, matrix, near + offset) == pytest.approx(expected, rel=0.08)


@every_kind
def test_target_of_any_size_is_learned(kind):
    matrix, ordinary = table()
    expected = relative_error(kind, matrix, ordinary)
    for exponent in (-990, -400, -100, -30, -14, 50, 200, 990):
        error = relative_error(kind, matrix, np.ldexp(ordinary, exponent))
        assert error == pytest.approx(expected, rel=0.08), exponent


@every_kind
def test_features_of_any_size_and_place_are_learned(kind):
    matrix, target = table()
    expected = relative_error(kind, matrix, target)
    for exponent in (-1030, -990, -400, -120, -50, 150, 400, 990):
        assert relative_error(kind, np.ldexp(matrix, exponent), target) == pytest.approx(expected, rel=0.08), exponent
    for offset in (1.7e9, -1e12):
        assert relative_error(kind, matrix + offset, target) == pytest.approx(expected, rel=0.2), offset


@every_kind
def test_steps_of_a_double_at_1e18_are_learned(kind):
    matrix, target = table()
    assert relative_error(kind, matrix, 1e18 + 128 * np.round(target * 20)) < 0.6


def test_ordinary_numbers_keep_plain_units():
    generator = np.random.default_rng(0)
    columns = {
        "prices": generator.lognormal(13, 1, 500),
        "years": generator.integers(1900, 2025, 500).astype(float),
        "longitude": generator.normal(-122.2, 0.14, 500),
        "zip code": generator.integers(98001, 98199, 500).astype(float),
        "fractions": generator.random(500) / 100,
        "mostly zero": np.where(generator.random(500) < 0.9, 0.0, generator.lognormal(10, 2, 500)),
        "counts": generator.poisson(3, 500).astype(float),
    }
    for name, values in columns.items():
        assert Units.of(values, SINGLES).are_plain, name
        assert Units.of(values, DOUBLES).are_plain, name


def test_units_are_undone_exactly_enough():
    for values in (
        np.array([1.7e9, 1.7e9 + 1, 1.7e9 + 3]),
        np.array([-1.7e308, 0.0, 1.7e308]),
        np.array([5e-324, 1e-323]),
    ):
        units = Units.of(values, SINGLES)
        assert not units.are_plain
        assert np.array_equal(units.undo(units.apply(values)), values)


@pytest.mark.parametrize("value", [0.0, 5.0, 0.1, 1.7e9 + 1, 1e300, 1e-300, -(2.0**60)])
@pytest.mark.parametrize("kind", ["boosting", "catboost", "xgboost", "linear", "constant"])
def test_constant_target_is_predicted_to_the_last_digit(kind, value):
    if kind in LIBRARIES:
        pytest.importorskip(LIBRARIES[kind])
    matrix, _ = table()
    fitted = SHELF.load(kind)().fit(data(matrix[:60], np.full(60, value)), TRAINING)
    assert fitted.predict(to_batch(matrix[:60])) == pytest.approx(np.full(60, value), rel=1e-15)


def test_units_of_a_far_target_survive_a_warm_start():
    matrix, target = table()
    far = target[:N_ROWS] + 1.7e9
    model = SHELF.load("boosting")(n_estimators=40, learning_rate=0.3)
    first = model.fit(data(matrix[:N_ROWS], far), TRAINING)
    state = dict(first.state())
    features = Features.from_data(SCHEMA, json.loads(state.pop("features.json")))
    again = model.fit(data(matrix[:N_ROWS], far), TRAINING, start=WarmStart("before", SCHEMA, features, state))
    assert again.offset == first.offset
    errors = [np.abs(fitted.predict(to_batch(matrix[:N_ROWS])) - far).mean() for fitted in (first, again)]
    assert errors[1] < errors[0] < 1.0


def test_contributions_of_a_far_target_sum_to_its_prediction():
    matrix, target = table()
    for kind in ("boosting", "linear", "ensemble"):
        fitted = fit(kind, matrix[:N_ROWS], target[:N_ROWS] + 1.7e9)
        batch = to_batch(matrix[:50])
        added = fitted.contributions(batch, batch)
        assert added.base + added.values.sum(axis=1) == pytest.approx(fitted.predict(batch), abs=1e-5)


def test_losses_that_depend_on_the_size_of_the_target_keep_its_units():
    matrix, target = table()
    for loss in ("poisson", "mape"):
        model = SHELF.load("boosting")(n_estimators=5, loss=loss)
        assert model.fit(data(matrix[:N_ROWS], target[:N_ROWS] + 1.7e9), TRAINING).offset == 0.0


def test_members_of_an_ensemble_merge_into_one_model_for_a_far_target():
    matrix, target = table()
    fitted = fit("ensemble", matrix[:N_ROWS], target[:N_ROWS] + 1.7e9)
    assert {type(member.model).__name__ for member in fitted.members} <= {"RescaledModel", "AveragedModel"}
    assert fitted.offset == pytest.approx(1.7e9, abs=10)


def test_ensemble_of_a_tiny_target_mixes_as_of_an_ordinary_one():
    matrix, target = table()
    weights = []
    for factor in (1.0, 2.0**-40):
        rows = data(matrix[:N_ROWS], target[:N_ROWS] * factor)
        fitted = Ensemble(**SETTINGS["ensemble"]).fit(replace(rows, held_out=None), TRAINING)
        weights.append({member.name: member.weight for member in fitted.members})
    assert weights[0] == pytest.approx(weights[1], abs=0.05)


def test_noise_of_sums_is_a_constant_and_small_units_are_none():
    noise = Scale.of(np.array([0.3, 0.1 + 0.2] * 10))
    assert noise.deviation == 1.0
    charges = Scale.of(np.array([1.6e-19, 3.2e-19] * 10))
    assert charges.deviation == pytest.approx(0.8e-19)
    huge = Scale.of(np.array([-1e308, 1e308] * 10))
    assert huge.deviation == pytest.approx(1e308)
