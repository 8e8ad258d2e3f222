"""train: a config -> a version of a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from estimator.config import Config
from estimator.core.clock import Moment
from estimator.errors import EstimatorError
from estimator.models import Model, Progress, model_of, silent
from estimator.store.artefact import Artefact, open_artefact
from estimator.store.predictor import Predictor
from estimator.store.store import Store, version_folder
from estimator.training import forecast as forecasts
from estimator.training import report as reports
from estimator.training import train as training
from estimator.training import version as versions
from estimator.training.forecast import Forecast
from estimator.training.prepare import PreparedData, prepare
from estimator.training.report import Report
from estimator.training.reproduction import warm_start
from estimator.verbs.context import Context, kind_of, reviewed_schema


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version that has just been trained; `alias` is the one that points at it."""

    artefact: Artefact
    trained: training.TrainedModel
    report: Report
    alias: str
    seconds: float


def train(
    conf: Path, context: Context | None = None, *, continue_from: str | None = None, progress: Progress = silent
) -> NewVersion:
    """Train what a config describes and keep it as a version.

    The first version of a model is live at once; later ones are the candidate until they are promoted. With
    `continue_from`, training starts from the weights of an earlier version.
    """
    start_seconds, context = perf_counter(), context or Context()
    config = context.config(conf)
    store = context.store(config)
    with context.rows(config.data, conf.parent) as source:
        frame, fingerprint, notes = source.frame(), source.fingerprint(), source.notes()
    start = warm_start(context.version(continue_from)) if continue_from else None
    prepared = prepare(frame, config, reviewed_schema(config, conf.parent), source_notes=notes)
    context.notes.add(prepared.notes)
    forecasts.forecast(prepared, model_of(config), config, store.root).check_resources()
    trained = training.train(prepared, model_of(config), config, progress=progress, start=start, clock=perf_counter)
    report = reports.evaluate_training(trained, config, _live_predictor(store, str(config.name)))
    provenance = versions.Provenance(
        config, kind_of(config), conf, context.overrides, fingerprint, start.version if start else None
    )
    folder, alias = versions.save_version(store, trained, report, provenance, moment=Moment.now())
    return NewVersion(open_artefact(folder), trained, report, alias, perf_counter() - start_seconds)


def forecast(conf: Path, context: Context) -> Forecast:
    """Estimate what training a config takes: memory and disk by counting, time by a trial on some of the rows."""
    prepared, config, model = prepared_rows(conf, context)
    counted = forecasts.forecast(prepared, model, config, context.store(config).root)
    counted.check_resources()
    return forecasts.with_time(counted, prepared, model, config, clock=perf_counter)


def prepared_rows(conf: Path, context: Context) -> tuple[PreparedData, Config, Model]:
    """Read and split the rows of a config; return them with the config and its model."""
    config = context.config(conf)
    with context.rows(config.data, conf.parent) as source:
        frame, notes = source.frame(), source.notes()
    prepared = prepare(frame, config, reviewed_schema(config, conf.parent), source_notes=notes)
    context.notes.add(prepared.notes)
    return prepared, config, model_of(config)


def _live_predictor(store: Store, name: str) -> Predictor | None:
    """Return the live version to compare with; a damaged one must not keep a new version from being trained."""
    if "live" not in store.aliases(name):
        return None
    try:
        return open_artefact(version_folder(store.root / name)).predictor
    except EstimatorError:
        return None
