"""Versions whose features are formulas: what they learn, take, show and continue from."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.config import FeatureChoices
from estimator.config.document import read_document
from estimator.errors import ConfigError, RowError, TrainingError
from estimator.features.matrix import Features
from estimator.serving.model_page.page import build_model_page
from estimator.store.artefact import open_artefact
from estimator.training.reproduction import warm_start
from tests.conftest import read_example

FORMULAS = {
    "poor_rooms": "LSTAT / RM",
    "is_old": "AGE > 80",
    "side": "'river' if CHAS == '1' else 'near' if DIS < 3 else 'far'",
    "taxes": "log(TAX) * sqrt(RAD)",
}
LINEAR = {"kind": "linear"}


@pytest.fixture
def train(config_of, tmp_path):
    """Train a version of a table in memory and return it."""

    def call(frame: pl.DataFrame, target: str, *, start: str | None = None, **sections: object):
        context = verbs.Context(store_path=str(tmp_path / "models"))
        sections = {"evaluation": {"importance_repeats": 0}, **sections}
        return verbs.train.train(config_of(frame, target, **sections), context, continue_from=start)

    return call


@pytest.fixture
def boston(train):
    """Train a version of Boston; the charles river is a category."""
    schema = {"columns": {"CHAS": {"kind": "category"}}}
    return partial(train, read_example("boston"), "MEDV", schema=schema)


def test_a_formula_predicts_as_the_same_column_in_the_table(train):
    frame = read_example("boston").cast(pl.Float64)
    with_columns = frame.with_columns(
        poor_rooms=pl.col("LSTAT") / pl.col("RM"),
        is_old=pl.col("AGE") > 80,
        side=pl.when(pl.col("DIS") < 3).then(pl.lit("near")).otherwise(pl.lit("far")),
    )
    formulas = {**FORMULAS, "side": "'near' if DIS < 3 else 'far'"}
    del formulas["taxes"]
    for kind in ({"kind": "linear"}, {"kind": "boosting", "n_estimators": 20}):
        expected = train(with_columns, "MEDV", model=kind).artefact.predictor.predict(with_columns.drop("MEDV"))
        version = train(frame, "MEDV", model=kind, features={"formulas": formulas}).artefact
        assert version.predictor.predict(frame.drop("MEDV")) == pytest.approx(expected, rel=1e-9)


def test_a_dropped_column_that_a_formula_uses_is_an_input_and_no_feature(boston):
    version = boston(data={"drop": ["RAD", "TAX"]}, model=LINEAR, features={"formulas": FORMULAS}).artefact
    row = read_example("boston").drop("MEDV").to_dicts()[0]
    assert version.predictor.predict(row) != version.predictor.predict({**row, "RAD": 20})
    with pytest.raises(RowError, match="'TAX': missing"):
        version.predictor.predict({name: value for name, value in row.items() if name != "TAX"})
    names = warm_start(version).features.names
    assert not {"TAX", "RAD"} & set(names)
    assert {"taxes", "is_old", "side=far"} <= set(names)


def test_a_dropped_column_is_an_input_only_as_long_as_a_formula_uses_it(boston):
    first = boston(data={"drop": ["RAD", "TAX"]}, model=LINEAR, features={"formulas": FORMULAS})
    schema = first.artefact.folder / "schema.json"
    without = {**FORMULAS, "taxes": "log(TAX)"}
    sections = {"data": {"drop": ["RAD", "TAX"]}, "model": LINEAR, "features": {"formulas": without}}
    second = boston(**{**sections, "schema": {"file": str(schema)}})
    assert [column.name for column in second.artefact.schema.columns if not column.is_feature] == ["RAD"]


def test_contributions_are_those_of_formulas_by_their_names(boston):
    version = boston(model=LINEAR, features={"formulas": FORMULAS}, evaluation={"importance_repeats": 1}).artefact
    explained = version.read_json("explanation.json")
    added = explained["contributions"]
    assert added["columns"][-4:] == list(FORMULAS)
    values = np.sum(added["values"], axis=1) + added["base"]
    predicted = version.predictor.predict(explained["examples"])
    assert values == pytest.approx(predicted)
    assert {item["column"] for item in explained["importance"]} == set(version.schema.by_name) - {"MEDV"}
    report = (version.folder / "report.html").read_text()
    assert "log(TAX) * sqrt(RAD)" in report
    assert "side is far" in report


def test_the_manifest_lists_formulas(boston):
    version = boston(model=LINEAR, features={"formulas": FORMULAS}).artefact
    listed = version.manifest["formulas"]
    assert listed["side"] == {"formula": FORMULAS["side"], "kind": "category", "columns": ["CHAS", "DIS"]}
    assert [listed["is_old"]["kind"], list(listed)] == ["boolean", list(FORMULAS)]


def test_a_formula_takes_the_encoder_that_the_config_names(boston):
    columns = {"side": {"encoder": "target_mean"}, "is_old": {"encoder": "raw"}}
    version = boston(model=LINEAR, features={"formulas": FORMULAS, "columns": columns}).artefact
    assert warm_start(version).features.kinds["side"] == "target_mean"
    with pytest.raises(ConfigError, match=r"features\.columns\.is_old\.encoder: 'onehot' does not accept a boolean"):
        boston(model=LINEAR, features={"formulas": FORMULAS, "columns": {"is_old": {"encoder": "onehot"}}})


def test_fitted_formulas_are_saved_and_read_again(boston):
    features = warm_start(boston(model=LINEAR, features={"formulas": FORMULAS}).artefact).features
    again = Features.from_data(features.formulas.schema, json.loads(json.dumps(features.to_data())))
    assert [again.to_data(), again.names, again.formulas] == [features.to_data(), features.names, features.formulas]


def test_a_version_continues_only_with_the_same_formulas(boston):
    model = {"kind": "boosting", "n_estimators": 5}
    first = boston(model=model, features={"formulas": FORMULAS}).artefact
    continued = boston(model=model, features={"formulas": FORMULAS}, start=str(first.folder)).artefact
    assert continued.manifest["parent"] == first.version
    with pytest.raises(
        TrainingError, match=r"was trained with other features\.formulas: is_old \(AGE > 80 -> absent\)"
    ):
        formulas = {name: text for name, text in FORMULAS.items() if name != "is_old"}
        boston(model=model, features={"formulas": formulas}, start=str(first.folder))


def test_a_version_continues_only_with_formulas_of_the_same_columns(boston):
    sections = {"model": {"kind": "boosting", "n_estimators": 5}, "features": {"formulas": {"near": "missing(CHAS)"}}}
    first = boston(**sections, data={"drop": ["CHAS"]}).artefact
    with pytest.raises(TrainingError, match=r"CHAS \(category, only in formulas -> category\)"):
        boston(**sections, start=str(first.folder))


def test_a_hostile_formula_in_the_state_of_a_version_is_an_error(boston):
    features = warm_start(boston(model=LINEAR, features={"formulas": FORMULAS}).artefact).features
    hostile = json.loads(json.dumps(features.to_data()).replace("AGE > 80", "__import__('os')"))
    with pytest.raises(ConfigError, match="no function called __import__"):
        Features.from_data(features.formulas.schema, hostile)


def test_training_again_gives_the_same_graph(boston, tmp_path):
    version = boston(model=LINEAR, data={"drop": ["RAD"]}, features={"formulas": FORMULAS}).artefact
    context = verbs.Context(store_path=str(tmp_path / "models"))
    assert verbs.verify.verify(str(version.folder), context, folder=tmp_path).is_equal
    assert open_artefact(version.folder).predictor.graph == version.predictor.graph


def test_a_missing_value_that_is_imputed_is_so_in_formulas(train):
    frame = read_example("boston")
    sections = {"schema": {"on_missing": "impute"}, "model": LINEAR, "data": {"drop": ["RAD"]}}
    version = train(frame, "MEDV", features={"formulas": {"log_rad": "log(RAD)"}}, **sections).artefact
    row = frame.drop("MEDV").to_dicts()[0]
    median = warm_start(version).features.medians["RAD"]
    assert 4 <= median <= 5
    assert version.predictor.predict({**row, "RAD": None}) == version.predictor.predict({**row, "RAD": median})


def test_a_formula_that_is_probably_wrong_is_noted(boston):
    formulas = {"river": "CHAS == 'l'", "never": "log(-RM)", "sometimes": "log(CRIM - 1)"}
    notes = "\n".join(boston(model=LINEAR, features={"formulas": formulas}).artefact.manifest["data"]["notes"])
    assert "features.formulas.river: CHAS has no category 'l' in the table" in notes
    assert "features.formulas.river: the result is the same in every one of 506 rows" in notes
    assert "features.formulas.never: the result is missing in every one of 506 rows" in notes
    assert "formulas.sometimes" not in notes


@pytest.mark.parametrize(
    ("formulas", "sections", "words"),
    [
        (
            {"a": "RMM + 1"},
            {},
            "features.formulas.a: no column 'RMM' in the table\n    RMM + 1\n    ^^^ (did you mean 'RM'?)",
        ),
        ({"a": "log(RM"}, {}, "features.formulas.a: cannot be read: '(' was never closed"),
        ({"a": "MEDV / 2"}, {}, "a formula cannot use 'MEDV', which is the target"),
        ({"a": "b", "b": "RM + AGE"}, {"serving": {"private_columns": ["AGE"]}}, "which is in serving.private_columns"),
        ({"a": "RM + AGE"}, {"data": {"sample_weight": "AGE"}}, "which holds the weights of data.sample_weight"),
        ({"a": "b", "b": "a + RM"}, {}, "formulas use each other: a -> b -> a"),
        ({"RM": "AGE"}, {}, "features.formulas.RM: the table has a column of this name"),
        ({"prediction": "RM"}, {}, "a formula cannot be called 'prediction'"),
        ({"a": "CHAS + 1"}, {}, "features.formulas.a: column CHAS is a category, and + takes a number"),
    ],
)
def test_a_wrong_formula_is_an_error_before_training(boston, formulas, sections, words):
    with pytest.raises(ConfigError) as caught:
        boston(model=LINEAR, features={"formulas": formulas}, **sections)
    assert words in caught.value.message


def test_a_page_computes_formulas(boston, visit_file, tmp_path):
    sections = {"data": {"drop": ["RAD"]}, "features": {"formulas": FORMULAS}}
    version = boston(model={"kind": "boosting", "n_estimators": 20}, **sections).artefact
    (tmp_path / "page.html").write_bytes(build_model_page(version).content)
    page = visit_file(tmp_path / "page.html")
    page.wait_for_selector("body[data-ready]")
    assert "Self-test passed" in page.text_content("#check")
    assert [page.get_by_label(name, exact=True).count() for name in ("RAD", "taxes")] == [1, 0]


def test_a_formula_that_begins_with_a_quote_needs_another_around_it(tmp_path):
    (tmp_path / "config.yml").write_text("features:\n  formulas:\n    region: 'a' if RM > 5 else 'b'\n")
    with pytest.raises(ConfigError, match=r"config\.yml:3: not YAML: text after a quoted text") as caught:
        read_document(tmp_path / "config.yml")
    assert caught.value.hint == "put the whole value in quotes of the other kind: \"'a' if x else 'b'\""


def test_explore_says_what_is_dropped_and_still_learned_from(config_of, tmp_path):
    frame = read_example("boston")
    conf = config_of(frame, "MEDV", features={"formulas": {"poor_rooms": "LSTAT / RM"}}, data={"drop": ["LSTAT"]})
    context = verbs.Context()
    verbs.explore.explore(conf, context, page=tmp_path / "e.html")
    assert "LSTAT: left out by data.drop, but learned from in features.formulas" in context.notes.to_data()


def test_a_config_names_the_columns_of_its_formulas():
    choices = FeatureChoices(formulas={"a": "`x y` + b", "b": "z * 2"})
    assert choices.formula_columns == {"x y", "z"}
