"""What a verb needs besides its config: overrides, the environment and the store; and what it opens by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from estimator import drift, models
from estimator import engine as engines
from estimator.config import Config, ConfigFault, Data, EngineChoice, Shelves, resolve, resolve_section
from estimator.config.columns import column_faults
from estimator.config.document import Document, parse_document, read_document, values_document
from estimator.config.reader import LoadedConfig, load_config
from estimator.core.text import did_you_mean
from estimator.data import sources
from estimator.data.schema import Schema
from estimator.data.schema.file import from_data
from estimator.data.sources.address import HANDED_IN, SCHEME, model_name
from estimator.data.sources.address import locate as locate_address
from estimator.data.sources.base import Source, checked_batches
from estimator.data.sources.web import fetch
from estimator.data.tables import FrameSource
from estimator.errors import ConfigError, EstimatorError, SourceError, TrustError, needs_extra
from estimator.evaluation import metrics
from estimator.features import encoders
from estimator.shipping import deployment
from estimator.store.artefact import Artefact, missing_packages_named, open_artefact
from estimator.store.store import Store, locate

if TYPE_CHECKING:
    import polars as pl

    from estimator.data.stored_table import Table

# Every kind that a config may name.
SHELVES = Shelves(
    models.SHELF,  # type: ignore[arg-type] # a model is a section
    metrics.SHELF,
    encoders.SHELF,
    sources.SHELF,
    deployment.SHELF,  # type: ignore[arg-type] # and so is a target
    drift.SHELF,
    engines.SHELF,
)

# A config's file, its address, its values, what standard input held, or a document that was read already.
ConfigReference = Path | str | Mapping[str, Any] | bytes | Document
MAX_CONFIG_BYTES = 5_000_000


class Notes:
    """What a verb has skipped, guessed, converted or left out: sentences that begin with the place.

    Mutable, as verbs add to it while they read. `show` gets each sentence at once, and once. `skipped_lines` is the
    number of lines that cannot be read and were left out.
    """

    def __init__(self, show: Callable[[str], None] = lambda sentence: None) -> None:
        self._show = show
        self._sentences: list[str] = []
        self.skipped_lines = 0

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
class ConfiguredTable:
    """All rows that a config names, as they were read: their hashes, notes and reviewed schema, if there is one."""

    frame: Table
    fingerprint: Mapping[str, str]
    notes: Sequence[str]
    schema: Schema | None


def _refuses(question: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Context:
    """Overrides of config keys ("training.epochs=5"), the environment, the store's folder if it is named, and notes.

    `engine_name` is an engine, or the address of a Ray cluster, to use in place of the config's.

    `confirm` is asked before an address is opened that somebody else's version names, unless `own_data`, the section
    `data` of a config of one's own, names the same rows.
    """

    overrides: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    store_path: str | None = None
    notes: Notes = field(default_factory=Notes, compare=False)
    confirm: Callable[[str], bool] = field(default=_refuses, compare=False)
    own_data: Data | None = None
    engine_name: str | None = None

    def config(self, conf: ConfigReference) -> Config:
        """Return the checked config; see `loaded`."""
        return self.loaded(conf).config

    def loaded(self, conf: ConfigReference, data: FrameSource | None = None) -> LoadedConfig:
        """Read a config; a model without a name gets that of its data.

        It may be a file, an address, a dictionary, or a document that was read already. `data` are rows to use in
        place of those it names.

        Raises
        ------
        ConfigError: with every fault, also of columns that a table in a file does not have.
        """
        document = self.document(conf)
        if data is not None:
            document = replace(document, values=_with_rows_in_memory(document.values))
        loaded = load_config(
            document,
            SHELVES,
            overrides=self.overrides,
            environment=self.environment,
            more_faults=lambda loaded: self._column_faults(loaded, data),
        )
        config = loaded.config
        if config.name is not None:
            return loaded
        first = config.data.path if isinstance(config.data.path, str) else config.data.path[0]
        name = model_name(first, config.data.query) if data is None else model_name(config.data.target)
        return replace(loaded, config=config.model_copy(update={"name": name}))

    def document(self, conf: ConfigReference) -> Document:
        """Read a config or schema as it was written: a file, an address, or a dictionary.

        Raises
        ------
        ConfigError, SourceError: it cannot be read.
        """
        if isinstance(conf, Document):
            return conf
        if isinstance(conf, bytes):
            return parse_document(conf, "standard input")
        if isinstance(conf, Mapping):
            return values_document(conf)
        if SCHEME.match(str(conf)):
            return self._fetched(str(conf))
        return read_document(Path(conf))

    def _fetched(self, url: str) -> Document:
        """Read the document at an address; relative paths in it start there."""
        address = locate_address(url, self.environment)
        if address.scheme not in ("http", "https"):
            raise ConfigError(f"{address.name}: expected a file, or an address that begins with https://")
        content = fetch(address, max_bytes=MAX_CONFIG_BYTES)
        document = parse_document(content, address.name, suffix=Path(address.name).suffix.lower())
        return replace(document, values=_with_absolute_paths(document.values, address.name))

    def _column_faults(self, loaded: LoadedConfig, data: FrameSource | None) -> list[ConfigFault]:
        """Return the columns that a table in a file does not have, for a config that has other faults too."""
        config, folder = loaded.config, loaded.document.folder
        paths = [config.data.path] if isinstance(config.data.path, str) else config.data.path
        if data is None and any(SCHEME.match(path) or "${" in path for path in paths):
            return []
        rows = replace(self, notes=Notes()).rows(config.data, folder) if data is None else nullcontext(data)
        try:
            with rows as source:
                header = next(iter(source.batches())).columns
            schema = reviewed_schema(config, folder)
        except EstimatorError:
            # It is reported when the config has no other faults.
            return []
        return column_faults(config, header, _names(schema))

    def store(self, config: Config | None = None) -> Store:
        """Return the store: the one named here, else the config's, else ESTIMATOR_STORE, else models/."""
        place = self.store_path or (config.store if config else None) or self.environment.get("ESTIMATOR_STORE")
        return Store.at(place or "models")

    def engine(self, config: Config) -> EngineChoice:
        """Return where fits run: the engine named here, else the config's, else ESTIMATOR_ENGINE, else local.

        Raises
        ------
        ConfigError: there is no such engine.
        """
        variable = self.environment.get("ESTIMATOR_ENGINE")
        if self.engine_name is not None:
            choice = EngineChoice.of(self.engine_name, "--engine")
        elif config.engine is not None or not variable:
            choice = config.engine or EngineChoice()
        else:
            choice = EngineChoice.of(variable, "ESTIMATOR_ENGINE")
        if choice.kind not in engines.SHELF:
            raise ConfigError(f"no engine called {choice.kind!r}", hint=did_you_mean(choice.kind, engines.SHELF))
        return choice

    def version(self, reference: str | Path) -> Artefact:
        """Open a version by its folder, its model's folder, or MODEL, MODEL@ALIAS or MODEL/VERSION in the store.

        Raises
        ------
        StoreError, ArtefactError: there is no such version, or it is damaged.
        """
        artefact = open_artefact(locate(reference, self.store()))
        if not artefact.is_own:
            self.notes.add([foreign_note(artefact)])
        return artefact

    @contextmanager
    def rows(self, data: Data, folder: Path = Path()) -> Iterator[Source]:
        """Open the rows that a section `data` names, and add their notes; relative paths start in `folder`.

        Raises
        ------
        SourceError: there is nothing to read.
        """
        with needs_extra("batch", "reading a table"):
            from estimator.data.sources import opener

        with opener.open_data(data, folder, self.environment) as source:
            try:
                yield source
            finally:
                # Also when the rows do not suit the config: a note often tells why.
                with suppress(SourceError):
                    self.notes.add(source.notes())
                    self.notes.skipped_lines = max(self.notes.skipped_lines, source.skipped_lines)

    @contextmanager
    def training_rows(self, artefact: Artefact, folder: Path = Path()) -> Iterator[Source]:
        """Open the rows that a version was trained on; relative paths start in `folder`.

        Somebody else's version may name any table that this user can read: its address is shown first, and
        ${NAME} in it is not replaced.

        Raises
        ------
        TrustError: `confirm` does not accept the address.
        SourceError: there is nothing to read.
        """
        data, opens = config_of(artefact).data, self
        if not artefact.is_own and data != self.own_data:
            self._check_address(artefact, data, folder)
            opens = replace(self, environment={})
        with opens.rows(data, folder) as source:
            yield source

    def _check_address(self, artefact: Artefact, data: Data, folder: Path) -> None:
        paths = [data.path] if isinstance(data.path, str) else data.path
        shown = ", ".join(path if SCHEME.match(path) or "${" in path else str(folder / path) for path in paths)
        problem = f"{artefact.name} {artefact.version} is not signed with your key, and data.path in it names {shown}"
        if any("${" in path for path in paths):
            raise TrustError(
                f"{problem}: no variable of yours is put into somebody else's address",
                hint=f"if the version is your own: estimator sign {artefact.name}/{artefact.version}",
            )
        query = f" with the query {data.query!r}" if data.query else ""
        if not self.confirm(f"{problem}{query}."):
            raise TrustError(problem, hint="look at the address; --trust reads it")

    def table(
        self,
        loaded: LoadedConfig,
        data: FrameSource | None = None,
        read: Callable[[Iterable[pl.DataFrame]], Table] | None = None,
    ) -> ConfiguredTable:
        """Read all rows that a config names, or those of `data`, after a look at the columns.

        What the config says of columns comes before what its schema file says. `read` makes a table of batches of rows,
        in memory when left out.

        Raises
        ------
        ConfigError: the config names columns that the table does not have.
        SourceError: there is nothing to read.
        """
        with needs_extra("train", "reading a table by a config"):
            from estimator.data.schema.reviewed import with_choices

        config, folder = loaded.config, loaded.document.folder
        schema = reviewed_schema(config, folder)
        with self.rows(config.data, folder) if data is None else nullcontext(data) as source:
            names = _names(schema)
            frame = (
                source.frame(lambda header: loaded.check_columns(header, names))
                if read is None
                else read(checked_batches(source.batches(), lambda header: loaded.check_columns(header, names)))
            )
            if schema is not None:
                schema = with_choices(schema, frame, config)
            return ConfiguredTable(frame, source.fingerprint(), source.notes(), schema)

    def reject_overrides(self, *, except_section: str | None = None, except_sections: Sequence[str] = ()) -> None:
        """Reject overrides that would do nothing, as versions keep the config they were trained with.

        `except_section` is that of how a table is read, `except_sections` are others that apply.

        Raises
        ------
        ConfigError: names each.
        """
        applied = {except_section, *except_sections}
        unused = [text for text in self.overrides if text.partition(".")[0] not in applied]
        if unused:
            expected = ""
            if except_sections:
                expected = f"; here it changes only keys of {', '.join(except_sections)}"
            elif except_section:
                expected = f"; here it changes only how the table is read, such as {except_section}.encoding=utf-16"
            raise ConfigError(
                f"--set {', '.join(unused)}: a version keeps the config it was trained with{expected}",
                hint="to change the config, train a new version: estimator train --set ...",
            )

    def without_overrides(self) -> Context:
        """Return this context without overrides, for versions that have their own config."""
        return replace(self, overrides=())


def config_of(artefact: Artefact) -> Config:
    """Return the config that made a version, as this release reads it."""
    with missing_packages_named(artefact):
        return resolve(artefact.config, SHELVES)


def foreign_note(artefact: Artefact) -> str:
    """Return the note on a version that is not signed with this user's key: it predicts, and does no more."""
    keys = ", ".join(artefact.unused_config)
    unused = f"; not used of its config: {keys}" if keys else ""
    return f"{artefact.name} {artefact.version} is somebody else's: it is not signed with your key{unused}"


def data_like(artefact: Artefact, context: Context, table: str, query: str | None) -> Data:
    """Return the section `data` of another table that a version is applied to; its ending or scheme tells its kind."""
    stored = {**artefact.config["data"], "kind": None}
    return resolve_section(
        "data", Data, stored, {}, overrides=context.overrides, settings={"path": table, "query": query}
    )


def kind_of(config: Config) -> str:
    """Return the name of the model's kind."""
    return models.SHELF.name_of(type(config.model))


def reviewed_schema(config: Config, folder: Path) -> Schema | None:
    """Return the schema file that a config names, None when it names none."""
    if config.schema_.file is None:
        return None
    file = config.schema_.file
    document = Context().document(file if SCHEME.match(file) else folder / file)
    schema = from_data(document.values, source=document.name)
    return replace(schema, unknown_columns=config.schema_.unknown_columns)


def _names(schema: Schema | None) -> list[str]:
    return [] if schema is None else list(schema.by_name)


def _with_rows_in_memory(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config's values with rows that were handed in in place of a table."""
    data = values.get("data")
    section = {key: data[key] for key in data if key not in ("query", "kind")} if isinstance(data, Mapping) else {}
    return {**values, "data": {**section, "path": f"{HANDED_IN}://rows"}}


def _with_absolute_paths(values: dict[str, Any], url: str) -> dict[str, Any]:
    """Return a config's values with the paths of its table and schema as addresses next to its own."""

    def absolute(path: Any) -> Any:
        if isinstance(path, list):
            return [absolute(item) for item in path]
        return urljoin(url, path) if isinstance(path, str) and not SCHEME.match(path) and "${" not in path else path

    result = dict(values)
    for section, key in (("data", "path"), ("schema", "file")):
        content = result.get(section)
        if isinstance(content, dict) and key in content:
            result[section] = {**content, key: absolute(content[key])}
    return result
