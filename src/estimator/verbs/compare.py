"""compare: is the second of two versions, or of two configs, really better?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from estimator.config.sections import model_data
from estimator.errors import ArtefactError, ConfigError
from estimator.models import Progress, silent
from estimator.store.artefact import Artefact
from estimator.store.batch_prediction import labeled_rows
from estimator.store.learned_rows import learned_rows
from estimator.training.comparison import (
    Comparison,
    PreparedConfig,
    compare_configs,
    compare_versions,
    reject_training_rows,
)
from estimator.training.reproduction import held_out_rows
from estimator.verbs.context import Context, config_of, data_like, kind_of
from estimator.verbs.train import prepared_rows

__all__ = ["compare", "held_out_frame"]


def compare(
    first: str,
    second: str,
    context: Context,
    *,
    table: tuple[str, str | None] | None = None,
    folder: Path = Path(),
    progress: Progress = silent,
) -> list[Comparison]:
    """Compare two versions or two configs by each metric; the first metric decides.

    Versions are compared on the rows of a table and query, or on those that both held out; configs on the same folds.

    Raises
    ------
    ConfigError, ArtefactError: the two cannot be compared, or an override would hide their difference or do nothing.
    """
    configs = [Path(name) for name in (first, second) if Path(name).is_file()]
    if len(configs) == 2:
        _note_overrides(configs, context)
        settings = [PreparedConfig(*prepared_rows(conf, context)) for conf in configs]
        return compare_configs(settings[0], settings[1], progress=progress)
    if configs:
        raise ConfigError(
            f"{configs[0]} is a config and the other argument is not one", hint="give two versions, or two configs"
        )
    context.reject_overrides(except_section=None if table is None else "data")
    left, right = context.version(first), context.version(second)
    if table is None:
        frames = [held_out_frame(artefact, context, folder) for artefact in (left, right)]
        if not frames[0].equals(frames[1]):
            raise ArtefactError("the two versions did not hold out the same rows", hint="give new rows with --input")
        return compare_versions(left, right, frames[0])
    with context.rows(data_like(left, context, *table)) as source:
        reject_training_rows((left, right), source.fingerprint())
        frame = _without_learned((left, right), source.frame(), context)
        return compare_versions(left, right, frame)


def _note_overrides(configs: list[Path], context: Context) -> None:
    """Say that overrides apply to both configs.

    Raises
    ------
    ConfigError: they make the two equal.
    """
    if not context.overrides:
        return
    overrides = f"--set {', '.join(context.overrides)}"
    left, right = (model_data(config, kind_of(config)) for config in map(context.config, configs))
    if left == right:
        raise ConfigError(
            f"{overrides} applies to both configs and makes them equal: there is nothing to compare",
            hint="write the change into a copy of the config, and compare the two files",
        )
    context.notes.add([f"{overrides} applies to both configs"])


def _without_learned(versions: Sequence[Artefact], frame: pl.DataFrame, context: Context) -> pl.DataFrame:
    """Return the rows that none of the versions has learned from, and note how many the others are.

    Raises
    ------
    ArtefactError: one of them has learned from all of them.
    """
    is_new = np.ones(frame.height, np.bool_)
    for artefact in versions:
        learned = learned_rows(artefact)
        if learned is None or not learned.is_decisive:
            continue
        rows = labeled_rows(artefact, frame)
        is_learned = learned.contains(rows.batch, rows.labels, artefact.predictor.task)
        if not is_learned.any():
            continue
        is_new[rows.numbers[is_learned] - 1] = False
        equal = f"{int(is_learned.sum()):,} of {len(is_learned):,} rows equal rows that {artefact.version} has learned"
        if is_learned.all():
            raise ArtefactError(f"nothing to compare: {equal}", hint="give rows that are new to both versions")
        context.notes.add([f"{equal}, and are left out"])
    return frame.filter(pl.Series(is_new))


def held_out_frame(artefact: Artefact, context: Context, folder: Path) -> pl.DataFrame:
    """Return the rows that a version held out, read again from its own data."""
    config = config_of(artefact)
    with context.training_rows(artefact, folder) as source:
        return held_out_rows(artefact, source.frame(), source.fingerprint(), config)
