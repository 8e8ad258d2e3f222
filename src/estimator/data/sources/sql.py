"""Query results, copied to disk once, so that every pass and the fingerprint see the same rows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import polars as pl

from estimator.data.sources.address import Address
from estimator.data.sources.base import BATCH_ROWS, QueryConnector, Source
from estimator.data.sources.files import read_errors
from estimator.data.sources.parquet import Parquet
from estimator.errors import SourceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Sql(Source):
    """The rows of a query, read-only; values without a table type, such as JSON, arrive as text."""

    name: str
    copy: Parquet
    digest: str
    remarks: tuple[str, ...] = ()

    def batches(self, *, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        return self.copy.batches(rows=rows)

    def notes(self) -> list[str]:
        return list(self.remarks)

    def fingerprint(self) -> dict[str, str]:
        """Return the sha256 of the rows written as CSV, header included."""
        return {self.name: self.digest}


def run_query(connector: type[QueryConnector], address: Address, query: str, *, folder: Path, scratch: Path) -> Sql:
    """Run a query once and copy its result into `scratch`.

    Raises
    ------
    SourceError: the query fails, or gives no rows.
    """
    with connector.query(address, query, folder) as result:
        copy, digest = _copied(result.frames, scratch)
    if not copy.files:
        raise SourceError(f"{address.name}: the query returns no rows", hint="check data.query and its conditions")
    notes = result.notes
    if connector.needs_query and not re.search(r"\border\s+by\b", query, re.IGNORECASE):
        notes += (f"{address.name}: the query has no ORDER BY, so row order, and with it the test set, may change",)
    return Sql(name=address.name, copy=copy, digest=digest, remarks=notes)


def _copied(frames: Iterable[pl.DataFrame], folder: Path) -> tuple[Parquet, str]:
    """Write frames as they arrive, one in memory at a time; return the copy and the hash of its rows as CSV."""
    paths: list[Path] = []
    digest = hashlib.sha256()
    for frame in frames:
        if frame.height == 0:
            continue
        with read_errors((folder,)):
            paths.append(folder / f"{len(paths):06}.parquet")
            frame.write_parquet(paths[-1], statistics=False)
            text = BytesIO()
            frame.write_csv(text, include_header=len(paths) == 1)
        digest.update(text.getbuffer())
    return Parquet(tuple(paths)), digest.hexdigest()
