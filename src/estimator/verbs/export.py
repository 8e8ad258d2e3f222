"""export: a model's prediction log as a table, in a file or a database."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl

from estimator.core.files import scratch_folder
from estimator.core.lock import locked
from estimator.core.text import join_names
from estimator.data.sinks import FileSink, IfExists, Sink, is_csv, sink_for
from estimator.errors import ArtefactError, MonitoringError, SourceError, StoreError
from estimator.prediction_log import PredictionLog, PredictionRecord
from estimator.prediction_log.log_table import LogPage, LogTable
from estimator.store.artefact import Artefact
from estimator.verbs.context import Context
from estimator.verbs.monitor import MonitoredModel, opened_log

# Rows in memory at a time.
PART_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class LogSelection:
    """Which predictions of a log are exported: made in a time span, in seconds since 1970, and by one `version` or all.

    With `shadow`, what shadow versions predicted for the rows, instead of what was served. `for_training`, only rows
    with a label, as a table of the inputs and the label.
    """

    since: float
    until: float
    version: str | None = None
    shadow: bool = False
    for_training: bool = False


@dataclass(frozen=True, slots=True)
class LogExport:
    """What was exported: the columns, and the number of rows, of those with a label, and of rows by version.

    `unreadable` counts, by column, the values that are not of its type and are missing in the table. `n_shadow_rows`
    are the shadow predictions of the same time, and `private_columns` the inputs that the log does not have.
    """

    columns: tuple[str, ...]
    n_rows: int
    n_labels: int
    versions: Mapping[str, int]
    unreadable: Mapping[str, int]
    n_shadow_rows: int
    private_columns: tuple[str, ...]

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return asdict(self)


def export(
    model: MonitoredModel,
    output: str,
    context: Context,
    selection: LogSelection,
    *,
    into: str | None = None,
    if_exists: IfExists | None = None,
    quote_formulas: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> LogExport:
    """Write the prediction log of a model to a file or into a database's table, atomically and with bounded memory.

    Columns are those of the schemas of all versions that predicted, the label under the target's name, and the log's
    own, which begin with `log_`.

    Raises
    ------
    MonitoringError: no log is named, or it holds no prediction of the version.
    SourceError: the log cannot be read, or the output cannot be written.
    """
    artefact = context.version(model.reference)
    sink = sink_for(output, context.environment, table=into, if_exists=if_exists, quote_formulas=quote_formulas)
    sink.check()
    with opened_log(model, artefact, context) as log:
        span = {"since": selection.since, "until": selection.until}
        n_shadow_rows = sum(log.version_counts(artefact.name, **span, shadow=True).values())
        logged = log.version_counts(artefact.name, **span, shadow=selection.shadow)
        versions = _selected(logged, selection.version, artefact, context)
        table = LogTable(_opened(versions, artefact, context), selection.for_training)
        with locked(sink.parts_path, purpose="writing it", name=sink.name, timeout_seconds=0, error_type=SourceError):
            sink.check_existing()
            # The first part has no rows: it is the table, where there are none.
            pages = chain([[]], _pages(log, artefact.name, selection, selection.version and versions[0]))
            n_labels, n_rows, unreadable = _written(sink, map(table.page, pages), progress)
    context.notes.add(_notes(table, sink))
    return LogExport(
        columns=tuple(table.dtypes),
        n_rows=n_rows.total(),
        n_labels=n_labels,
        versions=dict(sorted(n_rows.items())),
        unreadable=dict(unreadable),
        n_shadow_rows=n_shadow_rows,
        private_columns=tuple(table.private_columns),
    )


def _selected(logged: Mapping[str, int], version: str | None, artefact: Artefact, context: Context) -> list[str]:
    """Return the versions whose predictions are exported; the one that the model's name means, where there are none."""
    if version is None:
        return list(logged) or [artefact.version]
    version = context.store().aliases(artefact.name).get(version, version)
    if version not in logged:
        versions = f"versions: {join_names(logged)}" if logged else "it holds none of any version"
        raise MonitoringError(
            f"{artefact.name}: the log holds no prediction of version {version!r} in that time",
            hint=f"{versions}; try another --since or --until",
        )
    return [version]


def _opened(versions: Sequence[str], artefact: Artefact, context: Context) -> list[Artefact]:
    """Return versions of a model; in place of those that cannot be opened, `artefact` comes first, with a note."""
    opened, missing = [], []
    for version in versions:
        try:
            opened.append(artefact if version == artefact.version else context.version(f"{artefact.name}/{version}"))
        except (StoreError, ArtefactError):
            missing.append(version)
    if not missing:
        return opened
    context.notes.add([f"not in the store: {join_names(missing)}; rows are read by the schema of {artefact.version}"])
    return [artefact, *(other for other in opened if other.version != artefact.version)]


def _pages(
    log: PredictionLog, name: str, selection: LogSelection, version: str | None
) -> Iterator[list[PredictionRecord]]:
    """Yield the selected predictions, oldest first, in parts that fit in memory."""
    cursor = (selection.since, "")
    while records := log.after(name, cursor, until=selection.until, limit=PART_ROWS):
        cursor = (records[-1].at, records[-1].id)
        chosen = log.as_shadows(records) if selection.shadow else records
        yield [record for record in chosen if version in (None, record.version)]


def _written(
    sink: Sink, pages: Iterable[LogPage], progress: Callable[[int], None]
) -> tuple[int, Counter[str], Counter[str]]:
    """Write pages in one step; return the number of labels, of rows by version, and of unreadable values by column."""
    n_labels, versions, unreadable, parts = 0, Counter[str](), Counter[str](), list[Path]()
    with scratch_folder() as folder:
        try:
            for page in pages:
                parts.append(folder / f"{len(parts):08d}.parquet")
                page.rows.write_parquet(parts[-1])
                n_labels += page.n_labels
                versions += page.versions
                unreadable += page.unreadable
                progress(versions.total())
        except (pl.exceptions.PolarsError, OSError) as error:
            raise SourceError(f"{sink.name}: cannot be written: {error}", hint="parts are kept in TMPDIR") from error
        attempt = secrets.token_hex(8)
        sink.write(parts, attempt)
        sink.forget(attempt)
    return n_labels, versions, unreadable


def _notes(table: LogTable, sink: Sink) -> Iterator[str]:
    """Yield what a reader of the table has to know."""
    if isinstance(sink, FileSink) and is_csv(sink.path) and (names := table.formatted_columns):
        columns = f"column{'s' if len(names) > 1 else ''} {join_names(map(repr, names), limit=8)}"
        yield (
            f"{sink.name}: the schema reads text in {columns} by other separators than those of this file: "
            "write .parquet for evaluate or retrain"
        )
