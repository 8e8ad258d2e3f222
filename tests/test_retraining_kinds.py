"""The loop closes for every kind of model, candidate, source of new rows and kind of column.

`make test-loop` runs the whole product; the ordinary suite runs every kind of model on rows of the log with all
kinds of columns, and the fastest kind on the rest.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.config import Retraining
from estimator.errors import RetrainingError
from estimator.prediction_log import Label, PredictionRecord, open_log
from estimator.verbs.monitor import MonitoredModel

# No process of its own: nothing crashes here.
retrain = partial(verbs.retrain.retrain, isolated=False)
N_OLD, N_NEW = 120, 60
# The least that fits: what is learned is not what is tested.
MODELS = {
    "constant": {},
    "linear": {},
    "boosting": {"n_estimators": 5},
    "catboost": {"n_estimators": 5},
    "xgboost": {"n_estimators": 5},
    "dense": {"layers": [{"units": 2}]},
    "tabm": {"members": 2, "width": 4},
    "ensemble": {"members": [{"kind": "linear"}, {"kind": "boosting", "n_estimators": 5}]},
}
WITHOUT_WARM_START = {"constant", "linear", "ensemble"}
SOURCES = ("file", "log", "table")
COLUMNS = ("plain", "dropped", "aliased", "nullable", "private", "formulas", "all")
# The floor is dropped as a feature.
FORMULAS = {
    "per_floor": "area / floor",
    "half": "'first' if month(sold) < 7 else 'second'",
    "place": "join(city, half)",
    "is_high": "floor > 5",
}
CANDIDATES = ("warm_start", "refit", "new_only", "tune")
EVERYTHING = [(*case, CANDIDATES) for case in product(MODELS, SOURCES, COLUMNS)]
REST = [case for case in product(SOURCES, COLUMNS) if case != ("log", "all")]
QUICK = [
    *((kind, "log", "all", ("warm_start", "refit")) for kind in MODELS),
    *(("linear", source, columns, ("new_only",)) for source, columns in REST),
    ("linear", "file", "all", ("tune",)),
]


def rows_of(n_rows: int, seed: int, columns: str) -> pl.DataFrame:
    """Return rows whose price depends on the area, with the kinds of columns that are asked for."""
    generator = np.random.default_rng(seed)
    area = generator.uniform(40, 200, n_rows).round(2)
    data = {"area": area, "city": generator.choice(["Bern", "Genf", "Chur"], n_rows)}
    data["sold"] = [date(2025, 1, 1) + timedelta(int(day)) for day in generator.integers(0, 300, n_rows)]
    if columns in ("dropped", "all"):
        data["note"] = [f"seen by {number}" for number in range(n_rows)]
    if columns in ("nullable", "all"):
        data["rooms"] = [None if draw < 0.2 else int(draw * 10) for draw in generator.random(n_rows)]
    if columns in ("private", "all"):
        data["owner"] = generator.choice(["a", "b"], n_rows)
    if columns in ("formulas", "all"):
        data["floor"] = generator.integers(0, 9, n_rows)
    return pl.DataFrame({**data, "price": (area * 10 + generator.normal(size=n_rows)).round(2)})


def config_for(kind: str, columns: str) -> dict[str, object]:
    dropped = [name for name, case in (("note", "dropped"), ("owner", "private")) if columns in (case, "all")]
    formulas = FORMULAS if columns in ("formulas", "all") else {}
    dropped += ["floor"] if formulas else []
    aliases = {"schema": {"columns": {"area": {"aliases": ["surface"]}}}} if columns in ("aliased", "all") else {}
    private = {"serving": {"private_columns": ["owner"]}} if columns in ("private", "all") else {}
    return {
        "name": "house",
        "data": {"path": "old.csv", "target": "price", "drop": dropped},
        "features": {"formulas": formulas},
        "model": {"kind": kind, **MODELS[kind]},
        "training": {"epochs": 1} if kind in ("dense", "tabm") else {},
        "validation": {"folds": 2, "repeats": 1},
        "evaluation": {"bootstrap_samples": 100, "importance_repeats": 0},
        "retraining": {"candidates": CANDIDATES},
        "tuning": {"space": {"features.max_categories": [10, 20]}, "n_trials": 1},
        **aliases,
        **private,
    }


def given(rows: pl.DataFrame, columns: str) -> pl.DataFrame:
    """Return new rows as they come: without dropped and private columns, by the aliases."""
    rows = rows.drop([name for name in ("note", "owner") if name in rows.columns])
    return rows.rename({"area": "surface"}) if columns in ("aliased", "all") else rows


def log_rows(folder: Path, rows: pl.DataFrame, version: str, at: float) -> str:
    """Log rows as requests with their labels; return the log's address."""
    inputs = [json.loads(json.dumps(row, default=str)) for row in rows.drop("price").to_dicts()]
    records = [
        PredictionRecord(f"{at:.0f}-{index}", at + index, "house", version, row, {"prediction": 1.0})
        for index, row in enumerate(inputs)
    ]
    log = open_log(str(folder / "log.db"), Path(), {})
    log.write(records)
    prices = rows["price"].to_list()
    log.add_labels([Label(record.id, price) for record, price in zip(records, prices, strict=True)], at + 1000)
    log.close()
    return str(folder / "log.db")


def new_rows(folder: Path, source: str, rows: pl.DataFrame, live) -> dict[str, object]:
    """Put new rows where they come from; return the arguments of `retrain`."""
    if source == "log":
        at = time.time() + 10
        return {"model": MonitoredModel("house", log_rows(folder, rows, live.version, at), None, folder)}
    model = MonitoredModel("house", None, None, folder)
    if source == "file":
        rows.write_csv(folder / "new.csv")
        return {"model": model, "data": str(folder / "new.csv")}
    with sqlite3.connect(folder / "new.db") as database:
        database.execute(f"CREATE TABLE fresh ({', '.join(rows.columns)})")
        marks = ", ".join("?" * rows.width)
        database.executemany(f"INSERT INTO fresh VALUES ({marks})", rows.cast({"sold": pl.String}).rows())
    return {"model": model, "data": f"sqlite:///{folder / 'new.db'}", "query": "fresh"}


def trained(folder: Path, kind: str, columns: str):
    """Train the first version in a folder; return the context and the version."""
    rows_of(N_OLD, 1, columns).write_csv(folder / "old.csv")
    (folder / "config.json").write_text(json.dumps(config_for(kind, columns)))
    context = verbs.Context(store_path=str(folder / "models"))
    return context, verbs.train.train(folder / "config.json", context).artefact


@pytest.mark.parametrize(
    ("kind", "source", "columns", "candidates"), EVERYTHING if os.environ.get("ESTIMATOR_LOOP_EVERYTHING") else QUICK
)
def test_retraining_closes_the_loop(tmp_path, kind, source, columns, candidates):
    context, live = trained(tmp_path, kind, columns)
    rows = given(rows_of(N_NEW, 2, columns), columns)
    context = replace(context, overrides=[f"retraining.candidates=[{','.join(candidates)}]"])
    decision = retrain(context=context, **new_rows(tmp_path, source, rows, live))
    errors = {candidate.kind: candidate.error for candidate in decision.candidates if candidate.error}
    if kind in WITHOUT_WARM_START and "warm_start" in candidates:
        assert "cannot continue from version" in errors.pop("warm_start")
    assert errors == {}
    assert decision.rows["new"] + decision.rows["holdout"] == N_NEW


def test_private_feature_cannot_be_retrained_from_the_log(tmp_path):
    rows = rows_of(N_OLD, 1, "private")
    rows.write_csv(tmp_path / "old.csv")
    content = config_for("linear", "private")
    content["data"]["drop"] = []
    (tmp_path / "config.json").write_text(json.dumps(content))
    context = verbs.Context(store_path=str(tmp_path / "models"))
    live = verbs.train.train(tmp_path / "config.json", context).artefact
    arguments = new_rows(tmp_path, "log", given(rows_of(N_NEW, 2, "private"), "private"), live)
    with pytest.raises(RetrainingError, match="the log holds no values of 'owner'"):
        retrain(context=context, **arguments)
    with pytest.raises(RetrainingError, match="private columns are never logged"):
        verbs.monitor.retrainer(arguments["model"], Retraining(), context).check_data(live)


def test_new_rows_without_a_weight_count_as_the_old_ones_do_on_average(tmp_path):
    rows_of(N_OLD, 1, "plain").with_columns(weight=pl.Series([1.0, 3.0] * (N_OLD // 2))).write_csv(tmp_path / "old.csv")
    content = config_for("linear", "plain")
    content["data"]["sample_weight"] = "weight"
    (tmp_path / "config.json").write_text(json.dumps({**content, "retraining": {"candidates": ["refit"]}}))
    context = verbs.Context(store_path=str(tmp_path / "models"))
    live = verbs.train.train(tmp_path / "config.json", context).artefact
    decision = retrain(context=context, **new_rows(tmp_path, "log", given(rows_of(N_NEW, 2, "plain"), "plain"), live))
    assert decision.candidates[0].error is None
    assert decision.notes == ("weight: 60 new rows have no weight, and count 2 each, the mean of the old rows",)


def test_logged_rows_that_the_schema_cannot_read_are_left_out_and_counted(tmp_path):
    context, live = trained(tmp_path, "linear", "plain")
    arguments = new_rows(tmp_path, "log", rows_of(N_NEW, 2, "plain"), live)
    log_rows(tmp_path, pl.DataFrame([{"area": "wide", "city": "Bern", "sold": "2025-01-01", "price": 1.0}]), "v0", 4e9)
    context = replace(context, overrides=["retraining.candidates=[new_only]"])
    assert retrain(context=context, **arguments).candidates[0].error is None
    (note,) = context.notes.to_data()
    assert note.startswith(f"1 logged rows are left out: {live.version} cannot read them; the first: row 1, column")
