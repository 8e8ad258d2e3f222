"""Candidates: versions trained on new rows in several ways, and scored on rows that none of them was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import polars as pl

from estimator.config import Config, Shelves, Split, resolve
from estimator.config.document import read_document
from estimator.core.arrays import Mask
from estimator.core.clock import Moment
from estimator.core.files import scratch_folder
from estimator.data.schema import Schema
from estimator.data.schema.candidates import ColumnOverride
from estimator.data.schema.frames import select_columns, with_schema_names
from estimator.data.schema.inference import infer_schema
from estimator.errors import EstimatorError, MonitoringError, RetrainingError, needs_extra
from estimator.models import SHELF, Progress, model_of
from estimator.monitoring.new_rows import join_rows
from estimator.monitoring.promotion import BoundedLoss
from estimator.monitoring.records import drift_reference
from estimator.store.artefact import Artefact, open_artefact
from estimator.store.batch_prediction import labeled_rows
from estimator.store.learned_rows import learned_rows
from estimator.store.store import Store
from estimator.training.comparison import Comparison, compare_versions
from estimator.training.prepare import PreparedData, prepare
from estimator.training.refit import train_and_score
from estimator.training.reproduction import warm_start
from estimator.training.version import Provenance, write_version

CandidateKind = Literal["warm_start", "refit", "recent", "new_only", "tune"]
# Those that are fitted to old and new rows together, and so do not follow the newest rows alone.
WITH_OLD_ROWS: tuple[CandidateKind, ...] = ("refit", "recent", "tune")
# Fewer new rows can neither be trained on nor decide.
MIN_NEW_ROWS = 40
MIN_HOLDOUT_ROWS = MIN_NEW_ROWS // 4
MIN_REFERENCE_ROWS = 100
# The latest old rows that `recent` learns from, for each new one.
OLD_ROWS_PER_NEW = 3
CONFIG_NAMES = ("config.json", "config.yml", "config.yaml", "config.toml")
DESCRIPTIONS = {
    "warm_start": "the live version, trained further on the new rows",
    "refit": "trained from scratch on old and new rows",
    "recent": "trained from scratch on the new rows and the latest old ones",
    "new_only": "trained from scratch on the new rows alone",
    "tune": "trained from scratch on old and new rows, with settings tuned again",
}


@dataclass(frozen=True)
class RetrainingRows:
    """All rows of a retraining in one table: `n_old` old ones, then `n_new` new ones to train on, then the holdout.

    `is_learned` marks the old rows that the live version was trained on; the others show what a candidate has lost.
    """

    frame: pl.DataFrame
    n_old: int
    n_new: int
    is_learned: Mask

    @classmethod
    def of(
        cls,
        old: pl.DataFrame,
        is_learned: Mask,
        new: pl.DataFrame,
        *,
        holdout_size: float,
        schema: Schema,
        n_changed: int | None = None,
    ) -> RetrainingRows:
        """Join old and new rows; the holdout is the newest of the new ones, which come in the order of time.

        With `n_changed`, it is that fraction of the last `n_changed` rows alone, so that some of them are learned.

        Raises
        ------
        RetrainingError: too few new rows have a label.
        """
        target = schema.target.name
        labeled = new.filter(new[target].is_not_null()) if target in new.columns else new.clear()
        if labeled.height < MIN_NEW_ROWS:
            raise RetrainingError(
                f"too few new rows: {labeled.height:,} with a label in {target!r}, at least {MIN_NEW_ROWS} are needed",
                hint="wait for more labels, or give more rows with --input",
            )
        n_compared = labeled.height if n_changed is None else min(n_changed, labeled.height)
        n_holdout = max(round(n_compared * holdout_size), MIN_HOLDOUT_ROWS)
        n_holdout = min(n_holdout, labeled.height - MIN_HOLDOUT_ROWS)
        return cls(
            join_rows(old, labeled, schema), old.height, labeled.height - n_holdout, np.asarray(is_learned, np.bool_)
        )

    @property
    def holdout(self) -> pl.DataFrame:
        """The newest rows, which no candidate is trained on."""
        return self.frame.slice(self.n_old + self.n_new)

    @property
    def old_holdout(self) -> pl.DataFrame:
        """The old rows that no version was trained on."""
        return self.frame.head(self.n_old).filter(pl.Series(~self.is_learned))

    @property
    def n_recent(self) -> int | None:
        """The new rows, which those to come will resemble; None for too few to say how they are distributed."""
        n_recent = self.frame.height - self.n_old
        return n_recent if n_recent >= MIN_REFERENCE_ROWS else None

    @property
    def counts(self) -> dict[str, int]:
        """The number of rows of each part."""
        return {
            "old": self.n_old,
            "new": self.n_new,
            "holdout": self.holdout.height,
            "old_holdout": self.old_holdout.height,
        }

    def n_too_old(self, kind: CandidateKind) -> int:
        """Return how many of the old rows, the first ones, a candidate leaves out."""
        if kind in ("warm_start", "new_only"):
            return self.n_old
        return max(self.n_old - OLD_ROWS_PER_NEW * self.n_new, 0) if kind == "recent" else 0

    def split(self, kind: CandidateKind, *, is_final: bool = False) -> Split:
        """Return the split of the table for a candidate; a final one may learn old rows that were held out."""
        n_before = self.n_old + self.n_new
        is_unused = np.zeros(self.n_old, np.bool_) if is_final else ~self.is_learned
        is_unused[: self.n_too_old(kind)] = True
        unused = row_ranges(np.flatnonzero(is_unused) + 1)
        test = f"{n_before + 1}-{self.frame.height}"
        return Split(kind="rows", test=test, unused=unused or None, in_order=True)


@dataclass(frozen=True)
class CandidateTask:
    """A candidate to train; with `judged`, the version of one that was chosen, once more on all rows."""

    kind: CandidateKind
    judged: str | None = None

    @property
    def description(self) -> str:
        """What is trained, and on which rows."""
        if self.judged is not None:
            return f"{self.kind}: chosen, and trained once more, on the rows that it was compared on, too"
        return f"{self.kind}: {DESCRIPTIONS[self.kind]}"


@dataclass(frozen=True)
class TrainingOutcome:
    """The version of a candidate, or the error that there is none for, and the time its training took."""

    kind: CandidateKind
    version: str | None = None
    error: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Candidate:
    """One way to retrain, and how its version compares with the live one on the holdout and on old rows.

    `regression` is the relative growth of the error on old rows. `error` says why there is no version.
    """

    kind: CandidateKind
    version: str | None = None
    comparisons: tuple[Comparison, ...] = ()
    old_comparison: Comparison | None = None
    regression: float | None = None
    train_seconds: float = 0.0
    error: str | None = None

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {
            **asdict(replace(self, comparisons=(), old_comparison=None)),
            "comparisons": [comparison.to_data() for comparison in self.comparisons],
            "old_comparison": None if self.old_comparison is None else self.old_comparison.to_data(),
        }


def candidate_data(kind: CandidateKind, live: Artefact, rows: RetrainingRows, config: Config) -> PreparedData:
    """Return the rows of a candidate, whose split is in `config`; a warm start keeps the live version's schema."""
    schema = live.schema if kind == "warm_start" else updated_schema(live.schema, rows, rows.split(kind))
    return prepare(rows.frame, config, schema)


@dataclass(frozen=True)
class CandidateTrainer:
    """Trains candidates for a live version from the same rows, which are stored at `path` under their hash.

    `yardstick` is the version that was not trained on the old rows that candidates are compared on: the live one, or
    the one that its retraining chose before it was trained on all rows.
    """

    live: Artefact
    config: Config
    shelves: Shelves
    environment: Mapping[str, str]
    store: Store
    rows: RetrainingRows
    path: Path
    fingerprint: Mapping[str, str]
    reason: str
    progress: Progress
    yardstick: Artefact | None = None

    def outcome(self, task: CandidateTask) -> TrainingOutcome:
        """Train a candidate; what goes wrong is the `error` of the outcome."""
        began = perf_counter()
        try:
            version = self._train(task).version
        except EstimatorError as error:
            return TrainingOutcome(task.kind, error=error.message, seconds=perf_counter() - began)
        return TrainingOutcome(task.kind, version, seconds=perf_counter() - began)

    def candidate(self, outcome: TrainingOutcome) -> Candidate:
        """Compare a version that was trained with the live one; what goes wrong is its `error`."""
        if outcome.version is None:
            return Candidate(outcome.kind, error=outcome.error, train_seconds=outcome.seconds)
        artefact = open_artefact(self.store.root / self.live.name / outcome.version)
        try:
            comparisons = tuple(compare_versions(self.live, artefact, self.rows.holdout, in_order=True))
            old_holdout, old = self.rows.old_holdout, None
            if self.yardstick is not None and old_holdout.height:
                old = compare_versions(self.yardstick, artefact, old_holdout)[0]
        except EstimatorError as error:
            return Candidate(outcome.kind, error=error.message, train_seconds=outcome.seconds)
        return Candidate(
            kind=outcome.kind,
            version=artefact.version,
            comparisons=comparisons,
            old_comparison=old,
            regression=None if old is None else regression(old),
            train_seconds=outcome.seconds,
        )

    def held_out_gains(self, version: str) -> tuple[float, ...]:
        """Return by how much a version's bounded loss is smaller than the live one's on each row of the holdout."""
        artefact = open_artefact(self.store.root / self.live.name / version)
        try:
            loss = BoundedLoss.of(self.live.predictor.task, drift_reference(self.live))
        except MonitoringError:
            # An older release set no bound; promotion then starts from nothing.
            return ()
        before, after = (
            loss.values(version.predictor.predict_batch(rows.batch).raw, rows.labels)
            for version in (self.live, artefact)
            for rows in [labeled_rows(version, self.rows.holdout)]
        )
        return tuple((before - after).tolist())

    def _train(self, task: CandidateTask) -> Artefact:
        live, kind = self.live, task.kind
        config = self._config(task)
        if kind == "tune" and task.judged is None:
            config = self._tuned(config)
        is_warm = kind == "warm_start"
        trained, report = train_and_score(
            candidate_data(kind, live, self.rows, config),
            model_of(config),
            config,
            live.predictor,
            progress=self.progress,
            start=warm_start(live) if is_warm else None,
            clock=perf_counter,
        )
        config_path = next(live.folder / name for name in live.manifest["files"] if name in CONFIG_NAMES)
        recipe = Provenance(
            config,
            live.manifest["model"]["kind"],
            read_document(config_path),
            (),
            self.fingerprint,
            live.version if is_warm else None,
            learned_rows(live) if is_warm else None,
            n_recent=self.rows.n_recent,
        )
        judged = {} if task.judged is None else {"judged": task.judged}
        origin = {"retraining": {"kind": kind, "from": live.version, "reason": self.reason, **judged}}
        return open_artefact(write_version(self.store, trained, report, recipe, moment=Moment.now(), more=origin))

    def _config(self, task: CandidateTask) -> Config:
        """Return the config of the live version, or of the version that was judged, for the rows of a candidate."""
        is_final = task.judged is not None
        config = self.config
        if task.judged is not None:
            config = resolve(open_artefact(self.store.root / self.live.name / task.judged).config, self.shelves)
        split = self.rows.split(task.kind, is_final=is_final)
        training = config.training.model_copy(update={"split": split, "refit_full": is_final})
        source = {"path": str(self.path.resolve()), "query": None, "kind": None, "delimiter": None}
        return config.model_copy(update={"training": training, "data": config.data.model_copy(update=source)})

    def _tuned(self, config: Config) -> Config:
        """Return the config with the best settings of a new study."""
        with needs_extra("train", "retraining with tune"):
            from estimator import tuning
        with scratch_folder() as scratch:
            study_settings = config.tuning.model_copy(update={"study": str(scratch / "journal.log")})
            config = config.model_copy(update={"tuning": study_settings})
            spec = tuning.StudySpec.of(config, SHELF.name_of(type(config.model)), {}, scratch)
            space = tuning.Space.of(config, self.shelves)
            search = tuning.Search.of(space, tuning.TuningRows(self.rows.frame, config, self.live.schema, 1))
            current = search.space.current()
            with tuning.open_study(spec, current, fresh=True, environment=self.environment) as study:
                tuning.run_search(study, search, progress=self.progress)
                edits = tuning.evaluate_search(study, search, progress=self.progress).edits
        best: Config = search.space.varied(edits)
        return best


def regression(old: Comparison) -> float:
    """Return by what fraction a candidate is worse on old rows; negative where it is better."""
    return -old.gain.value / max(abs(old.first), 1e-12)


def updated_schema(schema: Schema, rows: RetrainingRows, split: Split) -> Schema:
    """Return the schema with the categories and ranges of a candidate's rows; reviewed settings stay."""
    overrides = {
        column.name: ColumnOverride(
            kind=column.kind,
            nullable=column.nullable,
            na_values=column.na_values,
            range=column.range,
            unknown=column.unknown,
            unit=column.unit,
            aliases=column.aliases,
            strip=column.strip,
            thousands=column.thousands,
            decimal=column.decimal,
            units=column.units,
            pattern=column.pattern,
            ignore_case=column.ignore_case,
            replace=column.replace,
            date_formats=column.date_formats,
            on_missing=column.on_missing,
            required=column.required,
            default=column.default,
        )
        for column in (*schema.columns, schema.target)
    }
    frame = with_schema_names(schema, rows.frame)
    learned = frame.slice(rows.n_old) if split.unused == f"1-{rows.n_old}" else frame
    inferred = infer_schema(
        select_columns(learned, [column for column in learned.columns if column in overrides]),
        schema.target.name,
        overrides=overrides,
        unknown_columns=schema.unknown_columns,
    )
    used = {column.name: column.used for column in schema.columns}
    columns = tuple(replace(column, used=used.get(column.name, True)) for column in inferred.columns)
    return replace(inferred, columns=columns)


def row_ranges(numbers: np.ndarray[Any, Any] | Sequence[int]) -> str:
    """Return row numbers as ranges.

    >>> row_ranges(np.array([1, 2, 3, 7]))
    '1-3,7-7'
    """
    if not len(numbers):
        return ""
    rows = np.asarray(numbers)
    breaks = np.flatnonzero(np.diff(rows) > 1)
    starts, ends = np.append(rows[0], rows[breaks + 1]), np.append(rows[breaks], rows[-1])
    return ",".join(f"{first}-{last}" for first, last in zip(starts.tolist(), ends.tolist(), strict=True))
