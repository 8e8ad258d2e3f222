"""The verbs of a model's life, a few lines each: read this file first."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from estimator import encoders, metrics, models, sources
from estimator.artefact import Artefact, open_artefact, write_text
from estimator.clock import Moment, seconds
from estimator.config import Config, Data, Serving, Vocabulary, read_config, resolve
from estimator.errors import ArtefactError, ConfigError, EstimatorError, StoreError, needs_extra
from estimator.models import Watch, silent
from estimator.store import Move, Store, listed, version_folder

if TYPE_CHECKING:
    import polars as pl

    from estimator.comparison import Comparison
    from estimator.draft import Draft
    from estimator.evaluation import Report, Score
    from estimator.exploration import Profile
    from estimator.exploration.findings import Finding
    from estimator.predictor import Predictor
    from estimator.reproduction import Reproduced
    from estimator.scoring import Tally
    from estimator.sources.base import Source
    from estimator.training import Prepared, Trained

VOCABULARY = Vocabulary(models.SHELF, metrics.SHELF, encoders.SHELF, sources.SHELF)  # type: ignore[arg-type] # a model is a section


@dataclass(frozen=True, slots=True)
class Order:
    """What a verb is asked for beside its config file: overrides, the environment, and where the store is."""

    overrides: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    store: str | None = None


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
    config = _named(read_config(conf, VOCABULARY, overrides=order.overrides, environment=order.environment))
    store = open_store(config, order)
    with needs_extra("train", "training"):
        from estimator import training, version
    with _opened(config.data, order, conf.parent) as source:
        frame, fingerprint = source.frame(), source.fingerprint()
    start = _start(store, continue_from) if continue_from else None
    prepared = training.prepare(frame, config, _reviewed(config, conf.parent))
    trained = training.train(prepared, _model(config), config, watch=watch, start=start, clock=seconds)
    report = training.judge(trained, config, _live(store, str(config.name)))
    recipe = version.Recipe(config, _kind(config), conf, order.overrides, fingerprint, start.version if start else None)
    folder, alias = version.keep(store, trained, report, recipe, moment=Moment.now())
    return NewVersion(open_artefact(folder), trained, report, alias, seconds() - began)


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
    with _opened(config.data, order, folder) as source:
        looked = look(lambda: _counted(source, watch), config, _reviewed(config, folder), tsne=tsne)
        notes = source.notes()
    findings = find(looked.schema, looked.profile, looked.rows)
    write_text(page, exploration_page(looked.profile, findings, name=str(_named(config).name)))
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
    with _opened(data, order or Order()) as source:
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
    with _opened(_like_training(artefact, table, query), order or Order()) as source:
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
        settings = [Setting(*_prepared(conf, order)) for conf in configs]
        return compare_settings(settings[0], settings[1], watch=watch)
    if configs:
        raise ConfigError(f"{configs[0]} is a config and the other is none", hint="give two versions, or two configs")
    left, right = (load(name, open_store(None, order)) for name in (first, second))
    if table is None:
        frames = [_held_out(artefact, order, folder) for artefact in (left, right)]
        if not frames[0].equals(frames[1]):
            raise ArtefactError("the two versions did not hold out the same rows", hint="give new rows with --input")
        return compare_versions(left, right, frames[0])
    with _opened(_like_training(left, *table), order) as source:
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
    start = _start(store, f"{artefact.name}/{parent}") if parent else None
    with _opened(config.data, order, folder) as source:
        frame, fingerprint = source.frame(), source.fingerprint()
    return reproduced(artefact, frame, fingerprint, config, _model(config), start=start, watch=watch, clock=seconds)


def predict(
    artefact: Artefact, table: str, output: Path, *, query: str | None = None, order: Order | None = None,
    faulty_are_gaps: bool = False, watch: Callable[[int], None],
) -> Tally:  # fmt: skip
    """Answer every row of a table and write the answers, in order."""
    with needs_extra("batch", "reading a table"):
        from estimator.scoring import score_source

    with _opened(_like_training(artefact, table, query), order or Order()) as source:
        return score_source(artefact.predictor, source, output, faulty_are_gaps=faulty_are_gaps, watch=watch)


def serve(
    artefact: Artefact,
    order: Order,
    *,
    settings: Mapping[str, Any],
    allow_public: bool = False,
    ready: Callable[[str], None],
) -> None:
    """Serve a version until told to end; `settings` win over the version's own serving section."""
    from estimator.server.listening import listen

    serving = Serving(**{**artefact.config["serving"], **settings})
    listen(artefact, serving, environment=order.environment, allow_public=allow_public, ready=ready)


def open_store(config: Config | None, order: Order) -> Store:
    """Return the store: the order's, else the config's, else ESTIMATOR_STORE, else models/."""
    named = order.store or (config.store if config else None) or order.environment.get("ESTIMATOR_STORE")
    return Store(Path(named or "models"))


def load(reference: str | Path, store: Store | None = None) -> Artefact:
    """Open a version by its folder, its model's folder, or its name in the store."""
    path = Path(reference)
    if path.is_dir():
        return open_artefact(version_folder(path))
    try:
        model, version = (store or Store(Path("models"))).find(str(reference))
    except StoreError as error:
        hint = error.hint or "give a version's folder, or MODEL, MODEL@ALIAS or MODEL/VERSION"
        raise StoreError(error.message, hint=hint) from None
    return open_artefact((store or Store(Path("models"))).root / model / version)


def promote(store: Store, reference: str, *, why: str) -> Move:
    """Make a version live in one atomic step."""
    model, version = store.find(reference if "@" in reference or "/" in reference else _candidate(store, reference))
    open_artefact(store.root / model / version)
    return store.point(model, "live", version, action="promote", why=why, moment=Moment.now())


def rollback(store: Store, model: str | None, *, why: str) -> Move:
    """Make the version live that was live before."""
    name = model or _only_model(store)
    version = store.before_live(name)
    return store.point(name, "live", version, action="rollback", why=why, moment=Moment.now())


def list_models(store: Store) -> list[dict[str, Any]]:
    """Return every model with its aliases and versions."""
    return listed(store)


def model_name(table: str, query: str | None = None) -> str:
    """Return a name for the model of a table: its file's or its own, with what a folder's name cannot hold replaced.

    >>> model_name("data/my houses.csv.gz"), model_name("postgresql://host/sales", "public.houses")
    ('my_houses', 'houses')
    """
    from estimator.sources.address import TABLE_NAME, label

    is_table = query is not None and TABLE_NAME.fullmatch(query.strip())
    stem = str(query).strip().split(".")[-1] if is_table else label(table).split(".")[0]
    safe = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_-") else "_" for letter in stem)
    return safe.strip("_-") or "model"


def _opened(data: Data, order: Order, folder: Path = Path()) -> AbstractContextManager[Source]:
    """Open what the section `data` names; relative paths are taken from `folder`."""
    with needs_extra("batch", "reading a table"):
        from estimator.sources.opening import opened

    return opened(
        data.path, kind=data.kind, separator=data.separator, ragged=data.ragged, query=data.query, folder=folder,
        environment=order.environment,
    )  # fmt: skip


def _counted(source: Source, watch: Callable[[int], None]) -> Iterator[pl.DataFrame]:
    rows = 0
    for frame in source.batches():
        yield frame
        rows += frame.height
        watch(rows)


def _like_training(artefact: Artefact, table: str, query: str | None) -> Data:
    """Return the section `data` of another table for a version."""
    known = artefact.config["data"]
    return Data(path=table, query=query, target=known["target"], separator=known["separator"], ragged=known["ragged"])


def _named(config: Config) -> Config:
    """Fill in the model's name from the data's when the config has none."""
    if config.name is not None:
        return config
    first = config.data.path if isinstance(config.data.path, str) else config.data.path[0]
    return config.model_copy(update={"name": model_name(first, config.data.query)})


def _prepared(conf: Path, order: Order) -> tuple[Prepared, Config, models.Model]:
    from estimator.training import prepare

    config = _named(read_config(conf, VOCABULARY, overrides=order.overrides, environment=order.environment))
    with _opened(config.data, order, conf.parent) as source:
        return prepare(source.frame(), config, _reviewed(config, conf.parent)), config, _model(config)


def _held_out(artefact: Artefact, order: Order, folder: Path) -> pl.DataFrame:
    from estimator.reproduction import held_out_rows

    config = resolve(artefact.config, VOCABULARY)
    with _opened(config.data, order, folder) as source:
        return held_out_rows(artefact, source.frame(), source.fingerprint(), config)


def _model(config: Config) -> models.Model:
    model: models.Model = config.model  # type: ignore[assignment] # VOCABULARY resolves it to a kind of the shelf
    return model


def _kind(config: Config) -> str:
    return models.SHELF.name_of(type(config.model))


def _reviewed(config: Config, folder: Path) -> Any:
    """Return the schema a person reviewed, when the config names one."""
    if config.schema_.file is None:
        return None
    from estimator.config.document import read_document
    from estimator.schema.file import from_data

    path = folder / config.schema_.file
    schema = from_data(read_document(path).values, place=str(path))
    return replace(schema, unknown_columns=config.schema_.unknown_columns)


def _start(store: Store, reference: str) -> models.Start:
    from estimator.features import Features

    artefact = load(reference, store)
    state = artefact.state()
    features = Features.from_data(artefact.schema, json.loads(state.pop("features.json")))
    return models.Start(artefact.version, artefact.schema, features, state)


def _live(store: Store, name: str) -> Predictor | None:
    """Return the live version to compare with; a damaged one must not keep a new one from being made."""
    if "live" not in store.aliases(name):
        return None
    try:
        return open_artefact(version_folder(store.root / name)).predictor
    except EstimatorError:
        return None


def _candidate(store: Store, reference: str) -> str:
    """A bare model name means its candidate."""
    return f"{reference}@candidate" if reference in store.models() else reference


def _only_model(store: Store) -> str:
    names = store.models()
    if len(names) != 1:
        raise StoreError(f"{store.root}: which model?", hint=f"models: {', '.join(names) or 'none'}")
    return names[0]
