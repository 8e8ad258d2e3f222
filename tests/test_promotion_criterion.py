"""Promotion of what is not proven worse: at once after a retraining, guarded by the rollback test."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial

import polars as pl
import pytest

from estimator import verbs
from estimator.core.clock import Moment
from estimator.monitoring import loop as loops
from estimator.monitoring.decision import DECISIONS_FOLDER, EVIDENCE_FILE, HoldoutEvidence
from estimator.monitoring.events import Event
from tests.market import FOLDER, MODEL, TARGET, kinds, other_area, same_area

retrain = partial(verbs.retrain.retrain, isolated=False)
NOT_WORSE = ("promotion.mode=automatic", "promotion.criterion=not_worse", "monitoring.on_degradation=warn")
MONTHLY = (*NOT_WORSE, "retraining.every=30 days", "retraining.prefer=newest", "retraining.candidates=[refit]")


@pytest.fixture
def undecided(market, tmp_path) -> tuple[str, str]:
    """The live version, and a candidate that its holdout cannot tell from it."""
    path = tmp_path / "same.csv"
    pl.DataFrame([{**row, TARGET: str(price)} for row, price in same_area(150)]).write_csv(path)
    live = market.live.version
    context = market.context("retraining.candidates=[refit]", "retraining.prefer=newest")
    decision = retrain(market.monitored, context, data=str(path))
    assert decision.chosen is not None
    assert "cannot tell" in decision.reasons[0]
    market.now += 60.0
    return live, decision.chosen


def of_kind(events: list[Event], kind: str) -> list[Event]:
    return [event for event in events if event.kind == kind]


def test_chosen_candidate_is_promoted_before_any_label(market, undecided):
    live, candidate = undecided
    assert "promote" not in kinds(market.step("promotion.mode=automatic"))
    (promotion,) = of_kind(market.step(*NOT_WORSE), "promote")
    assert market.live.version == candidate
    assert f"{candidate} is not proven better than {live}" in promotion.message
    assert "0 labels and 45 held-out rows" in promotion.message
    assert "(20, and 10 labels, needed)" in promotion.message
    assert "alpha promises nothing here" in promotion.message
    assert "nan" not in promotion.message
    assert not promotion.details["is_better"]


@pytest.mark.parametrize(("mode", "is_asked_for"), [("approval", True), ("manual", False)])
def test_only_automatic_promotes_what_is_not_proven_worse(market, undecided, mode, is_asked_for):
    live, candidate = undecided
    events = market.step(*NOT_WORSE, f"promotion.mode={mode}")
    assert ("promote" in kinds(events)) == is_asked_for
    assert market.live.version == live
    if is_asked_for:
        assert f"estimator promote {MODEL}/{candidate}" in of_kind(events, "promote")[0].details["next"]
        assert "promote" not in kinds(market.step(*NOT_WORSE, f"promotion.mode={mode}"))


def test_candidate_that_no_retraining_chose_must_be_proven_better(market):
    live = market.live.version
    verbs.train.train(FOLDER / "config.yml", market.context("model.kind=constant"))
    market.step(*NOT_WORSE)
    assert market.live.version == live


def test_candidate_that_later_labels_prove_worse_is_not_promoted(market, monkeypatch):
    """The holdout could not tell; then a shadow's rows, or an approval, were waited for, and labels came."""
    # A version that was trained by hand stands for one of a retraining.
    monkeypatch.setattr(loops, "WITH_OLD_ROWS", (None,))
    live = market.live.version
    worse = verbs.train.train(FOLDER / "config.yml", market.context("model.kind=constant")).artefact.version
    folder = market.store.root / MODEL / DECISIONS_FOLDER / "2026-11-30T10-00-00Z-abc123"
    folder.mkdir(parents=True)
    (folder / EVIDENCE_FILE).write_text(json.dumps(asdict(HoldoutEvidence(live, worse, 1, [0.0] * 45))))
    market.send(same_area(120), labels=True)
    market.step(*NOT_WORSE)
    assert market.live.version == live


def test_monthly_refit_is_live_in_the_step_that_trained_it(market):
    first = market.live.version
    market.send(other_area(0, 120), labels=True)
    market.now += 31 * 86_400.0
    events = market.step(*MONTHLY)
    assert kinds(events)[-2:] == ["retrain", "promote"]
    assert market.live.version != first


@pytest.mark.parametrize("kind", ["new_only", "warm_start"])
def test_candidate_of_the_newest_rows_alone_must_be_proven_better(market, kind, monkeypatch):
    first, now = market.live.version, Moment.now
    monkeypatch.setattr(Moment, "now", lambda: replace(now(), time=datetime.fromtimestamp(market.now, UTC)))
    market.send(other_area(0, 120), labels=True)
    market.now += 31 * 86_400.0
    events = market.step(*MONTHLY, f"retraining.candidates=[{kind}]", "retraining.max_regression=9")
    assert kinds(events)[-1] == "retrain"
    assert market.store.aliases(MODEL)["candidate"] != first
    assert market.live.version == first


def test_candidate_that_must_be_proven_keeps_no_refit_from_promotion(market):
    """On this holdout `warm_start` gains most; each retraining would have ended its proof by labels."""
    market.send(other_area(0, 150), labels=True)
    market.now += 31 * 86_400.0
    events = market.step(*MONTHLY, "retraining.candidates=[refit,warm_start]", "retraining.max_regression=9")
    assert kinds(events)[-2:] == ["retrain", "promote"]
    assert market.live.manifest["retraining"]["kind"] == "refit"


def test_promoted_version_that_labels_prove_worse_is_rolled_back_and_retrained_again(market, monkeypatch):
    """The first month is of another area, the second is as training was, so that the version of the first is worse."""
    first, now = market.live.version, Moment.now
    monkeypatch.setattr(loops, "WITH_OLD_ROWS", ("new_only",))
    monkeypatch.setattr(Moment, "now", lambda: replace(now(), time=datetime.fromtimestamp(market.now, UTC)))
    loop = market.loop(*MONTHLY, "retraining.candidates=[new_only]", "retraining.max_regression=9")
    market.send(other_area(0, 200), labels=True)
    market.now += 31 * 86_400.0
    assert kinds(loop.step(market.now))[-2:] == ["retrain", "promote"]
    second = market.live.version
    market.now += 10.0
    market.send(same_area(120), labels=True)
    (rollback,) = of_kind(loop.step(market.now + 5.0), "rollback")
    assert market.live.version == first
    assert f"{first} is better than {second}" in rollback.message
    market.now += 60.0
    assert loop.step(market.now) == []
    market.now += 31 * 86_400.0
    assert "retrain" in kinds(loop.step(market.now))
    loop.log.close()
