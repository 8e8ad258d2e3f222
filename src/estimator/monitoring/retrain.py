"""Retraining: new rows -> candidates -> a decision, which is stored next to the versions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import polars as pl

from estimator.config import Config, Retraining, Shelves, resolve
from estimator.config.secrets import allowed_fingerprints
from estimator.core.clock import Moment
from estimator.core.credentials import redacted, redacted_data
from estimator.core.files import temporary_file, write_folder_atomic
from estimator.data.credentials import CredentialCells, credential_cells
from estimator.data.sources.base import Source
from estimator.data.stored_table import in_memory
from estimator.errors import EstimatorError, RetrainingError
from estimator.models import Progress, silent
from estimator.monitoring.candidate_process import train_in_process
from estimator.monitoring.candidates import (
    CandidateKind,
    CandidateTask,
    CandidateTrainer,
    RetrainingRows,
    TrainingOutcome,
    candidate_data,
)
from estimator.monitoring.decision import DECISIONS_FOLDER, EVIDENCE_FILE, Decision, HoldoutEvidence, decide
from estimator.monitoring.decision_page import decision_page
from estimator.monitoring.new_rows import (
    check_logged_columns,
    labeled_records,
    with_optional_columns,
    with_readable_labels,
    with_sample_weights,
    without_known,
)
from estimator.prediction_log import PredictionLog
from estimator.store.artefact import Artefact, missing_packages_named, open_artefact
from estimator.store.store import Store
from estimator.training.prepare import PreparedData, prepare
from estimator.training.reproduction import check_unchanged
from estimator.training.version import reject_credentials_in_rows

ROWS_FOLDER = "rows"


@dataclass(frozen=True)
class Retrainer:
    """All that retraining needs besides the new rows; `training_rows` opens those that a version was trained on.

    With a `command`, one that runs `train_job`, candidates are trained in a process of their own.
    """

    store: Store
    shelves: Shelves
    settings: Retraining
    environment: Mapping[str, str]
    training_rows: Callable[[Artefact], AbstractContextManager[Source]]
    command: Sequence[str] | None = None

    def retrain(
        self,
        live: Artefact,
        new_rows: pl.DataFrame,
        *,
        reason: str,
        n_changed: int | None = None,
        include_learned: bool = False,
        progress: Progress = silent,
        note: Callable[[str], None] = lambda text: None,
    ) -> Decision:
        """Train candidates on new rows and compare them with the live version; the best one becomes the candidate.

        New rows that are in the live version's own table, or that it has learned from, are left out unless
        `include_learned`. Candidates are compared on the latest of the last `n_changed` rows, those after a change, by
        default of all new rows. The decision is stored in the model's folder, as decision.json and as a page.

        Raises
        ------
        RetrainingError, SourceError: too few new rows, or the live version's own table cannot be read.
        RowError: a new row has a label that is no value of the live version's target.
        ArtefactError: a candidate would keep what looks like a credential in the new rows.
        """
        config = self._config(live)
        known = [name for name in new_rows.columns if name in live.schema.by_name]
        cells = credential_cells(new_rows.select(known).iter_columns(), allowed_fingerprints(live.config))
        new_rows = with_optional_columns(live.schema, with_readable_labels(live, new_rows))
        old, yardstick = self._old_rows(live, config), self._yardstick(live)
        new_rows, notes = (new_rows, []) if include_learned else without_known(live, old, new_rows)
        new_rows, weight_notes = with_sample_weights(config.data.sample_weight, in_memory(old.frame), new_rows)
        notes += weight_notes
        if yardstick is None:
            notes.append(
                "candidates are not compared on old rows, so retraining.max_regression rejects none: "
                f"{live.version} was trained on all of them, and no version is left that was not"
            )
        try:
            rows = RetrainingRows.of(
                in_memory(old.frame),
                old.training_mask if yardstick is None else ~old.test_mask,
                new_rows,
                holdout_size=self.settings.holdout_size,
                n_changed=n_changed,
                schema=live.schema,
            )
        except RetrainingError as error:
            raise RetrainingError("; ".join([error.message, *notes]), hint=error.hint) from None
        if cells:
            notes += self._reject_credentials(live, config, rows, cells)
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
            yardstick=yardstick,
        )
        tasks = [CandidateTask(kind) for kind in self._kinds(rows, notes)]
        candidates = [trainer.candidate(outcome) for outcome in self._outcomes(trainer, tasks, notes, note)]
        decision = decide(live, rows, candidates, settings=self.settings, reason=reason, notes=notes)
        return self._announced(decision, trainer, note)

    def retrain_on_log(
        self,
        live: Artefact,
        log: PredictionLog,
        *,
        reason: str,
        n_changed: int | None = None,
        progress: Progress = silent,
        note: Callable[[str], None] = lambda text: None,
    ) -> Decision:
        """Retrain on the labeled rows that were logged since the live version was trained; see `retrain`."""
        new_rows = labeled_records(live, log, note=note)
        return self.retrain(live, new_rows, reason=reason, n_changed=n_changed, progress=progress, note=note)

    def check_data(self, live: Artefact) -> None:
        """Raise the error that would stop a retraining on the log later.

        Raises
        ------
        SourceError: the version's own table cannot be read.
        RetrainingError: the version needs private columns, which are not logged.
        """
        check_logged_columns(live)
        with self.training_rows(live) as source:
            source.fingerprint()

    def _kinds(self, rows: RetrainingRows, notes: list[str]) -> list[CandidateKind]:
        """Return the kinds of candidates that differ; add to `notes` which one does not."""
        kinds = list(self.settings.candidates)
        if {"refit", "recent"} <= set(kinds) and rows.n_too_old("recent") == 0:
            kinds.remove("recent")
            notes.append("recent: left out, as the table has no older rows: it would be the same as refit")
        return kinds

    def _announced(self, decision: Decision, trainer: CandidateTrainer, note: Callable[[str], None]) -> Decision:
        """Make the chosen version the candidate, trained on all rows, and store the decision with its evidence."""
        evidence = HoldoutEvidence()
        if decision.chosen is not None:
            gains = trainer.held_out_gains(decision.chosen)
            decision = self._trained_on_all(decision, trainer, note)
            assert decision.chosen is not None  # as before
            message = "; ".join(decision.reasons)
            self.store.announce(decision.model, decision.chosen, reason=message, moment=Moment.now())
            n_trained = sum(candidate.version is not None for candidate in decision.candidates)
            evidence = HoldoutEvidence(decision.live, decision.chosen, n_trained, gains)
        store_decision(decision, evidence, self.store)
        return decision

    def _trained_on_all(self, decision: Decision, trainer: CandidateTrainer, note: Callable[[str], None]) -> Decision:
        """Train the chosen candidate on all rows, if the settings say so; if that fails, it is chosen as it is."""
        kind, notes = decision.chosen_kind, list(decision.notes)
        if not self.settings.refit_full or kind is None:
            return decision
        (outcome,) = self._outcomes(trainer, [CandidateTask(kind, decision.chosen)], notes, note)
        if outcome.version is not None:
            return replace(decision.trained_on_all(outcome.version), notes=tuple(notes))
        notes.append(f"{kind}: could not be trained on all rows, and is chosen as it was compared: {outcome.error}")
        return replace(decision, notes=tuple(notes))

    def _outcomes(
        self, trainer: CandidateTrainer, tasks: Sequence[CandidateTask], notes: list[str], note: Callable[[str], None]
    ) -> list[TrainingOutcome]:
        """Train candidates; add to `notes` which process has died."""
        if self.command is None:
            outcomes = []
            for task in tasks:
                note(task.description)
                outcomes.append(trainer.outcome(task))
            return outcomes
        begins = [task.description for task in tasks]

        def note_death(sentence: str) -> None:
            note(sentence)
            if sentence not in begins:
                notes.append(sentence)

        return train_in_process(trainer, tasks, self.command, note=note_death)

    def _reject_credentials(
        self, live: Artefact, config: Config, rows: RetrainingRows, cells: Sequence[CredentialCells]
    ) -> list[str]:
        """Reject, before rows are stored, credentials that a candidate would keep; return a note on each other one."""
        notes: list[str] = []
        for kind in self.settings.candidates:
            training = config.training.model_copy(update={"split": rows.split(kind)})
            of_kind = config.model_copy(update={"training": training})
            try:
                prepared = candidate_data(kind, live, rows, of_kind)
            except EstimatorError:
                # The candidate will report it.
                continue
            notes = reject_credentials_in_rows(prepared, of_kind, live.manifest["model"]["kind"], cells)
        folder = self.store.root / live.name / ROWS_FOLDER
        return [*notes, f"{folder} keeps the rows of a retraining as they are, credentials in them too"]

    def _config(self, live: Artefact) -> Config:
        with missing_packages_named(live):
            return resolve(live.config, self.shelves)

    def _yardstick(self, live: Artefact) -> Artefact | None:
        """Return the version that did not learn what the live one held out, None if there is no such version."""
        if not live.config["training"].get("refit_full"):
            return live
        judged = live.manifest.get("retraining", {}).get("judged")
        folder = self.store.root / live.name / str(judged)
        return open_artefact(folder) if folder.is_dir() else None

    def _old_rows(self, live: Artefact, config: Config) -> PreparedData:
        """Return all rows of the version's own table, with those that it held out.

        Rows that a retraining left unused, as its parent had learned or held them out, are learned from this time.
        Those that the config of a person leaves unused stay so.
        """
        with self.training_rows(live) as source:
            frame = source.frame()
            check_unchanged(live, source.fingerprint())
        if "retraining" in live.manifest:
            split = config.training.split.model_copy(update={"unused": None})
            config = config.model_copy(update={"training": config.training.model_copy(update={"split": split})})
        old = prepare(frame, config, live.schema)
        return old.for_refit(config) if config.training.refit_full else old


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


def store_decision(decision: Decision, evidence: HoldoutEvidence, store: Store) -> Path:
    """Store the decision, its page and its evidence in the model's folder; return the folder of the decision."""
    folder = store.root / decision.model / DECISIONS_FOLDER / decision.record
    data = json.dumps(redacted_data(decision.to_data()), indent=1, ensure_ascii=False, allow_nan=False)
    files = {
        "decision.json": data.encode(),
        "decision.html": redacted(decision_page(decision).decode(), assignments=False).encode(),
        EVIDENCE_FILE: json.dumps(asdict(evidence)).encode(),
    }
    write_folder_atomic(folder, files)
    return folder
