"""Our own rules in the drift benchmark: the scheduled check, and the e-process, which is read after every row.

Where there is no model predictions are left out: the rules are compared on rows alone.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from drift_cases import Order

from estimator import verbs
from estimator.config import Monitoring
from estimator.core.task import Predictions
from estimator.data.schema import Schema
from estimator.data.schema.frames import read_frame
from estimator.data.schema.inference import infer_schema
from estimator.drift import CurrentRows, DriftReference, build_reference
from estimator.drift.design_effect import RowOrder
from estimator.monitoring.drift_check import DriftCheck, check_drift
from estimator.monitoring.sequential import VersionMonitor
from estimator.verbs.check_table import check_table
from estimator.verbs.monitor import MonitoredModel

TESTS = ("schema_faults", "kolmogorov_smirnov", "chi_square", "domain_classifier")
ALPHAS = (0.01, 0.05)
MIN_EFFECT = Monitoring().min_effect
# A period of the e-process is a window; a stream has this many.
WINDOW_ROWS, N_WINDOWS = 50, 50
TARGET = "none"
# Trees without end split on any column; few small ones on the best alone.
MODELS: Mapping[str, Mapping[str, int]] = {"a model": {}, "a small model": {"n_estimators": 30, "num_leaves": 8}}


def batch_alarms(
    reference: pl.DataFrame,
    windows: Sequence[pl.DataFrame],
    *,
    order: Order | None = None,
    min_effects: Sequence[float] = (MIN_EFFECT,),
) -> dict[str, list[bool]]:
    """Return, per rule, whether each window alarms."""
    schema, trained_on = reference_of(reference, order=order)
    alarms = {}
    for min_effect in min_effects:
        checks = [_checked(schema, trained_on, window, min_effect=min_effect) for window in windows]
        suffix = "" if min_effect == MIN_EFFECT else f", min_effect: {min_effect:g}"
        for alpha in ALPHAS:
            alarms[f"ours, check at {alpha:g}{suffix}"] = [check.p_value <= alpha for check in checks]
    return alarms


def stream_alarms(
    reference: pl.DataFrame, stream: pl.DataFrame, *, order: Order | None = None
) -> dict[str, int | None]:
    """Return, per rule, the row of the first alarm, from 1 on; both tables may be in their natural order."""
    schema, trained_on = reference_of(reference, order=order)
    firsts = _first_rows(schema, trained_on, stream, "")
    if order is not None:
        firsts |= _first_rows(schema, trained_on.in_random_order(), stream, ", row_order: random")
    return firsts


def model_alarms(reference: pl.DataFrame, target: pl.Series, windows: Sequence[pl.DataFrame]) -> dict[str, list[bool]]:
    """Return, per rule, whether each window alarms: `monitor --input` of models that were trained on the reference."""
    alarms = {}
    for suffix, settings in MODELS.items():
        p_values = _p_values_with_model(reference, target, windows, settings)
        for alpha in ALPHAS:
            alarms[f"ours, check with {suffix} at {alpha:g}"] = [p_value <= alpha for p_value in p_values]
    return alarms


def _p_values_with_model(
    reference: pl.DataFrame, target: pl.Series, windows: Sequence[pl.DataFrame], settings: Mapping[str, int]
) -> list[float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reference.with_columns(target.alias(TARGET)).write_parquet(folder / "reference.parquet")
        config = {
            "name": "model",
            "data": {"path": "reference.parquet", "target": TARGET},
            "model": {"kind": "boosting", **settings},
            "evaluation": {"importance_repeats": 0},
            "training": {"seed": 0},
        }
        (folder / "config.json").write_text(json.dumps(config))
        store = str(folder / "models")
        artefact = verbs.train.train(folder / "config.json", verbs.Context(store_path=store)).artefact
        context = verbs.Context((f"monitoring.alpha={max(ALPHAS)}",), store_path=store)
        p_values = []
        for window in windows:
            window.write_parquet(folder / "window.parquet")
            checked = check_table(MonitoredModel(artefact.name), context, str(folder / "window.parquet"))
            p_values.append(checked.check.p_value)
    return p_values


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


def reference_of(frame: pl.DataFrame, *, order: Order | None = None) -> tuple[Schema, DriftReference]:
    """Return the schema and the drift reference of rows."""
    schema = infer_schema(frame.with_columns(pl.Series(TARGET, np.arange(frame.height) % 7 * 1.0)), TARGET)
    nothing = np.zeros(frame.height)
    places = np.arange(frame.height)
    in_order = None if order is None else RowOrder(places, places, is_by_time=order == "time")
    rows = read_frame(schema, frame)
    return schema, build_reference(schema, rows, Predictions(nothing), nothing, order=in_order, seed=0)


def _current(schema: Schema, trained_on: DriftReference, frame: pl.DataFrame) -> CurrentRows:
    batch = read_frame(schema, frame, drop_faulty=True)
    return CurrentRows.of(trained_on, batch, Predictions(np.zeros(batch.n_rows)))


def _checked(
    schema: Schema, trained_on: DriftReference, frame: pl.DataFrame, *, min_effect: float = MIN_EFFECT
) -> DriftCheck:
    current = _current(schema, trained_on, frame)
    return check_drift(trained_on, current, TESTS, alpha=ALPHAS[0], min_effect=min_effect)
