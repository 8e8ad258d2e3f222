"""`training.refit_full`: after the report, a version is trained on all rows, and everything else knows it."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.errors import ArtefactError
from estimator.models import KINDS
from estimator.store.learned_rows import learned_rows

N = 200


@pytest.fixture
def folder(tmp_path):
    generator = np.random.default_rng(3)
    x = generator.uniform(0, 10, N)
    # The held-out rows are the last ones, which follow another line.
    y = np.where(np.arange(N) < 160, 2 * x, 100 + 5 * x) + generator.normal(0, 0.1, N)
    pl.DataFrame({"x": x, "late": np.arange(N) >= 160, "y": y}).write_csv(tmp_path / "t.csv")
    return tmp_path


def train(folder, *, refit_full=True, kind="linear", name="m", **sections):
    config = {
        "name": name,
        "data": {"path": "t.csv", "target": "y"},
        "model": {"kind": kind},
        "training": {"split": {"kind": "rows", "test": "161-200"}, "refit_full": refit_full, "epochs": 3},
        "evaluation": {"importance_repeats": 0},
        **sections,
    }
    (folder / f"{name}.json").write_text(json.dumps(config))
    return verbs.train.train(folder / f"{name}.json", verbs.Context(store_path=str(folder / "models")))


def test_version_has_learned_the_held_out_rows_and_is_scored_without_them(folder):
    plain, refitted = train(folder, refit_full=False), train(folder)
    assert refitted.report.metrics == plain.report.metrics
    rows = pl.read_csv(folder / "t.csv")
    late = rows.filter(pl.col("late"))
    of_plain, of_refitted = (
        np.abs(version.artefact.predictor.predict(late.drop("y")) - late["y"].to_numpy()).mean()
        for version in (plain, refitted)
    )
    assert of_plain == pytest.approx(plain.report.metrics["mae"].value)
    assert of_refitted < of_plain / 5
    assert any("then trained on all 200" in note for note in refitted.artefact.manifest["data"]["notes"])
    assert refitted.artefact.manifest["data"]["rows_held_out"] == 40


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_trained_on_all_rows_and_reproduced(folder, kind):
    artefact = train(folder, kind=kind, validation={"folds": 2}).artefact
    assert len(learned_rows(artefact).hashes) == N
    context = verbs.Context(store_path=str(folder / "models"))
    assert verbs.verify.verify(str(artefact.folder), context, folder=folder).is_equal


def test_comparing_on_held_out_rows_is_rejected(folder):
    first, second = train(folder, refit_full=False).artefact, train(folder).artefact
    context = verbs.Context(store_path=str(folder / "models"))
    with pytest.raises(ArtefactError, match="trained on its held-out rows, too") as caught:
        verbs.compare.compare(str(first.folder), str(second.folder), context, folder=folder)
    assert "--input" in (caught.value.hint or "")


def test_forecast_counts_the_second_training(folder):
    train(folder, refit_full=False, name="one")
    train(folder, name="two")
    one, two = (verbs.train.forecast(folder / f"{name}.json", verbs.Context()) for name in ("one", "two"))
    assert two.n_fits == 2 * one.n_fits
    assert two.n_rows == N
