"""What a verb needs besides its config: overrides, the environment and the store; and what it opens by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from estimator import drift, models
from estimator.config import Config, Data, Shelves, read_config, resolve
from estimator.config.document import read_document
from estimator.data import sources
from estimator.data.schema import Schema
from estimator.data.schema.file import from_data
from estimator.data.sources.address import model_name
from estimator.data.sources.base import Source
from estimator.errors import SourceError, needs_extra
from estimator.evaluation import metrics
from estimator.features import encoders
from estimator.shipping import deployment
from estimator.store.artefact import Artefact, missing_packages_named, open_artefact
from estimator.store.store import Store, locate

# Every kind that a config may name.
SHELVES = Shelves(
    models.SHELF,  # type: ignore[arg-type] # a model is a section
    metrics.SHELF,
    encoders.SHELF,
    sources.SHELF,
    deployment.SHELF,  # type: ignore[arg-type] # and so is a target
    drift.SHELF,
)


class Notes:
    """What a verb has skipped, guessed, converted or left out: sentences that begin with the place.

    Mutable, as verbs add to it while they read. `show` gets each sentence at once, and once.
    """

    def __init__(self, show: Callable[[str], None] = lambda sentence: None) -> None:
        self._show = show
        self._sentences: list[str] = []

    def add(self, sentences: Iterable[str]) -> None:
        """Add those of the sentences that are new."""
        for sentence in sentences:
            if sentence not in self._sentences:
                self._sentences.append(sentence)
                self._show(sentence)

    def to_data(self) -> list[str]:
        """Return JSON-ready data."""
        return list(self._sentences)


@dataclass(frozen=True, slots=True)
class Context:
    """Overrides of config keys ("training.epochs=5"), the environment, the store's folder if it is named, and notes."""

    overrides: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    store_path: str | None = None
    notes: Notes = field(default_factory=Notes, compare=False)

    def config(self, path: Path) -> Config:
        """Read a config; a model without a name gets that of its data.

        Raises
        ------
        ConfigError: with every fault.
        """
        config = read_config(path, SHELVES, overrides=self.overrides, environment=self.environment)
        if config.name is not None:
            return config
        first = config.data.path if isinstance(config.data.path, str) else config.data.path[0]
        return config.model_copy(update={"name": model_name(first, config.data.query)})

    def store(self, config: Config | None = None) -> Store:
        """Return the store: the one named here, else the config's, else ESTIMATOR_STORE, else models/."""
        path = self.store_path or (config.store if config else None) or self.environment.get("ESTIMATOR_STORE")
        return Store(Path(path or "models"))

    def version(self, reference: str | Path) -> Artefact:
        """Open a version by its folder, its model's folder, or MODEL, MODEL@ALIAS or MODEL/VERSION in the store.

        Raises
        ------
        StoreError, ArtefactError: there is no such version, or it is damaged.
        """
        return open_artefact(locate(reference, self.store()))

    @contextmanager
    def rows(self, data: Data, folder: Path = Path()) -> Iterator[Source]:
        """Open the rows that a section `data` names, and add their notes; relative paths start in `folder`.

        Raises
        ------
        SourceError: there is nothing to read.
        """
        with needs_extra("batch", "reading a table"):
            from estimator.data.sources import opener

        with opener.open_source(
            data.path,
            kind=data.kind,
            delimiter=data.delimiter,
            on_bad_lines=data.on_bad_lines,
            query=data.query,
            folder=folder,
            environment=self.environment,
        ) as source:
            try:
                yield source
            finally:
                # Also when the rows do not suit the config: a note often tells why.
                with suppress(SourceError):
                    self.notes.add(source.notes())

    def without_overrides(self) -> Context:
        """Return this context without overrides, for versions that have their own config."""
        return replace(self, overrides=())


def config_of(artefact: Artefact) -> Config:
    """Return the config that made a version, as this release reads it."""
    with missing_packages_named(artefact):
        return resolve(artefact.config, SHELVES)


def data_like(artefact: Artefact, table: str, query: str | None) -> Data:
    """Return the section `data` of another table that a version is applied to."""
    data = artefact.config["data"]
    return Data(
        path=table, query=query, target=data["target"], delimiter=data["delimiter"], on_bad_lines=data["on_bad_lines"]
    )


def kind_of(config: Config) -> str:
    """Return the name of the model's kind."""
    return models.SHELF.name_of(type(config.model))


def reviewed_schema(config: Config, folder: Path) -> Schema | None:
    """Return the schema file that a config names, None when it names none."""
    if config.schema_.file is None:
        return None
    path = folder / config.schema_.file
    schema = from_data(read_document(path).values, source=str(path))
    return replace(schema, unknown_columns=config.schema_.unknown_columns)
