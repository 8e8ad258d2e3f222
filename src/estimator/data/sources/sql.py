"""Databases: the answer to a query, copied once, so that every reading and the fingerprint are of the same rows."""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import ClassVar, Self

import polars as pl

from estimator.data.sources.address import Address
from estimator.data.sources.base import BATCH_ROWS, Database, explained
from estimator.data.sources.parquet import Parquet
from estimator.data.sources.query_result import Answer
from estimator.errors import SourceError

Ask = Callable[[Address, str, Path], AbstractContextManager[Answer]]
ASKERS = {
    "postgresql": "estimator.data.sources.postgresql:ask",
    "postgres": "estimator.data.sources.postgresql:ask",
    "sqlite": "estimator.data.sources.sqlite:ask",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sql(Database):
    """PostgreSQL and SQLite: a table or the answer to a SELECT, read only; what has no tabular type comes as text."""

    schemes: ClassVar[tuple[str, ...]] = tuple(ASKERS)
    name: str
    copy: Parquet
    digest: str
    remarks: tuple[str, ...] = ()

    @classmethod
    def asked(cls, address: Address, query: str, *, folder: Path, scratch: Path) -> Self:
        module, _, function = ASKERS[address.scheme].partition(":")
        ask: Ask = getattr(importlib.import_module(module), function)
        with ask(address, query, folder) as answer:
            copy, digest = _copied(answer.frames, scratch)
        if not copy.paths:
            raise SourceError(f"{address.name}: the query gives no rows", hint="check data.query and its conditions")
        order = re.search(r"\border\s+by\b", query, re.IGNORECASE)
        note = f"{address.name}: the query has no ORDER BY, so the order of the rows, and what is held out, may change"
        return cls(name=address.name, copy=copy, digest=digest, remarks=(*answer.notes, *(() if order else (note,))))

    def batches(self, *, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
        return self.copy.batches(rows=rows)

    def notes(self) -> list[str]:
        return list(self.remarks)

    def fingerprint(self) -> dict[str, str]:
        """Return the sha256 of the rows written as CSV, header included."""
        return {self.name: self.digest}


def _copied(frames: Iterable[pl.DataFrame], folder: Path) -> tuple[Parquet, str]:
    """Write frames as they arrive, so that no more than one is held at a time."""
    paths: list[Path] = []
    digest = hashlib.sha256()
    for frame in frames:
        if frame.height == 0:
            continue
        with explained((folder,)):
            paths.append(folder / f"{len(paths):06}.parquet")
            frame.write_parquet(paths[-1], statistics=False)
            text = BytesIO()
            frame.write_csv(text, include_header=len(paths) == 1)
        digest.update(text.getbuffer())
    return Parquet(tuple(paths)), digest.hexdigest()
