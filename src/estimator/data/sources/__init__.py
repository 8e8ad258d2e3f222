"""Where rows come from: file formats by ending, and connectors by the scheme of an address."""

from estimator.core.registry import Shelf
from estimator.data.sources.base import Connector, Source

KINDS = {
    "csv": "estimator.data.sources.csv:Csv",
    "parquet": "estimator.data.sources.parquet:Parquet",
    "arrow": "estimator.data.sources.arrow:Arrow",
    "excel": "estimator.data.sources.excel:Excel",
    "sql": "estimator.data.sources.sql:Sql",
}
SHELF: Shelf[Source] = Shelf("source", KINDS)

# Scheme of an address (what is before ://) -> its connector. A plug-in adds one in the group `estimator.connector`.
SCHEMES = {
    "http": "estimator.data.sources.web:Http",
    "https": "estimator.data.sources.web:Http",
    "postgres": "estimator.data.sources.postgresql:PostgreSQL",
    "postgresql": "estimator.data.sources.postgresql:PostgreSQL",
    "s3": "estimator.data.sources.s3:S3",
    "sqlite": "estimator.data.sources.sqlite:SQLite",
}
CONNECTORS: Shelf[Connector] = Shelf("connector", SCHEMES)
