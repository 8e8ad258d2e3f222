"""Dense nets beyond Keras's arithmetic: the graph, compilations, losses and settings."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.checks.models import TASKS
from estimator.config import Training
from estimator.data.schema.frames import read_frame
from estimator.models import EncodedFitData, EncodedRows, TrainingStep
from estimator.models.nets import keras_names
from estimator.models.nets.dense import Dense
from estimator.models.nets.keras_object import read_keras_object
from tests.matrices import encoded_example, graph_predictions

TRAINING = Training(epochs=2, batch_size=16)


def test_folds_of_similar_size_share_a_compilation(compilations):
    model = Dense(layers=[7, 5])
    data = encoded_example(TASKS[0])
    for n_rows in (113, 114, 120, 128):
        rows = EncodedRows(
            *(
                np.resize(array, (n_rows, *array.shape[1:]))
                for array in (data.rows.matrix, data.rows.target, data.rows.weights)
            )
        )
        compilations.clear()
        model.fit_matrix(EncodedFitData(rows, np.zeros(n_rows, np.bool_), None, data.task), TRAINING)
        assert n_rows == 113 or not compilations


@pytest.mark.parametrize("name", keras_names.ACTIVATIONS)
def test_the_graph_has_the_same_activation(name):
    settings = {"name": name, "threshold": 0.2, "default_value": 0.1} if name == "threshold" else name
    data = encoded_example(TASKS[0])
    fitted = Dense(layers=[6], activation=settings).fit_matrix(data, TRAINING)
    predictions, expected = graph_predictions(fitted, data.rows.matrix * 3), fitted.predict(data.rows.matrix * 3)
    assert predictions == pytest.approx(expected, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("loss", [name for name in keras_names.LOSSES if name in keras_names.CLASS_LOSSES])
@pytest.mark.parametrize("task", TASKS[1:], ids=lambda task: task.kind)
def test_every_class_loss_gives_probabilities(loss, task):
    data = encoded_example(task)
    fitted = Dense(
        layers=[6],
        loss=loss,
        output_activation="tanh" if "hinge" in loss and task.kind == "binary" and loss != "categorical_hinge" else None,
    ).fit_matrix(data, TRAINING)
    predictions = graph_predictions(fitted, data.rows.matrix)
    assert predictions == pytest.approx(fitted.predict(data.rows.matrix), abs=1e-5)
    assert predictions.shape == (120, task.n_outputs)


@pytest.mark.parametrize(
    "settings", [{"batch_normalization": True}, {"dropout": 0.3}, {"layers": [{"units": 6, "use_bias": False}]}]
)
def test_the_graph_has_the_same_layers(settings):
    data = encoded_example(TASKS[0])
    fitted = Dense(**{"layers": [8, 8], **settings}).fit_matrix(data, TRAINING)
    assert graph_predictions(fitted, data.rows.matrix) == pytest.approx(fitted.predict(data.rows.matrix), rel=1e-5)


def test_progress_reports_losses_in_the_targets_units():
    steps: list[TrainingStep] = []
    data = encoded_example(TASKS[0])
    held_out = EncodedFitData(data.rows, np.zeros(120, np.bool_), data.rows, data.task)
    Dense(layers=[8], loss="mae").fit_matrix(held_out, TRAINING, progress=steps.append)
    spread = np.abs(data.rows.target - data.rows.target.mean()).mean()
    assert [step.number for step in steps] == [1, 2]
    assert 0.2 * spread < steps[0].values["val_loss"] < 3 * spread


def test_a_keras_object_survives_json():
    import json

    rate = {"schedule": "cosine_decay", "initial_learning_rate": 0.1, "decay_steps": 9}
    optimizer = read_keras_object({"name": "adam", "learning_rate": rate}, keras_names.OPTIMIZERS, "optimizer")
    assert read_keras_object(json.loads(optimizer.model_dump_json()), keras_names.OPTIMIZERS, "optimizer") == optimizer


def test_a_diverging_loss_is_explained():
    from estimator.errors import TrainingError

    diverging = Dense(layers=[8], optimizer={"name": "sgd", "learning_rate": 1e6}, scale_target=False)
    with pytest.raises(TrainingError, match="no longer finite"):
        diverging.fit_matrix(encoded_example(TASKS[0]), Training(epochs=5, batch_size=16))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_graph_calibrates_extreme_probabilities_alike(n_classes, tmp_path):
    """Calibration tells apart probabilities that single precision would round to 0 or 1."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    noisy = np.where(rng.random(400) < 0.25, rng.integers(0, n_classes, 400), (x[:, 0] > 0).astype(int))
    frame = pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": [f"class {code}" for code in noisy]})
    frame.write_csv(tmp_path / "table.csv")
    config = {
        "data": {"path": "table.csv", "target": "y"},
        "model": {"kind": "dense", "layers": [128, 128], "optimizer": {"name": "adam", "learning_rate": 0.02}},
        "training": {"epochs": 150},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    made = verbs.train.train(tmp_path / "config.json", verbs.Context(store_path=str(tmp_path / "models")))
    probabilities = made.artefact.predictor.predict_batch(
        read_frame(made.artefact.schema, frame.drop("y"))
    ).probabilities
    assert probabilities.max() < 1.0
    assert made.artefact.manifest["parity"]["largest_relative"] <= 1e-5
