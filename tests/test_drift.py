"""Drift: what a version keeps of its rows, how tests are taken together, and evidence that may always be looked at."""

from __future__ import annotations

import json

import numpy as np
import pytest

from estimator import verbs
from estimator.checks.drift import N_CURRENT, SCHEMA, current, reference, rows
from estimator.core.task import Predictions
from estimator.data.schema import Batch, Column, Schema
from estimator.drift import Current, Reference, refer
from estimator.drift.reference import MOST_BINS
from estimator.monitoring.batch_check import cauchy, check, simes
from estimator.monitoring.e_process import BETS, HIGH, Evidence, Ranks
from estimator.monitoring.rows import reference_of
from estimator.monitoring.sequential import Bets, Watch

TESTS = ("schema_faults", "kolmogorov_smirnov", "chi_square", "domain_classifier", "prediction_drift")


def words(values):
    batch = Batch({"code": np.array(values, dtype=object)[:, None]}, len(values))
    nothing = np.zeros(len(values))
    return Schema((Column("code", "category"),), SCHEMA.target), batch, Predictions(nothing), nothing


def test_every_version_keeps_what_later_rows_are_compared_with(store):
    for model in ("house_pricing_model", "ames", "credit", "penguins"):
        found = reference_of(verbs.Context(store_path=str(store)).version(model))
        assert found.rows > 100
        assert found.answers.rows > 50
        assert found.loss > 0


def test_a_reference_is_small_and_holds_no_value_of_a_row(store):
    data = json.dumps(reference_of(verbs.Context(store_path=str(store)).version("ames")).to_data())
    assert len(data) < 500_000
    names = json.loads(data)["columns"][0].keys()
    assert set(names) == {"name", "counts", "edges", "levels", "is_text", "median", "unit"}


def test_numbers_keep_their_distribution_in_at_most_250_bins():
    values = np.random.default_rng(0).normal(size=5000)
    batch = Batch({"code": values[:, None]}, 5000)
    schema = Schema((Column("code", "number"),), SCHEMA.target)
    (column,) = refer(schema, batch, Predictions(values), np.abs(values), seed=0).columns
    assert len(column.counts) <= MOST_BINS + 1
    assert column.counts.sum() == 5000
    assert column.counts[1:].max() <= 2 * 5000 / MOST_BINS


def test_levels_that_are_frequent_by_chance_do_not_seem_to_fade():
    generator = np.random.default_rng(1)
    codes = generator.integers(0, 2000, 4000).astype(str)
    schema, batch, answers, losses = words(codes)
    known = refer(schema, batch, answers, losses, seed=0)
    later = words(generator.integers(0, 2000, 4000).astype(str))
    found = check(known, Current.of(known, later[1], later[2]), ["chi_square", "schema_faults"], level=0.01)
    assert not found.drifted


def test_all_tests_together_see_what_moved_and_nothing_else():
    known = reference()
    assert check(known, current(known, seed=5, shift=0.4), TESTS, level=0.01).drifted
    assert not check(known, current(known, seed=6), TESTS, level=0.01).drifted


def test_a_change_of_correlation_alone_is_seen_by_the_classifier():
    generator = np.random.default_rng(2)

    def pair(n, sign):
        first = generator.normal(size=n)
        second = sign * first + 0.5 * generator.normal(size=n)
        return Batch({"a": first[:, None], "b": second[:, None]}, n), Predictions(first)

    schema = Schema((Column("a", "number"), Column("b", "number")), SCHEMA.target)
    batch, answers = pair(2000, 1.0)
    known = refer(schema, batch, answers, np.ones(2000), seed=0)
    found = check(known, Current.of(known, *pair(500, -1.0)), ["kolmogorov_smirnov", "domain_classifier"], level=0.01)
    (told,) = found.findings["domain_classifier"]
    assert told.moved.p_value < 1e-6
    assert min(each.moved.p_value for each in found.findings["kolmogorov_smirnov"]) > 0.001


def test_p_values_are_combined_within_their_bounds():
    assert simes([0.5, 0.5, 0.5]) == 0.5
    assert simes([1.0]) == 1.0
    assert cauchy([0.2]) == pytest.approx(0.2)
    assert cauchy([1e-12, 1.0, 1.0]) < 1e-11


def test_every_bet_pays_what_it_costs():
    for bets in (BETS, HIGH):
        assert np.allclose(bets.mean(axis=0), 1.0)
        assert bets.min() > 0


def test_evidence_of_uniform_ranks_rarely_exceeds_its_threshold():
    generator, passed = np.random.default_rng(3), 0
    for _ in range(40):
        evidence, largest = Evidence(4), 0.0
        for _ in range(10):
            evidence.begin()
            largest = max(largest, float(evidence.take(generator.random((50, 4))).mean(axis=1).max()))
        passed += largest >= 10 / 0.05
    # Ten blocks, and a threshold that one in twenty streams may pass.
    assert passed <= 5


def test_ranks_are_uniform_while_nothing_moves():
    known = reference()
    ranks = Ranks(known.columns, seed=4)
    found = np.concatenate([ranks.take(current(known, seed=seed).codes) for seed in range(10, 20)])
    for column in found.T:
        counts, _ = np.histogram(column, 10, (0.0, 1.0))
        assert np.abs(counts - len(column) / 10).max() < 5 * np.sqrt(len(column) / 10)


@pytest.mark.parametrize("sizes", [[300], [1, 299], [70, 80, 150]])
def test_evidence_does_not_hang_on_how_rows_are_portioned(sizes):
    known = reference()
    seen, answers = current(known, seed=21, shift=0.1), rows(N_CURRENT, seed=21, shift=0.1)[1].values
    blocks = np.arange(N_CURRENT) // 100
    whole = Watch(known, seed=1).take(seen.codes, answers, blocks)
    watch, parts, start = Watch(known, seed=1), [], 0
    for size in sizes:
        part = slice(start, start + size)
        parts.append(watch.take(seen.codes[part], answers[part], blocks[part]))
        start += size
    assert np.allclose(np.concatenate(parts), whole, rtol=1e-9)


def test_a_watch_goes_on_where_it_was_kept():
    known = reference()
    seen, answers = current(known, seed=22, shift=0.1), rows(N_CURRENT, seed=22, shift=0.1)[1].values
    blocks = np.zeros(N_CURRENT, np.int64)
    first = Watch(known, seed=1)
    first.take(seen.codes[:100], answers[:100], blocks[:100])
    again = Watch(known, seed=1)
    again.restore(json.loads(json.dumps(first.to_data())))
    rest = [watch.take(seen.codes[100:], answers[100:], blocks[100:]) for watch in (first, again)]
    assert np.array_equal(*rest)


def test_drift_is_proven_within_few_rows_and_quiet_rows_prove_nothing():
    known = reference()
    calm = Watch(known, seed=2).take(*_taken(known, 2000, 0.0, seed=30))
    assert calm.max() < 1000
    moved = Watch(known, seed=2).take(*_taken(known, 300, 0.5, seed=31))
    assert int(np.argmax(moved >= 1000)) < 60


def _taken(known: Reference, n: int, shift: float, *, seed: int):
    seen, answers = current(known, n, seed=seed, shift=shift), rows(n, seed=seed, shift=shift)[1].values
    return seen.codes, answers, np.arange(n) // 500


def test_losses_that_shrink_are_no_alarm():
    known = reference()
    watch = Watch(known, seed=3)
    small = np.abs(np.random.default_rng(5).normal(size=400)) * 0.3
    assert watch.take_losses(small, np.full(400, np.nan), np.zeros(400, np.int64)).max() < 20
    large = np.abs(np.random.default_rng(6).normal(size=200)) * 2.0
    assert watch.take_losses(large, np.full(200, np.nan), np.zeros(200, np.int64)).max() > 1000


def test_evidence_is_finite_however_far_rows_moved():
    known = reference()
    bets = Bets.on(known.columns, seed=7)
    codes = np.zeros((3000, len(known.columns)), np.uint8)
    assert np.isfinite(bets.take(codes, np.zeros(3000, np.int64))).all()
