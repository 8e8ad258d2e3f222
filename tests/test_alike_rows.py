"""Rows that follow each other are alike, as the hours of a market: what wins on the next ones may lose a week later."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from estimator import verbs
from estimator.monitoring.decision import Decision
from estimator.store.batch_prediction import labeled_rows
from estimator.verbs.monitor import MonitoredModel

retrain = partial(verbs.retrain.retrain, isolated=False)
N_OLD, N_NEW, N_LATER = 1200, 300, 300
# In this stream, the level of the new rows is high, and falls after them.
SEED = 3


def stream() -> pl.DataFrame:
    """Return rows whose price follows demand and a level that wanders around its mean, and takes days to return."""
    generator = np.random.default_rng(SEED)
    n_rows = N_OLD + N_NEW + N_LATER
    demand, shocks, level = generator.normal(size=n_rows), generator.normal(size=n_rows), np.zeros(n_rows)
    for row in range(1, n_rows):
        level[row] = 0.99 * level[row - 1] + 0.14 * shocks[row]
    return pl.DataFrame({"demand": demand, "price": 2.0 * demand + level})


def retrained(folder: Path, rows: pl.DataFrame) -> tuple[verbs.Context, Decision]:
    """Train on the first rows, and retrain on the next ones."""
    rows.head(N_OLD).write_csv(folder / "old.csv")
    rows.slice(N_OLD, N_NEW).write_csv(folder / "new.csv")
    config = {
        "name": "market",
        "data": {"path": "old.csv", "target": "price"},
        "model": {"kind": "linear"},
        "evaluation": {"metrics": ["mae"], "importance_repeats": 0},
        # Often no old row is left that the live version has not learned, to compare candidates on.
        "retraining": {"candidates": ["refit", "new_only"], "prefer": "newest", "max_regression": 9},
    }
    (folder / "config.json").write_text(json.dumps(config))
    context = verbs.Context(store_path=str(folder / "models"))
    verbs.train.train(folder / "config.json", context)
    return context, retrain(MonitoredModel("market", folder=folder), context, data=str(folder / "new.csv"))


def mean_loss(context: verbs.Context, version: str, rows: pl.DataFrame) -> float:
    artefact = context.version(f"market/{version}")
    labeled = labeled_rows(artefact, rows)
    return float(np.abs(artefact.predictor.predict_batch(labeled.batch).values - labeled.labels).mean())


def test_candidate_that_wins_on_the_next_rows_and_loses_later_is_not_chosen(tmp_path):
    rows = stream()
    context, decision = retrained(tmp_path, rows)
    refit, new_only = decision.candidates
    assert new_only.comparisons[0].verdict == "better"
    assert new_only.comparisons[0].gain.value > refit.comparisons[0].gain.value
    later = [mean_loss(context, version, rows.tail(N_LATER)) for version in (decision.live, new_only.version)]
    assert later[1] > 1.5 * later[0]
    assert decision.chosen_kind == "refit"
    assert mean_loss(context, decision.chosen, rows.tail(N_LATER)) < 1.2 * later[0]
