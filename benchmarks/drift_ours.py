"""Our own rules in the benchmark of drift: the check on schedule, and evidence that is looked at after every row.

Nobody has a model here, so answers are left out: what is compared is how rules look at rows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import polars as pl

from estimator.core.task import Predictions
from estimator.data.schema import Schema
from estimator.data.schema.frames import read_frame
from estimator.data.schema.inference import infer_schema
from estimator.drift import CurrentRows, DriftReference, build_reference
from estimator.monitoring.drift_check import DriftCheck, check_drift
from estimator.monitoring.sequential import VersionMonitor

TESTS = ("schema_faults", "kolmogorov_smirnov", "chi_square", "domain_classifier")
LEVELS = (0.01, 0.05)
# A new bet begins with every window; so many windows a stream has.
WINDOW, WINDOWS = 50, 50
TARGET = "none"


def batch_alarms(reference: pl.DataFrame, windows: Sequence[pl.DataFrame]) -> dict[str, list[bool]]:
    """Give, per rule, whether each window alarms."""
    schema, known = referred(reference)
    found = [_checked(schema, known, window) for window in windows]
    return {f"ours, check at {level:g}": [each.p_value <= level for each in found] for level in LEVELS}


def stream_alarms(reference: pl.DataFrame, stream: pl.DataFrame) -> dict[str, int | None]:
    """Give, per rule, the row of the first alarm, from 1 on."""
    schema, known = referred(reference)
    current = _current(schema, known, stream)
    unknown = np.full(len(current), np.nan)
    evidence = (
        VersionMonitor(known, WINDOWS / LEVELS[0]).update(current.codes, unknown, np.arange(len(current)) // WINDOW)
        / 0.75
    )
    found = {}
    for level in LEVELS:
        passed = np.flatnonzero(evidence >= WINDOWS / level)
        found[f"ours, evidence at {level:g}"] = int(passed[0]) + 1 if len(passed) else None
    return found


def seconds_per_check(reference: pl.DataFrame, current: pl.DataFrame) -> float:
    """Give what one check takes once a version has kept what its training saw."""
    schema, known = referred(reference)
    _checked(schema, known, current)
    began = time.perf_counter()
    _checked(schema, known, current)
    return time.perf_counter() - began


def referred(frame: pl.DataFrame) -> tuple[Schema, DriftReference]:
    """Give the contract of rows, and what a version would keep of them."""
    schema = infer_schema(frame.with_columns(pl.Series(TARGET, np.arange(frame.height) % 7 * 1.0)), TARGET)
    nothing = np.zeros(frame.height)
    return schema, build_reference(schema, read_frame(schema, frame), Predictions(nothing), nothing, seed=0)


def _current(schema: Schema, known: DriftReference, frame: pl.DataFrame) -> CurrentRows:
    batch = read_frame(schema, frame, drop_faulty=True)
    return CurrentRows.of(known, batch, Predictions(np.zeros(batch.n_rows)))


def _checked(schema: Schema, known: DriftReference, frame: pl.DataFrame) -> DriftCheck:
    return check_drift(known, _current(schema, known, frame), TESTS, alpha=LEVELS[0])
