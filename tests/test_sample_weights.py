"""Rows count in scores as much as they weigh: in folds, in held-out figures, in `evaluate` and in `compare`."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.errors import SchemaError, TrainingError

N = 240


def rows(seed: int = 0, n: int = N) -> pl.DataFrame:
    """Two groups with different slopes; the rows of the second weigh three times as much, or nothing."""
    generator = np.random.default_rng(seed)
    x, group = generator.uniform(0, 10, n), generator.integers(0, 2, n)
    y = x * (1 + group) + generator.normal(0, 1, n)
    return pl.DataFrame({"x": x, "y": y, "w": 1 + 2 * group})


def train(folder, name="first", **sections):
    data = {"path": "t.csv", "target": "y", "sample_weight": "w", **sections.pop("data", {})}
    config = {"name": name, "data": data, "model": {"kind": "linear"}, **sections}
    (folder / f"{name}.json").write_text(json.dumps(config))
    return verbs.train.train(folder / f"{name}.json", verbs.Context(store_path=str(folder / "models")))


@pytest.fixture
def folder(tmp_path):
    rows().write_csv(tmp_path / "t.csv")
    weighted = rows(1)
    weighted.write_csv(tmp_path / "new.csv")
    weighted.drop("w").write_csv(tmp_path / "unweighted.csv")
    repeated = weighted.select(pl.all().repeat_by("w")).explode(pl.all())
    repeated.with_columns(w=pl.lit(1)).write_csv(tmp_path / "repeated.csv")
    return tmp_path


def test_held_out_scores_of_training_are_weighted(folder):
    trained = train(folder)
    prepared, report = trained.trained.prepared, trained.report
    weights = prepared.test_rows.sample_weights
    assert set(weights.tolist()) == {1, 3}
    errors = np.abs(report.predictions.values - report.actual)
    assert report.metrics["mae"].value == pytest.approx(np.average(errors, weights=weights), rel=1e-12)
    assert report.metrics["mae"].low < np.average(errors, weights=weights) < report.metrics["mae"].high
    training = prepared.training_rows
    constant = np.average(training.target, weights=training.sample_weights)
    baseline = np.average(np.abs(constant - report.actual), weights=weights)
    assert report.baseline["mae"].value == pytest.approx(baseline, rel=1e-9)


def test_a_row_of_weight_three_scores_as_three_rows(folder):
    artefact = train(folder).artefact
    weighted, repeated, unweighted = (
        verbs.evaluate.evaluate(artefact, str(folder / name)).metrics["rmse"].value
        for name in ("new.csv", "repeated.csv", "unweighted.csv")
    )
    assert weighted == pytest.approx(repeated, rel=1e-12)
    assert weighted != pytest.approx(unweighted, rel=1e-3)


def test_a_table_without_the_weights_is_noted(folder):
    artefact, context = train(folder).artefact, verbs.Context()
    verbs.evaluate.evaluate(artefact, str(folder / "unweighted.csv"), context=context)
    assert any("no column 'w' of weights: every row counts once" in note for note in context.notes.to_data())


def test_comparisons_are_weighted(folder):
    context = verbs.Context(store_path=str(folder / "models"))
    first, second = (
        train(folder, **choice).artefact for choice in ({}, {"name": "second", "model": {"kind": "constant"}})
    )
    names = [str(artefact.folder) for artefact in (first, second)]
    weighted, repeated = (
        verbs.compare.compare(*names, context, table=(str(folder / name), None))[0]
        for name in ("new.csv", "repeated.csv")
    )
    assert (weighted.first, weighted.second) == pytest.approx((repeated.first, repeated.second), rel=1e-12)


def test_weights_that_are_no_numbers_are_named_in_the_rows_to_score(folder):
    artefact = train(folder).artefact
    rows(1).with_columns(w=pl.lit("heavy")).write_csv(folder / "new.csv")
    with pytest.raises(SchemaError, match=r"column 'w' must hold a number of at least 0 .*: row 1 holds 'heavy'"):
        verbs.evaluate.evaluate(artefact, str(folder / "new.csv"))


def test_class_weights_change_the_fit_and_no_score(folder):
    frame = rows().with_columns(y=pl.when(pl.col("y") > 14).then(pl.lit("high")).otherwise(pl.lit("low")))
    frame.write_csv(folder / "t.csv")
    sections = {"model": {"kind": "constant"}, "data": {"sample_weight": None}, "validation": {"folds": 4}}
    plain = train(folder, **sections).report
    balanced = train(folder, **sections, training={"class_weight": {"high": 1.0, "low": 1.0001}}).report
    for name in ("log_loss", "accuracy"):
        assert balanced.folds[name].value == pytest.approx(plain.folds[name].value, rel=1e-3)
    heavy = train(folder, **sections, training={"class_weight": {"high": 1000.0, "low": 1.0}}).report
    n_high = (frame["y"] == "high").mean()
    # The constant says "high" now, which is right as often as there are such rows.
    assert heavy.folds["accuracy"].value == pytest.approx(n_high, abs=0.02)


def test_held_out_rows_without_any_weight_are_an_error(folder):
    rows().with_columns(w=pl.Series([1.0] * 200 + [0.0] * 40)).write_csv(folder / "t.csv")
    with pytest.raises(TrainingError, match="the weights of all held-out rows are 0, so there is nothing to score"):
        train(folder, training={"split": {"kind": "rows", "test": "201-240"}})


def test_rows_to_score_without_any_weight_are_an_error(folder):
    artefact = train(folder).artefact
    rows(1).with_columns(w=pl.lit(0)).write_csv(folder / "new.csv")
    with pytest.raises(SchemaError, match="column 'w': all weights are 0, so there is nothing to score"):
        verbs.evaluate.evaluate(artefact, str(folder / "new.csv"))


@pytest.mark.filterwarnings("error")
def test_few_rows_with_a_weight_are_scored_without_a_warning(folder):
    """A bootstrap sample, or a fold, may then hold none of them."""
    weights = [1.0] * 200 + [0.0] * 38 + [1.0] * 2
    rows().with_columns(w=pl.Series(weights)).write_csv(folder / "t.csv")
    report = train(folder, training={"split": {"kind": "rows", "test": "201-240"}}).report
    assert np.isfinite(report.metrics["mae"].value)
