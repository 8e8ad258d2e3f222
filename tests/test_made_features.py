"""Features that are made of numbers and dates: kept only where they lower the loss, and formulas like any other."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.config import resolve
from estimator.models import silent
from estimator.training.made_features import make_features
from estimator.training.prepare import prepare
from estimator.verbs.context import SHELVES, Context

MADE = {"features": {"made": "auto"}}


def table(target: str, n_rows: int = 900) -> pl.DataFrame:
    """Draw rows whose target is a ratio of two columns, days between two dates, a sum of squares, or chance."""
    generator = np.random.default_rng(0)
    price, area, age = (
        generator.uniform(20, 400, n_rows),
        generator.uniform(10, 300, n_rows),
        generator.uniform(0, 9, n_rows),
    )
    built, sold = generator.integers(0, 9000, (2, n_rows))
    values = {
        "ratio": price / area,
        "days": (sold - built) / 100.0,
        "chance": generator.standard_normal(n_rows),
        "class": np.where(price / area + generator.normal(0, 0.02, n_rows) > 1.2, "dear", "cheap"),
    }[target]
    epoch = np.datetime64("1990-01-01")
    return pl.DataFrame(
        {
            "price": price.round(2),
            "living area": area.round(2),
            "age": age.round(2),
            "built": (epoch + built).astype(str).tolist(),
            "sold": (epoch + sold).astype(str).tolist(),
            "y": values,
        }
    )


def made(frame: pl.DataFrame, **sections: object):
    config = resolve({"data": {"path": "t.csv", "target": "y"}, **MADE, **sections}, SHELVES)
    _, config, notes = make_features(prepare(frame.cast(pl.String), config), config, progress=silent)
    return config, notes


def test_private_columns_make_no_features():
    frame, private = table("ratio"), {"serving": {"private_columns": ["price"]}}
    config, _ = made(frame, **private)
    assert [text for text in config.features.formulas.values() if "price" in text] == []
    # What is kept can be trained again.
    prepare(frame.cast(pl.String), config)


@pytest.mark.parametrize(
    ("target", "formulas"),
    [
        ("ratio", {"price / living area": "price / `living area`", "living area / price": "`living area` / price"}),
        ("class", {"price / living area": "price / `living area`", "living area / price": "`living area` / price"}),
        ("days", {"days from built to sold": "days(sold, built)", "days from sold to built": "days(built, sold)"}),
    ],
)
def test_what_the_target_depends_on_is_made(target, formulas):
    config, (note,) = made(table(target))
    found = {name: text for name, text in config.features.formulas.items() if name in formulas}
    assert found
    assert found.items() <= formulas.items()
    assert config.features.made == "none"
    assert note.startswith("features.made: ")


def test_nothing_is_made_of_chance_or_of_few_rows_or_unasked():
    config, (note,) = made(table("chance"))
    assert config.features.formulas == {}
    assert note == "features.made: none lowers the loss of the training rows"
    assert made(table("ratio", 300))[1] == ("features.made: none, as 240 training rows are fewer than 500",)
    assert made(table("ratio"), features={})[1] == ()


def test_a_backtick_in_a_name_is_doubled():
    frame = table("ratio").rename({"living area": "area `m2`"})
    config, _ = made(frame)
    assert config.features.formulas["price / area `m2`"] == "price / `area ``m2```"


def test_training_that_continues_has_the_formulas_of_the_earlier_version(tmp_path):
    """The rows are others, of which other features would be made."""
    context = Context(store_path=str(tmp_path / "models"))
    sections = {"model": {"kind": "boosting", "n_estimators": 20}, "features": {"made": "auto"}, "name": "t"}
    made_of = []
    for target, start in (("ratio", None), ("days", "t")):
        table(target).write_csv(tmp_path / "t.csv")
        config = {**sections, "data": {"path": str(tmp_path / "t.csv"), "target": "y"}}
        new = verbs.train.train(config, context, continue_from=start)
        made_of.append(new.artefact.config["features"]["formulas"])
    assert made_of[0] == made_of[1] != {}


def test_the_users_formulas_stay_and_a_name_is_made_once():
    mine = {"price / living area": "price / `living area`", "old": "age > 5"}
    config, _ = made(table("ratio"), features={"made": "auto", "formulas": mine})
    assert {name: config.features.formulas[name] for name in mine} == mine


def test_a_version_with_made_features_is_better_and_reproduced(tmp_path):
    table("ratio").write_csv(tmp_path / "t.csv")
    errors = {}
    for kind in ("none", "auto"):
        config = {
            "name": kind,
            "data": {"path": str(tmp_path / "t.csv"), "target": "y"},
            "model": {"kind": "linear"},
            "features": {"made": kind},
        }
        context = Context(store_path=str(tmp_path / "models"))
        new = verbs.train.train(config, context)
        errors[kind] = new.report.metrics["rmse"].value
        assert verbs.verify.verify(kind, context).is_equal
    assert errors["auto"] < 0.1 * errors["none"]
