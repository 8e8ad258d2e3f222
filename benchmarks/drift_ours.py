"""Our own rules in the drift benchmark: the scheduled check, and the e-process, which is read after every row.

There is no model here, so predictions are left out: the rules are compared on rows alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import polars as pl

from estimator.config import Monitoring
from estimator.core.task import Predictions
from estimator.data.schema import Schema
from estimator.data.schema.frames import read_frame
from estimator.data.schema.inference import infer_schema
from estimator.drift import CurrentRows, DriftReference, build_reference
from estimator.drift.design_effect import RowOrder
from estimator.monitoring.drift_check import DriftCheck, check_drift
from estimator.monitoring.sequential import VersionMonitor

TESTS = ("schema_faults", "kolmogorov_smirnov", "chi_square", "domain_classifier")
ALPHAS = (0.01, 0.05)
MIN_EFFECT = Monitoring().min_effect
# A period of the e-process is a window; a stream has this many.
WINDOW_ROWS, N_WINDOWS = 50, 50
TARGET = "none"


def batch_alarms(
    reference: pl.DataFrame, windows: Sequence[pl.DataFrame], *, in_natural_order: bool = False
) -> dict[str, list[bool]]:
    """Return, per rule, whether each window alarms."""
    schema, trained_on = reference_of(reference, in_natural_order=in_natural_order)
    checks = [_checked(schema, trained_on, window) for window in windows]
    return {f"ours, check at {alpha:g}": [check.p_value <= alpha for check in checks] for alpha in ALPHAS}


def stream_alarms(
    reference: pl.DataFrame, stream: pl.DataFrame, *, in_natural_order: bool = False
) -> dict[str, int | None]:
    """Return, per rule, the row of the first alarm, from 1 on; both tables may be in their natural order."""
    schema, trained_on = reference_of(reference, in_natural_order=in_natural_order)
    firsts = _first_rows(schema, trained_on, stream, "")
    if in_natural_order:
        firsts |= _first_rows(schema, trained_on.in_random_order(), stream, ", row_order: random")
    return firsts


def _first_rows(schema: Schema, trained_on: DriftReference, stream: pl.DataFrame, suffix: str) -> dict[str, int | None]:
    current = _current(schema, trained_on, stream)
    unknown = np.full(len(current), np.nan)
    e_values = (
        VersionMonitor(trained_on, N_WINDOWS / ALPHAS[0]).update(
            current.codes, unknown, np.arange(len(current)) // WINDOW_ROWS
        )
        / 0.75
    )
    first_rows: dict[str, int | None] = {}
    for alpha in ALPHAS:
        passed = np.flatnonzero(e_values >= N_WINDOWS / alpha)
        first_rows[f"ours, e-process at {alpha:g}{suffix}"] = int(passed[0]) + 1 if len(passed) else None
    return first_rows


def seconds_per_check(reference: pl.DataFrame, current: pl.DataFrame) -> float:
    """Return the seconds of one check against a reference that exists."""
    schema, trained_on = reference_of(reference)
    _checked(schema, trained_on, current)
    started = time.perf_counter()
    _checked(schema, trained_on, current)
    return time.perf_counter() - started


def reference_of(frame: pl.DataFrame, *, in_natural_order: bool = False) -> tuple[Schema, DriftReference]:
    """Return the schema and the drift reference of rows."""
    schema = infer_schema(frame.with_columns(pl.Series(TARGET, np.arange(frame.height) % 7 * 1.0)), TARGET)
    nothing = np.zeros(frame.height)
    places = np.arange(frame.height)
    order = RowOrder(places, places, is_by_time=True) if in_natural_order else None
    rows = read_frame(schema, frame)
    return schema, build_reference(schema, rows, Predictions(nothing), nothing, order=order, seed=0)


def _current(schema: Schema, trained_on: DriftReference, frame: pl.DataFrame) -> CurrentRows:
    batch = read_frame(schema, frame, drop_faulty=True)
    return CurrentRows.of(trained_on, batch, Predictions(np.zeros(batch.n_rows)))


def _checked(schema: Schema, trained_on: DriftReference, frame: pl.DataFrame) -> DriftCheck:
    current = _current(schema, trained_on, frame)
    return check_drift(trained_on, current, TESTS, alpha=ALPHAS[0], min_effect=MIN_EFFECT)
