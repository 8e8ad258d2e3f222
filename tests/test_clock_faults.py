"""Times of day that moved by hours, or were lost, are a fault by name; another rhythm, or a part of a day, is none."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.config import Monitoring
from estimator.core.task import Predictions
from estimator.data.schema.frames import read_frame
from estimator.data.schema.inference import infer_schema
from estimator.drift import CurrentRows, DriftReference, build_reference
from estimator.monitoring.clock_faults import clock_counts, clock_faults
from estimator.monitoring.diagnosis import diagnose_rows
from estimator.monitoring.records import RecordReader, check_records, drift_reference
from estimator.prediction_log import PredictionRecord

PICKUP = "pickup_datetime"
COLUMNS = (PICKUP, "trip_distance", "fare_amount")


@pytest.fixture(scope="module")
def rides(tables):
    """Rides of 2018 in random order, with their times as text."""
    frame = pl.read_parquet(tables / "nyc_taxi" / "reference_2018.parquet", columns=list(COLUMNS))
    return frame.sample(8000, shuffle=True, seed=0)


def later(rows, hours=0, minutes=0):
    moved = pl.col(PICKUP).str.to_datetime() + timedelta(hours=hours, minutes=minutes)
    return rows.with_columns(moved.dt.strftime("%Y-%m-%d %H:%M:%S"))


def compared(old, new):
    schema, nothing = infer_schema(old, "fare_amount"), np.zeros(old.height)
    batch = read_frame(schema, old.drop("fare_amount"))
    reference = build_reference(schema, batch, Predictions(nothing), nothing, seed=0)
    rows = read_frame(schema, new.drop("fare_amount"), drop_faulty=True)
    return reference, CurrentRows.of(reference, rows, Predictions(np.zeros(rows.n_rows)))


def faults(old, new):
    reference, current = compared(old, new)
    return clock_faults(reference, clock_counts(reference, current))


@pytest.mark.parametrize(
    ("hours", "moved"), [(5, "5 hours later"), (-8, "8 hours earlier"), (12, "12 hours later"), (0, None), (1, None)]
)
def test_hours_of_another_time_zone_are_named(rides, hours, moved):
    found = faults(rides[:6000], later(rides[6000:7500], hours))
    expected = {} if moved is None else {PICKUP: f"{PICKUP} is {moved} than in the reference; another time zone?"}
    assert found == expected


def test_lost_times_are_named(rides):
    dates = later(rides[6000:7000]).with_columns(pl.col(PICKUP).str.head(10) + " 00:00:00")
    (fault,) = faults(rides[:6000], dates).values()
    assert fault == f"{PICKUP} has lost its times: 100% of them are midnight, 0.0% in the reference"


def test_lost_times_are_named_where_nothing_happens_at_night(rides):
    by_day = rides.filter(pl.col(PICKUP).str.slice(11, 2).is_between(pl.lit("08"), pl.lit("18")))
    dates = later(by_day[-600:]).with_columns(pl.col(PICKUP).str.head(10) + " 00:00:00")
    (fault,) = faults(by_day[:-600], dates).values()
    assert fault == f"{PICKUP} has lost its times: 100% of them are midnight, 0.0% in the reference"


def test_whole_hours_of_one_night_are_no_lost_times(rides):
    whole = later(rides).with_columns(pl.col(PICKUP).str.head(13) + ":00:00")
    night = whole[6000:].filter(pl.col(PICKUP).str.slice(11, 2).is_in(["23", "00"]))
    assert night.height > 50
    assert faults(whole[:6000], night) == {}


def test_hours_of_another_rhythm_are_no_fault(rides, tables):
    for month in ("16_2020-04", "18_2020-06", "24_2020-12"):
        lockdown = pl.read_parquet(tables / "nyc_taxi" / f"window_{month}.parquet", columns=list(COLUMNS))
        assert faults(rides[:6000], lockdown.sample(1500, seed=1)) == {}, month


def test_a_part_of_a_day_is_no_other_time_zone(rides):
    hour = pl.col(PICKUP).str.to_datetime().dt.hour()
    for first in range(0, 24, 4):
        assert faults(rides[:6000], rides[6000:].filter(hour.is_between(first, first + 7))) == {}


def test_hours_without_a_rhythm_show_no_time_zone(rides):
    times = pl.datetime(2018, 1, 1) + pl.duration(minutes=pl.int_range(rides.height) * 7)
    even = rides.with_columns(times.dt.strftime("%Y-%m-%d %H:%M:%S").alias(PICKUP))
    assert faults(even[:6000], later(even[6000:], 5)) == {}


def test_hours_are_stored_and_an_older_reference_has_none(rides):
    reference, current = compared(rides[:6000], later(rides[6000:], 5))
    stored = json.loads(json.dumps(reference.to_data()))
    counts = clock_counts(reference, current)
    assert clock_faults(DriftReference.from_data(stored), counts) == clock_faults(reference, counts) != {}
    del stored["clocks"]
    assert DriftReference.from_data(stored).clocks == ()
    assert reference.without([PICKUP]).clocks == ()


def test_diagnosis_names_the_column_of_times_first(rides):
    reference, current = compared(rides[:6000], later(rides[6000:], 5))
    diagnosis = diagnose_rows(reference, current, {"trip_distance": 100.0}, lambda index: {})
    assert diagnosis.message.startswith(f"drift in {PICKUP}")
    assert f"likely a data fault: {PICKUP} is 5 hours later than in the reference" in diagnosis.message
    assert diagnosis.columns[0].effect > 0.1
    assert diagnosis.columns[0].message == "most frequent hour of the day: 18 in the reference, 23 now"


@pytest.fixture(scope="module")
def taxi(rides, tmp_path_factory):
    """A version that predicts fares."""
    folder = tmp_path_factory.mktemp("taxi")
    rides[:4000].write_csv(folder / "rides.csv")
    config = {
        "name": "taxi",
        "data": {"path": "rides.csv", "target": "fare_amount"},
        "model": {"kind": "linear"},
        "validation": {"folds": 0},
        "evaluation": {"bootstrap_samples": 100, "importance_repeats": 0},
    }
    (folder / "config.json").write_text(json.dumps(config))
    store = folder / "models"
    return verbs.train.train(folder / "config.json", verbs.Context(store_path=str(store))).artefact, store


def test_logged_times_are_compared(taxi, rides):
    artefact, _ = taxi
    reader = RecordReader(artefact, drift_reference(artefact))
    for hours, is_fault in ((0, False), (5, True)):
        rows = later(rides[6000:7500], hours)
        records = [
            PredictionRecord(
                id=f"ride{index}",
                at=float(index),
                model="taxi",
                version=artefact.version,
                inputs=row,
                response={"prediction": 1.0},
            )
            for index, row in enumerate(rows.drop("fare_amount").to_dicts())
        ]
        check = check_records(reader, records, Monitoring(tests=["kolmogorov_smirnov"]), alpha=0.001)
        assert not check.drifted
        assert any("5 hours later" in finding for finding in check.findings) == is_fault, check.message


def test_monitor_of_a_table_names_the_time_zone(taxi, rides, run, tmp_path):
    _, store = taxi
    page, table = tmp_path / "page.html", tmp_path / "now.csv"
    rides[6000:7500].pipe(later, 5).with_columns(pl.col("trip_distance") * 1.6).write_csv(table)
    code, result, _ = run("monitor", "taxi", "--input", table, "--store", store, "--json", "--page", page)
    assert code == 3
    assert any("5 hours later" in fault for fault in result["diagnosis"]["data_faults"])
    assert "5 hours later than in the reference" in page.read_text()


def test_two_tables_of_other_time_zones_are_named(rides):
    checked = verbs.check_table.compare_tables(later(rides[6000:7500], -5), rides[:6000], verbs.Context())
    assert not checked.drifted
    assert f"{PICKUP} is 5 hours earlier than in the reference" in checked.message
    assert checked.not_compared == {PICKUP: "datetime"}
    unreadable = rides[6000:7500].with_columns(pl.lit("soon").alias(PICKUP))
    assert verbs.check_table.compare_tables(unreadable, rides[:6000], verbs.Context()).check.findings == []
