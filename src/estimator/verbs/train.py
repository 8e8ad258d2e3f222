"""train: a config -> a version of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from estimator.config import Config
from estimator.config.reader import LoadedConfig
from estimator.core.clock import Moment
from estimator.core.scratch import scratch_on_demand
from estimator.data.stored_table import read_table
from estimator.data.tables import FrameSource, as_frame
from estimator.engine import LOCAL, open_engine
from estimator.errors import EstimatorError
from estimator.models import Model, Progress, model_of, silent, stage
from estimator.store.artefact import MANIFEST, Artefact, open_artefact
from estimator.store.learned_rows import MAX_REPEATED, learned_rows
from estimator.store.signature import key_file
from estimator.store.store import Store
from estimator.training import forecast as forecasts
from estimator.training import version as versions
from estimator.training.forecast import Forecast
from estimator.training.made_features import make_features
from estimator.training.out_of_core import fits_memory, prepare_and_plan
from estimator.training.plan import unplanned_notes
from estimator.training.prepare import PreparedData, prepare
from estimator.training.refit import train_and_score
from estimator.training.report import Report
from estimator.training.reproduction import warm_start
from estimator.training.train import TrainedModel
from estimator.verbs.context import ConfigReference, Context, kind_of


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version that has just been trained, in a store; `alias` is the one that points at it."""

    store: Store
    artefact: Artefact
    trained: TrainedModel
    report: Report
    alias: str
    seconds: float


def train(
    conf: ConfigReference,
    context: Context | None = None,
    *,
    data: Any = None,
    continue_from: str | None = None,
    progress: Progress = silent,
) -> NewVersion:
    """Train what a config describes and keep it as a version.

    The config is a file, an address or a dictionary. `data`, a polars or pandas frame or rows as dicts, are the rows
    in place of those it names. The first version of a model is live at once; later ones are the candidate until they
    are promoted. With `continue_from`, or the config's `training.pretrained`, training starts from the weights of an
    earlier version.
    """
    start_seconds, context = perf_counter(), context or Context()
    rows = None if data is None else FrameSource(rows=as_frame(data))
    loaded = context.loaded(conf, rows)
    config, store = loaded.config, context.store(loaded.config)
    earlier = _earlier_version(continue_from, loaded, replace(context, store_path=str(store.location)))
    start = None if earlier is None else warm_start(earlier)
    store.storage.check_writable()
    with ExitStack() as stack:
        engine = stack.enter_context(open_engine(context.engine(config)))
        ready = _ready(loaded, context, store, stack, rows, progress=progress)
        prepared, config, made_notes = make_features(ready.prepared, ready.config, start, progress=progress)
        context.notes.add((*prepared.notes, *ready.notes, *made_notes))
        context.notes.add(versions.reject_credentials_in_rows(prepared, config, kind_of(config)))
        live = _live_version(store, str(config.name))
        trained, report = train_and_score(
            prepared,
            model_of(config),
            config,
            None if live is None else live.predictor,
            progress=progress,
            start=start,
            clock=perf_counter,
            engine=LOCAL if ready.forecast.is_stored else engine,
        )
        report = replace(report, notes=(*report.notes, *_learned_notes(prepared, live, earlier)))
        context.notes.add(report.notes)
        progress(stage("report and version"))
        provenance = versions.Provenance(
            config,
            kind_of(config),
            loaded.document,
            context.overrides,
            ready.fingerprint,
            _parent(earlier, config),
            None if earlier is None else learned_rows(earlier),
        )
        folder, alias = versions.save_version(store, trained, report, provenance, moment=Moment.now())
        artefact = open_artefact(folder)
        context.notes.add(artefact.manifest["data"]["notes"])
        if not artefact.is_own:
            context.notes.add([f"{artefact.version} is not signed: the key cannot be kept at {key_file()}"])
        return NewVersion(store, artefact, trained, report, alias, perf_counter() - start_seconds)


def forecast(conf: ConfigReference, context: Context) -> Forecast:
    """Estimate what training a config takes: memory, disk and time, at a small part of its cost."""
    start_seconds = perf_counter()
    loaded = context.loaded(conf)
    with ExitStack() as stack:
        ready = _ready(loaded, context, context.store(loaded.config), stack)
        context.notes.add((*ready.prepared.notes, *ready.notes))
        prepared, config, before = ready.prepared, ready.config, perf_counter() - start_seconds
        counted, model = replace(ready.forecast, engine=str(context.engine(config))), model_of(config)
        return forecasts.with_time(counted, prepared, model, config, clock=perf_counter, seconds_before=before)


@dataclass(frozen=True, slots=True)
class _Ready:
    """Rows that were split, and how a model is fitted to them."""

    prepared: PreparedData
    config: Config
    forecast: Forecast
    notes: Sequence[str]
    fingerprint: Mapping[str, str]


def _ready(
    loaded: LoadedConfig,
    context: Context,
    store: Store,
    stack: ExitStack,
    rows: FrameSource | None = None,
    *,
    progress: Progress = silent,
) -> _Ready:
    """Read, split and plan; what does not fit into memory is in files until the stack is closed."""
    scratch = loaded.config.training.scratch
    parent = store.storage.disk if scratch is None else loaded.document.folder / Path(scratch).expanduser()
    opened = stack.enter_context(scratch_on_demand(parent))
    progress(stage("reading the table"))
    table = context.table(loaded, rows, lambda batches: read_table(batches, opened, fits_memory(loaded.config)))
    progress(stage("checking and splitting rows"))
    prepared, config, counted, notes = prepare_and_plan(
        table.frame,
        loaded.config,
        table.schema,
        opened,
        store.storage.disk,
        source_notes=table.notes,
        clock=perf_counter,
    )
    if counted.is_stored and (engine := str(context.engine(loaded.config))) != "local":
        notes = (*notes, f"engine: {engine} fits nothing, as rows in files of this machine are fitted here")
    return _Ready(prepared, config, counted, notes, table.fingerprint)


def prepared_rows(conf: ConfigReference, context: Context) -> tuple[PreparedData, Config, Model]:
    """Read and split the rows of a config; return them with the config and its model."""
    loaded = context.loaded(conf)
    table = context.table(loaded)
    prepared = prepare(table.frame, loaded.config, table.schema, source_notes=table.notes)
    context.notes.add((*prepared.notes, *unplanned_notes(loaded.config)))
    return prepared, loaded.config, model_of(loaded.config)


def _earlier_version(continue_from: str | None, loaded: LoadedConfig, context: Context) -> Artefact | None:
    """Return the version to continue from: one in the store, or a folder that is relative to the config's."""
    reference = continue_from or loaded.config.training.pretrained
    if reference is None:
        return None
    folder = loaded.document.folder / reference
    return context.version(folder if (folder / MANIFEST).is_file() else reference)


def _parent(earlier: Artefact | None, config: Config) -> str | None:
    """Return the name of an earlier version as the manifest has it: with its model's, if that is another."""
    if earlier is None or earlier.name == config.name:
        return None if earlier is None else earlier.version
    return f"{earlier.name}/{earlier.version}"


def _live_version(store: Store, name: str) -> Artefact | None:
    """Return the live version to compare with; a damaged one must not keep a new version from being trained."""
    if "live" not in store.aliases(name):
        return None
    try:
        live = open_artefact(store.folder(*store.find(f"{name}@live")))
        _ = live.predictor  # read from its files once, here
    except EstimatorError:
        return None
    return live


def _learned_notes(prepared: PreparedData, live: Artefact | None, earlier: Artefact | None) -> list[str]:
    """Return whose scores on the held-out rows are too good, as that version has learned from some of them."""
    notes, test = [], prepared.test_rows
    for version, effect in (
        (live, "so its scores, next to those of the new one, are too good"),
        (earlier, "and training continues from it, so the scores are too good"),
    ):
        learned = None if version is None else learned_rows(version)
        if version is None or learned is None or not learned.is_decisive or version.predictor.task != prepared.task:
            continue
        if not set(learned.columns) <= set(test.batch.feed):
            continue
        n_learned = int(learned.contains(test.batch, test.target, prepared.task).sum())
        if n_learned > MAX_REPEATED * test.batch.n_rows:
            rows = f"{n_learned:,} of the {test.batch.n_rows:,} held-out rows"
            notes.append(f"{version.version} has learned from {rows}, {effect}")
    return notes
