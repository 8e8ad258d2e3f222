"""What the ensemble of small nets promises beside what every model does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.checks.models import TASKS, TRAINING
from estimator.errors import TrainingError
from estimator.models import EncodedFitData, EncodedRows, TrainingStep
from estimator.models.nets.tabm import TabM
from estimator.models.nets.tabm.inputs import Inputs
from tests.matrices import encoded_example, graph_predictions

SMALL = {"members": 3, "width": 8, "bins": 4, "embedding": 2, "epochs": 3}


def learned_from(matrix, target=None, **settings):
    """Return a regression fitted to rows without validation."""
    target = matrix[:, 0] * 3 + 10 if target is None else target
    rows = EncodedRows(matrix, target, np.ones(len(matrix)))
    return TabM(**{**SMALL, **settings}).fit_matrix(
        EncodedFitData(rows, np.zeros(len(rows), np.bool_), None, TASKS[0]), TRAINING
    )


def drawn(n_rows=200, width=3):
    return np.random.default_rng(3).standard_normal((n_rows, width))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_numbers_and_indicators_are_the_same_in_the_graph(task):
    data = encoded_example(task)
    matrix = np.column_stack([data.rows.matrix, data.rows.matrix[:, 0] > 0.5, np.full(len(data.rows), 7.0)])
    fitted = TabM(**SMALL).fit_matrix(replace(data, rows=replace(data.rows, matrix=matrix)), TRAINING)
    asked = np.vstack([matrix, matrix * -50, matrix * 1e30])
    assert graph_predictions(fitted, asked) == pytest.approx(fitted.predict(asked), rel=1e-5)


@pytest.mark.parametrize(
    "matrix",
    [
        pytest.param(drawn(width=1), id="one number"),
        pytest.param(np.arange(200.0).reshape(-1, 1) % 2, id="one indicator"),
        pytest.param(np.ones((200, 1)), id="one constant"),
        pytest.param(np.column_stack([drawn(), np.ones(200)]), id="a constant beside numbers"),
        pytest.param(np.where(drawn() > 1.5, drawn(), 0.0), id="mostly zeros"),
    ],
)
def test_tables_of_odd_columns_are_learned(matrix):
    fitted = learned_from(matrix)
    assert np.isfinite(fitted.predict(matrix)).all()
    assert graph_predictions(fitted, matrix) == pytest.approx(fitted.predict(matrix), rel=1e-5)


def test_a_constant_column_is_not_looked_at():
    matrix = np.column_stack([drawn(), np.ones(200)])
    other = matrix * [1, 1, 1, 500]
    fitted = learned_from(matrix)
    assert np.array_equal(fitted.predict(matrix), fitted.predict(other))


def test_a_constant_target_is_answered():
    assert learned_from(drawn(), np.full(200, 5.0), epochs=20).predict(drawn()) == pytest.approx(
        np.full(200, 5.0), abs=0.5
    )


def test_no_rows_get_no_answers():
    assert learned_from(drawn()).predict(drawn(0)).shape == (0,)
    assert graph_predictions(learned_from(drawn()), drawn(0)).shape == (0,)


def test_bins_lie_at_quantiles_and_then_between():
    skewed = np.r_[np.zeros(90), np.arange(1.0, 11.0)].reshape(-1, 1)
    inputs = Inputs.of(skewed, 5)
    used = inputs.slope[0] > 0
    edges = np.r_[inputs.lower[0][used], inputs.lower[0][used][-1] + 1.0 / inputs.slope[0][used][-1]]
    assert used.sum() == 5
    assert np.isin(np.round(edges / inputs.factor[0] + inputs.middle[0], 4), skewed).all()


@pytest.mark.parametrize(
    ("target", "is_log"),
    [
        pytest.param(np.exp(drawn()[:, 0] * 1.5) * 1e5, True, id="skewed"),
        pytest.param(drawn()[:, 0] + 50, False, id="even"),
        pytest.param(np.exp(drawn()[:, 0] * 1.5) - 1, False, id="skewed, some below 0"),
    ],
)
def test_a_skewed_target_is_learned_as_its_logarithm(target, is_log):
    fitted = learned_from(drawn(), target, epochs=30)
    assert fitted.units.is_log is is_log
    answers = fitted.predict(drawn() * 9)
    assert graph_predictions(fitted, drawn() * 9) == pytest.approx(answers, rel=1e-5, abs=1e-5)
    if is_log:
        assert target.min() * fitted.units.factor * 0.999 <= answers.min()
        assert answers.max() <= target.max() * fitted.units.factor * 1.001


def test_a_logarithm_of_nothing_is_refused():
    with pytest.raises(TrainingError, match="must be above 0 in every row, its least is 0"):
        learned_from(drawn(), np.arange(200.0), log_target=True)


def test_a_warm_start_keeps_the_logarithm_of_its_target():
    target = np.exp(drawn()[:, 0] * 1.5)
    rows = EncodedRows(drawn(), target - 1, np.ones(200))
    data = EncodedFitData(rows, np.zeros(200, np.bool_), None, TASKS[0])
    again = TabM(**SMALL).fit_matrix(data, TRAINING, start=learned_from(drawn(), target).state())
    assert again.units.is_log
    assert np.isfinite(again.predict(drawn())).all()


def test_early_stopping_keeps_the_best_epoch():
    generator, seen = np.random.default_rng(5), []
    rows = EncodedRows(drawn(120), generator.standard_normal(120), np.ones(120))
    data = EncodedFitData(rows, np.arange(120) % 3 == 0, None, TASKS[0])
    settings = {**SMALL, "width": 64, "epochs": 200, "patience": 5, "learning_rate": 0.02}
    fitted = TabM(**settings).fit_matrix(data, TRAINING, progress=seen.append)
    losses = [step.values["val_loss"] for step in seen]
    best = int(np.argmin(losses))
    assert len(seen) == best + 1 + 5 < 200
    assert fitted.summary == {"epochs": len(seen), "best_epoch": best + 1}
    errors = data.validation_rows.target - fitted.predict(data.validation_rows.matrix)
    assert np.mean(errors**2) == pytest.approx(losses[best], rel=1e-4)


def test_rows_that_only_draw_a_curve_decide_nothing():
    seen: list[TrainingStep] = []
    data = encoded_example(TASKS[0])
    alone = EncodedFitData(data.rows, np.zeros(120, np.bool_), None, data.task)
    watched = replace(alone, held_out=data.rows.take(data.validation_mask))
    model = TabM(**SMALL)
    first, second = model.fit_matrix(alone, TRAINING), model.fit_matrix(watched, TRAINING, progress=seen.append)
    assert np.array_equal(first.predict(data.rows.matrix), second.predict(data.rows.matrix))
    assert set(seen[0].values) == {"loss", "val_loss"}


def test_folds_that_differ_by_a_level_and_some_rows_share_a_compilation(compilations):
    model = TabM(**{**SMALL, "width": 9})
    for n_rows, n_levels in ((113, 3), (120, 5), (128, 4)):
        levels = np.eye(n_levels)[np.arange(n_rows) % n_levels]
        matrix = np.column_stack([drawn(n_rows), levels])
        validation = np.arange(n_rows) % 6 == 0
        rows = EncodedRows(matrix, matrix[:, 0], np.ones(n_rows))
        compilations.clear()
        model.fit_matrix(EncodedFitData(rows, validation, None, TASKS[0]), TRAINING)
        assert n_rows == 113 or not compilations


def test_a_step_too_large_is_explained():
    with pytest.raises(TrainingError, match="no longer finite") as caught:
        learned_from(drawn(), learning_rate=1e30, epochs=20)
    assert caught.value.hint == "lower model.learning_rate"


def test_a_warm_start_wants_the_same_architecture():
    data = encoded_example(TASKS[0])
    state = TabM(**SMALL).fit_matrix(data, TRAINING).state()
    with pytest.raises(TrainingError, match="another architecture"):
        TabM(**{**SMALL, "width": 9}).fit_matrix(data, TRAINING, start=state)
    with pytest.raises(TrainingError, match="holds no tabm"):
        TabM(**SMALL).fit_matrix(data, TRAINING, start={"trees.txt": b""})


def test_a_warm_start_begins_where_the_first_ended():
    data = encoded_example(TASKS[0])
    long = TabM(**{**SMALL, "epochs": 100}).fit_matrix(data, TRAINING)
    again = TabM(**{**SMALL, "epochs": 1}).fit_matrix(data, TRAINING, start=long.state())
    assert again.curves[0]["val_loss"] < 2 * min(curve["val_loss"] for curve in long.curves)


def test_gaps_of_a_table_are_learned_and_served(config_of, tmp_path):
    generator = np.random.default_rng(8)
    x, gap = generator.standard_normal(300), generator.random(300) < 0.3
    frame = pl.DataFrame(
        {"x": [None if g else float(v) for v, g in zip(x, gap, strict=True)], "y": x * ~gap + 5.0 * gap}
    )
    conf = config_of(frame, "y", model={"kind": "tabm", **SMALL, "epochs": 40})
    made = verbs.train.train(conf, verbs.Context(store_path=str(tmp_path / "models")))
    predictor = made.artefact.predictor
    assert made.trained.parity.largest_relative <= 1e-5
    assert predictor.predict([{"x": None}])[0] == pytest.approx(5.0, abs=1.0)
