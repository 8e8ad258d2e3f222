"""Estimate the memory, disk and time of a training run before it starts, at a small part of what it costs."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from estimator.config import Config
from estimator.core.text import format_bytes, parse_bytes
from estimator.data.schema import Column
from estimator.data.stored_table import StoredTable
from estimator.errors import TrainingError
from estimator.features.formulas import Formulas
from estimator.models import FitData, MatrixModel, Model
from estimator.models.ensemble import Ensemble
from estimator.training.duration import Size, estimate_seconds, library_cost, members_of, slowness
from estimator.training.prepare import PreparedData

CALENDAR_WIDTH, TEXT_WIDTH = 6, 32
# Matrices that each fit holds at once, next to the one that all share; doubles that the report and the version hold for
# each cell of the table, and for each probability; and bytes of what every run loads.
FIT_MATRICES, REPORT_COPIES, OUTPUT_COPIES, BASE_BYTES = 1.5, 9, 6, 60_000_000
MIN_DISK_BYTES = 64_000_000
# The fraction of the free memory that training may use.
USABLE_MEMORY_FRACTION = 0.9
# Of a table in files: bytes that its target, weights, splits and the trees take for each row in memory, and blocks of
# rows that are there at once. A library that takes its whole matrix copies it.
STORED_ROW_BYTES, STORED_BLOCKS, LOADED_COPIES = 150, 4, 2.5
# A text is in the table, in an array, and in what is made of it.
TEXT_COPIES = 3


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a training run needs and what it may use.

    `n_columns` counts the columns of the encoded matrix. `free_memory_bytes` is None where the system does not report
    it; `memory_limit_bytes` is that of the config, or nine tenths of what is free. With `is_stored`, the table is in
    files, of `scratch_bytes` with the matrix that comes. `seconds` is that of the whole run, `forecast_seconds` of the
    estimate itself; both are None until `with_time`. Whatever the `engine`, time and memory are those of this machine.
    """

    n_rows: int
    n_columns: int
    n_fits: int
    memory_bytes: int
    free_memory_bytes: int | None
    memory_limit_bytes: int | None
    disk_bytes: int
    free_disk_bytes: int
    is_stored: bool = False
    scratch_bytes: int = 0
    seconds: float | None = None
    forecast_seconds: float | None = None
    engine: str = "local"

    def to_data(self) -> dict[str, Any]:
        """Return JSON-ready data."""
        return asdict(self)

    def affordable_rows(self, width: int) -> int:
        """Return how many rows a library that takes its whole matrix may load: into half of what is allowed."""
        return max(1, int((self.memory_limit_bytes or 0) / 2 / (8 * LOADED_COPIES * max(width, 1))))

    @property
    def fits_memory(self) -> bool:
        """Whether the run keeps the limit of memory."""
        return self.memory_limit_bytes is None or self.memory_bytes <= self.memory_limit_bytes

    def check_resources(self) -> None:
        """Raise an error when the run does not fit.

        Raises
        ------
        TrainingError: there is too little free memory or disk.
        """
        if not self.fits_memory:
            raise TrainingError(
                f"training on {self.n_rows:,} rows of {self.n_columns:,} encoded columns needs about "
                f"{format_bytes(self.memory_bytes)} of memory, with the libraries, and may use "
                f"{format_bytes(self.memory_limit_bytes or 0)}",
                hint="raise training.memory_limit, which is nine tenths of the free memory when left out, or leave out "
                "columns (data.drop)",
            )
        if self.disk_bytes > self.free_disk_bytes:
            raise TrainingError(
                f"a version needs about {format_bytes(self.disk_bytes)} of disk, "
                f"{format_bytes(self.free_disk_bytes)} are free",
                hint="choose another --store",
            )


def forecast(prepared: PreparedData, model: Model, config: Config, store: Path) -> Forecast:
    """Return the forecast of sizes, without the time.

    Memory is what the process holds now, the libraries, and the larger of the fits and the report: fits hold one matrix
    of doubles, and each of those that run at once its rows; the report holds the table several times.
    """
    n_runs = 2 if config.training.refit_full else 1
    data = (prepared.for_refit(config) if config.training.refit_full else prepared).fit_data(config)
    members, widths, size = members_of(model), _widths(data, model), Size.of(data)
    n_concurrent = min(os.cpu_count() or 1, max(size.n_folds * len(members), 1))
    matrices = 1 + FIT_MATRICES * n_concurrent
    fit_bytes = 8 * size.n_rows * (sum(set(widths)) + (matrices - 1) * max(widths))
    n_cells = len(prepared.rows) * (REPORT_COPIES * size.n_columns + OUTPUT_COPIES * size.n_outputs)
    loaded_bytes = resident_bytes() + BASE_BYTES + library_cost(members).memory_bytes
    memory_bytes, scratch_bytes = loaded_bytes + max(fit_bytes, 8 * n_cells), 0
    stored = isinstance(prepared.frame, StoredTable)
    if isinstance(prepared.frame, StoredTable):
        memory_bytes = loaded_bytes + int(_stored_bytes(prepared, members, widths))
        kept = [width for member, width in zip(members, widths, strict=True) if reads_blocks(member)]
        # A model that is fitted to folds apart has another matrix meanwhile.
        n_matrices = 1 if isinstance(model, Ensemble) or not size.n_folds else 2
        scratch_bytes = n_matrices * 8 * size.n_rows * sum(set(kept)) + prepared.frame.file_bytes
    folder = next(path for path in (store, *store.absolute().parents) if path.exists())
    return Forecast(
        n_rows=size.n_rows,
        n_columns=max(widths),
        n_fits=n_runs * (size.n_folds * len(members) + (0 if isinstance(model, Ensemble) else 1)),
        memory_bytes=int(memory_bytes),
        free_memory_bytes=free_memory_bytes(),
        memory_limit_bytes=memory_limit_bytes(config),
        disk_bytes=MIN_DISK_BYTES + 2 * 8 * len(prepared.rows),
        free_disk_bytes=shutil.disk_usage(folder).free,
        is_stored=stored,
        scratch_bytes=scratch_bytes,
    )


def memory_limit_bytes(config: Config) -> int | None:
    """Return how much memory training may use: what the config says, or else nine tenths of what is free."""
    if config.training.memory_limit is not None:
        return parse_bytes(config.training.memory_limit)
    free = free_memory_bytes()
    return None if free is None else int(USABLE_MEMORY_FRACTION * free)


def table_bytes(n_cells: int, n_bytes: int) -> int:
    """Return how much memory training on a table takes at least: the report on its numbers, or copies of its texts."""
    return resident_bytes() + BASE_BYTES + max(8 * REPORT_COPIES * n_cells, TEXT_COPIES * n_bytes)


def reads_blocks(model: Model) -> bool:
    """Whether the library of a model takes a matrix that is not in memory."""
    return isinstance(model, MatrixModel) and model.reads_blocks


def _stored_bytes(prepared: PreparedData, members: Sequence[Model], widths: Sequence[int]) -> float:
    """Return about how much memory the fits to a table in files take: rows, blocks of rows, and the largest matrix."""
    assert isinstance(prepared.frame, StoredTable)
    n_rows, n_training = len(prepared.rows), prepared.n_training
    largest = 0.0
    for member, width in zip(members, widths, strict=True):
        n_fitted = min(n_training, member.max_rows or n_training) if isinstance(member, MatrixModel) else n_training
        # A byte for each bin.
        largest = max(largest, n_training * width if reads_blocks(member) else 8 * LOADED_COPIES * n_fitted * width)
    n_cells = prepared.frame.file_rows * (len(prepared.frame.columns) + max(widths))
    return STORED_ROW_BYTES * n_rows + 8.0 * STORED_BLOCKS * n_cells + largest


def with_time(
    sizes: Forecast,
    prepared: PreparedData,
    model: Model,
    config: Config,
    *,
    clock: Callable[[], float],
    seconds_before: float = 0.0,
) -> Forecast:
    """Add the time of the whole run, of which reading and preparing took `seconds_before`."""
    began = clock()
    seconds = forecast_seconds(prepared, model, config, clock=clock)
    return replace(sizes, seconds=seconds_before + seconds, forecast_seconds=clock() - began)


def forecast_seconds(prepared: PreparedData, model: Model, config: Config, *, clock: Callable[[], float]) -> float:
    """Return about how many seconds a run takes after its rows have been prepared."""
    seconds = estimate_seconds(prepared, model, _widths(prepared.fit_data(config), model), config)
    return seconds * slowness(seconds, clock)


def free_memory_bytes() -> int | None:
    """Return how much memory this process may hold in all; None where the system does not report it."""
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
    return min(limits) + resident_bytes() if limits else None


def resident_bytes() -> int:
    """Return the memory that this process holds; 0 where the system does not report it."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _widths(data: FitData, model: Model) -> list[int]:
    """Return about how many columns the matrix of each member has."""
    return [matrix_width(data, member) for member in members_of(model)]


def matrix_width(table: FitData, model: Model) -> int:
    """Return about how many columns the matrix of a model has."""
    if not isinstance(model, MatrixModel):
        return 2 * len(table.schema.features)
    max_categories = table.features.max_categories or model.max_categories
    is_scaled, schema = model.matrix_kind == "scaled", table.schema
    widths = [_encoded_width(column, is_scaled, max_categories) for column in schema.encoded]
    for formula in Formulas.compile(schema, table.features.formulas):
        if formula.kind == "category":
            # At most one for each combination of the categories of its columns.
            n_categories = math.prod(max(len(schema.by_name[name].categories), 1) for name in formula.columns)
            widths.append(n_categories + 1 if is_scaled and n_categories <= max_categories else 1)
        else:
            widths.append(_encoded_width(Column(formula.name, formula.kind, nullable=True), is_scaled, max_categories))
    return sum(widths)


def _encoded_width(column: Column, is_scaled: bool, max_categories: int) -> int:
    """Return about how many columns of the matrix a column is encoded into."""
    if column.kind == "text":
        return TEXT_WIDTH
    if column.kind == "category":
        return len(column.categories) + 1 if is_scaled and len(column.categories) <= max_categories else 1
    if column.kind in ("date", "datetime"):
        return CALENDAR_WIDTH
    return 2 if is_scaled and column.nullable else 1
