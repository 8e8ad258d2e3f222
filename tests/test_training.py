"""From a table and a config to a version that has passed parity and is scored."""

from __future__ import annotations

import json
from dataclasses import replace
from time import perf_counter

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.config import read_config
from estimator.errors import ConfigError, EstimatorError, TrainingError
from estimator.models import model_of
from estimator.store.store import Store
from estimator.training.prepare import prepare
from estimator.training.train import train as train_model
from estimator.verbs.context import SHELVES
from tests.conftest import EXAMPLES, read_example


def small(n_rows: int = 200) -> pl.DataFrame:
    generator = np.random.default_rng(0)
    x = generator.standard_normal(n_rows)
    return pl.DataFrame(
        {
            "x": x,
            "colour": generator.choice(["red", "green", "blue"], n_rows),
            "day": [f"20{10 + row % 10}-01-{1 + row % 28:02d}" for row in range(n_rows)],
            "group": [f"g{row % 20}" for row in range(n_rows)],
            "y": 3 * x + generator.standard_normal(n_rows) * 0.1,
        }
    )


def prepared(config_of, frame, **sections):
    conf = config_of(frame, "y", **sections)
    config = read_config(conf, SHELVES)
    return prepare(frame.cast(pl.String), config)


def test_ames_is_no_worse_than_lightgbm_with_its_defaults(store, report_figure):
    """The example's promise: held-out RMSE at or below LightGBM's scikit-learn wrapper on the same split."""
    import lightgbm

    from estimator.store.artefact import open_artefact
    from estimator.store.store import version_folder

    config = read_config(EXAMPLES / "ames" / "config.yml", SHELVES)
    rows = prepare(read_example("ames"), config)
    frame = read_example("ames").to_pandas()
    for column in rows.schema.features:
        frame[column.name] = frame[column.name].astype(
            "category" if column.is_string or column.kind == "boolean" else float
        )
    inputs = frame[[column.name for column in rows.schema.features]]
    default = lightgbm.LGBMRegressor(random_state=0, verbosity=-1, n_jobs=1)
    default.fit(inputs[~rows.test_mask], rows.rows.target[~rows.test_mask])
    theirs = float(np.sqrt(np.mean((default.predict(inputs[rows.test_mask]) - rows.rows.target[rows.test_mask]) ** 2)))
    manifest = open_artefact(version_folder(store / "ames")).manifest
    ours = manifest["metrics"]["rmse"]["value"]
    report_figure(f"ames, held-out RMSE: boosting {ours:,.0f}, LightGBM's wrapper with its defaults {theirs:,.0f}")
    assert ours <= theirs


@pytest.mark.parametrize("name", ["ames", "credit"])
def test_trees_are_equal_to_lightgbm(store, name):
    from estimator.store.artefact import open_artefact
    from estimator.store.store import version_folder

    assert open_artefact(version_folder(store / name)).manifest["parity"]["largest_relative"] <= 1e-12


def test_epoch_seconds_keep_their_digits(config_of, tmp_path):
    generator = np.random.default_rng(0)
    seconds = 1.7e9 + generator.integers(0, 6000, 3000) * 60.0
    frame = pl.DataFrame({"t": seconds, "z": generator.standard_normal(3000), "y": np.sin((seconds - 1.7e9) / 3600)})
    made = verbs.train.train(config_of(frame, "y"), verbs.Context(store_path=str(tmp_path / "models")))
    assert made.trained.parity.largest_relative <= 1e-12


def test_every_example_beats_the_baseline(store):
    for manifest in (version for model in verbs.models.models(Store(store)) for version in model["versions"]):
        name, score = next(iter(manifest["metrics"].items()))
        constant = manifest["baseline"][name]["value"]
        assert (score["value"] < constant) == (name in ("mae", "rmse", "log_loss"))
        assert score["low"] <= score["value"] <= score["high"]


def test_the_same_config_gives_the_same_version(config_of, tmp_path):
    conf = config_of(small(), "y")
    graphs = [
        verbs.train.train(conf, verbs.Context(store_path=str(tmp_path / str(n)))).artefact.read("model.onnx")
        for n in (1, 2)
    ]
    assert graphs[0] == graphs[1]


def test_groups_stay_whole(config_of):
    rows = prepared(config_of, small(), training={"split": {"kind": "group", "column": "group"}})
    groups = small()["group"].to_numpy()
    assert not set(groups[rows.test_mask]) & set(groups[~rows.test_mask])
    assert "group" not in rows.rows.batch.feed


def test_the_latest_rows_are_held_out(config_of):
    rows = prepared(config_of, small(), training={"split": {"kind": "time", "column": "day"}})
    days = np.array(small()["day"].to_list())
    assert min(days[rows.test_mask].tolist()) > max(days[~rows.test_mask].tolist())


def test_a_column_can_split_the_rows(config_of):
    frame = small().with_columns(part=pl.Series(["train", "test"] * 100))
    rows = prepared(config_of, frame, training={"split": {"kind": "column", "column": "part"}})
    assert rows.test_mask.tolist() == [False, True] * 100


def test_classes_keep_their_proportions(config_of):
    labels = ["a"] * 150 + ["b"] * 50
    frame = small().with_columns(y=pl.Series(labels))
    rows = prepared(config_of, frame)
    assert rows.rows.target[rows.test_mask].mean() == pytest.approx(0.25, abs=0.03)


def test_rows_without_a_target_are_left_out_and_counted(config_of):
    frame = small().with_columns(y=pl.when(pl.int_range(200) < 5).then(None).otherwise(pl.col("y")))
    assert prepared(config_of, frame).n_unlabeled == 5


def test_balanced_weights_equalize_the_classes(config_of):
    frame = small().with_columns(y=pl.Series(["a"] * 150 + ["b"] * 50))
    rows = prepared(config_of, frame, training={"class_weight": "balanced"})
    sums = np.bincount(rows.rows.target[~rows.test_mask].astype(int), rows.rows.weights[~rows.test_mask])
    assert sums[0] == pytest.approx(sums[1])


CRUEL = {
    "an empty table": (lambda: small().head(0), "no rows"),
    "one row": (lambda: small().head(1), "the table has no features"),
    "a constant target": (lambda: small().with_columns(y=pl.lit(3)), "same value in all 200 rows"),
    "a target of missing values": (lambda: small().with_columns(y=pl.lit(None, pl.String)), "missing in every row"),
    "no other column": (lambda: small().select("y"), "the table has no features"),
    "all columns constant": (
        lambda: small().with_columns(x=1, colour=pl.lit("red"), day=1, group=1),
        "the table has no features",
    ),
}


@pytest.mark.parametrize("case", CRUEL)
def test_a_hopeless_table_is_explained(case, config_of):
    frame, expected = CRUEL[case]
    with pytest.raises(EstimatorError, match=expected):
        prepared(config_of, frame())


UNUSUAL = {
    "eight rows": small(8),
    "an empty column": small(60).with_columns(empty=pl.lit(None, pl.String)),
    "a boolean target": small(60).with_columns(y=pl.int_range(60) % 3 == 0),
    "a name with every sign": small(60).rename({"x": "x y: {z}, [1]\"'é"}),
    "wide": small(60).with_columns(**{f"n{i}": pl.lit(float(i)) + pl.col("x") for i in range(60)}),
    "huge numbers": small(60).with_columns(x=pl.col("x") * 1e200),
}


# Small models of each kind: what is tested does not depend on their size.
TREES = {"n_estimators": 20}
SMALL_MODELS = {
    "boosting": {"kind": "boosting", **TREES},
    "catboost": {"kind": "catboost", **TREES},
    "xgboost": {"kind": "xgboost", **TREES},
    "dense": {"kind": "dense", "layers": [8]},
    "tabm": {"kind": "tabm", "members": 3, "width": 8, "bins": 4, "embedding": 2, "epochs": 2},
    "linear": {"kind": "linear"},
    "constant": {"kind": "constant"},
}


@pytest.mark.parametrize("kind", SMALL_MODELS)
@pytest.mark.parametrize("case", UNUSUAL)
def test_unusual_tables_can_be_fitted(kind, case, config_of):
    """Training checks that graph and library agree, on these rows and on edge cases."""
    conf = config_of(UNUSUAL[case], "y", model=SMALL_MODELS[kind], training={"epochs": 2})
    config = read_config(conf, SHELVES)
    rows = prepare(UNUSUAL[case].cast(pl.String), config)
    trained = train_model(rows, model_of(config), config, clock=perf_counter)
    assert trained.parity.largest_relative <= trained.fitted.tolerance


@pytest.mark.parametrize("case", UNUSUAL)
def test_unusual_tables_get_folds_and_a_report(case, config_of, tmp_path):
    sections = {"model": {"kind": "linear"}, "validation": {"folds": 5}, "evaluation": {"importance_repeats": 1}}
    conf = config_of(UNUSUAL[case], "y", **sections)
    made = verbs.train.train(conf, verbs.Context(store_path=str(tmp_path / "models")))
    assert made.report.folds is not None
    assert "<html" in (made.artefact.folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"model": {"kind": "dense", "loss": "binary_crossentropy"}}, "is a loss of classes"),
        ({"evaluation": {"metrics": ["auc"]}}, "does not apply to a regression target"),
        ({"data": {"drop": ["colr"]}}, "no column 'colr' in the table"),
        ({"training": {"split": {"kind": "group"}}}, "needs `column`"),
        ({"training": {"split": {"kind": "time", "column": "colour"}}}, "cannot order the rows"),
        ({"training": {"class_weight": "balanced"}}, "has no classes"),
        ({"training": {"callbacks": [{"kind": "early_stoping"}]}, "model": {"kind": "dense"}}, "no callback called"),
        ({"data": {"sample_weight": "x"}}, "must hold a number of at least 0"),
        ({"schema": {"columns": {"colr": {"kind": "text"}}}}, "no column 'colr'"),
    ],
)
def test_settings_that_do_not_suit_are_explained(sections, expected, config_of, tmp_path):
    with pytest.raises(EstimatorError, match=expected):
        verbs.train.train(config_of(small(), "y", **sections), verbs.Context(store_path=str(tmp_path / "models")))
    assert not (tmp_path / "models" / "model").exists() or not list((tmp_path / "models" / "model").glob("*Z-*"))


def test_the_tutorials_output_layer_is_checked(config_of, tmp_path):
    frame = small().with_columns(y=pl.col("colour"))
    conf = config_of(frame, "y", model_config={"layers": {"a": 8, "b": 1}, "activations": ["relu", None]})
    with pytest.raises(
        TrainingError, match="the output layer has 1 units, but a classification with 3 classes needs 3"
    ):
        verbs.train.train(conf, verbs.Context(store_path=str(tmp_path / "models")))


def test_early_stopping_uses_rows_that_are_not_fitted(config_of, tmp_path):
    callbacks = [{"kind": "early_stopping", "patience": 3, "restore_best_weights": True}]
    sections = {"model": {"kind": "dense", "layers": [8]}, "training": {"epochs": 500, "callbacks": callbacks}}
    made = verbs.train.train(config_of(small(), "y", **sections), verbs.Context(store_path=str(tmp_path / "models")))
    assert made.trained.fitted.summary["epochs"] < 500
    best = made.trained.fitted.summary["best_epoch"]
    curves = made.trained.fitted.curves
    assert curves[best - 1]["val_loss"] == min(entry["val_loss"] for entry in curves)


@pytest.mark.parametrize("kind", ["dense", "tabm", "boosting"])
def test_training_continues_from_a_version(kind, config_of, tmp_path):
    context = verbs.Context(store_path=str(tmp_path / "models"))
    conf = config_of(small(), "y", model=SMALL_MODELS[kind], training={"epochs": 5})
    first = verbs.train.train(conf, context)
    again = verbs.train.train(conf, context, continue_from=first.artefact.version)
    assert again.artefact.manifest["parent"] == first.artefact.version
    assert again.alias == "candidate"
    if kind == "dense":
        assert again.trained.fitted.curves[0]["loss"] < first.trained.fitted.curves[0]["loss"]


def test_a_warm_start_rejects_other_columns_or_layers(config_of, tmp_path):
    context = verbs.Context(store_path=str(tmp_path / "models"))
    net, other_net = {"kind": "dense", "layers": [8]}, {"kind": "dense", "layers": [9]}
    first = verbs.train.train(config_of(small(), "y", model=net, training={"epochs": 1}), context)

    def continued(frame, model):
        return verbs.train.train(config_of(frame, "y", model=model), context, continue_from=first.artefact.version)

    with pytest.raises(TrainingError, match=r"other columns than this table has: colour \(category -> absent\)"):
        continued(small().drop("colour"), net)
    with pytest.raises(TrainingError, match="another architecture"):
        continued(small(), other_net)
    with pytest.raises(TrainingError, match="another kind of model"):
        continued(small(), {"kind": "boosting"})


def test_a_reviewed_schema_is_obeyed(config_of, tmp_path):
    from estimator.data.schema.file import to_yaml
    from estimator.data.schema.inference import infer_schema

    schema = infer_schema(small().cast(pl.String), "y")
    columns = tuple(replace(column, range=(-1.0, 1.0)) if column.name == "x" else column for column in schema.columns)
    schema = replace(schema, columns=columns)
    (tmp_path / "schema.yml").write_text(to_yaml(schema))
    with pytest.raises(EstimatorError, match="at least -1 and at most 1"):
        verbs.train.train(
            config_of(small(), "y", schema={"file": "schema.yml"}), verbs.Context(store_path=str(tmp_path / "models"))
        )


def test_a_number_can_be_a_class(config_of):
    frame = small().with_columns(y=pl.int_range(200) % 5)
    assert prepared(config_of, frame).task.kind == "regression"
    task = prepared(config_of, frame, data={"task": "classification"}).task
    assert task.classes == ("0", "1", "2", "3", "4")


def test_the_positive_class_comes_last(config_of):
    frame = small().with_columns(y=pl.Series(["bad", "good"] * 100))
    assert prepared(config_of, frame, data={"positive_class": "bad"}).task.classes == ("good", "bad")
    with pytest.raises(ConfigError, match="expected one of two classes"):
        prepared(config_of, frame, data={"positive_class": "worse"})


def test_python_takes_frames_and_rows(store):
    import estimator

    predictor = estimator.load(store / "penguins")
    frame = read_example("penguins").drop("species").head(5)
    by_polars = predictor.predict(frame)
    assert by_polars.tolist() == predictor.predict(frame.to_pandas()).tolist()
    assert by_polars.tolist() == predictor.predict(frame.to_dicts()).tolist()
    assert predictor.predict_table(frame).columns == [
        "prediction",
        "prediction_set",
        *(f"probability_{s}" for s in ("Adelie", "Chinstrap", "Gentoo")),
    ]


def test_training_from_python_returns_a_predictor(tmp_path, house):
    import estimator

    predictor = estimator.train(EXAMPLES / "boston" / "config.json", store=str(tmp_path))
    assert 15 < predictor.predict([house])[0] < 35
    assert json.loads((tmp_path / "house_pricing_model" / "aliases.json").read_text())["live"] == predictor.version


@pytest.mark.parametrize("kind", ["linear", "boosting", "catboost", "xgboost", "dense", "tabm"])
def test_a_class_only_in_the_test_rows_has_probability_zero(kind, config_of, tmp_path):
    part = ["test" if row % 4 == 0 else "train" for row in range(200)]
    labels = ["rare" if row in (0, 4) else ["a", "b", "c"][row % 3] for row in range(200)]
    frame = small().with_columns(y=pl.Series(labels), part=pl.Series(part))
    split = {"split": {"kind": "column", "column": "part"}, "epochs": 2}
    # Folds calibrate the probabilities, also that of 0, which nets do not give.
    folds = 0 if kind in ("dense", "tabm") else 2
    conf = config_of(frame, "y", model=SMALL_MODELS[kind], training=split, validation={"folds": folds})
    made = verbs.train.train(conf, verbs.Context(store_path=str(tmp_path / "models")))
    assert made.artefact.predictor.task.classes == ("a", "b", "c", "rare")
    if kind == "linear":
        assert made.artefact.predictor.predict_table(frame)["probability_rare"].max() == 0.0


def test_two_training_classes_of_three_are_enough(config_of, tmp_path):
    part = ["test" if row % 4 == 0 else "train" for row in range(200)]
    labels = ["rare" if row in (0, 4) else ["a", "b"][row % 2] for row in range(200)]
    frame = small().with_columns(y=pl.Series(labels), part=pl.Series(part))
    split = {"split": {"kind": "column", "column": "part"}}
    conf = config_of(frame, "y", model={"kind": "linear"}, training=split)
    assert (
        verbs.train.train(conf, verbs.Context(store_path=str(tmp_path / "models"))).trained.parity.largest_relative
        < 1e-5
    )


def test_one_training_class_is_an_error(config_of, tmp_path):
    frame = small().with_columns(
        y=pl.Series(["b"] * 100 + ["a"] * 100), part=pl.Series(["test"] * 100 + ["train"] * 100)
    )
    conf = config_of(frame, "y", training={"split": {"kind": "column", "column": "part"}})
    with pytest.raises(TrainingError, match="all training rows have the class 'a'"):
        verbs.train.train(conf, verbs.Context(store_path=str(tmp_path / "models")))


@pytest.mark.parametrize("target", [pl.int_range(200, eager=True), pl.int_range(200, eager=True) + 2**55])
def test_a_target_that_counts_up_is_a_quantity(config_of, target):
    assert prepared(config_of, small().with_columns(y=target)).task.kind == "regression"


def test_a_target_of_numbers_as_text_is_explained(config_of):
    frame = small().with_columns(y=pl.Series([f"${1000 + 13 * row:,}" for row in range(200)]))
    with pytest.raises(TrainingError, match=r"holds numbers as text: row 1 holds '\$1,000'"):
        prepared(config_of, frame)


def test_class_weights_do_not_change_the_baseline(config_of, tmp_path):
    frame = small().with_columns(y=pl.Series(["a"] * 150 + ["b"] * 50))
    losses = []
    for weight in (None, "balanced"):
        conf = config_of(frame, "y", model={"kind": "constant"}, training={"class_weight": weight})
        made = verbs.train.train(conf, verbs.Context(store_path=str(tmp_path / str(weight))))
        losses.append(made.report.baseline["log_loss"].value)
    assert losses[0] == losses[1]


def test_a_warm_start_without_support_is_an_error(config_of, tmp_path):
    context = verbs.Context(store_path=str(tmp_path / "models"))
    conf = config_of(small(), "y", model={"kind": "linear"})
    first = verbs.train.train(conf, context)
    with pytest.raises(TrainingError, match="cannot continue"):
        verbs.train.train(conf, context, continue_from=first.artefact.version)


def test_python_errors_name_the_expected_input(store):
    import pandas as pd

    import estimator
    from estimator.errors import SchemaError

    predictor = estimator.load(store / "penguins")
    frame = read_example("penguins").drop("species").to_pandas()
    row = {name: np.float64(value) if name == "year" else value for name, value in frame.iloc[0].items()}
    assert predictor.predict(row).tolist() == predictor.predict(frame.head(1)).tolist()
    with pytest.raises(SchemaError, match="expected a polars or pandas frame"):
        predictor.predict_table(frame["island"])
    with pytest.raises(SchemaError, match="columns of the same name"):
        predictor.predict(pd.concat([frame, frame[["island"]]], axis=1))
