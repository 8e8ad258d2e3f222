"""From `data.path` to a source: local files, files to download, or a query."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from estimator.config import Data
from estimator.core.files import scratch_folder
from estimator.core.text import join_names
from estimator.data.sources import CONNECTORS, SHELF
from estimator.data.sources.address import HANDED_IN, Address, locate
from estimator.data.sources.base import PLAIN, Connector, FileConnector, FileSource, QueryConnector, ReadOptions, Source
from estimator.data.sources.files import read_errors
from estimator.data.sources.sql import Sql, run_query
from estimator.errors import SourceError, needs_extra

# A folder of a table that is partitioned by a column, as Hive, Spark and pandas name it.
PARTITION = re.compile(r"[^=]+=[^=]*")


@contextmanager
def open_source(
    path: str | Sequence[str],
    options: ReadOptions = PLAIN,
    *,
    query: str | None = None,
    folder: Path = Path(),
    environment: Mapping[str, str] | None = None,
) -> Iterator[Source]:
    """Open one or more paths or addresses; downloads and copies are deleted afterwards.

    Relative paths start at `folder`; ${NAME} in a path is replaced by the value in `environment`.

    Raises
    ------
    SourceError: nothing matches, an address cannot be reached, or no kind of source reads it.
    """
    addresses = [locate(item, environment or {}) for item in ([path] if isinstance(path, str) else path)]
    names: dict[str, str] = {}
    with _scratch_folder(addresses) as scratch, _original_names(names):
        connectors = {address.name: _connector(address) for address in addresses if address.scheme}
        if any(issubclass(connector, QueryConnector) for connector in connectors.values()):
            yield _open_query(addresses, query, kind=options.kind, folder=folder, scratch=scratch)
            return
        if query is not None:
            raise SourceError(f"data.query: {addresses[0].name} is not a database", hint="remove data.query")
        files = [str(file) for address in addresses for file in _local_files(address, scratch, names)]
        yield open_files(files, options, folder=folder)


def open_data(data: Data, folder: Path, environment: Mapping[str, str]) -> AbstractContextManager[Source]:
    """Open the rows that a config's section `data` names, as `open_source` does."""
    options = ReadOptions.of(dict(data))
    return open_source(data.path, options, query=data.query, folder=folder, environment=environment)


def open_files(path: str | Sequence[str], options: ReadOptions = PLAIN, *, folder: Path | None = None) -> FileSource:
    """Return the source of local files: a path, glob or folder, or several; the ending decides the kind.

    Relative paths start at `folder`.

    Raises
    ------
    SourceError: nothing matches, or the ending belongs to no kind.
    """
    patterns = [path] if isinstance(path, str) else list(path)
    files, notes = list[Path](), list[str]()
    for pattern in patterns:
        location = (folder or Path()) / pattern
        with read_errors((location,)):
            files += _matching_files(location, notes)
    paths = Counter(file.resolve() for file in files)
    if repeated := [str(file) for file in dict.fromkeys(files) if paths[file.resolve()] > 1]:
        raise SourceError(
            f"data.path names {join_names(repeated, limit=5)} more than once, so its rows would be read twice",
            hint="remove one of the names or patterns",
        )
    if partitions := sorted({part for file in files for part in file.parts[:-1] if PARTITION.fullmatch(part)}):
        shown = join_names(partitions, limit=5)
        notes.append(f"names of folders are no columns: {shown}; write such a column into the files to use it")
    with needs_extra("batch", "reading a table"):
        source = SHELF.load(options.kind or _kind_by_ending(files[0]))
    if not issubclass(source, FileSource):
        raise SourceError(f"{files[0]}: data.kind {options.kind!r} does not read files", hint=_supported())
    return source(tuple(files), options, tuple(notes))


def endings() -> dict[str, str]:
    """Return ending -> kind for every kind of file source."""
    return {ending: kind for kind, source in _file_kinds().items() for ending in source.endings}


def _connector(address: Address) -> type[Connector]:
    if address.scheme == HANDED_IN:
        raise SourceError(
            "data.path: these rows were handed over in Python, and were not kept",
            hint="write them to a file, such as frame.write_parquet(...), name it in data.path and train again",
        )
    if address.scheme not in CONNECTORS:
        raise SourceError(f"{address.name}: no connector for {address.scheme}://", hint=_supported())
    with needs_extra("batch", "reading a table"):
        return CONNECTORS.load(address.scheme)


def _open_query(
    addresses: Sequence[Address], query: str | None, *, kind: str | None, folder: Path, scratch: Path
) -> Sql:
    address, *others = addresses
    connector = _connector(address) if address.scheme else None
    if others or connector is None or not issubclass(connector, QueryConnector):
        names = join_names(address.name for address in addresses)
        raise SourceError(f"data.path: expected files, or one database, got {names}", hint="use one database alone")
    if kind not in (None, SHELF.name_of(Sql)):
        raise SourceError(
            f"{address.name}: data.kind {kind!r} does not read {address.scheme}://", hint="remove data.kind"
        )
    text = (query or "").strip()
    if connector.needs_query and not text:
        raise SourceError(
            f"{address.name}: data.query is missing: it selects the rows of a database",
            hint="set it to a table's name or a SELECT; on the command line --query",
        )
    return run_query(connector, address, text, folder=folder, scratch=scratch)


def _local_files(address: Address, scratch: Path, names: dict[str, str]) -> list[Path]:
    """Return the files of an address, downloaded if needed, and add each download's original name to `names`."""
    if not address.scheme:
        return [Path(address.url)]
    connector = _connector(address)
    assert issubclass(connector, FileConnector), "queries are opened elsewhere"
    downloads = connector.download(address, scratch, tuple(endings()))
    names |= {str(path): name for path, name in downloads.items()}
    return list(downloads)


@contextmanager
def _scratch_folder(addresses: Sequence[Address]) -> Iterator[Path]:
    """Yield a temporary folder that only this user can read; none is made if all files are local."""
    if not any(address.scheme for address in addresses):
        yield Path()
        return
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(scratch_folder())
        except OSError as error:
            raise SourceError(f"no temporary folder to copy rows into: {error.strerror}", hint="set TMPDIR") from error
        yield folder


@contextmanager
def _original_names(names: Mapping[str, str]) -> Iterator[None]:
    """Replace the paths of downloads in errors by the addresses they came from."""
    try:
        yield
    except SourceError as error:
        message = error.message
        for path, name in names.items():
            message = message.replace(path, name)
        raise (error if message == error.message else SourceError(message, hint=error.hint)) from error.__cause__


def _file_kinds(names: Iterable[str] | None = None) -> dict[str, type[FileSource]]:
    loaded = {name: SHELF.load(name) for name in names or SHELF.names()}
    return {name: source for name, source in loaded.items() if issubclass(source, FileSource)}


def _supported() -> str:
    schemes = join_names(f"{scheme}://" for scheme in CONNECTORS)
    return f"files: {join_names(endings())}; addresses: {schemes}"


def _matching_files(path: Path, notes: list[str]) -> list[Path]:
    if path.is_dir():
        return _tables_in(path, notes)
    if path.is_symlink() and not path.exists():
        raise SourceError(f"{path}: is a link to {str(path.readlink())!r}, which does not exist", hint="mend the link")
    if path.exists() and not path.is_file():
        raise SourceError(f"{path}: is a pipe or a device, which cannot be read twice", hint="write its rows to a file")
    files = [path] if path.exists() else sorted(Path(item) for item in glob.glob(str(path)))  # noqa: PTH207 # absolute patterns
    if not files:
        raise SourceError(f"{path}: no such file, and no file matches it as a pattern", hint=_tables_nearby(path))
    return files


def _tables_in(folder: Path, notes: list[str]) -> list[Path]:
    """Return the tables of a folder, without hidden files; `notes` gets those that no system writes by itself."""
    found = sorted(item for item in folder.iterdir() if item.name.lower().endswith(tuple(endings())))
    tables = [item for item in found if not item.name.startswith(".")]
    left_out = [item.name for item in found if item.name.startswith(".") and not item.name.startswith("._")]
    if left_out:
        notes.append(f"{folder}: hidden files are left out: {join_names(left_out, limit=10)}")
    below = [item.name for item in sorted(folder.iterdir()) if item.is_dir() and not item.name.startswith((".", "__"))]
    if below and tables:
        notes.append(f"{folder}: folders in it are not read: {join_names(below, limit=10)}")
    if not tables:
        raise SourceError(f"{folder}: no table in this folder", hint=f"endings: {join_names(endings())}")
    return tables


def _tables_nearby(path: Path) -> str:
    if not path.parent.is_dir():
        return f"the folder {path.parent} does not exist"
    tables = [item.name for item in sorted(path.parent.iterdir()) if item.name.endswith(tuple(endings()))]
    return f"tables in {path.parent}: {join_names(tables, limit=10)}"


def _kind_by_ending(path: Path) -> str:
    # Shipped kinds first: looking for plug-ins reads the files of every installed package.
    for names in (SHELF.kinds, None):
        for kind, source in _file_kinds(names).items():
            if path.name.lower().endswith(source.endings):
                return kind
    raise SourceError(
        f"{path}: no kind of source has this ending", hint=f"set data.kind, or use one of {join_names(endings())}"
    )
