"""Where rows come from: each kind gives polars frames."""

from estimator.core.registry import Shelf
from estimator.data.sources.base import Source

KINDS = {
    "csv": "estimator.data.sources.csv:Csv",
    "parquet": "estimator.data.sources.parquet:Parquet",
    "sql": "estimator.data.sources.sql:Sql",
}
SHELF: Shelf[Source] = Shelf("source", KINDS)
