"""Fresh rows -> candidates from the same recipe, judged beside the live version on rows that nobody learned from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import polars as pl

from estimator.config import Config, Split
from estimator.core.arrays import Floats
from estimator.core.clock import Moment
from estimator.core.files import temporary_file, write_atomic
from estimator.core.text import format_e_value
from estimator.data.schema import Schema
from estimator.data.schema.frames import with_schema_names
from estimator.data.schema.inference import ColumnOverride, infer_schema
from estimator.drift import losses_of
from estimator.errors import EstimatorError, RetrainingError
from estimator.models import Model, Progress, WarmStart
from estimator.monitoring.promotion import Paired
from estimator.store.artefact import Artefact, open_artefact
from estimator.store.batch_prediction import labelled_rows
from estimator.store.store import Store
from estimator.training.comparison import Comparison, compare_versions
from estimator.training.prepare import prepare
from estimator.training.report import evaluate_training
from estimator.training.train import train
from estimator.training.version import Provenance, write_version

Kind = Literal["warm_start", "refit", "new_only", "tune"]
ROWS = "rows"
# Fewer fresh rows can neither be learned from nor judged on.
LEAST_ROWS = 40
WORDS = {
    "warm_start": "the live version, trained on with the fresh rows",
    "refit": "trained anew on old and fresh rows",
    "new_only": "trained anew on the fresh rows alone",
    "tune": "trained anew on old and fresh rows, with settings searched again",
}


@dataclass(frozen=True)
class Rows:
    """All rows of a retraining, in one table: `n_old` old ones, then fresh ones to learn from, then those to judge on.

    Of the old ones, `seen` marks those that the live version learned from; it is judged on the others for what a
    candidate has forgotten.
    """

    frame: pl.DataFrame
    n_old: int
    n_learned: int
    seen: np.ndarray[Any, np.dtype[np.bool_]]

    @property
    def judged(self) -> pl.DataFrame:
        """The newest rows, which no candidate learns from."""
        return self.frame.slice(self.n_old + self.n_learned)

    @property
    def kept_apart(self) -> pl.DataFrame:
        """The old rows that no version has learned from."""
        return self.frame.head(self.n_old).filter(pl.Series(~self.seen))

    def split(self, kind: Kind) -> Split:
        """Return how the table is parted for a candidate."""
        n_before = self.n_old + self.n_learned
        unused = f"1-{self.n_old}" if kind in ("warm_start", "new_only") else _ranges(np.flatnonzero(~self.seen) + 1)
        return Split(kind="rows", test=f"{n_before + 1}-{self.frame.height}", unused=unused or None)


@dataclass(frozen=True)
class Candidate:
    """One way to renew a version, and how it fared: beside the live one on fresh rows, and on old ones.

    `evidence` is that of its losses being smaller, 1 where there is none. `forgot` is by what share it is worse on old
    rows. `problem` says why there is no version.
    """

    kind: Kind
    version: str | None = None
    compared: tuple[Comparison, ...] = ()
    old: Comparison | None = None
    evidence: float = 1.0
    forgot: float | None = None
    seconds: float = 0.0
    problem: str | None = None

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {
            **asdict(replace(self, compared=(), old=None)),
            "compared": [one.to_data() for one in self.compared],
            "old": None if self.old is None else self.old.to_data(),
        }


@dataclass(frozen=True)
class Decision:
    """What came of a retraining: all candidates, which one was chosen, None for none, and why."""

    model: str
    live: str
    time: str
    why: str
    rows: Mapping[str, int]
    candidates: tuple[Candidate, ...]
    chosen: str | None
    reasons: tuple[str, ...]

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {**asdict(replace(self, candidates=())), "candidates": [each.to_data() for each in self.candidates]}


@dataclass(frozen=True)
class Request:
    """What is to be renewed from what, and how: `searched` finds settings anew for a table, None where nobody does."""

    live: Artefact
    config: Config
    model: Model
    start: WarmStart
    kinds: Sequence[Kind]
    max_regression: float
    why: str
    searched: Callable[[Config, pl.DataFrame], tuple[Config, Model]] | None = None


def deal(old: pl.DataFrame, seen: Any, fresh: pl.DataFrame, *, holdout_size: float, target: str) -> Rows:
    """Put old and fresh rows together; the newest of the fresh ones, which come in the order of time, are judged on.

    Raises
    ------
    RetrainingError: there are too few fresh rows with a truth.
    """
    known = fresh.filter(pl.col(target).is_not_null()) if target in fresh.columns else fresh.clear()
    if known.height < LEAST_ROWS:
        raise RetrainingError(
            f"{known.height:,} fresh rows with a truth in {target!r} are too few; {LEAST_ROWS} are needed at least",
            hint="wait for more labels, or give more rows with --data",
        )
    n_judged = min(max(round(known.height * holdout_size), LEAST_ROWS // 4), known.height - LEAST_ROWS // 4)
    return Rows(joined(old, known), old.height, known.height - n_judged, np.asarray(seen, dtype=np.bool_))


def joined(old: pl.DataFrame, fresh: pl.DataFrame) -> pl.DataFrame:
    """Return old rows and then fresh ones; where a column is of another type in both, both are text."""
    if missing := sorted(set(old.columns) - set(fresh.columns)):
        raise RetrainingError(
            f"the fresh rows have no column {missing[0]!r}", hint="give the rows as the version was trained on them"
        )
    both = []
    for frame in (old, fresh.select(old.columns)):
        differ = [name for name in old.columns if old.schema[name] != fresh.schema[name]]
        both.append(frame.with_columns([_as_text(frame[name]) for name in differ]))
    return pl.concat(both)


def _as_text(values: pl.Series) -> pl.Series:
    """Return values as they would be written; whole numbers without a fraction."""
    if values.dtype.is_float() and (values.drop_nulls() % 1 == 0).all():
        values = values.cast(pl.Int64)
    return values.cast(pl.String)


def retrain(
    request: Request, store: Store, rows: Rows, *, progress: Progress, note: Callable[[str], None] = lambda text: None
) -> Decision:
    """Make candidates, judge all on the same rows, and let the best be the candidate of the store, if one is better.

    What was found is kept beside the versions, as decision.json in a folder of its own.
    """
    path, fingerprint = _kept_rows(rows, store, request.live.name)
    made = []
    for kind in request.kinds:
        note(f"{kind}: {WORDS[kind]}")
        made.append(_candidate(kind, request, store, rows, (path, fingerprint), progress))
    decision = decide(request, rows, made)
    if decision.chosen is not None:
        store.announce(
            request.live.name, decision.chosen, reason="; ".join(decision.reasons), moment=Moment.now()
        )  # fmt: skip
    return decision


def _candidate(
    kind: Kind, request: Request, store: Store, rows: Rows, table: tuple[Path, Mapping[str, str]], progress: Progress
) -> Candidate:
    began = perf_counter()
    try:
        artefact = _made(kind, request, store, rows, table, progress)
        compared = tuple(compare_versions(request.live, artefact, rows.judged))
        old = compare_versions(request.live, artefact, rows.kept_apart)[0] if rows.kept_apart.height else None
        losses = [_losses(each, rows) for each in (request.live, artefact)]
        evidence = Paired()
        evidence.take(losses[0] - losses[1])
    except EstimatorError as error:
        return Candidate(kind, problem=error.message, seconds=perf_counter() - began)
    return Candidate(
        kind, artefact.version, compared, old, evidence.evidence, None if old is None else forgotten(old),
        perf_counter() - began,
    )  # fmt: skip


def forgotten(old: Comparison) -> float:
    """Return by what share a candidate is worse on old rows; less than 0 where it is better."""
    return -old.gain.value / max(abs(old.first), 1e-12)


def _losses(artefact: Artefact, rows: Rows) -> Floats:
    batch, truth = labelled_rows(artefact, rows.judged)
    return losses_of(artefact.predictor.task, artefact.predictor.predict_batch(batch), truth)


def _made(
    kind: Kind, request: Request, store: Store, rows: Rows, table: tuple[Path, Mapping[str, str]], progress: Progress
) -> Artefact:
    path, fingerprint = table
    live, split = request.live, rows.split(kind)
    training = request.config.training.model_copy(update={"split": split})
    data = request.config.data.model_copy(update={"path": str(path), "query": None, "kind": None, "separator": None})
    config = request.config.model_copy(update={"training": training, "data": data})
    model = request.model
    if kind == "tune":
        if request.searched is None:
            raise RetrainingError("tune: there is nothing to search settings with here")
        config, model = request.searched(config, rows.frame)
    schema = live.schema if kind == "warm_start" else renewed(live.schema, rows, split)
    prepared = prepare(rows.frame, config, schema)
    start = request.start if kind == "warm_start" else None
    trained = train(prepared, model, config, progress=progress, start=start, clock=perf_counter)
    report = evaluate_training(trained, config, live.predictor)
    conf = next(live.folder / name for name in live.manifest["files"] if name in CONFIGS)
    made_of = live.version if kind == "warm_start" else None
    recipe = Provenance(config, live.manifest["model"]["kind"], conf, (), fingerprint, made_of)
    told = {"retraining": {"kind": kind, "from": live.version, "why": request.why}}
    return open_artefact(write_version(store, trained, report, recipe, moment=Moment.now(), more=told))


CONFIGS = ("config.json", "config.yml", "config.yaml", "config.toml")


def renewed(schema: Schema, rows: Rows, split: Split) -> Schema:
    """Return the contract with the levels and ranges of a candidate's rows; kinds and what was settled stay."""
    settled = {
        column.name: ColumnOverride(
            kind=column.kind, nullable=column.nullable, na_values=column.na_values, range=column.range,
            unknown=column.unknown, unit=column.unit,
            aliases=column.aliases, strip=column.strip, thousands=column.thousands, decimal=column.decimal,
            units=column.units, pattern=column.pattern, ignore_case=column.ignore_case, replace=column.replace,
            date_formats=column.date_formats,
        )
        for column in (*schema.columns, schema.target)
    }  # fmt: skip
    frame = with_schema_names(schema, rows.frame)
    learned = frame.slice(rows.n_old) if split.unused == f"1-{rows.n_old}" else frame
    found = infer_schema(
        learned.select(column for column in learned.columns if column in settled), schema.target.name,
        overrides=settled, unknown_columns=schema.unknown_columns,
    )  # fmt: skip
    used = {column.name: column.used for column in schema.columns}
    columns = tuple(replace(column, used=used.get(column.name, True)) for column in found.columns)
    return replace(found, columns=columns)


def decide(request: Request, rows: Rows, made: Sequence[Candidate]) -> Decision:
    """Choose the candidate that gained most on fresh rows and has not forgotten the old ones; say why."""
    reasons, able = [], []
    for each in made:
        reason, is_able = _verdict(each, request.max_regression)
        reasons.append(f"{each.kind}: {reason}")
        able += [each] if is_able else []
    best = max(able, key=lambda each: each.compared[0].gain.value, default=None)
    told = f"chosen: {best.kind}" if best is not None else "the live version stays: no candidate is better"
    counted = {
        "old": rows.n_old, "new": rows.n_learned, "judged": rows.judged.height, "kept_apart": rows.kept_apart.height
    }  # fmt: skip
    return Decision(
        request.live.name, request.live.version, Moment.now().iso, request.why, counted, tuple(made),
        None if best is None else best.version, (told, *reasons),
    )  # fmt: skip


def _verdict(candidate: Candidate, max_regression: float) -> tuple[str, bool]:
    """Return why a candidate may be chosen or not, and whether it may."""
    if candidate.problem is not None:
        return candidate.problem, False
    first = candidate.compared[0]
    told = first.sentence
    if candidate.forgot is not None and candidate.forgot > max_regression:
        return f"{told}; it has forgotten: {candidate.forgot:+.0%} on old rows, {max_regression:.0%} may be", False
    if first.verdict == "not better" or first.gain.value <= 0:
        return told, False
    beside = "" if candidate.forgot is None else f"; on old rows {candidate.forgot:+.1%}"
    return f"{told}; evidence {format_e_value(candidate.evidence)}{beside}", True


def keep_decision(decision: Decision, store: Store, page: bytes, data: bytes) -> Path:
    """Keep the record of a decision in the model's folder; return the folder of the record."""
    folder = store.root / decision.model / "decisions" / decision.time.replace(":", "-")
    write_atomic(folder / "decision.json", data)
    write_atomic(folder / "decision.html", page)
    return folder


def _kept_rows(rows: Rows, store: Store, model: str) -> tuple[Path, Mapping[str, str]]:
    """Keep the table beside the versions, so that each of them can be made again; return its path and its hash."""
    folder = store.root / model / ROWS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary_file(folder) as temporary:
            rows.frame.write_parquet(temporary, compression="zstd")
            digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
            path = folder / f"{digest[:16]}.parquet"
            temporary.replace(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RetrainingError(f"{folder}: cannot be written: {error}", hint="choose another --store") from error
    return path, {path.name: digest}


def _ranges(numbers: Any) -> str:
    """Return row numbers as ranges.

    >>> _ranges(np.array([1, 2, 3, 7]))
    '1-3,7-7'
    """
    if not len(numbers):
        return ""
    breaks = np.flatnonzero(np.diff(numbers) > 1)
    starts, ends = np.append(numbers[0], numbers[breaks + 1]), np.append(numbers[breaks], numbers[-1])
    return ",".join(f"{first}-{last}" for first, last in zip(starts.tolist(), ends.tolist(), strict=True))
