"""The effort of a training: folds, members and rows by the size of the table, and what the config says stays."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.config import resolve
from estimator.core.task import Task
from estimator.data.splitting import assign_folds
from estimator.evaluation.validation import fold_masks
from estimator.models import EncodedFitData, EncodedRows, model_of
from estimator.models.ensemble import DEFAULT_MEMBERS, Ensemble
from estimator.training import plan
from estimator.training.plan import LEVELS, Level, planned
from estimator.training.prepare import prepare
from estimator.verbs.context import SHELVES, Context

SMALL_LEVELS = {
    "quick": (Level(1e9, 1, ({"kind": "linear"}, {"kind": "boosting", "n_estimators": 20}), split_rows=40),),
    "standard": (Level(1e9, 3, DEFAULT_MEMBERS),),
}


def table(n_rows: int = 400) -> pl.DataFrame:
    generator = np.random.default_rng(0)
    x, z = generator.standard_normal((2, n_rows))
    return pl.DataFrame({"day": range(n_rows), "x": x, "z": z, "y": 3 * x + generator.standard_normal(n_rows)})


def plan_of(frame, *, clock=lambda: 0.0, **sections):
    config = resolve({"data": {"path": "t.csv", "target": "y"}, **sections}, SHELVES)
    return planned(prepare(frame.cast(pl.String), config), config, clock=clock)


@pytest.mark.parametrize("effort", LEVELS)
def test_levels_cover_every_size_and_fit_less_per_row_as_tables_grow(effort):
    levels = LEVELS[effort]
    assert levels[-1].max_rows == float("inf")
    assert [level.max_rows for level in levels] == sorted(level.max_rows for level in levels)
    assert [level.folds for level in levels] == sorted((level.folds for level in levels), reverse=True)
    for level in levels:
        assert Ensemble(members=level.members)


def test_a_small_table_keeps_the_defaults_and_says_nothing():
    rows, config, notes = plan_of(table())
    assert (config.validation.folds, model_of(config).members, notes) == (5, Ensemble().members, ())
    assert rows.folds.max() == 4


def test_a_plan_sets_what_the_config_leaves_out(monkeypatch):
    monkeypatch.setattr(plan, "LEVELS", SMALL_LEVELS)
    rows, config, (note,) = plan_of(table(), training={"effort": "quick"})
    assert config.validation.folds == 1
    assert config.training.validation_size == pytest.approx(40 / 320)
    assert (rows.folds == 0).sum() == 40
    assert [member.max_rows for member in model_of(config).members] == [None, None]
    assert "training.effort: quick, with 320 training rows, sets validation.folds: 1" in note
    assert "kind boosting, n_estimators 20" in note
    members = [{"kind": "linear"}]
    settings = {"model": {"kind": "ensemble", "members": members}, "validation": {"folds": 4}}
    rows, config, notes = plan_of(table(), training={"effort": "quick"}, **settings)
    assert (config.validation.folds, len(model_of(config).members), notes, rows.folds.max()) == (4, 1, (), 3)


def test_a_split_that_the_config_asks_for_holds_out_as_many_rows_as_planned(monkeypatch):
    monkeypatch.setattr(plan, "LEVELS", SMALL_LEVELS)
    rows, _, _ = plan_of(table(), training={"effort": "quick"}, validation={"folds": 1})
    assert ((rows.folds == 0).sum(), rows.validation_mask.sum()) == (40, 40)
    rows, _, _ = plan_of(table(), training={"effort": "quick", "validation_size": 0.5}, validation={"folds": 1})
    assert (rows.folds == 0).sum() == 160


def test_a_time_limit_lowers_the_effort_and_says_when_that_is_not_enough(monkeypatch):
    seconds = iter([900.0, 70.0, 30.0])
    monkeypatch.setattr(plan, "forecast_seconds", lambda *arguments, **options: next(seconds))
    monkeypatch.setattr(plan, "LEVELS", SMALL_LEVELS)
    _, config, notes = plan_of(table(), training={"time_limit": "1 minute"})
    assert [type(member).__name__ for member in model_of(config).members] == ["Linear"]
    lowered = "training.time_limit: 1 minute; training may take about 30 s with a linear model, in place of standard"
    assert notes[0] == lowered
    seconds = iter([900.0, 800.0, 700.0])
    _, config, notes = plan_of(table(), training={"time_limit": "1m"})
    assert "may take about 11 min" in notes[0]
    assert notes[0].endswith("that is longer, and there is nothing smaller to try")


def test_drawn_rows_have_every_class_and_a_weight():
    generator = np.random.default_rng(0)
    target, weights = np.repeat([0.0, 1.0], [990, 10]), np.tile([0.0, 1.0], 500)
    rows = EncodedRows(generator.standard_normal((1000, 1)), target, weights)
    data = EncodedFitData(rows, np.zeros(1000, np.bool_), None, Task("binary", ("no", "yes")))
    for n_rows in (1, 2, 20):
        drawn = data.drawn(n_rows, 0).rows
        assert set(drawn.target.tolist()) == {0.0, 1.0}
        assert drawn.weights.all()
        assert n_rows <= len(drawn) <= n_rows + 1


def test_what_only_train_obeys_is_said_by_the_others():
    config = resolve(
        {"data": {"path": "t.csv", "target": "y"}, "training": {"effort": "high"}, "features": {"made": "auto"}},
        SHELVES,
    )
    (note,) = plan.unplanned_notes(config)
    assert note.startswith("training.effort, features.made: only `train` obeys it")
    assert plan.unplanned_notes(resolve({"data": {"path": "t.csv", "target": "y"}}, SHELVES)) == []


def test_one_split_holds_out_a_part_at_random_or_the_latest_rows():
    config = resolve(
        {"data": {"path": "t.csv", "target": "y"}, "validation": {"folds": 1}, "training": {"seed": 3}}, SHELVES
    )
    (assigned,) = assign_folds(table(), config, None)
    assert sorted(set(assigned.tolist())) == [-1, 0]
    assert (assigned == 0).sum() == round(0.15 * 400)
    ordered = resolve(
        {
            "data": {"path": "t.csv", "target": "y"},
            "validation": {"folds": 1},
            "training": {"split": {"kind": "time", "column": "day"}},
        },
        SHELVES,
    )
    rows = prepare(table().cast(pl.String), ordered)
    ((learned, held_out),) = fold_masks(rows.fit_data(ordered))
    days = rows.training_frame["day"].cast(pl.Int64).to_numpy()
    assert days[learned].max() < days[held_out].min()


@pytest.mark.parametrize("split", [{"kind": "random"}, {"kind": "time", "column": "day"}])
@pytest.mark.parametrize(
    "model",
    [
        {"kind": "boosting", "n_estimators": 60, "early_stopping_rounds": 5},
        {"kind": "ensemble", "members": [{"kind": "linear"}, {"kind": "boosting", "n_estimators": 30, "max_rows": 90}]},
    ],
    ids=["boosting", "ensemble"],
)
def test_one_split_gives_intervals_and_a_version_that_is_reproduced(model, split, tmp_path):
    table(600).write_csv(tmp_path / "t.csv")
    config = {
        "name": "t",
        "data": {"path": str(tmp_path / "t.csv"), "target": "y"},
        "validation": {"folds": 1},
        "training": {"split": split},
        "model": model,
    }
    context = Context(store_path=str(tmp_path / "models"))
    new = verbs.train.train(config, context)
    predictions = new.trained.predictor.predict_batch(new.trained.prepared.test_rows.batch)
    actual = new.trained.prepared.test_rows.target
    assert 0.8 < np.mean((predictions.low <= actual) & (actual <= predictions.high)) <= 1.0
    assert new.report.folds is None
    assert verbs.verify.verify("t", context).is_equal


def test_a_member_that_is_behind_after_a_large_first_fold_is_given_up():
    frame = table(2600)
    config = resolve(
        {
            "data": {"path": "t.csv", "target": "y"},
            "model": {"kind": "ensemble", "members": [{"kind": "linear"}, {"kind": "constant"}]},
        },
        SHELVES,
    )
    data = prepare(frame.cast(pl.String), config).fit_data(config)
    steps = []
    fitted = model_of(config).fit(data, config.training, progress=steps.append)
    assert fitted.summary["folds of constant"] == 1
    assert fitted.summary["loss of constant"] > fitted.summary["loss of linear"]
    assert [member.name for member in fitted.members] == ["linear"]
    assert np.isfinite(fitted.out_of_fold).all()
    assert len(steps) == 2 + 4
    assert "latest linear" in steps[-1].label
