"""Every kind on every shelf keeps every promise of its shelf."""

from __future__ import annotations

import pytest

from estimator import encoders, metrics, models, sources
from estimator.checks import encoders as encoder_checks
from estimator.checks import metrics as metric_checks
from estimator.checks import models as model_checks
from estimator.checks import sources as source_checks


def named(promises):
    return pytest.mark.parametrize("promise", promises, ids=lambda promise: promise.__name__)


@named(encoder_checks.PROMISES)
@pytest.mark.parametrize("kind", encoders.SHELF.names())
def test_encoders_keep_their_promises(kind, promise):
    promise(encoders.SHELF.load(kind))


@named(model_checks.PROMISES)
@pytest.mark.parametrize("kind", models.SHELF.names())
def test_models_keep_their_promises(kind, promise):
    promise(models.SHELF.load(kind)())


@named(metric_checks.PROMISES)
@pytest.mark.parametrize("kind", metrics.SHELF.names())
def test_metrics_keep_their_promises(kind, promise):
    promise(metrics.SHELF.load(kind)())


@named(source_checks.PROMISES)
@pytest.mark.parametrize("kind", sources.SHELF.names())
def test_sources_keep_their_promises(kind, promise, tmp_path):
    promise(sources.SHELF.load(kind), tmp_path)
