"""sklearn://diabetes: the small tables that are installed with scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import polars as pl

from estimator.core.text import did_you_mean
from estimator.data.sources.address import Address
from estimator.data.sources.base import QueryConnector, QueryResult
from estimator.errors import SourceError

TABLES = ("breast_cancer", "diabetes", "iris", "wine")


class ToyTables(QueryConnector):
    """A table by its name, with the columns scikit-learn gives it and `target`."""

    needs_query: ClassVar[bool] = False

    @classmethod
    @contextmanager
    def query(cls, address: Address, query: str, folder: Path) -> Iterator[QueryResult]:
        from sklearn import datasets

        name = address.url.partition("://")[2]
        if name not in TABLES:
            raise SourceError(f"{address.name}: no such table", hint=did_you_mean(name, TABLES))
        table = getattr(datasets, f"load_{name}")()
        columns = dict(zip(table.feature_names, table.data.T, strict=True))
        frame = pl.DataFrame({**columns, "target": table.target})
        yield QueryResult(iter([frame]), (f"{address.name}: {frame.height} rows that scikit-learn brings",))
