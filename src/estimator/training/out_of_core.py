"""Training on a table that does not fit into memory: it moves into files, and libraries learn from what they can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from estimator import models
from estimator.config import Config
from estimator.core.scratch import Scratch
from estimator.core.text import format_bytes
from estimator.data.schema import Schema
from estimator.data.stored_table import MAX_FILE_ROWS, StoredTable, Table
from estimator.models import MatrixModel, Model, model_of
from estimator.models.ensemble import Ensemble
from estimator.training import forecast as forecasts
from estimator.training.duration import members_of
from estimator.training.forecast import Forecast
from estimator.training.plan import planned
from estimator.training.prepare import PreparedData, prepare


def fits_memory(config: Config) -> Callable[[int, int], bool]:
    """Return whether a table of so many cells and bytes may be in memory, as far as its size tells."""
    limit = forecasts.memory_limit_bytes(config)
    return lambda n_cells, n_bytes: limit is None or forecasts.table_bytes(n_cells, n_bytes) <= limit


def prepare_and_plan(
    table: Table,
    config: Config,
    reviewed: Schema | None,
    open_scratch: Callable[[], Scratch],
    store: Path,
    *,
    source_notes: Sequence[str],
    clock: Callable[[], float],
) -> tuple[PreparedData, Config, Forecast, tuple[str, ...]]:
    """Split a table and plan its training; a table whose fits would not fit into memory is moved into files.

    Return the rows, the config with the counts of the plan, the forecast and notes on what was decided.

    Raises
    ------
    EstimatorError: see `prepare`; TrainingError: the forecast exceeds what the machine has.
    """
    prepared = prepare(table, config, reviewed, source_notes=source_notes)
    prepared, plan, notes = planned(prepared, config, clock=clock)
    forecast = forecasts.forecast(prepared, model_of(plan), plan, store)
    if not forecast.fits_memory and not forecast.is_stored:
        in_memory = forecast
        table = StoredTable.write(table.iter_slices(MAX_FILE_ROWS), open_scratch())
        prepared = prepare(table, config, reviewed, source_notes=source_notes)
        prepared, plan, notes = planned(prepared, config, clock=clock)
        forecast = forecasts.forecast(prepared, model_of(plan), plan, store)
        if in_memory.memory_bytes < forecast.memory_bytes:
            # A small table: blocks of rows would take more than the table.
            in_memory.check_resources()
    if forecast.is_stored:
        plan, limits = _with_row_limits(prepared, plan, forecast)
        forecast = forecasts.forecast(prepared, model_of(plan), plan, store)
        notes = (*notes, _stored_note(forecast), *limits)
    forecast.check_resources()
    return prepared, plan, forecast, notes


def prepare_within_memory(
    table: Table, config: Config, reviewed: Schema, open_scratch: Callable[[], Scratch], store: Path
) -> PreparedData:
    """Split a table as a config that was planned before says; it is moved into files if its fits need that."""
    prepared = prepare(table, config, reviewed)
    forecast = forecasts.forecast(prepared, model_of(config), config, store)
    if forecast.fits_memory or forecast.is_stored:
        return prepared
    return prepare(StoredTable.write(table.iter_slices(MAX_FILE_ROWS), open_scratch()), config, reviewed)


def _with_row_limits(prepared: PreparedData, config: Config, forecast: Forecast) -> tuple[Config, tuple[str, ...]]:
    """Return a config in which models whose library takes a matrix in memory learn from as many rows as fit there."""
    model, n_rows, notes = model_of(config), prepared.n_training, list[str]()
    data = prepared.fit_data(config)

    def limited(member: Model) -> Model:
        most = forecast.affordable_rows(forecasts.matrix_width(data, member))
        if not isinstance(member, MatrixModel) or member.reads_blocks or min(member.max_rows or n_rows, n_rows) <= most:
            return member
        kind = models.SHELF.name_of(type(member))
        notes.append(
            f"{kind}: learns from {most:,} of {n_rows:,} training rows, drawn at random (max_rows): its library takes "
            "them in memory only, where no more fit; boosting learns from all"
        )
        return member.model_copy(update={"max_rows": most})

    members = [limited(member) for member in members_of(model)]
    changed = model.model_copy(update={"members": members}) if isinstance(model, Ensemble) else members[0]
    return config.model_copy(update={"model": changed}), tuple(notes)


def _stored_note(forecast: Forecast) -> str:
    limit = format_bytes(forecast.memory_limit_bytes or 0)
    return (
        f"the table does not fit into the {limit} that training may use (training.memory_limit): its rows are in files "
        "of training.scratch, and read in part"
    )
