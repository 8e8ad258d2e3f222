"""What answers come to: watched, judged by truths, renewed by fresh rows, replayed, and told when asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from estimator.config import Config, Monitoring, Promotion, Retraining, Serving, read_config, resolve, resolve_kept
from estimator.config.section import Section
from estimator.errors import EstimatorError, MonitoringError, RetrainingError, SourceError, needs_extra
from estimator.models import Progress, silent
from estimator.store.artefact import Artefact
from estimator.verbs.context import (
    VOCABULARY,
    Order,
    held_out_of,
    kind_of,
    like_training,
    load,
    model_of,
    open_store,
    opened,
    start_from,
)

if TYPE_CHECKING:
    import polars as pl

    from estimator.monitoring.batch_check import Check
    from estimator.monitoring.events import Event
    from estimator.monitoring.loop import Rules
    from estimator.monitoring.overview import Overview
    from estimator.monitoring.replay import Replayed
    from estimator.monitoring.retrain import Decision
    from estimator.prediction_log import PredictionLog, PredictionRecord

PAUSE_SECONDS = 1.0
MOST_REPLAYED = 100_000
Kept = TypeVar("Kept", bound=Section)


@dataclass(frozen=True, slots=True)
class Site:
    """What is watched: a model, by its name or a version, its log, and a config whose rules count, else its own.

    Paths of the version's own data start in `folder`.
    """

    reference: str
    log: str | None = None
    conf: Path | None = None
    folder: Path = Path()


def rules_of(artefact: Artefact, order: Order, conf: Path | None = None) -> Rules:
    """Return what a config, else the one that a version was made with, says of watching and renewing."""
    from estimator.monitoring.loop import Rules

    if conf is not None:
        config = read_config(conf, VOCABULARY, overrides=order.overrides, environment=order.environment)
        return Rules(config.monitoring, config.retraining, config.promotion)

    def section(name: str, kind: type[Kept]) -> Kept:
        kept: Mapping[str, Any] = artefact.config.get(name, {})
        return resolve_kept(name, kind, kept, order.environment, overrides=order.overrides)

    return Rules(
        section("monitoring", Monitoring), section("retraining", Retraining), section("promotion", Promotion)
    )  # fmt: skip


@contextmanager
def _opened_log(site: Site, artefact: Artefact, order: Order) -> Iterator[PredictionLog]:
    """Open the log that is named, else the one that the version's config names."""
    from estimator.prediction_log import open_log

    place = site.log or resolve_kept("serving", Serving, artefact.config["serving"], order.environment).prediction_log
    if place is None:
        raise MonitoringError(
            f"{artefact.name}: no prediction log is named, so nothing can be watched",
            hint="give --log as `estimator serve --log` has it, or set serving.prediction_log",
        )
    database = open_log(place, Path(), order.environment, must_exist=True)
    try:
        yield database
    finally:
        database.close()


def monitor(site: Site, order: Order, *, since: float | None, until: float) -> Overview:
    """Look at what a model's log holds of a time, in seconds since 1970; of all rows without `since`."""
    from estimator.monitoring.overview import overview

    store = open_store(None, order)
    artefact = load(site.reference, store)
    settings = rules_of(artefact, order, site.conf).monitoring
    with _opened_log(site, artefact, order) as database:
        moves = store.history(artefact.name)
        return overview(artefact, database, moves, settings, since=since, until=until)


def check_table(site: Site, order: Order, table: str, *, query: str | None = None) -> Check:
    """Compare the rows of a table with what a version was trained on."""
    with needs_extra("monitor", "checking a table"):
        from estimator.data.schema.frames import read_frame, with_schema_names
        from estimator.drift import Current
        from estimator.monitoring.batch_check import check
        from estimator.monitoring.rows import reference_of
    artefact = load(site.reference, open_store(None, order))
    settings = rules_of(artefact, order, site.conf).monitoring
    reference = reference_of(artefact, settings.ignore)
    with opened(like_training(artefact, table, query), order) as source:
        frame = with_schema_names(artefact.schema, source.frame())
    known = [name for name in frame.columns if name in artefact.schema.by_name]
    batch = read_frame(artefact.schema, frame.select(known), drop_faulty=True)
    if batch.n_rows == 0 or not batch.feed:
        raise SourceError(f"{table}: no row can be compared", hint=str(batch.faults[0]) if batch.faults else None)
    current = Current.of(reference, batch, artefact.predictor.predict_batch(batch))
    return check(reference, current, settings.tests, level=settings.alpha)


def watch(
    site: Site, order: Order, *, tell: Callable[[Event], None], note: Callable[[str], None],
    is_wanted: Callable[[], bool] = lambda: True, now: Callable[[], float] = time.time,
) -> None:  # fmt: skip
    """Watch a model's log for as long as that is wanted, and do what the config says follows."""
    from estimator.monitoring.alerts import check_alerts
    from estimator.monitoring.loop import Loop
    from estimator.monitoring.rows import reference_of

    store = open_store(None, order)
    artefact = load(site.reference, store)
    rules = rules_of(artefact, order, site.conf)
    check_alerts(rules.monitoring.alerts, order.environment)
    reference_of(artefact)
    _look_ahead(artefact, rules, site, order, note)
    with _opened_log(site, artefact, order) as database:
        renew = partial(_renewed, site, order, artefact.name)
        loop = Loop(store, database, artefact.name, rules, _holder(), order.environment, renew, note)
        try:
            fault = None
            while is_wanted():
                try:
                    for event in loop.step(now()):
                        tell(event)
                    fault = None
                except EstimatorError as error:
                    # A database that is away for a while, or a version that cannot be opened, may come back.
                    if error.message != fault:
                        note(f"not watched for now: {error.message}")
                    fault = error.message
                time.sleep(PAUSE_SECONDS)
        finally:
            loop.close()


def _look_ahead(artefact: Artefact, rules: Rules, site: Site, order: Order, note: Callable[[str], None]) -> None:
    """Say at once what would keep a retraining from being done later."""
    follows = (
        "retrain" in (rules.monitoring.on_drift, rules.monitoring.on_degradation) or rules.retraining.every is not None
    )
    if not follows:
        return
    try:
        config = resolve(artefact.config, VOCABULARY)
        with opened(config.data, order, site.folder) as source:
            source.fingerprint()
    except EstimatorError as error:
        note(f"retraining will not be possible: {error.message}; give --folder, where the version's data paths start")


def _holder() -> str:
    import os
    import socket

    return f"{socket.gethostname()}:{os.getpid()}"


def _renewed(site: Site, order: Order, model: str, why: str) -> str:
    decision = retrain(replace(site, reference=model), order, why=why)
    return decision.reasons[0]


def retrain(
    site: Site, order: Order, *, data: str | None = None, query: str | None = None,
    why: str = "asked for by hand", progress: Progress = silent, note: Callable[[str], None] = lambda text: None,
) -> Decision:  # fmt: skip
    """Make candidates of fresh rows, of a table or the labelled ones of the log, and judge them beside what is live."""
    with needs_extra("train", "retraining"):
        from estimator.monitoring import retrain as retraining
        from estimator.monitoring.decision_page import decision_page
    store = open_store(None, order)
    live = load(site.reference, store)
    rules = rules_of(live, order, site.conf)
    config = resolve(live.config, VOCABULARY)
    old, seen = _old_rows(live, config, order, site.folder)
    fresh = _fresh_table(live, order, data, query) if data is not None else _fresh_rows(site, live, order)
    rows = retraining.deal(
        old, seen, fresh, holdout_size=rules.retraining.holdout_size, target=live.manifest["target"]
    )  # fmt: skip
    request = retraining.Request(
        live, config, model_of(config), start_from(store, f"{live.name}/{live.version}"), rules.retraining.candidates,
        rules.retraining.max_regression, why, partial(_searched, live, order, progress=progress),
    )  # fmt: skip
    decision = retraining.retrain(request, store, rows, progress=progress, note=note)
    content = json.dumps(decision.to_data(), indent=1, ensure_ascii=False).encode()
    retraining.keep_decision(decision, store, decision_page(decision), content)
    return decision


def _old_rows(live: Artefact, config: Config, order: Order, folder: Path) -> tuple[pl.DataFrame, Any]:
    """Return the rows of the live version's own table, and which of them it learned from."""
    from estimator.training.train import prepare

    held_out_of(live, order, folder)
    with opened(config.data, order, folder) as source:
        prepared = prepare(source.frame(), config, live.schema)
    return prepared.labelled, ~prepared.test


def _fresh_table(live: Artefact, order: Order, data: str, query: str | None) -> pl.DataFrame:
    from estimator.data.schema.frames import with_schema_names

    with opened(like_training(live, data, query), order) as source:
        return with_schema_names(live.schema, source.frame())


def _fresh_rows(site: Site, live: Artefact, order: Order) -> pl.DataFrame:
    """Return the rows of the log whose truth is known and that the live version cannot have learned from."""
    import polars as pl

    from estimator.data.schema.frames import with_schema_names

    with _opened_log(site, live, order) as database:
        made = datetime.fromisoformat(live.manifest["created"]).timestamp()
        rows = [row for row in database.read(live.name, since=made) if row.label is not None]
    if not rows:
        raise RetrainingError(
            f"{live.name}: no row that was logged since {live.version} was made has a truth",
            hint="POST /v1/labels, or give rows with --data",
        )
    told = [{**_named(live, row), live.manifest["target"]: row.label} for row in rows]
    return with_schema_names(live.schema, pl.DataFrame(told, infer_schema_length=None))


def _named(live: Artefact, row: PredictionRecord) -> dict[str, Any]:
    return {live.schema.resolve(name) or name: value for name, value in row.inputs.items()}


def _searched(
    live: Artefact, order: Order, config: Config, frame: pl.DataFrame, *, progress: Progress
) -> tuple[Config, Any]:
    """Search settings for a table anew, in a study of its own."""
    import tempfile

    from estimator import tuning

    with tempfile.TemporaryDirectory() as scratch:
        config = config.model_copy(
            update={"tuning": config.tuning.model_copy(update={"study": str(Path(scratch) / "journal.log")})}
        )
        plan = tuning.Plan.of(config, kind_of(config), {}, Path(scratch))
        searched = tuning.Search.of(tuning.Space.of(config, VOCABULARY), tuning.Rows(frame, config, live.schema, 1))
        with tuning.opened_study(plan, fresh=True, environment=order.environment) as study:
            tuning.queue_own(study, searched.space)
            tuning.search(study, searched, progress=progress)
            edits = tuning.outcome(study, searched, progress=progress).edits
    best = searched.space.varied(edits)
    return best, model_of(best)


def replay(site: Site, against: str, order: Order, *, since: float, until: float) -> Replayed:
    """Answer the last 100,000 logged rows since a time again by another version, and say what would be different."""
    from estimator.monitoring.replay import replayed

    store = open_store(None, order)
    other = load(against, store)
    model = load(site.reference, store)
    with _opened_log(site, model, order) as database:
        logged = database.latest(model.name, until=until, limit=MOST_REPLAYED)
    return replayed([row for row in logged if row.at >= since], other)
