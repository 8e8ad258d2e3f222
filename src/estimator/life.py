"""The verbs of a model's life, a few lines each: read this file first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from estimator.artefact import Artefact, check_golden, open_artefact, write_text
from estimator.clock import Moment, seconds
from estimator.config import Data, Image, from_environment, read_config, resolve, resolve_kept
from estimator.config.copying import write_varied
from estimator.errors import ArtefactError, ConfigError, SourceError, needs_extra
from estimator.models import Watch, silent
from estimator.order import (
    VOCABULARY,
    Helpers,
    Order,
    candidate_of,
    counted,
    held_out_of,
    kind_of,
    like_training,
    live_of,
    load,
    locate,
    locate_alias,
    model_name,
    model_of,
    named,
    only_model,
    open_store,
    opened,
    prepared_by,
    reviewed_by,
    start_from,
)
from estimator.store import Move, Store, listed

if TYPE_CHECKING:
    from estimator.comparison import Comparison
    from estimator.draft import Draft
    from estimator.evaluation import Score
    from estimator.exploration import Profile
    from estimator.exploration.findings import Finding
    from estimator.forecast import Forecast
    from estimator.image.building import Built, Job
    from estimator.image.registry import Reference
    from estimator.inquiry import Inquiry
    from estimator.judgement import Report
    from estimator.page import Page
    from estimator.reproduction import Reproduced
    from estimator.scoring import Tally
    from estimator.sinks import IfExists
    from estimator.training import Trained
    from estimator.tuning import Outcome, Progress


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version that has just been made; `alias` is the one that points at it."""

    artefact: Artefact
    trained: Trained
    report: Report
    alias: str
    seconds: float


def train(
    conf: Path, order: Order | None = None, *, continue_from: str | None = None, watch: Watch = silent
) -> NewVersion:
    """Train what a config describes and keep it as a version.

    The first version of a model is live at once; later ones are the candidate until they are promoted.
    """
    began, order = seconds(), order or Order()
    config = named(read_config(conf, VOCABULARY, overrides=order.overrides, environment=order.environment))
    store = open_store(config, order)
    with needs_extra("train", "training"):
        from estimator import forecast, judgement, training, version
    with opened(config.data, order, conf.parent) as source:
        frame, fingerprint = source.frame(), source.fingerprint()
    start = start_from(store, continue_from) if continue_from else None
    prepared = training.prepare(frame, config, reviewed_by(config, conf.parent))
    forecast.forecast(prepared, model_of(config), config, store.root).refuse()
    trained = training.train(prepared, model_of(config), config, watch=watch, start=start, clock=seconds)
    report = judgement.judge(trained, config, live_of(store, str(config.name)))
    recipe = version.Recipe(
        config, kind_of(config), conf, order.overrides, fingerprint, start.version if start else None
    )
    folder, alias = version.keep(store, trained, report, recipe, moment=Moment.now())
    return NewVersion(open_artefact(folder), trained, report, alias, seconds() - began)


def foresee(conf: Path, order: Order) -> Forecast:
    """Tell what training a config would take: memory and disk by counting, time by a trial on a part of the rows."""
    with needs_extra("train", "training"):
        from estimator.forecast import forecast, timed
    prepared, config, model = prepared_by(conf, order)
    counted = forecast(prepared, model, config, open_store(config, order).root)
    counted.refuse()
    return timed(counted, prepared, model, config, clock=seconds)


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a search came to, and the config and page that were written."""

    outcome: Outcome
    study: str
    conf: Path
    page: Path


def tune(
    conf: Path, order: Order, *, fresh: bool = False, helpers: Helpers | None = None,
    show: Callable[[Progress], None] = lambda progress: None, watch: Watch = silent,
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
            tuning.search(study, searched, show=show, watch=watch)
        outcome = tuning.outcome(study, searched, watch=watch)
    overrides = [*from_environment(order.environment), *order.overrides]
    written = write_varied(conf, config, outcome.edits, VOCABULARY, overrides=overrides)
    page = conf.with_name(f"{conf.stem}.tuning.html")
    write_text(page, tuning.tuning_page(outcome, name=str(config.name)))
    return Tuned(outcome, plan.place, written, page)


@dataclass(frozen=True, slots=True)
class Explored:
    """What a table holds and what is worth knowing about it."""

    profile: Profile
    findings: Sequence[Finding]
    notes: Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """A table that no config names: its path or address, the column to predict, and what to ask a database."""

    path: str
    target: str
    query: str | None = None


def explore(
    what: Path | Table,
    order: Order,
    *,
    page: Path,
    tsne: bool = False,
    watch: Callable[[int], None] = lambda rows: None,
) -> Explored:
    """Profile a table, named by a config or directly, and write the page of what is worth knowing.

    `watch` is told, now and then, how many rows have been read.
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
        looked = look(lambda: counted(source, watch), config, reviewed_by(config, folder), tsne=tsne)
        notes = source.notes()
    findings = find(looked.schema, looked.profile, looked.rows)
    write_text(page, exploration_page(looked.profile, findings, name=str(named(config).name)))
    return Explored(looked.profile, findings, notes)


def accept(conf: Path, findings: Sequence[Finding], numbers: Sequence[int]) -> list[Finding]:
    """Write the edits of some findings into a config, keeping its comments."""
    from estimator.config.editing import write_edits

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


def init(
    table: str, target: str, *, conf: Path, force: bool, query: str | None = None, order: Order | None = None
) -> Draft:
    """Look at a table and write a first config that runs, with a schema beside it to review."""
    with needs_extra("train", "looking at a table"):
        from estimator.draft import draft, write_draft
        from estimator.sources.address import named_from
    data = Data(path=table, target=target, query=query)
    with opened(data, order or Order()) as source:
        frame = source.frame()
    schema = conf.with_name("schema.yml")
    moved = data.model_copy(update={"path": named_from(table, conf.parent)})
    drafted = draft(frame, moved, name=model_name(table, query), schema_file=schema.name)
    write_draft(drafted, conf, schema, force=force)
    return drafted


def evaluate(
    artefact: Artefact, table: str, *, query: str | None = None, order: Order | None = None, seed: int = 0
) -> tuple[int, dict[str, Score]]:
    """Score a version on a table whose truth is known; return the number of rows and the metrics."""
    with needs_extra("batch", "reading a table"):
        from estimator.scoring import labelled_rows
    from estimator.evaluation import chosen_metrics, score

    choices = artefact.config["evaluation"]
    with opened(like_training(artefact, table, query), order or Order()) as source:
        batch, truth = labelled_rows(artefact, source.frame())
    found = chosen_metrics(choices["metrics"], artefact.predictor.task)
    answers = artefact.predictor.answer(batch)
    scores = score(truth, answers, found, resamples=choices["resamples"], level=choices["level"], seed=seed)
    return batch.n_rows, scores


def compare(
    first: str,
    second: str,
    order: Order,
    *,
    table: tuple[str, str | None] | None = None,
    folder: Path = Path(),
    watch: Watch = silent,
) -> list[Comparison]:
    """Tell whether the second of two versions, or of two configs, is really better; the first metric decides.

    Versions are compared on the rows of a table and query, or on those that both held out; configs on the same folds.
    """
    with needs_extra("train", "comparing"):
        from estimator.comparison import Setting, compare_settings, compare_versions, refuse_known_rows
    configs = [Path(name) for name in (first, second) if Path(name).is_file()]
    if len(configs) == 2:
        settings = [Setting(*prepared_by(conf, order)) for conf in configs]
        return compare_settings(settings[0], settings[1], watch=watch)
    if configs:
        raise ConfigError(f"{configs[0]} is a config and the other is none", hint="give two versions, or two configs")
    left, right = (load(name, open_store(None, order)) for name in (first, second))
    if table is None:
        frames = [held_out_of(artefact, order, folder) for artefact in (left, right)]
        if not frames[0].equals(frames[1]):
            raise ArtefactError("the two versions did not hold out the same rows", hint="give new rows with --input")
        return compare_versions(left, right, frames[0])
    with opened(like_training(left, *table), order) as source:
        refuse_known_rows((left, right), source.fingerprint())
        return compare_versions(left, right, source.frame())


def verify(reference: str, order: Order, *, folder: Path = Path(), watch: Watch = silent) -> Reproduced:
    """Train a version again from its own config and data, whose paths start in `folder`, and compare."""
    with needs_extra("train", "training again"):
        from estimator.reproduction import reproduced
    store = open_store(None, order)
    artefact = load(reference, store)
    config = resolve(artefact.config, VOCABULARY)
    parent = artefact.manifest["parent"]
    start = start_from(store, f"{artefact.name}/{parent}") if parent else None
    with opened(config.data, order, folder) as source:
        frame, fingerprint = source.frame(), source.fingerprint()
    return reproduced(artefact, frame, fingerprint, config, model_of(config), start=start, watch=watch, clock=seconds)


def predict(
    artefact: Artefact, table: str, output: str, *, query: str | None = None, into: str | None = None,
    if_exists: IfExists | None = None, keep: Sequence[str] = (), order: Order | None = None,
    faulty_are_gaps: bool = False, watch: Callable[[int], None],
) -> Tally:  # fmt: skip
    """Answer every row of a table and write the answers, in order, to a file or into a table of a database."""
    with needs_extra("batch", "reading a table"):
        from estimator.scoring import score_source
        from estimator.sinks import sink_of

    order = order or Order()
    sink = sink_of(output, order.environment, table=into, if_exists=if_exists)
    with opened(like_training(artefact, table, query), order) as source:
        return score_source(artefact.predictor, source, sink, keep=keep, faulty_are_gaps=faulty_are_gaps, watch=watch)


def serve(
    references: Sequence[str],
    order: Order,
    *,
    settings: Mapping[str, Any],
    allow_public: bool = False,
    ready: Callable[[Sequence[Artefact], str], None],
) -> None:
    """Serve what names mean until told to end, also when it moves; `settings` win over a version's serving section."""
    from estimator.server.following import Reference
    from estimator.server.listening import listen

    store = open_store(None, order)
    found = [
        Reference(reference, partial(locate, reference, store), partial(locate_alias, reference, store))
        for reference in references
    ]
    listen(found, settings, environment=order.environment, allow_public=allow_public, ready=ready)


def why(named: str, place: str, order: Order) -> Inquiry:
    """Say of a logged answer what was asked, what was answered by which version, and what moved it."""
    from estimator.inquiry import inquire
    from estimator.prediction_log import open_database

    database = open_database(place, Path(), order.environment, must_exist=True)
    try:
        logged, shadows = database.find(named), database.shadows(named)
    finally:
        database.close()
    if logged is None:
        raise SourceError(
            f"{database.name}: no answer with the id {named!r}", hint="ids are told by POST /v1/predict, not by others"
        )
    return inquire(logged, load(f"{logged.model}/{logged.version}", open_store(None, order)), shadows)


def page(artefact: Artefact, output: Path) -> Page:
    """Write a version as one offline HTML file that answers by itself, once it answers its golden rows."""
    from estimator.page import model_page

    check_golden(artefact)
    made = model_page(artefact)
    write_text(output, made.content)
    return made


def image(
    artefact: Artefact, order: Order, job: Job, *, note: Callable[[str], None] = lambda text: None
) -> Built:  # fmt: skip
    """Build a version's image, start it, and check that it answers as the version must."""
    from estimator.image.building import build

    check_golden(artefact)
    kept = artefact.config.get("image", {})
    settings = resolve_kept("image", Image, kept, order.environment, overrides=order.overrides)
    return build(artefact, settings, job, environment=order.environment, note=note)


def push(folder: Path, to: str, order: Order, *, note: Callable[[str], None] = lambda text: None) -> Reference:
    """Push the image that was built in a folder to a registry; return it by its digest."""
    from estimator.image import pushing

    return pushing.push(folder, to, environment=order.environment, note=note)


def promote(store: Store, reference: str, *, why: str) -> Move:
    """Make a version live in one atomic step."""
    model, version = store.find(reference if "@" in reference or "/" in reference else candidate_of(store, reference))
    open_artefact(store.root / model / version)
    return store.point(model, "live", version, action="promote", why=why, moment=Moment.now())


def rollback(store: Store, model: str | None, *, why: str) -> Move:
    """Make the version live that was live before."""
    name = model or only_model(store)
    version = store.before_live(name)
    return store.point(name, "live", version, action="rollback", why=why, moment=Moment.now())


def list_models(store: Store) -> list[dict[str, Any]]:
    """Return every model with its aliases and versions."""
    return listed(store)


__all__ = ["VOCABULARY", "Order", "load", "open_store", "read_config"]
