"""Small and awkward tables: each trains, or ends with a sentence that says what to do; floors follow the rows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from estimator import verbs
from estimator.errors import ConfigError, TrainingError
from estimator.models import SHELF, EncodedFitData, EncodedRows
from estimator.models.conformal import reachable_coverage

SHORT = {"boosting": {"kind": "boosting", "n_estimators": 20}, "linear": {"kind": "linear"}}
MEMBERS = [{"kind": "linear"}, {"kind": "boosting", "n_estimators": 20}]
ENSEMBLE = {"kind": "ensemble", "members": MEMBERS}


def write(folder: Path, header: str, rows: Iterator[Sequence[Any]], config: Mapping[str, Any]) -> Path:
    """Write a table and its config, whose target is y, and return the config."""
    (folder / "t.csv").write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    content = {
        "name": "t",
        "data": {"path": "t.csv", "target": "y"},
        "evaluation": {"bootstrap_samples": 100, "importance_repeats": 1},
        "validation": {"folds": 5},
        "model": SHORT["boosting"],
        **config,
    }
    (folder / "c.json").write_text(json.dumps(content))
    return folder / "c.json"


def train(config: Path):
    """Train and return the version with its notes; no file of it holds NaN."""
    context = verbs.Context(store_path=str(config.parent / "models"))
    new = verbs.train.train(config, context)
    for path in (config.parent / "models").rglob("*.json"):
        json.loads(path.read_text(), parse_constant=pytest.fail)
    return new, " | ".join(context.notes.to_data())


def numbers(n_rows: int) -> Iterator[tuple[Any, ...]]:
    generator = np.random.default_rng(7)
    for index in range(n_rows):
        x = generator.normal()
        yield round(x, 3), "abc"[index % 3], round(2 * x + generator.normal() / 5, 3)


def classes(n_rows: int, of_row) -> Iterator[tuple[Any, ...]]:
    return ((x, c, of_row(index)) for index, (x, c, _) in enumerate(numbers(n_rows)))


def grouped(n_rows: int, of_row) -> Iterator[tuple[Any, ...]]:
    return ((x, c, of_row(index), y) for index, (x, c, y) in enumerate(numbers(n_rows)))


def split_by(kind: str, column: str = "g", **more: str) -> dict[str, Any]:
    return {"training": {"split": {"kind": kind, "column": column, **more}}}


@pytest.mark.parametrize("n_rows", [60, 100, 150])
@pytest.mark.parametrize("kind", ["boosting", "catboost", "xgboost"])
def test_categories_of_a_small_table_are_learned(kind, n_rows):
    pytest.importorskip({"boosting": "lightgbm"}.get(kind, kind))
    from estimator.config import Training
    from estimator.core.task import Task

    codes = np.random.default_rng(1).integers(0, 6, 2 * n_rows).astype(np.float64)
    target = np.array([40.0, 3.0, 18.0, -7.0, 25.0, 11.0])[codes.astype(int)]
    rows = EncodedRows(codes[:n_rows, None], target[:n_rows], np.ones(n_rows))
    data = EncodedFitData(rows, np.zeros(n_rows, np.bool_), None, Task("regression"), categorical=(0,))
    model = SHELF.load(kind)(n_estimators=60, learning_rate=0.3, early_stopping_rounds=0, subsample=1.0)
    errors = model.fit_matrix(data, Training()).predict(codes[n_rows:, None]) - target[n_rows:]
    assert np.sqrt(np.mean(errors**2)) < 0.1 * target.std()


def test_floors_are_lightgbms_from_a_thousand_rows_on():
    from estimator.models.boosting import FULL_ROWS, Boosting

    defaults = {"min_data_per_group": 100, "cat_smooth": 10, "cat_l2": 10}
    assert Boosting().category_floors(FULL_ROWS) == Boosting().category_floors(10**6) == defaults
    assert Boosting().category_floors(150) == {"min_data_per_group": 15, "cat_smooth": 2, "cat_l2": 2}
    assert set(Boosting().category_floors(1).values()) == {1}
    assert Boosting(cat_smooth=0.5).category_floors(150)["cat_smooth"] == 0.5


@pytest.mark.parametrize("model", [*SHORT.values(), ENSEMBLE], ids=["boosting", "linear", "ensemble"])
@pytest.mark.parametrize("n_rows", [5, 8, 12, 25])
def test_a_few_rows_train_and_say_what_they_lack(model, n_rows, tmp_path):
    new, notes = train(write(tmp_path, "x,c,y", numbers(n_rows), {"model": model}))
    assert np.isfinite(new.report.metrics["rmse"].value)
    assert ("no confidence interval" in notes) is (n_rows < 50)
    assert ("predictions have none" in notes) is (n_rows < 25)
    assert not np.isfinite(new.report.metrics["rmse"].low)


def test_one_and_two_rows_end_with_a_hint(tmp_path):
    for n_rows, message in ((1, "no features to predict 'y' from"), (2, "leave the test set empty")):
        with pytest.raises(TrainingError, match=message) as error:
            train(write(tmp_path, "x,c,y", numbers(n_rows), {}))
        assert error.value.hint


@pytest.mark.parametrize("model", [*SHORT.values(), ENSEMBLE], ids=["boosting", "linear", "ensemble"])
@pytest.mark.parametrize("n_rare", [1, 3])
def test_a_class_of_a_few_rows_trains_and_is_named(model, n_rare, tmp_path):
    rows = classes(60, lambda index: "rare" if index < n_rare else "common")
    new, notes = train(write(tmp_path, "x,c,y", rows, {"model": model}))
    assert np.isfinite(new.report.metrics["log_loss"].value)
    assert f"some of the 5 folds have no row of a class: 'rare' ({n_rare} training and 0 test rows)" in notes
    assert "without a test row, no score says how well a class is predicted" in notes
    assert "auc, f1: undefined, as all 12 held-out rows have the target 'common'" in notes


def test_a_class_without_a_training_row_is_named(tmp_path):
    rows = ((i / 7, "test" if i > 50 else "train", "new" if i > 50 else "ab"[i % 2]) for i in range(60))
    _, notes = train(write(tmp_path, "x,g,y", rows, split_by("column", test="test")))
    assert "without a training row, a class is never predicted: 'new' (0 training and 9 test rows)" in notes


def test_every_row_a_class_trains(tmp_path):
    data = {"path": "t.csv", "target": "y", "task": "classification"}
    for model in SHORT.values():
        new, _ = train(write(tmp_path, "x,c,y", classes(30, lambda i: f"k{i}"), {"data": data, "model": model}))
        assert new.report.metrics["accuracy"].value == 0.0


@pytest.mark.parametrize(
    ("kind", "of_row", "message"),
    [
        ("group", lambda index: "A", "'g' is 'A' in every row, and splitting by group needs at least two groups"),
        ("group", lambda index: "", "'g' has no value in any of 60 rows"),
        ("time", lambda index: "2020-01-01", "'g' is '2020-01-01' in every row, and one time gives no order"),
        ("time", lambda index: "", "'g' has no value in any of 60 rows"),
    ],
)
def test_a_column_that_cannot_split_says_so(kind, of_row, message, tmp_path):
    with pytest.raises(TrainingError, match=message) as error:
        train(write(tmp_path, "x,c,g,y", grouped(60, of_row), split_by(kind)))
    assert "training.split.kind: random" in error.value.hint


def test_a_split_column_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"training.split.column: no column 'nope' in the table"):
        train(write(tmp_path, "x,c,g,y", grouped(60, lambda index: index % 9), split_by("group", "nope")))


@pytest.mark.parametrize(
    ("kind", "of_row", "note"),
    [
        ("group", lambda index: "AB"[index % 2], ""),
        ("group", lambda index: "ABC"[index % 3], ""),
        ("group", lambda index: f"g{index % 11}" if index % 3 == 0 else "", "40 of 60 rows, which count as one more"),
        ("time", lambda index: f"2020-01-0{1 + index % 2}", ""),
        ("time", lambda index: "2020-01-01" if index else "2019-01-01", ""),
        ("time", lambda index: f"2020-01-{1 + index % 28:02}" if index % 3 == 0 else "", "which count as the earliest"),
    ],
)
def test_few_groups_and_times_train(kind, of_row, note, tmp_path):
    new, notes = train(write(tmp_path, "x,c,g,y", grouped(60, of_row), split_by(kind)))
    assert note in notes
    assert np.isfinite(new.report.metrics["rmse"].value)


def test_one_row_to_test_has_scores_in_words(tmp_path):
    rows = ((i / 7, "test" if i == 50 else "train", i * 2.5) for i in range(60))
    new, notes = train(write(tmp_path, "x,g,y", rows, split_by("column", test="test")))
    assert "r2: undefined, as there is one held-out row" in notes
    assert str(new.report.metrics["r2"]) == "undefined"
    assert new.report.metrics["r2"].to_data() == {"value": None, "low": None, "high": None}


def test_one_row_to_train_is_enough(tmp_path):
    rows = ((i / 7, "train" if i == 50 else "test", i * 2.5) for i in range(60))
    new, _ = train(write(tmp_path, "x,g,y", rows, split_by("column", test="test")))
    assert np.isfinite(new.report.metrics["rmse"].value)


def test_columns_without_values_and_constants_leave_a_sentence(tmp_path):
    for values in ("", "3"):
        with pytest.raises(
            TrainingError, match=r"no features to predict 'y' from; its other columns are: e \(constant\)"
        ):
            train(write(tmp_path, "e,y", ((values, i % 7 + 0.5) for i in range(60)), {}))
    with pytest.raises(TrainingError, match="other columns are: none") as error:
        train(write(tmp_path, "y", ((i % 7,) for i in range(60)), {}))
    assert "add columns" in error.value.hint


def test_more_columns_than_rows_train(tmp_path):
    generator = np.random.default_rng(2)
    header = ",".join([*(f"x{index}" for index in range(1500)), "y"])
    rows = (generator.normal(size=1501).round(3).tolist() for _ in range(50))
    evaluation = {"bootstrap_samples": 100, "importance_repeats": 0}
    new, _ = train(write(tmp_path, header, rows, {"model": {"kind": "linear"}, "evaluation": evaluation}))
    assert np.isfinite(new.report.metrics["rmse"].value)


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95, 0.99])
def test_coverage_that_rows_cannot_reach_is_noted(coverage, tmp_path):
    config = write(tmp_path, "x,c,y", numbers(100), {"validation": {"folds": 5, "coverage": coverage}})
    _, notes = train(config)
    largest, needed = reachable_coverage(80, coverage, is_regression=True)
    assert ("validation.coverage: 80 rows cannot" in notes) is (coverage > largest) is (needed > 80)


def test_rows_needed_for_a_coverage_reach_it():
    for coverage in (0.5, 0.8, 0.9, 0.95, 0.99, 0.999):
        for is_regression in (False, True):
            _, needed = reachable_coverage(20, coverage, is_regression=is_regression)
            assert reachable_coverage(needed, coverage, is_regression=is_regression)[0] >= coverage - 1e-9
            assert reachable_coverage(needed - 1, coverage, is_regression=is_regression)[0] < coverage


EDGES = {
    "ulp": lambda i: repr((0.3, 0.1 + 0.2)[i % 2]),
    "denormal": lambda i: repr(5e-324 * (i % 9)),
    "huge": lambda i: repr(1.5e299 * (i % 13)),
    "tiny": lambda i: repr(1e-300 * (i % 7)),
    "epoch": lambda i: 1_700_000_000 + 86_400 * (i % 23),
    "mostly_missing": lambda i: "" if i % 10 else i / 3,
    "missing": lambda i: "",
    "constant": lambda i: 4,
    "word": lambda i: "abcdef"[i % 6],
}
TARGETS = {
    "far": lambda i: repr(1.7e9 + 10 * (i % 6) + (i % 13)),
    "huge": lambda i: repr(1e299 * (i % 13 - 6)),
    "tiny": lambda i: repr(1e-300 * (i % 13)),
    "rare class": lambda i: "rare" if i == 11 else "common",
}


@pytest.mark.parametrize("target", TARGETS)
def test_no_verb_prints_a_warning_or_a_trace(target, tmp_path):
    """Real processes, a few seconds each: what libraries print by themselves is seen in no other way."""
    rows = ([*(of_row(i) for of_row in EDGES.values()), TARGETS[target](i)] for i in range(90))
    write(tmp_path, ",".join([*EDGES, "y"]), rows, {"model": ENSEMBLE})
    printed = []
    for arguments in (
        ["train", "--conf", "c.json"],
        ["evaluate", "--model", "models/t", "--input", "t.csv"],
        ["predict", "--model", "models/t", "--input", "t.csv", "--output", "p.csv"],
        ["monitor", "models/t", "--input", "t.csv"],
        ["explore", "t.csv", "--target", "y"],
    ):
        ended = subprocess.run(
            [sys.executable, "-W", "error::RuntimeWarning", "-m", "estimator", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONFAULTHANDLER": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode in (0, 3), f"{arguments}: {ended.stderr}"
        printed += ended.stderr.splitlines()
    # On a busy machine, progress is among the lines.
    usual = re.compile(r"note: |hint: |wrote |[\d hms]+: ")
    strange = [line for line in printed if line and not usual.match(line)]
    assert not strange
