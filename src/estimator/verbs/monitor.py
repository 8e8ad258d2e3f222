"""monitor: a model's prediction log -> drift, performance, events; once, or continuously with what follows."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from estimator import verbs
from estimator.config import Monitoring, Promotion, Retraining, Serving, resolve_section
from estimator.config.section import Section
from estimator.core.files import write_atomic
from estimator.errors import EstimatorError, MonitoringError
from estimator.monitoring.alerts import check_alerts, data_of, text_of
from estimator.monitoring.events import Event
from estimator.monitoring.loop import Loop, Rules
from estimator.monitoring.overview import Overview, overview
from estimator.monitoring.page import monitoring_page
from estimator.monitoring.rows import reference_of
from estimator.prediction_log import PredictionLog, open_log
from estimator.store.artefact import Artefact
from estimator.verbs.context import Context, config_of

__all__ = ["MonitoredModel", "data_of", "follow", "monitor", "opened_log", "rules_of", "text_of", "write_page"]

PAUSE_SECONDS = 1.0
Kept = TypeVar("Kept", bound=Section)


@dataclass(frozen=True, slots=True)
class MonitoredModel:
    """A model, by its name or a version, its log, and a config whose rules apply instead of the version's own.

    Paths of the version's own data start in `folder`.
    """

    reference: str
    log: str | None = None
    conf: Path | None = None
    folder: Path = Path()


def monitor(model: MonitoredModel, context: Context, *, since: float | None, until: float) -> Overview:
    """Return what a model's log holds of a time span, in seconds since 1970; without `since`, of all rows."""
    artefact = context.version(model.reference)
    settings = rules_of(artefact, context, model.conf).monitoring
    with opened_log(model, artefact, context) as database:
        moves = context.store().history(artefact.name)
        return overview(artefact, database, moves, settings, since=since, until=until)


def write_page(monitored: Overview, path: Path) -> None:
    """Write an overview as one offline HTML page."""
    write_atomic(path, monitoring_page(monitored))


def follow(
    model: MonitoredModel,
    context: Context,
    *,
    report: Callable[[Event], None],
    note: Callable[[str], None],
    is_wanted: Callable[[], bool] = lambda: True,
    now: Callable[[], float] = time.time,
) -> None:
    """Monitor a model's log for as long as `is_wanted` says, and do what its config says follows."""
    artefact = context.version(model.reference)
    rules = rules_of(artefact, context, model.conf)
    check_alerts(rules.monitoring.alerts, context.environment)
    reference_of(artefact)
    _check_retraining(artefact, rules, model, context, note)
    with opened_log(model, artefact, context) as database:
        holder = f"{socket.gethostname()}:{os.getpid()}"
        retrain = partial(_retrained, model, context, artefact.name)
        loop = Loop(context.store(), database, artefact.name, rules, holder, context.environment, retrain, note)
        try:
            fault = None
            while is_wanted():
                try:
                    for event in loop.step(now()):
                        report(event)
                    fault = None
                except EstimatorError as error:
                    # A database that is away for a while, or a version that cannot be opened, may come back.
                    if error.message != fault:
                        note(f"monitoring is paused: {error.message}")
                    fault = error.message
                time.sleep(PAUSE_SECONDS)
        finally:
            loop.close()


def rules_of(artefact: Artefact, context: Context, conf: Path | None = None) -> Rules:
    """Return the monitoring, retraining and promotion of a config, else of the one that made the version."""
    if conf is not None:
        config = context.config(conf)
        return Rules(config.monitoring, config.retraining, config.promotion)

    def section(name: str, kind: type[Kept]) -> Kept:
        kept: Mapping[str, Any] = artefact.config.get(name, {})
        return resolve_section(name, kind, kept, context.environment, overrides=context.overrides)

    return Rules(section("monitoring", Monitoring), section("retraining", Retraining), section("promotion", Promotion))


@contextmanager
def opened_log(model: MonitoredModel, artefact: Artefact, context: Context) -> Iterator[PredictionLog]:
    """Open the log that is named, else the one that the version's config names.

    Raises
    ------
    MonitoringError: neither names one.
    """
    serving = resolve_section("serving", Serving, artefact.config["serving"], context.environment)
    url = model.log or serving.prediction_log
    if url is None:
        raise MonitoringError(
            f"{artefact.name}: no prediction log is configured, so there is nothing to monitor",
            hint="pass --log with the value of `estimator serve --log`, or set serving.prediction_log",
        )
    database = open_log(url, Path(), context.environment, must_exist=True)
    try:
        yield database
    finally:
        database.close()


def _check_retraining(
    artefact: Artefact, rules: Rules, model: MonitoredModel, context: Context, note: Callable[[str], None]
) -> None:
    """Report at once what would make a later retraining fail."""
    actions = (rules.monitoring.on_drift, rules.monitoring.on_degradation)
    if "retrain" not in actions and rules.retraining.every is None:
        return
    try:
        with context.rows(config_of(artefact).data, model.folder) as source:
            source.fingerprint()
    except EstimatorError as error:
        note(f"retraining will not be possible: {error.message}; pass --folder, where the version's data paths start")


def _retrained(model: MonitoredModel, context: Context, name: str, why: str) -> str:
    decision = verbs.retrain.retrain(replace(model, reference=name), context, why=why)
    return str(decision.reasons[0])
