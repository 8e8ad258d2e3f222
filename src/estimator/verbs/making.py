"""A table -> a config, what is worth knowing of it, and versions of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from estimator.config import Data, from_environment, read_config, resolve
from estimator.config.variant import write_varied
from estimator.core.clock import Moment
from estimator.core.files import write_atomic
from estimator.errors import ConfigError, needs_extra
from estimator.models import Progress, silent
from estimator.store.artefact import Artefact, open_artefact
from estimator.verbs.context import (
    VOCABULARY,
    Helpers,
    Order,
    counted,
    kind_of,
    live_of,
    model_name,
    model_of,
    named,
    open_store,
    opened,
    prepared_by,
    reviewed_by,
    start_from,
)

if TYPE_CHECKING:
    from estimator.exploration import Profile
    from estimator.exploration.findings import Finding
    from estimator.exploration.scaffold import Draft
    from estimator.training.forecast import Forecast
    from estimator.training.report import Report
    from estimator.training.train import Trained
    from estimator.tuning import Outcome, SearchProgress


def init(
    table: str, target: str, *, conf: Path, force: bool, query: str | None = None, order: Order | None = None
) -> Draft:
    """Look at a table and write a first config that runs, with a schema beside it to review."""
    with needs_extra("train", "looking at a table"):
        from estimator.data.sources.address import relative_to
        from estimator.exploration.scaffold import draft, write_draft
    data = Data(path=table, target=target, query=query)
    with opened(data, order or Order()) as source:
        frame = source.frame()
    schema = conf.with_name("schema.yml")
    moved = data.model_copy(update={"path": relative_to(table, conf.parent)})
    drafted = draft(frame, moved, name=model_name(table, query), schema_file=schema.name)
    write_draft(drafted, conf, schema, force=force)
    return drafted


@dataclass(frozen=True, slots=True)
class Table:
    """A table that no config names: its path or address, the column to predict, and what to ask a database."""

    path: str
    target: str
    query: str | None = None


@dataclass(frozen=True, slots=True)
class Explored:
    """What a table holds and what is worth knowing about it."""

    profile: Profile
    findings: Sequence[Finding]
    notes: Sequence[str]


def explore(
    what: Path | Table,
    order: Order,
    *,
    page: Path,
    tsne: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> Explored:
    """Profile a table, named by a config or directly, and write the page of what is worth knowing.

    `progress` is told, now and then, how many rows have been read.
    """
    with needs_extra("train", "exploring a table"):
        from estimator.exploration import look
        from estimator.exploration.findings import find
        from estimator.exploration.page import exploration_page
    if isinstance(what, Table):
        config, folder = resolve({"data": asdict(what)}, VOCABULARY, overrides=order.overrides), Path()
    else:
        config = read_config(what, VOCABULARY, overrides=order.overrides, environment=order.environment)
        folder = what.parent
    with opened(config.data, order, folder) as source:
        looked = look(lambda: counted(source, progress), config, reviewed_by(config, folder), tsne=tsne)
        notes = source.notes()
    findings = find(looked.schema, looked.profile, looked.rows)
    write_atomic(page, exploration_page(looked.profile, findings, name=str(named(config).name)))
    return Explored(looked.profile, findings, notes)


def accept(conf: Path, findings: Sequence[Finding], numbers: Sequence[int]) -> list[Finding]:
    """Write the edits of some findings into a config, keeping its comments."""
    from estimator.config.editor import write_edits

    chosen = [item for item in findings if item.number in numbers and item.edit is not None]
    missing = sorted(set(numbers) - {item.number for item in chosen})
    if missing:
        raise ConfigError(
            f"--accept: no finding with an edit has the number {', '.join(map(str, missing))}",
            hint=f"those that have one: {', '.join(str(item.number) for item in findings if item.edit)}",
        )
    for item in chosen:
        write_edits(conf, item.edit or {})
    return chosen


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version that has just been made; `alias` is the one that points at it."""

    artefact: Artefact
    trained: Trained
    report: Report
    alias: str
    seconds: float


def train(
    conf: Path, order: Order | None = None, *, continue_from: str | None = None, progress: Progress = silent
) -> NewVersion:
    """Train what a config describes and keep it as a version.

    The first version of a model is live at once; later ones are the candidate until they are promoted.
    """
    began, order = perf_counter(), order or Order()
    config = named(read_config(conf, VOCABULARY, overrides=order.overrides, environment=order.environment))
    store = open_store(config, order)
    with needs_extra("train", "training"):
        from estimator.training import forecast, version
        from estimator.training import report as judgement
        from estimator.training import train as training
    with opened(config.data, order, conf.parent) as source:
        frame, fingerprint = source.frame(), source.fingerprint()
    start = start_from(store, continue_from) if continue_from else None
    prepared = training.prepare(frame, config, reviewed_by(config, conf.parent))
    forecast.forecast(prepared, model_of(config), config, store.root).refuse()
    trained = training.train(prepared, model_of(config), config, progress=progress, start=start, clock=perf_counter)
    report = judgement.judge(trained, config, live_of(store, str(config.name)))
    recipe = version.Recipe(
        config, kind_of(config), conf, order.overrides, fingerprint, start.version if start else None
    )
    folder, alias = version.keep(store, trained, report, recipe, moment=Moment.now())
    return NewVersion(open_artefact(folder), trained, report, alias, perf_counter() - began)


def foresee(conf: Path, order: Order) -> Forecast:
    """Tell what training a config would take: memory and disk by counting, time by a trial on a part of the rows."""
    with needs_extra("train", "training"):
        from estimator.training.forecast import forecast, timed
    prepared, config, model = prepared_by(conf, order)
    counted = forecast(prepared, model, config, open_store(config, order).root)
    counted.refuse()
    return timed(counted, prepared, model, config, clock=perf_counter)


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a search came to, and the config and page that were written."""

    outcome: Outcome
    study: str
    conf: Path
    page: Path


def tune(
    conf: Path, order: Order, *, fresh: bool = False, helpers: Helpers | None = None,
    show: Callable[[SearchProgress], None] = lambda progress: None, progress: Progress = silent,
) -> Tuned | None:  # fmt: skip
    """Search the settings of a config's `tuning.space`, and write a config that trains the best.

    Trials are kept as they end: the same call goes on where another was ended. One of several helpers finds nothing by
    itself and returns None.
    """
    with needs_extra("train", "tuning"):
        from estimator import tuning
    helpers = helpers or Helpers()
    config = named(read_config(conf, VOCABULARY, overrides=order.overrides, environment=order.environment))
    with opened(config.data, order, conf.parent) as source:
        frame, fingerprint = source.frame(), source.fingerprint()
    plan = tuning.Plan.of(config, kind_of(config), fingerprint, conf.parent)
    rows = tuning.Rows(frame, config, reviewed_by(config, conf.parent), 1 if helpers.parent else helpers.workers)
    searched = tuning.Search.of(tuning.Space.of(config, VOCABULARY), rows)
    with tuning.opened_study(plan, fresh=fresh, environment=order.environment) as study:
        tuning.queue_own(study, searched.space)
        if helpers.parent is not None:
            tuning.search(study, searched, is_wanted=tuning.wanted_by(helpers.parent))
            return None
        if helpers.workers > 1:
            tuning.search_together(study, searched, helpers.command, workers=helpers.workers, show=show)
        else:
            tuning.search(study, searched, show=show, progress=progress)
        outcome = tuning.outcome(study, searched, progress=progress)
    overrides = [*from_environment(order.environment), *order.overrides]
    written = write_varied(conf, config, outcome.edits, VOCABULARY, overrides=overrides)
    page = conf.with_name(f"{conf.stem}.tuning.html")
    write_atomic(page, tuning.tuning_page(outcome, name=str(config.name)))
    return Tuned(outcome, plan.place, written, page)
