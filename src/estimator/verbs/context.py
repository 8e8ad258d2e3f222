"""What a verb is asked for -> the config, the rows and the versions it speaks of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from estimator import drift, models
from estimator.config import Config, Data, Vocabulary, from_environment, read_config, resolve, resolve_kept
from estimator.data import sources
from estimator.errors import EstimatorError, StoreError, needs_extra
from estimator.evaluation import metrics
from estimator.features import encoders
from estimator.shipping import deployment
from estimator.store.artefact import Artefact, open_artefact
from estimator.store.store import Store, read_aliases, version_folder

if TYPE_CHECKING:
    import polars as pl

    from estimator.data.sources.base import Source
    from estimator.store.predictor import Predictor
    from estimator.training.train import Prepared

VOCABULARY = Vocabulary(
    models.SHELF,  # type: ignore[arg-type] # a model is a section
    metrics.SHELF,
    encoders.SHELF,
    sources.SHELF,
    deployment.SHELF,  # type: ignore[arg-type] # and so is a target
    drift.SHELF,
)


@dataclass(frozen=True, slots=True)
class Order:
    """What a verb is asked for beside its config file: overrides, the environment, and where the store is."""

    overrides: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    store: str | None = None


@dataclass(frozen=True, slots=True)
class Helpers:
    """How many processes search, and how another is called, from the number of this one; `parent` called this one."""

    workers: int = 1
    command: Callable[[int], Sequence[str]] = lambda parent: ()
    parent: int | None = None


def open_store(config: Config | None, order: Order) -> Store:
    """Return the store: the order's, else the config's, else ESTIMATOR_STORE, else models/."""
    named = order.store or (config.store if config else None) or order.environment.get("ESTIMATOR_STORE")
    return Store(Path(named or "models"))


def load(reference: str | Path, store: Store | None = None) -> Artefact:
    """Open a version by its folder, its model's folder, or its name in the store."""
    return open_artefact(locate(reference, store))


def locate(reference: str | Path, store: Store | None = None) -> Path:
    """Return the folder of the version that its folder, its model's folder or a name in the store means now."""
    path = Path(reference)
    if path.is_dir():
        return version_folder(path)
    try:
        model, version = (store or Store(Path("models"))).find(str(reference))
    except StoreError as error:
        hint = error.hint or "give a version's folder, or MODEL, MODEL@ALIAS or MODEL/VERSION"
        raise StoreError(error.message, hint=hint) from None
    return (store or Store(Path("models"))).root / model / version


def locate_alias(reference: str, store: Store, alias: str) -> Path | None:
    """Return the folder of the version that another alias of a reference's model means now, None when it means none."""
    folder = locate(reference, store).parent
    version = read_aliases(folder).get(alias)
    return None if version is None else folder / version


def model_name(table: str, query: str | None = None) -> str:
    """Return a name for the model of a table: its file's or its own, with what a folder's name cannot hold replaced.

    >>> model_name("data/my houses.csv.gz"), model_name("postgresql://host/sales", "public.houses")
    ('my_houses', 'houses')
    """
    from estimator.data.sources.address import TABLE_NAME, label

    is_table = query is not None and TABLE_NAME.fullmatch(query.strip())
    stem = str(query).strip().split(".")[-1] if is_table else label(table).split(".")[0]
    safe = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_-") else "_" for letter in stem)
    return safe.strip("_-") or "model"


def opened(data: Data, order: Order, folder: Path = Path()) -> AbstractContextManager[Source]:
    """Open what the section `data` names; relative paths are taken from `folder`."""
    with needs_extra("batch", "reading a table"):
        from estimator.data.sources import opener as opening

    return opening.open_source(
        data.path, kind=data.kind, delimiter=data.delimiter, on_bad_lines=data.on_bad_lines, query=data.query, folder=folder,
        environment=order.environment,
    )  # fmt: skip


def counted(source: Source, progress: Callable[[int], None]) -> Iterator[pl.DataFrame]:
    """Yield a source's batches, telling how many rows have been read."""
    rows = 0
    for frame in source.batches():
        yield frame
        rows += frame.height
        progress(rows)


def target_of(model: str, folder: Path, order: Order, conf: Path | None = None) -> deployment.Target:
    """Return where a model is to run: as a config says, or the version in a folder's context, or the live one.

    The environment wins over both, and the order's overrides over all.
    """
    if conf is not None:
        config = read_config(conf, VOCABULARY, overrides=order.overrides, environment=order.environment)
        kept: Mapping[str, Any] = config.model_dump(mode="json")["deployment"] or {}
    else:
        kept = _version_of(model, folder, order).config.get("deployment") or {}
    texts = [*from_environment(order.environment), *order.overrides]
    asked = [text.partition("=")[2].strip() for text in texts if text.partition("=")[0].strip() == "deployment.kind"]
    before = kept.get("kind", VOCABULARY.default_target)
    kind = asked[-1] if asked else before
    # Another kind starts from its own defaults.
    kept = kept if kind == before else {"kind": kind}
    return resolve_kept("deployment", deployment.SHELF.load(kind), kept, order.environment, overrides=order.overrides)


def _version_of(model: str, folder: Path, order: Order) -> Artefact:
    inside = folder / "context" / "model"
    return open_artefact(inside) if inside.is_dir() else load(model, open_store(None, order))


def site_of(model: str, folder: Path, order: Order, note: Callable[[str], None]) -> deployment.Site:
    """Return what a deployment is worked on from; versions are looked for in the folder's context and in the store."""

    def version(release: deployment.Release) -> Artefact | None:
        try:
            inside = _version_of(model, folder, order)
            if inside.version == release.version:
                return inside
            return load(f"{model}/{release.version}", open_store(None, order))
        except EstimatorError:
            return None

    return deployment.Site(folder, order.environment, version, note)


def like_training(artefact: Artefact, table: str, query: str | None) -> Data:
    """Return the section `data` of another table for a version."""
    known = artefact.config["data"]
    return Data(
        path=table,
        query=query,
        target=known["target"],
        delimiter=known["delimiter"],
        on_bad_lines=known["on_bad_lines"],
    )


def named(config: Config) -> Config:
    """Fill in the model's name from the data's when the config has none."""
    if config.name is not None:
        return config
    first = config.data.path if isinstance(config.data.path, str) else config.data.path[0]
    return config.model_copy(update={"name": model_name(first, config.data.query)})


def prepared_by(conf: Path, order: Order) -> tuple[Prepared, Config, models.Model]:
    """Return the rows of a config, read and parted, with the config and its model."""
    from estimator.training.train import prepare

    config = named(read_config(conf, VOCABULARY, overrides=order.overrides, environment=order.environment))
    with opened(config.data, order, conf.parent) as source:
        return prepare(source.frame(), config, reviewed_by(config, conf.parent)), config, model_of(config)


def held_out_of(artefact: Artefact, order: Order, folder: Path) -> pl.DataFrame:
    """Return the rows that a version held out, read again from its own data."""
    from estimator.training.reproduction import held_out_rows

    config = resolve(artefact.config, VOCABULARY)
    with opened(config.data, order, folder) as source:
        return held_out_rows(artefact, source.frame(), source.fingerprint(), config)


def model_of(config: Config) -> models.Model:
    """Return the model's settings."""
    model: models.Model = config.model  # type: ignore[assignment] # VOCABULARY resolves it to a kind of the shelf
    return model


def kind_of(config: Config) -> str:
    """Return the name of the model's kind."""
    return models.SHELF.name_of(type(config.model))


def reviewed_by(config: Config, folder: Path) -> Any:
    """Return the schema a person reviewed, when the config names one."""
    if config.schema_.file is None:
        return None
    from estimator.config.document import read_document
    from estimator.data.schema.file import from_data

    path = folder / config.schema_.file
    schema = from_data(read_document(path).values, place=str(path))
    return replace(schema, unknown_columns=config.schema_.unknown_columns)


def start_from(store: Store, reference: str) -> models.Start:
    """Return what a version hands to the next."""
    from estimator.features.matrix import Features

    artefact = load(reference, store)
    state = artefact.state()
    features = Features.from_data(artefact.schema, json.loads(state.pop("features.json")))
    return models.Start(artefact.version, artefact.schema, features, state)


def live_of(store: Store, name: str) -> Predictor | None:
    """Return the live version to compare with; a damaged one must not keep a new one from being made."""
    if "live" not in store.aliases(name):
        return None
    try:
        return open_artefact(version_folder(store.root / name)).predictor
    except EstimatorError:
        return None


def candidate_of(store: Store, reference: str) -> str:
    """A bare model name means its candidate."""
    return f"{reference}@candidate" if reference in store.models() else reference


def only_model(store: Store) -> str:
    """Return the store's model when there is just one."""
    names = store.models()
    if len(names) != 1:
        raise StoreError(f"{store.root}: which model?", hint=f"models: {', '.join(names) or 'none'}")
    return names[0]
