"""Faults of the data, and real changes: what a diagnosis calls them, on houses of one area."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from estimator.core.task import Predictions
from estimator.data.schema.frames import read_frame
from estimator.data.schema.inference import infer_schema
from estimator.drift import CurrentRows, build_reference
from estimator.drift.reference import monitored_values
from estimator.monitoring.data_faults import CurrentColumn, data_faults
from estimator.monitoring.diagnosis import diagnose_rows
from tests.market import FOLDER, TARGET

AREA, LOT, BUILT = "Gr_Liv_Area", "Lot_Area", "Year_Built"


def read(name):
    return pl.read_csv(FOLDER / name).with_columns(pl.selectors.numeric().cast(pl.Float64))


HOUSES = read("same_area.csv.gz").sample(fraction=1.0, shuffle=True, seed=0)
OLD, NEW = HOUSES[: HOUSES.height // 2], HOUSES[HOUSES.height // 2 :]


def rows_and_reference(new, old=OLD):
    """Return the rows of a frame, as numbers where the old ones are, and the reference of the old ones."""
    schema = infer_schema(old, TARGET)
    columns = tuple(
        replace(column, kind="number" if column.kind == "integer" else column.kind, nullable=True)
        for column in schema.columns
    )
    lenient = replace(schema, columns=columns)
    nothing = np.zeros(old.height)
    reference = build_reference(schema, read_frame(schema, old.drop(TARGET)), Predictions(nothing), nothing, seed=0)
    return read_frame(lenient, new.drop(TARGET)), reference


def faults(new, old=OLD):
    batch, reference = rows_and_reference(new, old)
    return data_faults(
        [
            CurrentColumn(column, monitored_values(batch, column.name, is_text=column.is_text))
            for column in reference.columns
        ]
    )


def test_rows_like_training_and_houses_of_other_areas_have_no_fault():
    assert faults(NEW) == {}
    assert faults(read("other_area.csv.gz")) == {}


@pytest.mark.parametrize(
    ("convert", "message"),
    [
        (lambda feet: feet * 0.3048, "values are 0.3048 times those of the reference"),
        (lambda feet: feet * 1000.0, "values are 1000 times those of the reference"),
        (lambda feet: feet / 10.7639104, "values are 0.0929 times those of the reference"),
        (lambda fahrenheit: (fahrenheit - 32.0) / 1.8, "degrees Celsius, Fahrenheit in the reference"),
    ],
)
def test_unit_that_fits_best_is_named(convert, message):
    (fault,) = faults(NEW.with_columns(convert(pl.col(AREA)))).values()
    assert fault == f"{AREA} may be in another unit: {message}"


def test_median_alone_proves_no_unit():
    spread = pl.col(AREA).median() * 10.0 + (pl.col(AREA) - pl.col(AREA).median()) * 2.0
    assert faults(NEW.with_columns(spread)) == {}


def test_exchanged_columns_are_named_together():
    for first, second in ((AREA, LOT), ("House_Style", "Foundation")):
        exchanged = NEW.with_columns(pl.col(first).alias(second), pl.col(second).alias(first))
        found = faults(exchanged)
        assert set(found) == {first, second}
        assert "may be exchanged" in found[first]
        assert found[first] == found[second]


def test_growing_missing_values_are_shown_with_figures():
    half = NEW.height // 2
    is_missing = (pl.int_range(pl.len()) > half) & (pl.int_range(pl.len()) % 4 > 0)
    found = faults(NEW.with_columns(pl.when(~is_missing).then(pl.col(AREA))))
    assert found == {
        AREA: f"{AREA} is missing in 37% of the rows, 0.0% in the reference, and growing: "
        "0% of the first half of these rows, 75% of the second"
    }


def test_constant_column_needs_a_varied_one_and_enough_rows():
    constant = NEW.with_columns(pl.lit(1500.0).alias(AREA))
    assert faults(constant)[AREA] == f"{AREA} is constant: 1500 in {NEW.height} rows"
    assert AREA not in faults(constant[:25])
    old = OLD.with_columns(pl.when(pl.int_range(pl.len()) < 20).then(pl.col(AREA)).otherwise(1500.0))
    assert faults(constant, old) == {}


def test_unknown_categories_are_a_fault_where_known_ones_vanish():
    style = pl.col("House_Style")
    renamed = NEW.with_columns(style.replace({"One_Story": "Bungalow"}))
    fault = faults(renamed)["House_Style"]
    assert "unknown categories, such as 'Bungalow'" in fault
    assert fault.endswith("gone: 'One_Story'")
    # A style that comes on top of the others is a real change.
    is_new = pl.int_range(pl.len()) % 10 < 3
    assert (
        faults(NEW.with_columns(pl.when(is_new).then(pl.lit("Bungalow")).otherwise(style).alias("House_Style"))) == {}
    )


def test_other_spelling_is_one_where_the_usual_vanishes():
    style = pl.col("House_Style")
    found = faults(NEW.with_columns(style.str.to_uppercase()))
    assert "'ONE_STORY' was 'One_Story' in the reference, in 91% of the rows" in found["House_Style"]


def test_drift_of_a_column_of_words_can_be_explained():
    old = OLD.with_columns(pl.Series("note", [f"house number {index} of the area" for index in range(OLD.height)]))
    new = NEW.with_columns(pl.Series("note", [f"{index} sold" for index in range(NEW.height)]))
    schema = infer_schema(old, TARGET)
    assert schema.by_name["note"].kind == "text"
    batch, reference = rows_and_reference(new, old)
    diagnosis = diagnose_rows(
        reference, CurrentRows.of(reference, batch, Predictions(np.zeros(batch.n_rows))), {}, lambda index: {}
    )
    assert diagnosis.data_faults == []
