"""Retraining: new rows -> candidates -> a decision, which is stored next to the versions."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from estimator.config import Config, Retraining, Shelves, resolve
from estimator.core.arrays import Mask
from estimator.core.clock import Moment
from estimator.core.files import temporary_file, write_atomic
from estimator.data.schema import Schema
from estimator.data.schema.frames import with_schema_names
from estimator.data.schema.schema import MAX_FAULTS
from estimator.data.sources import opener
from estimator.data.sources.base import Source
from estimator.data.target import read_labels
from estimator.errors import RetrainingError, RowError
from estimator.models import Progress, silent
from estimator.monitoring.candidates import DESCRIPTIONS, CandidateTrainer, RetrainingRows
from estimator.monitoring.decision import Decision, decide
from estimator.monitoring.decision_page import decision_page
from estimator.monitoring.records import unreadable_labels, unreadable_note
from estimator.prediction_log import PredictionLog, PredictionRecord
from estimator.store.artefact import Artefact, missing_packages_named
from estimator.store.store import Store
from estimator.training.prepare import prepare
from estimator.training.reproduction import held_out_rows

ROWS_FOLDER, DECISIONS_FOLDER = "rows", "decisions"


@dataclass(frozen=True)
class Retrainer:
    """All that retraining needs besides the new rows.

    Relative paths in the data section of a version's config start in `folder`.
    """

    store: Store
    shelves: Shelves
    settings: Retraining
    environment: Mapping[str, str]
    folder: Path = Path()

    def retrain(
        self,
        live: Artefact,
        new_rows: pl.DataFrame,
        *,
        reason: str,
        progress: Progress = silent,
        note: Callable[[str], None] = lambda text: None,
    ) -> Decision:
        """Train candidates on new rows and compare them with the live version; the best one becomes the candidate.

        The decision is stored in the model's folder, as decision.json and as a page.

        Raises
        ------
        RetrainingError, SourceError: too few new rows, or the live version's own table cannot be read.
        RowError: a new row has a label that is no value of the live version's target.
        """
        config = self._config(live)
        new_rows = with_optional_columns(live.schema, with_readable_labels(live, new_rows))
        old, is_learned = self._old_rows(live, config)
        rows = RetrainingRows.of(old, is_learned, new_rows, holdout_size=self.settings.holdout_size, schema=live.schema)
        path, fingerprint = store_rows(rows.frame, self.store.root / live.name / ROWS_FOLDER)
        trainer = CandidateTrainer(
            live=live,
            config=config,
            shelves=self.shelves,
            environment=self.environment,
            store=self.store,
            rows=rows,
            path=path,
            fingerprint=fingerprint,
            reason=reason,
            progress=progress,
        )
        candidates = []
        for kind in self.settings.candidates:
            note(f"{kind}: {DESCRIPTIONS[kind]}")
            candidates.append(trainer.candidate(kind))
        decision = decide(live, rows, candidates, max_regression=self.settings.max_regression, reason=reason)
        if decision.chosen is not None:
            message = "; ".join(decision.reasons)
            self.store.announce(live.name, decision.chosen, reason=message, moment=Moment.now())
        store_decision(decision, self.store)
        return decision

    def retrain_on_log(
        self,
        live: Artefact,
        log: PredictionLog,
        *,
        reason: str,
        progress: Progress = silent,
        note: Callable[[str], None] = lambda text: None,
    ) -> Decision:
        """Retrain on the labeled rows that were logged since the live version was trained."""
        new_rows = labeled_records(live, log, note=note)
        return self.retrain(live, new_rows, reason=reason, progress=progress, note=note)

    def check_data(self, live: Artefact) -> None:
        """Raise the SourceError that would stop a retraining later: the version's own table cannot be read."""
        with self._source(self._config(live)) as source:
            source.fingerprint()

    def _config(self, live: Artefact) -> Config:
        with missing_packages_named(live):
            return resolve(live.config, self.shelves)

    def _old_rows(self, live: Artefact, config: Config) -> tuple[pl.DataFrame, Mask]:
        """Return the rows of the version's own table, and which of them it was trained on."""
        with self._source(config) as source:
            frame = source.frame()
            held_out_rows(live, frame, source.fingerprint(), config)
        prepared = prepare(frame, config, live.schema)
        return prepared.frame, ~prepared.test_mask

    def _source(self, config: Config) -> AbstractContextManager[Source]:
        return opener.open_data(config.data, self.folder, self.environment)


def labeled_records(
    live: Artefact, log: PredictionLog, *, note: Callable[[str], None] = lambda text: None
) -> pl.DataFrame:
    """Return the logged rows with a label that the live version cannot have been trained on.

    A label that is no value of the target is set aside, and passed to `note` in a sentence.

    Raises
    ------
    RetrainingError: there are none.
    """
    trained_at = datetime.fromisoformat(live.manifest["created"]).timestamp()
    labeled = [record for record in log.read(live.name, since=trained_at) if record.label is not None]
    unreadable = unreadable_labels(live, labeled)
    if unreadable:
        note(unreadable_note(unreadable))
    ids = {record.id for record, _ in unreadable}
    records = [record for record in labeled if record.id not in ids]
    if not records:
        raise RetrainingError(
            f"{live.name}: no row logged since {live.version} was trained has a label"
            + (f"; {unreadable_note(unreadable)}" if unreadable else ""),
            hint="POST /v1/labels, or give rows with --data",
        )
    target = live.manifest["target"]
    rows = [{**_schema_names(live, record), target: live.target_reader.label(record.label)} for record in records]
    return with_schema_names(live.schema, pl.DataFrame(rows, infer_schema_length=None))


def with_readable_labels(live: Artefact, rows: pl.DataFrame) -> pl.DataFrame:
    """Return new rows with their labels as the live version names them; a row without one keeps a missing value.

    Raises
    ------
    RowError: a label is no value of the target.
    """
    name = live.manifest["target"]
    if name not in rows.columns:
        return rows
    labels, faults = read_labels(live.target_reader, rows[name])
    if faults:
        raise RowError(faults[:MAX_FAULTS], n_faults=len(faults), hint="mend these labels, or leave the rows out")
    classes = live.predictor.task.classes
    values: list[Any] = [None if math.isnan(label) else label for label in labels.tolist()]
    if classes:
        values = [None if value is None else classes[int(value)] for value in values]
    return rows.with_columns(pl.Series(name, values, dtype=pl.String if classes else pl.Float64))


def with_optional_columns(schema: Schema, rows: pl.DataFrame) -> pl.DataFrame:
    """Return rows with the columns that they may leave out, filled with their defaults or with missing values."""
    optional = {column.name: column for column in schema.features if not column.is_required}
    return rows.with_columns(
        pl.lit(optional[name].default, dtype=None if optional[name].default is not None else pl.String).alias(name)
        for name in schema.left_out(rows.columns)
        if name in optional
    )


def _schema_names(live: Artefact, record: PredictionRecord) -> dict[str, Any]:
    return {live.schema.resolve(name) or name: value for name, value in record.inputs.items()}


def store_rows(frame: pl.DataFrame, folder: Path) -> tuple[Path, Mapping[str, str]]:
    """Store the rows, so that each candidate can be reproduced; return the path and the fingerprint.

    Raises
    ------
    RetrainingError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary_file(folder) as temporary:
            frame.write_parquet(temporary, compression="zstd")
            digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
            path = folder / f"{digest[:16]}.parquet"
            temporary.replace(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RetrainingError(f"{folder}: cannot be written: {error}", hint="choose another --store") from error
    return path, {path.name: digest}


def store_decision(decision: Decision, store: Store) -> Path:
    """Store the decision and its page in the model's folder; return the folder of the decision."""
    folder = store.root / decision.model / DECISIONS_FOLDER / decision.time.replace(":", "-")
    data = json.dumps(decision.to_data(), indent=1, ensure_ascii=False)
    write_atomic(folder / "decision.json", data)
    write_atomic(folder / "decision.html", decision_page(decision))
    return folder
