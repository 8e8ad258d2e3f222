"""What data.path names -> the source that reads it: files, a database, or files fetched from afar."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from estimator.core.text import join_names
from estimator.data.sources import SHELF
from estimator.data.sources.address import Address, locate
from estimator.data.sources.base import Database, Files, Ragged, Source
from estimator.data.sources.download import FETCHERS, fetch
from estimator.errors import SourceError, needs_extra


@contextmanager
def opened(
    path: str | Sequence[str], *, kind: str | None = None, delimiter: str | None = None, on_bad_lines: Ragged = "error",
    query: str | None = None, folder: Path = Path(), environment: Mapping[str, str] | None = None,
) -> Iterator[Source]:  # fmt: skip
    """Open one or several paths or addresses; what had to be copied from afar is removed at the end of the block.

    Relative paths are taken from `folder`; ${NAME} in a path stands for what `environment` holds.

    Raises
    ------
    SourceError: there is nothing to read, it cannot be reached, or no kind reads it.
    """
    addresses = [locate(item, environment or {}) for item in ([path] if isinstance(path, str) else path)]
    names: dict[str, str] = {}
    with _scratch(addresses) as scratch, _told_by(names):
        databases = [address for address in addresses if address.scheme and address.scheme not in FETCHERS]
        if databases:
            yield _answer(addresses, query, kind=kind, folder=folder, scratch=scratch)
            return
        if query is not None:
            raise SourceError(f"data.query: {addresses[0].name} is no database", hint="leave data.query out")
        files = [str(file) for address in addresses for file in _local(address, scratch, names)]
        yield open_source(files, kind=kind, delimiter=delimiter, on_bad_lines=on_bad_lines, folder=folder)


def open_source(
    path: str | Sequence[str],
    *,
    kind: str | None = None,
    delimiter: str | None = None,
    on_bad_lines: Ragged = "error",
    folder: Path | None = None,
) -> Files:
    """Return the source of one path, glob or folder, or of several; its kind is told by the ending or named.

    Relative paths are taken from `folder`.

    Raises
    ------
    SourceError: nothing matches, or the ending tells no kind.
    """
    wanted = [path] if isinstance(path, str) else list(path)
    files = [file for item in wanted for file in _files((folder or Path()) / item)]
    with needs_extra("batch", "reading a table"):
        found = SHELF.load(kind or _kind_of(files[0]))
    if not issubclass(found, Files):
        raise SourceError(f"{files[0]}: data.kind {kind!r} reads no files", hint=_ways())
    return found(tuple(files), delimiter, on_bad_lines)


def endings() -> dict[str, str]:
    """Return ending -> kind for every kind of files on the shelf."""
    return {ending: kind for kind, found in _file_kinds().items() for ending in found.endings}


def _answer(
    addresses: Sequence[Address], query: str | None, *, kind: str | None, folder: Path, scratch: Path
) -> Source:
    address, *others = addresses
    if others:
        raise SourceError(f"data.path: a list of files, or one database, got {join_names(a.name for a in addresses)}")
    with needs_extra("batch", "reading a database"):
        databases = _databases()
    if address.scheme not in databases:
        raise SourceError(f"{address.name}: no source reads {address.scheme}://", hint=_ways())
    name, found = databases[address.scheme]
    if kind not in (None, name):
        raise SourceError(f"{address.name}: data.kind {kind!r} reads no {address.scheme}://", hint="leave it out")
    if not query or not query.strip():
        raise SourceError(
            f"{address.name}: data.query is missing: what is to be read from the database",
            hint="set it to a table's name or a SELECT; on the command line --query",
        )
    return found.asked(address, query, folder=folder, scratch=scratch)


def _local(address: Address, scratch: Path, names: dict[str, str]) -> list[Path]:
    """Return the files of an address, fetched if they are not here, and keep what they are called."""
    if not address.scheme:
        return [Path(address.url)]
    found = fetch(address, scratch, tuple(endings()))
    names |= {str(path): name for path, name in found.items()}
    return list(found)


@contextmanager
def _scratch(addresses: Sequence[Address]) -> Iterator[Path]:
    """Give a folder that nobody else can read, for as long as the block lasts; none when all files are here."""
    if not any(address.scheme for address in addresses):
        yield Path()
        return
    try:
        made = TemporaryDirectory(prefix="estimator-", ignore_cleanup_errors=True)
    except OSError as error:
        raise SourceError(f"no temporary folder to copy rows into: {error.strerror}", hint="set TMPDIR") from error
    with made as folder:
        yield Path(folder)


@contextmanager
def _told_by(names: Mapping[str, str]) -> Iterator[None]:
    """Let errors speak of where a file came from, not of its copy."""
    try:
        yield
    except SourceError as error:
        message = error.message
        for copy, name in names.items():
            message = message.replace(copy, name)
        raise (error if message == error.message else SourceError(message, hint=error.hint)) from error.__cause__


def _file_kinds(names: Iterable[str] | None = None) -> dict[str, type[Files]]:
    loaded = {name: SHELF.load(name) for name in names or SHELF.names()}
    return {name: found for name, found in loaded.items() if issubclass(found, Files)}


def _databases() -> dict[str, tuple[str, type[Database]]]:
    """Return scheme -> kind and its class."""
    loaded = {name: SHELF.load(name) for name in SHELF.names()}
    databases = {name: found for name, found in loaded.items() if issubclass(found, Database)}
    return {scheme: (name, found) for name, found in databases.items() for scheme in found.schemes}


def _ways() -> str:
    schemes = [*_databases(), *FETCHERS]
    return f"files: {join_names(endings())}; addresses: {join_names(f'{scheme}://' for scheme in schemes)}"


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        inside = sorted(item for item in path.iterdir() if item.name.lower().endswith(tuple(endings())))
        if not inside:
            raise SourceError(f"{path}: no table in this folder", hint=f"endings: {join_names(endings())}")
        return inside
    found = [path] if path.is_file() else sorted(Path(item) for item in glob.glob(str(path)))  # noqa: PTH207 # absolute patterns
    if not found:
        raise SourceError(f"{path}: no such file, and no file matches it as a pattern", hint=_neighbours(path))
    return found


def _neighbours(path: Path) -> str:
    if not path.parent.is_dir():
        return f"the folder {path.parent} does not exist"
    tables = [item.name for item in sorted(path.parent.iterdir()) if item.name.endswith(tuple(endings()))]
    return f"tables in {path.parent}: {join_names(tables, limit=10)}"


def _kind_of(path: Path) -> str:
    # Plug-ins are looked for only when no shipped kind knows the ending.
    for names in (SHELF.kinds, None):
        for kind, found in _file_kinds(names).items():
            if path.name.lower().endswith(found.endings):
                return kind
    raise SourceError(
        f"{path}: the ending tells no kind of source",
        hint=f"name it with data.kind, or use one of {join_names(endings())}",
    )
