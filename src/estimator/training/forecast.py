"""Rows and settings -> what training will take, before it begins: memory by counting, time by a small trial."""

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
from estimator.evaluation.validation import out_of_fold
from estimator.models import Model, Table
from estimator.models.base import MatrixModel
from estimator.models.ensemble import Ensemble
from estimator.training.train import Prepared

TRIAL_ROWS = (2000, 6000)
CALENDAR_WIDTH, TEXT_WIDTH = 6, 32
LEAST_DISK = 64_000_000
# A share of what is free is left to everybody else.
USABLE = 0.9


@dataclass(frozen=True, slots=True)
class Forecast:
    """What training will take: bytes of memory and of disk, and seconds where a trial was made.

    `memory_free` and `disk_free` are what the machine has; memory is None where the system does not tell.
    """

    rows: int
    width: int
    fits: int
    memory: int
    memory_free: int | None
    disk: int
    disk_free: int
    seconds: float | None = None
    trial_seconds: float | None = None

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return asdict(self)

    def refuse(self) -> None:
        """Refuse what will not fit.

        Raises
        ------
        TrainingError: memory or disk is too small.
        """
        if self.memory_free is not None and self.memory > USABLE * self.memory_free:
            raise TrainingError(
                f"{self.rows:,} rows of {self.width:,} encoded columns need about {format_bytes(self.memory)} of memory, and "
                f"{format_bytes(self.memory_free)} are free",
                hint="set validation.folds: 0, lower features.max_categories, name a single model.kind, or use fewer rows",
            )
        if self.disk > self.disk_free:
            raise TrainingError(
                f"a version needs about {format_bytes(self.disk)} of disk, and {format_bytes(self.disk_free)} are free",
                hint="choose another --store",
            )


def forecast(prepared: Prepared, model: Model, config: Config, store: Path) -> Forecast:
    """Count what training will take, without a trial.

    A matrix of doubles is held per way of encoding, and for every fit at once the rows it learns from and answers.
    """
    table = prepared.table(config)
    members = list(model.members) if isinstance(model, Ensemble) else [model]
    widths = {_key(member): _width(table, member) for member in members}
    n_folds = table.n_folds * max(len(table.folds), 1)
    at_once = min(os.cpu_count() or 1, max(n_folds * len(members), 1))
    cells = len(table.rows) * (2 * sum(widths.values()) + 2 * at_once * max(widths.values()))
    fits = n_folds * len(members) + (0 if isinstance(model, Ensemble) else 1)
    memory = 8 * cells + prepared.labelled.estimated_size()
    folder = next(path for path in (store, *store.absolute().parents) if path.exists())
    return Forecast(
        len(table.rows), max(widths.values()), fits, int(memory), memory_free(), LEAST_DISK + int(0.02 * memory),
        shutil.disk_usage(folder).free,
    )  # fmt: skip


def timed(
    counted: Forecast, prepared: Prepared, model: Model, config: Config, *, clock: Callable[[], float]
) -> Forecast:
    """Add the time, as two trials on a part of the rows promise it: what does not depend on rows, and what does."""
    table, plan = prepared.table(config), config.training
    sizes = [min(size, len(table.rows)) for size in TRIAL_ROWS]
    order, taken, began = np.random.default_rng([plan.seed, 70]).permutation(len(table.rows)), [], clock()
    for size in sizes:
        which = np.isin(np.arange(len(table.rows)), order[:size])
        part = replace(table.pick(which), folds=table.folds[:, which], threads=table.threads)
        started = clock()
        learned = model.learn(part, plan)
        out_of_fold(part, model, plan, learned=learned)
        taken.append(clock() - started)
    slope = max(taken[1] - taken[0], 0.0) / max(sizes[1] - sizes[0], 1)
    seconds = taken[1] + slope * (len(table.rows) - sizes[1])
    return replace(counted, seconds=seconds, trial_seconds=clock() - began)


def memory_free() -> int | None:
    """Return the bytes of memory that a process may still take, None where the system does not tell."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")))
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        if limit.isdecimal():
            used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
            found.append(max(int(limit) - used, 0))
    except (OSError, StopIteration, ValueError):
        pass
    return min(found, default=None)


def _key(model: Model) -> tuple[str, int]:
    return (model.wants, model.max_categories) if isinstance(model, MatrixModel) else ("", 0)


def _width(table: Table, model: Model) -> int:
    if not isinstance(model, MatrixModel):
        return 2 * len(table.schema.features)
    max_categories = table.features.max_categories or model.max_categories
    return sum(_encoded_width(column, model.wants == "scaled", max_categories) for column in table.schema.features)


def _encoded_width(column: Column, is_scaled: bool, max_categories: int) -> int:
    """Return about how many columns of the matrix a column becomes."""
    if column.kind == "text":
        return TEXT_WIDTH
    if column.kind == "category":
        return len(column.categories) + 1 if is_scaled and len(column.categories) <= max_categories else 1
    if column.kind in ("date", "datetime"):
        return CALENDAR_WIDTH
    return 2 if is_scaled and column.nullable else 1
