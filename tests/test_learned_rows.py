"""Rows that a version has learned from are recognized in any format, left out and counted."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.errors import RetrainingError, SchemaError
from estimator.store import learned_rows as module
from estimator.store.learned_rows import FILE, learned_rows
from estimator.verbs.monitor import MonitoredModel

# No process of its own: nothing crashes here.
retrain = partial(verbs.retrain.retrain, isolated=False)
ROW_COUNT = 120


def table(seed: int = 1, n_rows: int = ROW_COUNT) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    area = generator.uniform(40, 200, n_rows).round(2)
    return pl.DataFrame(
        {
            "area": area,
            "city": generator.choice(["Bern", "Genf"], n_rows),
            "secret": generator.choice(["x", "y"], n_rows),
            "price": (area * 10 + generator.normal(size=n_rows)).round(2),
        }
    )


def trained(folder, rows: pl.DataFrame, *, continue_from: str | None = None, **sections):
    """Train a version of these rows; return it."""
    rows.write_csv(folder / "old.csv")
    content = {
        "name": "house",
        "data": {"path": "old.csv", "target": "price"},
        "model": {"kind": "boosting", "n_estimators": 5},
        "validation": {"folds": 0},
        "evaluation": {"bootstrap_samples": 100, "importance_repeats": 0},
        "retraining": {"candidates": ["new_only"]},
        **sections,
    }
    (folder / "config.json").write_text(json.dumps(content))
    return verbs.train.train(folder / "config.json", context_of(folder), continue_from=continue_from).artefact


def write_quick_config(path: Path, **tuning: object) -> Path:
    """Write a config for `t.csv`, a `table`, with which every verb runs in a second; return its path."""
    content = {
        "name": "house",
        "data": {"path": "t.csv", "target": "price"},
        "model": {"kind": "linear"},
        "validation": {"folds": 2},
        "evaluation": {"bootstrap_samples": 100, "importance_repeats": 0},
        "retraining": {"candidates": ["refit", "new_only"]},
        "tuning": {"n_trials": 3, "space": {"model.penalty": {"low": 0.1, "high": 10.0}}, **tuning},
    }
    path.write_text(json.dumps(content))
    return path


def context_of(folder) -> verbs.Context:
    return verbs.Context(store_path=str(folder / "models"))


@pytest.fixture
def version(tmp_path):
    return trained(tmp_path, table())


def test_evaluate_scores_only_rows_that_are_new(version, tmp_path, run):
    pl.concat([table(), table(2, 30)]).write_csv(tmp_path / "new.csv")
    arguments = ("evaluate", "--model", version.folder, "--input", tmp_path / "new.csv", "--json")
    _, output, _ = run(*arguments)
    n_learned = version.manifest["data"]["rows"] - version.manifest["data"]["rows_held_out"]
    assert output["rows"] == 150 - n_learned
    (note,) = output["notes"]
    assert note.startswith(
        f"{tmp_path / 'new.csv'}: {n_learned} of 150 rows equal rows that {version.version} has learned"
    )
    assert note.endswith("and are left out; --include-learned scores them, too")
    assert run(*arguments, "--include-learned")[1]["rows"] == 150


def test_evaluate_of_learned_rows_alone_is_an_error(version, tmp_path):
    learned = table().filter(pl.Series(~held_out(version, tmp_path)))
    learned.write_csv(tmp_path / "learned.csv")
    with pytest.raises(SchemaError, match=r"nothing to score: .* has learned from all 96 rows"):
        verbs.evaluate.evaluate(version, str(tmp_path / "learned.csv"))


def held_out(version, folder) -> np.ndarray:
    """Return which rows of the table a version has not learned from, as its hashes say."""
    batch = version.schema.read_rows(table().drop("price").to_dicts())
    return ~learned_rows(version).contains(batch, table()["price"].to_numpy(), version.predictor.task)


def test_rows_are_recognized_in_any_format(version, tmp_path):
    """The same values as text, as numbers, in a database's form, under another order of the columns."""
    rows = table().select(reversed(table().columns))
    rows.write_parquet(tmp_path / "new.parquet")
    rows.cast(pl.String).write_parquet(tmp_path / "text.parquet")
    scored = {verbs.evaluate.evaluate(version, str(tmp_path / name)).rows for name in ("new.parquet", "text.parquet")}
    assert scored == {24}


def test_retrain_leaves_out_all_rows_of_its_own_table(version, tmp_path):
    """Also those that were held out, which show what a candidate has lost on old rows."""
    pl.concat([table(), table(2, 60)]).write_csv(tmp_path / "new.csv")
    model, context = MonitoredModel("house", None, None, tmp_path), context_of(tmp_path)
    decision = retrain(model, context, data=str(tmp_path / "new.csv"))
    assert decision.rows["new"] + decision.rows["holdout"] == 60
    (note,) = decision.notes
    assert note.startswith(f"new rows: 120 of 180 rows equal rows that {version.version} was trained and scored on")
    assert context.notes.to_data() == [note]
    again = retrain(model, context, data=str(tmp_path / "new.csv"), include_learned=True)
    assert again.rows["new"] + again.rows["holdout"] == 180
    table().write_csv(tmp_path / "same.csv")
    with pytest.raises(RetrainingError, match=r"too few new rows: 0 with a label .*120 of 120 rows equal rows"):
        retrain(model, context, data=str(tmp_path / "same.csv"))


def test_warm_start_remembers_the_rows_of_the_version_before(version, tmp_path):
    later = trained(tmp_path, table(2), continue_from=f"house/{version.version}")
    table().write_csv(tmp_path / "first.csv")
    assert verbs.evaluate.evaluate(later, str(tmp_path / "first.csv")).rows == 24


def test_scores_of_a_version_that_has_learned_held_out_rows_are_noted(tmp_path):
    refit, rows = {"training": {"refit_full": True}}, table()
    first = trained(tmp_path, rows, **refit)
    assert not any("has learned from" in note for note in first.manifest["data"]["notes"])
    second = trained(tmp_path, rows, continue_from="house@live", **refit)
    learned = f"{first.version} has learned from 24 of the 24 held-out rows"
    assert [note for note in second.manifest["data"]["notes"] if "has learned from" in note] == [
        f"{learned}, so its scores, next to those of the new one, are too good",
        f"{learned}, and training continues from it, so the scores are too good",
    ]
    # The same split of the same table holds out the same rows.
    (tmp_path / "other").mkdir()
    trained(tmp_path / "other", rows)
    again = trained(tmp_path / "other", rows, continue_from="house@live")
    assert not any("has learned from" in note for note in again.manifest["data"]["notes"])


def test_compare_leaves_out_rows_that_a_version_has_learned(tmp_path):
    rows, more = table(), table(seed=2)
    first, second = trained(tmp_path, rows), trained(tmp_path, pl.concat([rows, more]))
    new = table(seed=3, n_rows=60)
    pl.concat([rows.head(60), new]).write_csv(tmp_path / "mixed.csv")
    new.write_csv(tmp_path / "new.csv")
    names, context = [str(version.folder) for version in (first, second)], context_of(tmp_path)
    mixed, alone = (
        verbs.compare.compare(*names, context, table=(str(tmp_path / name), None)) for name in ("mixed.csv", "new.csv")
    )
    # Rows that both held out are as good as new ones.
    assert 60 <= mixed[0].rows < 90
    assert any("of 120 rows equal rows that" in note and "are left out" in note for note in context.notes.to_data())
    assert alone[0].rows == 60


def test_private_columns_are_in_no_hash(tmp_path):
    version = trained(tmp_path, table(), serving={"private_columns": ["secret"]})
    assert learned_rows(version).columns == ("area", "city")
    other = table().with_columns(secret=pl.lit("x"))
    other.write_csv(tmp_path / "new.csv")
    assert verbs.evaluate.evaluate(version, str(tmp_path / "new.csv")).rows == 24


def test_hashes_of_two_versions_cannot_be_compared(version, tmp_path):
    again = trained(tmp_path, table())
    assert set(learned_rows(version).hashes.tolist()) & set(learned_rows(again).hashes.tolist()) == set()
    assert len(again.read(FILE)) < 200 + 8 * ROW_COUNT


def test_equal_rows_of_a_coarse_table_are_scored_with_a_note(tmp_path):
    """Rows of two categories and a class are equal by chance all the time."""
    coarse = table().select("city", "secret", price=pl.col("price") > 1200)
    version, context = trained(tmp_path, coarse), context_of(tmp_path)
    assert verbs.evaluate.evaluate(version, str(tmp_path / "old.csv"), context=context).rows == ROW_COUNT
    assert "of those equal another one, an equal row may be a new one, and is used" in context.notes.to_data()[0]


def test_version_of_too_many_rows_keeps_no_hashes_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_ROWS", 50)
    version, context = trained(tmp_path, table()), context_of(tmp_path)
    assert FILE not in version.manifest["files"]
    assert verbs.evaluate.evaluate(version, str(tmp_path / "old.csv"), context=context).rows == ROW_COUNT
    assert "has learned from some of these rows is unknown" in context.notes.to_data()[0]
