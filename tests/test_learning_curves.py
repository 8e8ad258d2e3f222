"""Metrics after each epoch of a net, callbacks that monitor them, and where over-fitting begins, in words."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.errors import ConfigError
from estimator.training.curves import overfitting
from tests.conftest import QUICK_SECTIONS


@pytest.fixture(scope="module")
def rows() -> pl.DataFrame:
    """A few rows with much noise, which a wide net learns by heart."""
    draw = np.random.default_rng(1)
    x, noise = draw.normal(size=(90, 6)), draw.normal(size=90)
    names = {f"x{index}": x[:, index] for index in range(6)}
    return pl.DataFrame({**names, "y": 300 + 40 * (x[:, 0] + noise), "won": np.where(x[:, 0] + noise > 0, "yes", "no")})


def train(rows, tmp_path, *callbacks, target="y", metrics=(), epochs=8, **model):
    """Train a small dense net on one of the two targets."""
    conf = {
        **QUICK_SECTIONS,
        "name": "net",
        "data": {"target": target, "drop": ["won" if target == "y" else "y"]},
        "model": {"kind": "dense", "layers": [32], **model},
        "training": {"epochs": epochs, "callbacks": list(callbacks)},
        "evaluation": {**QUICK_SECTIONS["evaluation"], "metrics": list(metrics)},
    }
    return verbs.train.train(conf, verbs.Context((), {}, str(tmp_path)), data=rows)


def test_asked_metrics_have_curves_and_do_not_change_the_model(rows, tmp_path):
    plain, measured = train(rows, tmp_path), train(rows, tmp_path, metrics=["mae", "r2_score"])
    curves = measured.artefact.read_json("learning_curves.json")
    assert set(curves[0]) == {"loss", "val_loss", "mae", "val_mae", "r2", "val_r2"}
    assert set(plain.artefact.read_json("learning_curves.json")[0]) == {"loss", "val_loss"}
    assert plain.artefact.read("model.onnx") == measured.artefact.read("model.onnx")


def test_the_last_point_of_a_curve_is_the_score_of_the_report(rows, tmp_path):
    new = train(rows, tmp_path, metrics=["mae"])
    last = new.artefact.read_json("learning_curves.json")[-1]
    # Without callbacks, the curve's rows are those held out for the report.
    assert last["val_mae"] == pytest.approx(new.report.metrics["mae"].value, rel=1e-5)


def test_the_report_draws_a_chart_for_each_metric(rows, tmp_path):
    page = train(rows, tmp_path, target="won", metrics=["auc", "f1"]).artefact.read("report.html").decode()
    for heading in ("Learning curves<", "Learning curves: auc<", "Learning curves: f1<"):
        assert heading in page


@pytest.mark.parametrize(
    ("target", "monitor", "name", "best"),
    [
        ("y", "val_mae", "val_mae", min),
        ("y", "val_r2", "val_r2", max),
        ("won", "val_roc_auc", "val_auc", max),
        ("won", "val_accuracy", "val_accuracy", max),
        ("y", "mean_absolute_error", "mae", min),
    ],
)
def test_a_callback_stops_at_the_best_of_any_metric(target, monitor, name, best, rows, tmp_path):
    stop = {"kind": "early_stopping", "monitor": monitor, "patience": 4, "restore_best_weights": True}
    new = train(rows, tmp_path, stop, target=target, epochs=40, optimizer={"name": "adam", "learning_rate": 0.03})
    values = [entry[name] for entry in new.artefact.read_json("learning_curves.json")]
    kept = new.artefact.manifest["model"]["best_epoch"] - 1
    assert values[kept] == best(values)
    assert len(values) == 40 or len(values) == kept + 5


def test_a_checkpoint_keeps_the_best_of_a_metric(rows, tmp_path):
    checkpoint = {"kind": "model_checkpoint", "monitor": "val_auc"}
    new = train(rows, tmp_path, checkpoint, target="won", epochs=20)
    values = [entry["val_auc"] for entry in new.artefact.read_json("learning_curves.json")]
    assert values[new.artefact.manifest["model"]["best_epoch"] - 1] == max(values)


def test_a_mode_that_is_given_wins(rows, tmp_path):
    checkpoint = {"kind": "model_checkpoint", "monitor": "val_auc", "mode": "min"}
    new = train(rows, tmp_path, checkpoint, target="won", epochs=12)
    values = [entry["val_auc"] for entry in new.artefact.read_json("learning_curves.json")]
    assert values[new.artefact.manifest["model"]["best_epoch"] - 1] == min(values)


def test_folds_and_members_stop_by_the_metric_too(rows, tmp_path):
    stop = {"kind": "early_stopping", "monitor": "val_mae", "patience": 2}
    conf = {
        **QUICK_SECTIONS,
        "data": {"target": "y", "drop": ["won"]},
        "model": {"members": [{"kind": "dense", "layers": [8]}, {"kind": "linear"}]},
        "training": {"epochs": 4, "callbacks": [stop]},
        "validation": {"folds": 3},
    }
    new = verbs.train.train(conf, verbs.Context((), {}, str(tmp_path)), data=rows)
    assert new.report.folds is not None


def test_metrics_of_a_target_far_from_zero_are_in_its_units(rows, tmp_path):
    far = rows.with_columns(y=pl.col("y") + 1e9)
    near, new = (train(item, tmp_path, metrics=["mae"]).artefact for item in (rows, far))
    values = [artefact.read_json("learning_curves.json")[-1]["val_mae"] for artefact in (near, new)]
    assert values[1] == pytest.approx(values[0], rel=0.2)


def test_tabm_has_curves_of_metrics_too(rows, tmp_path):
    model = {"kind": "tabm", "members": 2, "width": 8, "epochs": 3, "layers": None}
    del model["layers"]
    conf = {
        **QUICK_SECTIONS,
        "data": {"target": "y", "drop": ["won"]},
        "model": model,
        "evaluation": {**QUICK_SECTIONS["evaluation"], "metrics": ["mae"]},
    }
    new = verbs.train.train(conf, verbs.Context((), {}, str(tmp_path)), data=rows)
    assert set(new.artefact.read_json("learning_curves.json")[0]) == {"loss", "val_loss", "mae", "val_mae"}


def test_a_metric_of_another_task_is_named_before_the_fit(rows, tmp_path):
    with pytest.raises(ConfigError, match=r"callbacks\.0\.monitor: 'auc' does not apply to a regression"):
        train(rows, tmp_path, {"kind": "early_stopping", "monitor": "val_auc"})


def test_what_is_no_metric_is_named_with_its_line(tmp_path, run):
    conf = tmp_path / "config.yml"
    conf.write_text(
        "data: {path: a.csv, target: y}\nmodel: {kind: dense}\ntraining:\n  callbacks:\n"
        "    - {kind: early_stopping, monitor: val_mea}\n"
    )
    err = run("train", "--conf", conf)[2]
    assert (
        "config.yml:5: training.callbacks.0.monitor: no loss or metric called 'val_mea' (did you mean 'val_mae'?" in err
    )


def curve(training: list[float], validation: list[float]) -> list[dict[str, float]]:
    return [{"loss": a, "val_loss": b} for a, b in zip(training, validation, strict=True)]


@pytest.mark.parametrize(
    ("training", "validation", "expected"),
    [
        ([4, 2, 1], [5, 3, 2], "lowest at epoch 3, the last one: it was still falling"),
        ([4, 2, 1, 0.5], [5, 2, 2.1, 2.1], "training loss falls by 62 % while validation loss rises by 5 %"),
        ([4, 2, 1, 0.9], [5, 2, 2.01, 2.01], "stays within 1 % of it: no over-fitting"),
        ([4, 2, 3, 4], [5, 2, 3, 4], "rises by 75 % and training loss by 75 %: training is unstable"),
        ([-1, -2, -3], [-1, -2, -1.5], "training loss falls by 50 % while validation loss rises by 25 %"),
        ([float("nan")] * 4, [5, 2, 2.5, 2.5], "lowest at epoch 2; from there it rises by 25 %."),
        ([4, float("nan")], [5, float("nan")], "the losses are not finite"),
    ],
)
def test_over_fitting_is_said_in_words(training, validation, expected):
    assert expected in str(overfitting(curve(training, validation)))


def test_without_a_validation_loss_nothing_is_said():
    assert overfitting([]) is None
    assert overfitting([{"loss": 1.0}, {"loss": 0.5}]) is None


def test_train_and_the_report_say_where_over_fitting_begins(rows, tmp_path, run):
    new = train(rows, tmp_path, epochs=150, layers=[128, 128], optimizer={"name": "adam", "learning_rate": 0.01})
    curves = new.artefact.read_json("learning_curves.json")
    epoch = 1 + int(np.argmin([entry["val_loss"] for entry in curves]))
    assert new.report.overfitting.startswith(
        f"Validation loss is lowest at epoch {epoch}; from there training loss falls"
    )
    assert new.report.overfitting in new.artefact.read("report.html").decode()


def test_the_epoch_whose_weights_are_kept_is_named(rows, tmp_path):
    stop = {"kind": "early_stopping", "patience": 10, "restore_best_weights": True}
    new = train(rows, tmp_path, stop, epochs=150, layers=[128], optimizer={"name": "adam", "learning_rate": 0.03})
    kept = new.artefact.manifest["model"]["best_epoch"]
    assert f"lowest at epoch {kept}" in new.report.overfitting
    assert new.report.overfitting.endswith(f"The weights of epoch {kept} are kept.")


def test_trees_are_counted_as_trees(rows, tmp_path, run):
    rows.drop("won").write_csv(tmp_path / "rows.csv")
    conf = tmp_path / "config.json"
    data = {"path": "rows.csv", "target": "y"}
    conf.write_text(json.dumps({**QUICK_SECTIONS, "name": "trees", "data": data, "model": {"kind": "boosting"}}))
    code, output, _ = run("train", "--conf", conf, "--store", tmp_path / "models", "--json")
    assert code == 0
    assert output["overfitting"].startswith("Validation loss is lowest at tree ")
