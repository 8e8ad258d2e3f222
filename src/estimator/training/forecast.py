"""Estimate the memory, disk and time of a training run before it starts: sizes by counting, time by a trial run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from estimator.config import Config
from estimator.core.text import format_bytes
from estimator.data.schema import Column
from estimator.errors import TrainingError
from estimator.evaluation.validation import out_of_fold_predictions
from estimator.models import FitData, Model
from estimator.models.ensemble import Ensemble
from estimator.models.matrix import MatrixModel
from estimator.training.prepare import PreparedData

TRIAL_ROWS = (2000, 6000)
CALENDAR_WIDTH, TEXT_WIDTH = 6, 32
MIN_DISK_BYTES = 64_000_000
# The fraction of the free memory that training may use.
USABLE_MEMORY_FRACTION = 0.9


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a training run needs and what the machine has.

    `n_columns` counts the columns of the encoded matrix. `free_memory_bytes` is None where the system does not report
    it; the times are None until a trial has run.
    """

    n_rows: int
    n_columns: int
    n_fits: int
    memory_bytes: int
    free_memory_bytes: int | None
    disk_bytes: int
    free_disk_bytes: int
    seconds: float | None = None
    trial_seconds: float | None = None

    def to_data(self) -> dict[str, Any]:
        """Return JSON-ready data."""
        return asdict(self)

    def check_resources(self) -> None:
        """Raise an error when the run does not fit.

        Raises
        ------
        TrainingError: there is too little free memory or disk.
        """
        if self.free_memory_bytes is not None and self.memory_bytes > USABLE_MEMORY_FRACTION * self.free_memory_bytes:
            raise TrainingError(
                f"training on {self.n_rows:,} rows of {self.n_columns:,} encoded columns needs about "
                f"{format_bytes(self.memory_bytes)} of memory, {format_bytes(self.free_memory_bytes)} are free",
                hint="set validation.folds: 0, lower features.max_categories, set one model.kind, or use fewer rows",
            )
        if self.disk_bytes > self.free_disk_bytes:
            raise TrainingError(
                f"a version needs about {format_bytes(self.disk_bytes)} of disk, "
                f"{format_bytes(self.free_disk_bytes)} are free",
                hint="choose another --store",
            )


def forecast(prepared: PreparedData, model: Model, config: Config, store: Path) -> Forecast:
    """Return the forecast of sizes, without a trial run.

    Memory holds one matrix of doubles per encoding and, for every concurrent fit, its training and held-out rows.
    """
    table = prepared.fit_data(config)
    members = list(model.members) if isinstance(model, Ensemble) else [model]
    widths = {_key(member): _width(table, member) for member in members}
    n_folds = table.n_folds * max(len(table.folds), 1)
    n_concurrent = min(os.cpu_count() or 1, max(n_folds * len(members), 1))
    n_cells = len(table.rows) * (2 * sum(widths.values()) + 2 * n_concurrent * max(widths.values()))
    memory_bytes = 8 * n_cells + prepared.frame.estimated_size()
    folder = next(path for path in (store, *store.absolute().parents) if path.exists())
    return Forecast(
        n_rows=len(table.rows),
        n_columns=max(widths.values()),
        n_fits=n_folds * len(members) + (0 if isinstance(model, Ensemble) else 1),
        memory_bytes=int(memory_bytes),
        free_memory_bytes=free_memory_bytes(),
        disk_bytes=MIN_DISK_BYTES + int(0.02 * memory_bytes),
        free_disk_bytes=shutil.disk_usage(folder).free,
    )


def with_time(
    sizes: Forecast, prepared: PreparedData, model: Model, config: Config, *, clock: Callable[[], float]
) -> Forecast:
    """Add the time, extrapolated from two trial runs on a sample of the rows: a fixed part, and one per row."""
    table, training, began = prepared.fit_data(config), config.training, clock()
    sample_sizes = [min(size, len(table.rows)) for size in TRIAL_ROWS]
    order = np.random.default_rng([training.seed, 70]).permutation(len(table.rows))
    durations = []
    for size in sample_sizes:
        is_sampled = np.isin(np.arange(len(table.rows)), order[:size])
        sample = replace(table.take(is_sampled), folds=table.folds[:, is_sampled], threads=table.threads)
        started = clock()
        fitted = model.fit(sample, training)
        out_of_fold_predictions(sample, model, training, fitted=fitted)
        durations.append(clock() - started)
    per_row = max(durations[1] - durations[0], 0.0) / max(sample_sizes[1] - sample_sizes[0], 1)
    seconds = durations[1] + per_row * (len(table.rows) - sample_sizes[1])
    return replace(sizes, seconds=seconds, trial_seconds=clock() - began)


def free_memory_bytes() -> int | None:
    """Return how much memory this process may still allocate; None where the system does not report it."""
    limits = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        limits.append(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")))
        # A container may be allowed less than the machine has.
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        if limit.isdecimal():
            used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
            limits.append(max(int(limit) - used, 0))
    except (OSError, StopIteration, ValueError):
        pass
    return min(limits, default=None)


def _key(model: Model) -> tuple[str, int]:
    return (model.matrix_kind, model.max_categories) if isinstance(model, MatrixModel) else ("", 0)


def _width(table: FitData, model: Model) -> int:
    if not isinstance(model, MatrixModel):
        return 2 * len(table.schema.features)
    max_categories = table.features.max_categories or model.max_categories
    return sum(
        _encoded_width(column, model.matrix_kind == "scaled", max_categories) for column in table.schema.features
    )


def _encoded_width(column: Column, is_scaled: bool, max_categories: int) -> int:
    """Return about how many columns of the matrix a column is encoded into."""
    if column.kind == "text":
        return TEXT_WIDTH
    if column.kind == "category":
        return len(column.categories) + 1 if is_scaled and len(column.categories) <= max_categories else 1
    if column.kind in ("date", "datetime"):
        return CALENDAR_WIDTH
    return 2 if is_scaled and column.nullable else 1
