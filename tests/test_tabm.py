"""TabM beyond the promises of every model: inputs, target transform, early stopping, warm starts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.checks.models import TASKS, TRAINING
from estimator.errors import TrainingError
from estimator.models import EncodedFitData, EncodedRows, TrainingStep
from estimator.models.nets.loop import NetTrainer, run_epochs
from estimator.models.nets.tabm import TabM
from estimator.models.nets.tabm.inputs import Inputs
from estimator.models.progress import silent
from tests.matrices import encoded_example, graph_predictions

SMALL = {"members": 3, "width": 8, "bins": 4, "embedding": 2, "epochs": 3}


def fitted_to(matrix, target=None, *, progress=silent, **settings):
    """Return a regression fitted to rows without validation rows."""
    target = matrix[:, 0] * 3 + 10 if target is None else target
    rows = EncodedRows(matrix, target, np.ones(len(matrix)))
    return TabM(**{**SMALL, **settings}).fit_matrix(
        EncodedFitData(rows, np.zeros(len(rows), np.bool_), None, TASKS[0]), TRAINING, progress=progress
    )


def drawn(n_rows=200, width=3):
    return np.random.default_rng(3).standard_normal((n_rows, width))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_numbers_and_indicators_are_the_same_in_the_graph(task):
    data = encoded_example(task)
    matrix = np.column_stack([data.rows.matrix, data.rows.matrix[:, 0] > 0.5, np.full(len(data.rows), 7.0)])
    fitted = TabM(**SMALL).fit_matrix(replace(data, rows=replace(data.rows, cells=matrix)), TRAINING)
    far = np.vstack([matrix, matrix * -50, matrix * 1e30])
    assert graph_predictions(fitted, far) == pytest.approx(fitted.predict(far), rel=1e-5)


@pytest.mark.parametrize(
    "matrix",
    [
        pytest.param(drawn(width=1), id="one number"),
        pytest.param(np.arange(200.0).reshape(-1, 1) % 2, id="one indicator"),
        pytest.param(np.ones((200, 1)), id="one constant"),
        pytest.param(np.column_stack([drawn(), np.ones(200)]), id="a constant next to numbers"),
        pytest.param(np.where(drawn() > 1.5, drawn(), 0.0), id="mostly zeros"),
    ],
)
def test_unusual_columns_can_be_fitted(matrix):
    fitted = fitted_to(matrix)
    assert np.isfinite(fitted.predict(matrix)).all()
    assert graph_predictions(fitted, matrix) == pytest.approx(fitted.predict(matrix), rel=1e-5)


def test_a_constant_column_is_ignored():
    matrix = np.column_stack([drawn(), np.ones(200)])
    other = matrix * [1, 1, 1, 500]
    fitted = fitted_to(matrix)
    assert np.array_equal(fitted.predict(matrix), fitted.predict(other))


def test_a_constant_target_is_predicted():
    assert fitted_to(drawn(), np.full(200, 5.0), epochs=20).predict(drawn()) == pytest.approx(
        np.full(200, 5.0), abs=0.5
    )


def test_no_rows_get_no_predictions():
    assert fitted_to(drawn()).predict(drawn(0)).shape == (0,)
    assert graph_predictions(fitted_to(drawn()), drawn(0)).shape == (0,)


def test_bin_edges_are_quantiles_of_distinct_values():
    skewed = np.r_[np.zeros(90), np.arange(1.0, 11.0)].reshape(-1, 1)
    inputs = Inputs.of(skewed, 5)
    used = inputs.slope[0] > 0
    edges = np.r_[inputs.lower[0][used], inputs.lower[0][used][-1] + 1.0 / inputs.slope[0][used][-1]]
    assert used.sum() == 5
    assert np.isin(np.round(edges / inputs.factor[0] + inputs.center[0], 4), skewed).all()


@pytest.mark.parametrize(
    ("target", "is_log"),
    [
        pytest.param(np.exp(drawn()[:, 0] * 1.5) * 1e5, True, id="skewed"),
        pytest.param(drawn()[:, 0] + 50, False, id="even"),
        pytest.param(np.exp(drawn()[:, 0] * 1.5) - 1, False, id="skewed, some below 0"),
    ],
)
def test_a_skewed_target_is_fitted_as_its_logarithm(target, is_log):
    fitted = fitted_to(drawn(), target, epochs=30)
    assert fitted.transform.is_log is is_log
    predictions = fitted.predict(drawn() * 9)
    assert graph_predictions(fitted, drawn() * 9) == pytest.approx(predictions, rel=1e-5, abs=1e-5)
    if is_log:
        assert target.min() * fitted.transform.factor * 0.999 <= predictions.min()
        assert predictions.max() <= target.max() * fitted.transform.factor * 1.001


def test_a_logarithm_of_zero_is_an_error():
    with pytest.raises(TrainingError, match="expected a target above 0 in every row, got a minimum of 0"):
        fitted_to(drawn(), np.arange(200.0), log_target=True)


def test_a_warm_start_keeps_the_logarithm_of_its_target():
    target = np.exp(drawn()[:, 0] * 1.5)
    rows = EncodedRows(drawn(), target - 1, np.ones(200))
    data = EncodedFitData(rows, np.zeros(200, np.bool_), None, TASKS[0])
    again = TabM(**SMALL).fit_matrix(data, TRAINING, start=fitted_to(drawn(), target).state())
    assert again.transform.is_log
    assert np.isfinite(again.predict(drawn())).all()


def test_early_stopping_keeps_the_best_epoch():
    generator, steps = np.random.default_rng(5), []
    rows = EncodedRows(drawn(120), generator.standard_normal(120), np.ones(120))
    data = EncodedFitData(rows, np.arange(120) % 3 == 0, None, TASKS[0])
    settings = {**SMALL, "width": 64, "epochs": 200, "patience": 5, "learning_rate": 0.02}
    fitted = TabM(**settings).fit_matrix(data, TRAINING, progress=steps.append)
    losses = [step.values["val_loss"] for step in steps]
    best = int(np.argmin(losses))
    assert len(steps) == best + 1 + 5 < 200
    assert fitted.summary == {"epochs": len(steps), "best_epoch": best + 1}
    errors = data.validation_rows.target - fitted.predict(data.validation_rows.matrix)
    assert np.mean(errors**2) == pytest.approx(losses[best], rel=1e-4)


class ScriptedTrainer(NetTrainer):
    """Has the losses of a list, and weights that are the number of epochs."""

    def __init__(self, losses):
        self.losses, self.n_epochs = losses, 0

    def run_epoch(self, epoch, learning_rate):
        self.n_epochs = epoch + 1
        return {"loss": 1.0, "val_loss": self.losses[epoch]}

    def weights(self):
        return self.n_epochs


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("losses", "patience", "n_epochs", "best_epoch"),
    [
        pytest.param([3.0, 2.0, 4.0, 4.0, 1.0], 2, 4, 2, id="waits after the best"),
        pytest.param([NAN, NAN, 2.0, 3.0, 1.0], 3, 5, 5, id="the first is missing"),
        pytest.param([NAN] * 5, 3, 4, 4, id="all are missing"),
        pytest.param([INF] * 5, 3, 4, 4, id="all are infinite"),
        pytest.param([INF, 2.0, NAN, 3.0, 4.0], 0, 5, 2, id="never stops early"),
    ],
)
def test_early_stopping_ignores_losses_that_are_not_finite(losses, patience, n_epochs, best_epoch):
    callbacks = TabM(patience=patience).callbacks(uses_validation=True)
    result = run_epochs(ScriptedTrainer(losses), epochs=5, learning_rate=0.1, callbacks=callbacks, progress=silent)
    assert len(result.curves) == n_epochs
    assert result.weights == result.best_epoch + 1 == best_epoch


def test_held_out_rows_do_not_change_the_fit():
    steps: list[TrainingStep] = []
    data = encoded_example(TASKS[0])
    alone = EncodedFitData(data.rows, np.zeros(120, np.bool_), None, data.task)
    with_held_out = replace(alone, held_out=data.rows.take(data.validation_mask))
    model = TabM(**SMALL)
    first, second = model.fit_matrix(alone, TRAINING), model.fit_matrix(with_held_out, TRAINING, progress=steps.append)
    assert np.array_equal(first.predict(data.rows.matrix), second.predict(data.rows.matrix))
    assert set(steps[0].values) == {"loss", "val_loss"}


def test_folds_of_similar_shape_share_a_compilation(compilations):
    model = TabM(**{**SMALL, "width": 9})
    for n_rows, n_categories in ((113, 3), (120, 5), (128, 4)):
        indicators = np.eye(n_categories)[np.arange(n_rows) % n_categories]
        matrix = np.column_stack([drawn(n_rows), indicators])
        validation = np.arange(n_rows) % 6 == 0
        rows = EncodedRows(matrix, matrix[:, 0], np.ones(n_rows))
        compilations.clear()
        model.fit_matrix(EncodedFitData(rows, validation, None, TASKS[0]), TRAINING)
        assert n_rows == 113 or not compilations


def test_a_diverging_loss_says_lower_the_learning_rate():
    steps: list[TrainingStep] = []
    with pytest.raises(TrainingError, match="no longer finite") as error:
        fitted_to(drawn(), learning_rate=1e30, epochs=20, progress=steps.append)
    assert error.value.hint == "lower model.learning_rate"
    assert not np.isfinite(steps[-1].values["loss"])
    assert all(np.isfinite(step.values["loss"]) for step in steps[:-1])


def test_a_warm_start_needs_the_same_architecture():
    data = encoded_example(TASKS[0])
    state = TabM(**SMALL).fit_matrix(data, TRAINING).state()
    with pytest.raises(TrainingError, match="another architecture"):
        TabM(**{**SMALL, "width": 9}).fit_matrix(data, TRAINING, start=state)
    with pytest.raises(TrainingError, match="another kind of model"):
        TabM(**SMALL).fit_matrix(data, TRAINING, start={"trees.txt": b""})


def test_a_warm_start_continues_from_the_weights():
    data = encoded_example(TASKS[0])
    long = TabM(**{**SMALL, "epochs": 100}).fit_matrix(data, TRAINING)
    again = TabM(**{**SMALL, "epochs": 1}).fit_matrix(data, TRAINING, start=long.state())
    assert again.curves[0]["val_loss"] < 2 * min(curve["val_loss"] for curve in long.curves)


def test_missing_values_are_fitted_and_served(config_of, tmp_path):
    generator = np.random.default_rng(8)
    x, is_missing = generator.standard_normal(300), generator.random(300) < 0.3
    values = [None if missing else float(value) for value, missing in zip(x, is_missing, strict=True)]
    frame = pl.DataFrame({"x": values, "y": x * ~is_missing + 5.0 * is_missing})
    conf = config_of(frame, "y", model={"kind": "tabm", **SMALL, "epochs": 40})
    made = verbs.train.train(conf, verbs.Context(store_path=str(tmp_path / "models")))
    predictor = made.artefact.predictor
    assert made.trained.parity.largest_relative <= 1e-5
    assert predictor.predict([{"x": None}])[0] == pytest.approx(5.0, abs=1.0)
