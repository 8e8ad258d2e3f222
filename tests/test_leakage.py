"""Leaks planted in small tables are found by what they do, and good columns are not called leaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest

from estimator.data.schema.inference import infer_schema
from estimator.exploration import profile_table
from estimator.exploration.findings import Finding, run_rules
from estimator.exploration.findings.calendar import calendar_of
from estimator.exploration.findings.power import indicators, power_of_categories, power_of_numbers, ranked

N = 600
DRAW = np.random.default_rng(11)
A, B, C, NOISE = (DRAW.standard_normal(N) for _ in range(4))
Y = A + B + 0.5 * C + 0.5 * NOISE
GROUPS = DRAW.integers(0, 40, N)
LABEL = np.where(Y > 0.3, "yes", "no")


def findings_of(columns: Mapping[str, Any], target: str = "y") -> list[Finding]:
    frame = pl.DataFrame(columns)
    schema = infer_schema(frame, target)
    return run_rules(schema, profile_table(schema, [frame]), frame)


def suspects(columns: Mapping[str, Any], target: str = "y") -> dict[str, str]:
    """Return column -> severity of what is called a leak."""
    found = [item for item in findings_of(columns, target) if item.rule == "leakage"]
    return {name: item.severity for item in found for name in item.columns}


BASE = {"a": A, "b": B, "c": C}
PLANTED = {
    "copy in another unit": (1.8 * Y + 32, "high"),
    "falling copy": (-Y, "high"),
    "logarithm": (np.exp(Y), "high"),
    "rounded": (np.round(Y), "high"),
    "given in its order": (5000 + np.argsort(np.argsort(Y)), "high"),
    "ranges as letters": (np.array(list("qwert"))[np.searchsorted([-1.5, -0.5, 0.5, 1.5], Y)], "high"),
    "noisy copy": (Y + 0.15 * DRAW.standard_normal(N), "medium"),
    "missing where large": (pl.Series(np.where(Y > 1, np.nan, NOISE)).fill_nan(None), "high"),
    "mean of its group": ((np.bincount(GROUPS, Y) / np.bincount(GROUPS))[GROUPS], "high"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_leak_of_a_number_is_found(name):
    values, severity = PLANTED[name]
    assert suspects(BASE | {"planted": values, "y": Y}) == {"planted": severity}


OF_CLASSES = {
    "other names": np.where(LABEL == "yes", "B", "A"),
    "threshold": Y,
    "codes": (LABEL == "yes").astype(int) * 3 + 2,
    "finer classes": np.char.add(LABEL, DRAW.choice(list("123"), N)),
    "missing in a class": pl.Series(np.where(LABEL == "yes", np.nan, NOISE)).fill_nan(None),
}


@pytest.mark.parametrize("name", OF_CLASSES)
def test_leak_of_classes_is_found(name):
    assert "planted" in suspects(BASE | {"planted": OF_CLASSES[name], "label": LABEL}, "label")


def test_good_columns_are_not_called_leaks():
    assert suspects(BASE | {"group": GROUPS.astype(str), "y": Y}) == {}
    assert suspects(BASE | {"group": GROUPS.astype(str), "label": LABEL}, "label") == {}


def test_physical_law_is_a_question_at_most():
    length, width, height = (DRAW.uniform(2, 9, N) for _ in range(3))
    mass = 1.05 * length * width * height * np.exp(0.02 * DRAW.standard_normal(N))
    assert set(suspects({"length": length, "width": width, "height": height, "y": mass}).values()) <= {"medium"}
    mean = np.repeat(np.arange(30.0), 20) + 0.5 * DRAW.standard_normal(N)
    assert suspects({"dose": np.repeat(np.arange(30.0), 20), "b": B, "y": mean})["dose"] == "medium"


def test_what_grows_with_time_is_no_leak():
    days = np.datetime64("2020-01-01") + np.arange(N).astype("timedelta64[D]")
    assert suspects({"day": days, "b": B, "c": C, "y": np.arange(N) * 2.0 + 5}) == {}


@pytest.mark.parametrize(
    ("columns", "formula"),
    [
        ({"p": A + 9, "q": Y - A}, "p + q"),
        ({"p": Y + C, "q": C}, "p - q"),
        ({"p": A, "q": B, "r": Y - A - B}, "p + q + r"),
        ({"p": np.exp(Y + A), "q": np.exp(A)}, None),
    ],
)
def test_parts_of_a_sum_are_found(columns, formula):
    found = [item for item in findings_of({**columns, "c": C, "d": NOISE, "y": Y}) if item.rule == "leakage"]
    assert [item.evidence.get("formula") for item in found] == ([formula] if formula else [])


def test_ratio_is_found():
    y, q = np.exp(Y), np.exp(A)
    found = [item for item in findings_of({"p": y * q, "q": q, "b": B, "y": y}) if item.rule == "leakage"]
    assert [item.evidence["formula"] for item in found] == ["p / q"]


def test_later_time_whose_delay_predicts_is_a_question():
    opened = np.datetime64("2021-01-01") + DRAW.integers(0, 700, N).astype("timedelta64[D]")
    days = 90 + np.round(8 * Y + 2 * NOISE).astype(int).astype("timedelta64[D]")
    columns = BASE | {"opened": opened, "finished": opened + days, "y": Y}
    found = [item for item in findings_of(columns) if item.rule == "future information"]
    assert [(item.columns, item.severity) for item in found] == [(("finished",), "medium")]


def test_name_alone_is_no_finding():
    names = {"final result": NOISE.copy(), "duration": DRAW.standard_normal(N)}
    assert not [item for item in findings_of(BASE | names | {"y": A + B}) if item.rule == "future information"]


def test_rows_of_one_subject_belong_in_one_fold():
    rows = np.repeat(np.arange(200), 3)
    columns = {"key": DRAW.permutation(900)[rows], "b": DRAW.standard_normal(N), "c": C, "y": Y[rows]}
    found = [item for item in findings_of(columns) if item.rule == "grouped rows"]
    assert [item.edit for item in found] == [{"training.split": {"kind": "group", "column": "key"}}]
    subjects = {"rat": np.repeat(np.arange(60), 10), "sex": np.repeat(DRAW.choice(["f", "m"], 60), 10), "day": C}
    found = [item for item in findings_of(subjects | {"y": Y}) if item.rule == "grouped rows"]
    assert [item.columns for item in found] == [("rat",)]


def test_power_is_measured_out_of_fold():
    names = np.arange(N) // 2
    assert power_of_categories(names, ranked(DRAW.standard_normal(N))).explained == 0.0
    assert power_of_numbers(NOISE, ranked(A)).low < 0.02
    assert power_of_numbers(A**2, ranked(np.abs(A))).low > 0.98
    codes = (LABEL == "yes").astype(np.intp)
    power = power_of_numbers(A, indicators(codes))
    assert 0.1 < power.low < power.explained < 0.5


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([20200131, 20191231], "day"),
        ([202001, 201912], "month"),
        ([1999, 2020], "year"),
        ([1.6e9, 1.7e9], "seconds"),
        ([1.6e12, 1.7e12], "milliseconds"),
        ([20200230, 20191399], None),
        ([1.5, 2.5], None),
        ([2020, 2020], None),
    ],
)
def test_times_as_whole_numbers_are_recognized(values, expected):
    assert calendar_of(np.array(values, dtype=float)) == expected
