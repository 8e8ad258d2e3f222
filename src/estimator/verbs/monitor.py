"""monitor: a model's prediction log -> drift, performance, events; once, or continuously with what follows."""

from __future__ import annotations

import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from estimator.config import Monitoring, Promotion, Retraining, Serving, resolve_section
from estimator.config.section import Section
from estimator.core.files import write_atomic
from estimator.errors import (
    EstimatorError,
    MissingExtraError,
    MonitoringError,
    RetrainingError,
    StoreError,
    TrustError,
    needs_extra,
)
from estimator.monitoring.alerts import alert_data, alert_text, check_alerts
from estimator.monitoring.events import Event
from estimator.monitoring.loop import LoopSettings, MonitorLoop
from estimator.monitoring.overview import Overview, overview
from estimator.monitoring.page import monitoring_page
from estimator.monitoring.records import drift_reference
from estimator.prediction_log import PredictionLog, open_log
from estimator.store.artefact import Artefact
from estimator.verbs.context import SHELVES, Context

if TYPE_CHECKING:
    from estimator.monitoring.retrain import Retrainer

__all__ = [
    "MonitoredModel",
    "alert_data",
    "alert_text",
    "follow",
    "loop_settings",
    "monitor",
    "opened_log",
    "retrainer",
    "write_page",
]

PAUSE_SECONDS = 1.0
AnySection = TypeVar("AnySection", bound=Section)


@dataclass(frozen=True, slots=True)
class MonitoredModel:
    """A model, by its name or a version, its log, and a config whose settings apply instead of the version's own.

    Paths of the version's own data start in `folder`.
    """

    reference: str
    log: str | None = None
    conf: Path | None = None
    folder: Path = Path()


def monitor(model: MonitoredModel, context: Context, *, since: float | None, until: float) -> Overview:
    """Return what a model's log holds of a time span, in seconds since 1970; without `since`, of all rows."""
    artefact = context.version(model.reference)
    settings = loop_settings(artefact, context, model.conf).monitoring
    with opened_log(model, artefact, context) as log:
        alias_changes = context.store().history(artefact.name)
        return overview(artefact, log, alias_changes, settings, since=since, until=until)


def write_page(monitored: Overview, path: Path) -> None:
    """Write an overview as one offline HTML page."""
    write_atomic(path, monitoring_page(monitored))


def follow(
    model: MonitoredModel,
    context: Context,
    *,
    report: Callable[[Event], None],
    note: Callable[[str], None],
    now: Callable[[], float] = time.time,
) -> None:
    """Monitor a model's log until the process is stopped, and do what its config says follows."""
    artefact = context.version(model.reference)
    settings = loop_settings(artefact, context, model.conf)
    check_alerts(settings.monitoring.alerts, context.environment)
    drift_reference(artefact)
    with opened_log(model, artefact, context) as log:
        note(_begin(artefact, settings))
        loop = MonitorLoop(
            context.store(),
            log,
            artefact.name,
            settings,
            holder=f"{socket.gethostname()}:{os.getpid()}",
            environment=context.environment,
            retrainer=_usable_retrainer(artefact, settings, model, context, note),
            note=note,
        )
        try:
            fault = None
            while True:
                try:
                    for event in loop.step(now()):
                        report(event)
                    fault = None
                except EstimatorError as error:
                    # A database that is away for a while, or a version that cannot be opened, may come back.
                    if error.message != fault:
                        note(f"monitoring is paused: {error.message}")
                    fault = error.message
                except Exception as error:
                    # A defect in one step must not end the schedule.
                    message = _unexpected(error)
                    if message != fault:
                        note(message)
                    fault = message
                time.sleep(PAUSE_SECONDS)
        finally:
            loop.close()


def _unexpected(error: Exception) -> str:
    """Return an error that is not of this package, and where it was raised, as a sentence."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    what = f"{type(error).__name__}: {error}".strip(": ")
    return f"monitoring is paused by an unexpected error, and goes on: {what} ({place.filename}:{place.lineno})"


def _begin(artefact: Artefact, settings: LoopSettings) -> str:
    """Return what is watched, how often, and how to stop it."""
    checks = f"new rows every {PAUSE_SECONDS:.0f} s, scheduled checks every {settings.monitoring.every}"
    retraining = f", retraining every {settings.retraining.every}" if settings.retraining.every else ""
    return f"monitoring the prediction log of {artefact.name}: {checks}{retraining}; stop with Ctrl-C"


def loop_settings(artefact: Artefact, context: Context, conf: Path | None = None) -> LoopSettings:
    """Return the monitoring, retraining and promotion of a config, else of the one that made the version.

    Raises
    ------
    ConfigError: an override is of another section, and would do nothing.
    """
    context.reject_overrides(except_sections=("data", "monitoring", "retraining", "promotion"))
    if conf is not None:
        config = context.config(conf)
        return LoopSettings(config.monitoring, config.retraining, config.promotion)

    def section(name: str, kind: type[AnySection]) -> AnySection:
        stored: Mapping[str, Any] = artefact.config.get(name, {})
        return resolve_section(name, kind, stored, context.environment, overrides=context.overrides)

    return LoopSettings(
        section("monitoring", Monitoring), section("retraining", Retraining), section("promotion", Promotion)
    )


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
            f"{artefact.name}: no prediction log is configured",
            hint="pass --log with the value of `estimator serve --log`, or set serving.prediction_log",
        )
    log = open_log(url, Path(), context.environment, must_exist=True)
    try:
        yield log
    finally:
        log.close()


def retrainer(model: MonitoredModel, settings: Retraining, context: Context, *, isolated: bool = True) -> Retrainer:
    """Return what retrains a model; `isolated` trains candidates in a process that may die without this one.

    Raises
    ------
    MissingExtraError: training is not installed.
    StoreError: the store is not in a folder.
    """
    context.store().check_local()
    with needs_extra("train", "retraining"):
        from estimator.monitoring.retrain import Retrainer
    if model.conf is not None:
        context = replace(context, own_data=context.config(model.conf).data)
    rows = partial(context.training_rows, folder=model.folder)
    command = (sys.executable, "-m", "estimator", "retrain", model.reference, "--job") if isolated else None
    return Retrainer(context.store(), SHELVES, settings, context.environment, rows, command)


def _usable_retrainer(
    artefact: Artefact, settings: LoopSettings, model: MonitoredModel, context: Context, note: Callable[[str], None]
) -> Retrainer | None:
    """Return the retrainer that the settings ask for; report at once what would make a later retraining fail."""
    actions = (settings.monitoring.on_drift, settings.monitoring.on_degradation)
    if "retrain" not in actions and settings.retraining.every is None:
        return None
    try:
        usable = retrainer(model, settings.retraining, context)
    except (MissingExtraError, StoreError) as error:
        note(f"retraining will not be possible: {error.message}; {error.hint}")
        return None
    try:
        usable.check_data(artefact)
    except EstimatorError as error:
        has_hint = isinstance(error, (RetrainingError, TrustError))
        hint = error.hint if has_hint else "pass --folder, where the version's data paths start"
        note(f"retraining will not be possible: {error.message}; {hint}")
    return usable
