"""Every kind on every shelf keeps every promise of its shelf."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from estimator import drift, models
from estimator.checks import drift as drift_checks
from estimator.checks import encoders as encoder_checks
from estimator.checks import metrics as metric_checks
from estimator.checks import models as model_checks
from estimator.checks import sources as source_checks
from estimator.data import sources
from estimator.data.sources.address import locate
from estimator.data.sources.base import FileSource
from estimator.data.sources.sql import run_query
from estimator.data.sources.sqlite import SQLite
from estimator.errors import MissingExtraError
from estimator.evaluation import metrics
from estimator.features import encoders


def named(promises):
    return pytest.mark.parametrize("promise", promises, ids=lambda promise: promise.__name__)


@named(encoder_checks.PROMISES)
@pytest.mark.parametrize("kind", encoders.SHELF.names())
def test_encoders_keep_their_promises(kind, promise):
    promise(encoders.SHELF.load(kind))


# Without validation rows all rounds are run, and one of CatBoost's is slow.
SETTINGS = {kind: {"n_estimators": 200} for kind in ("boosting", "catboost", "xgboost")}


@named(model_checks.PROMISES)
@pytest.mark.parametrize("kind", models.SHELF.names())
def test_models_keep_their_promises(kind, promise):
    try:
        promise(models.SHELF.load(kind)(**SETTINGS.get(kind, {})))
    except MissingExtraError as error:
        pytest.skip(f"{error.message}; {error.hint}")


@named(metric_checks.PROMISES)
@pytest.mark.parametrize("kind", metrics.SHELF.names())
def test_metrics_keep_their_promises(kind, promise):
    promise(metrics.SHELF.load(kind)())


@named(drift_checks.PROMISES)
@pytest.mark.parametrize("kind", drift.SHELF.names())
def test_drift_tests_keep_their_promises(kind, promise):
    promise(drift.SHELF.load(kind)())


@named(drift_checks.SEQUENTIAL_PROMISES)
@pytest.mark.parametrize("kind", drift.DETECTORS.names())
def test_sequential_tests_keep_their_promises(kind, promise):
    promise(drift.DETECTORS.load(kind))


def example_source(kind, folder):
    """Return a source of a kind that holds the rows of the checks."""
    source = sources.SHELF.load(kind)
    if issubclass(source, FileSource):
        return source_checks.example(source, folder)
    return sqlite_source(source_checks.ROWS, folder)


@named(source_checks.PROMISES)
@pytest.mark.parametrize("kind", sources.SHELF.names())
def test_sources_keep_their_promises(kind, promise, tmp_path):
    promise(example_source(kind, tmp_path))


@named(source_checks.FILE_PROMISES)
@pytest.mark.parametrize(
    "kind", [kind for kind in sources.SHELF.names() if issubclass(sources.SHELF.load(kind), FileSource)]
)
def test_file_sources_keep_their_promises(kind, promise, tmp_path):
    promise(sources.SHELF.load(kind), tmp_path)


def sqlite_source(rows, folder):
    """Return a query of a new database that holds `rows`."""
    with closing(sqlite3.connect(folder / "rows.db")) as connection, connection:
        connection.execute("CREATE TABLE rows (code TEXT, word TEXT)")
        connection.executemany("INSERT INTO rows VALUES (?, ?)", rows.rows())
    address = locate(f"sqlite:///{folder / 'rows.db'}", {})
    return run_query(SQLite, address, "rows", folder=folder, scratch=folder)
