"""Where rows come from: each kind gives polars frames."""

from estimator.registry import Shelf
from estimator.sources.base import Source

KINDS = {
    "csv": "estimator.sources.csv:Csv",
    "parquet": "estimator.sources.parquet:Parquet",
    "sql": "estimator.sources.sql:Sql",
}
SHELF: Shelf[Source] = Shelf("source", KINDS)
