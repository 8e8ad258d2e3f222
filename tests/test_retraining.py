"""Retraining on new rows, promotion and rollback by labels, history and replay."""

from __future__ import annotations

import json
import runpy
import shutil
import threading
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.config import Retraining
from estimator.config.sections import row_ranges
from estimator.core.clock import Moment
from estimator.data.schema import Column, Schema
from estimator.errors import EstimatorError
from estimator.evaluation.scores import Score
from estimator.monitoring.candidates import Candidate, RetrainingRows
from estimator.monitoring.decision import HoldoutEvidence, decide
from estimator.monitoring.events import read_events
from estimator.monitoring.new_rows import join_rows
from estimator.monitoring.promotion import ShadowComparison
from estimator.store.learned_rows import learned_rows
from estimator.store.store import Store
from estimator.training.comparison import Comparison
from estimator.verbs.monitor import MonitoredModel
from tests.conftest import EXAMPLES
from tests.market import FOLDER, MODEL, TARGET, Market, kinds, other_area, same_area

# No process of its own: nothing crashes here.
retrain = partial(verbs.retrain.retrain, isolated=False)


def frame_of(rows) -> pl.DataFrame:
    return pl.DataFrame([{**row, TARGET: str(price)} for row, price in rows])


@pytest.fixture
def new_rows(tmp_path):
    """New rows of another area, in a file."""
    path = tmp_path / "new.csv"
    frame_of(other_area(0, 300)).write_csv(path)
    return str(path)


@pytest.fixture(scope="module")
def retrained_market(market_store, tmp_path_factory):
    """A market after one retraining, and its decision; for tests that only read."""
    folder = tmp_path_factory.mktemp("retrained")
    shutil.copytree(market_store, folder / "models")
    market = Market(Store(folder / "models"), folder / "log.db")
    frame_of(other_area(0, 300)).write_csv(folder / "new.csv")
    return market, retrain(market.monitored, market.context(), data=str(folder / "new.csv"))


def test_candidates_are_evaluated_on_a_holdout(retrained_market):
    market, decision = retrained_market
    assert [candidate.kind for candidate in decision.candidates] == ["warm_start", "refit", "new_only"]
    assert decision.rows == {"old": 1200, "new": 210, "holdout": 90, "old_holdout": 240}
    assert decision.live == market.live.version
    best = next(candidate for candidate in decision.candidates if candidate.version == decision.judged)
    assert best.comparisons[0].verdict == "better"
    assert best.comparisons[0].rows == 90
    evidence = HoldoutEvidence.find(market.store.root / MODEL, live=decision.live, candidate=decision.chosen)
    assert (evidence.n_candidates, len(evidence.gains)) == (3, 90)
    assert market.store.aliases(MODEL)["candidate"] == decision.chosen
    manifest = verbs.Context(store_path=str(market.store.root)).version(f"{MODEL}@candidate").manifest
    assert manifest["retraining"]["from"] == decision.live
    assert manifest["data"]["rows_held_out"] == 90


def test_candidates_are_reproduced_bit_for_bit(retrained_market):
    market, decision = retrained_market
    for version in [*(candidate.version for candidate in decision.candidates), decision.chosen]:
        report = verbs.verify.verify(f"{MODEL}/{version}", market.context())
        assert report.is_equal, (version, report.differences)


def test_chosen_candidate_is_trained_once_more_on_all_rows(retrained_market):
    market, decision = retrained_market
    judged, chosen = (market.context().version(f"{MODEL}/{name}") for name in (decision.judged, decision.chosen))
    before, after = len(learned_rows(judged).hashes), len(learned_rows(chosen).hashes)
    everything = decision.rows["old"] + decision.rows["new"] + decision.rows["holdout"]
    is_from_scratch = decision.chosen_kind == "refit"
    assert after == (everything if is_from_scratch else before + decision.rows["holdout"])
    assert chosen.manifest["retraining"]["judged"] == judged.version
    assert "then trained once more on all rows" in decision.reasons[0]
    page = (market.store.root / MODEL / "decisions" / decision.record / "decision.html").read_text()
    assert decision.chosen in page


def test_chosen_candidate_stays_as_it_was_compared_if_asked_for(market, new_rows):
    context = market.context("retraining.refit_full=false", "retraining.candidates=[refit]")
    decision = retrain(market.monitored, context, data=new_rows)
    assert (decision.chosen, decision.judged) == (decision.candidates[0].version, None)


def test_version_that_learned_all_rows_is_measured_on_old_ones_by_the_one_before(market, new_rows, tmp_path):
    first = retrain(market.monitored, market.context("retraining.candidates=[refit]"), data=new_rows)
    verbs.promote.promote(market.store, f"{MODEL}/{first.chosen}", why="better")
    later = tmp_path / "later.csv"
    frame_of(other_area(300, 500)).write_csv(later)
    second = retrain(market.monitored, market.context("retraining.candidates=[refit]"), data=str(later))
    assert second.rows["old_holdout"] == first.rows["holdout"]
    assert second.candidates[0].old_comparison.rows == first.rows["holdout"]
    # Without that version, no old row is left that the live one has not learned.
    shutil.rmtree(market.store.root / MODEL / first.judged)
    third = retrain(market.monitored, market.context("retraining.candidates=[refit]"), data=str(later))
    assert third.rows["old_holdout"] == 0
    assert third.candidates[0].old_comparison is None
    unchecked = "not compared on old rows, so retraining.max_regression rejects none"
    assert [any(unchecked in note for note in decision.notes) for decision in (second, third)] == [False, True]


def test_recent_rows_are_the_new_ones_and_three_times_as_many_old_ones(market, tmp_path):
    path = tmp_path / "new.csv"
    frame_of(other_area(0, 100)).write_csv(path)
    settings = "retraining.candidates=[refit, recent]", "retraining.refit_full=false"
    decision = retrain(market.monitored, market.context(*settings), data=str(path))
    assert decision.rows == {"old": 1200, "new": 70, "holdout": 30, "old_holdout": 240}
    assert [candidate.kind for candidate in decision.candidates] == ["refit", "recent"]
    recent = market.context().version(f"{MODEL}/{decision.candidates[1].version}")
    # Of the 210 latest old rows, the live version had held some out, on which it is compared with the candidate.
    assert 70 + 130 < len(learned_rows(recent).hashes) < 70 + 210


def test_recent_rows_that_are_all_rows_are_not_trained_twice(market, tmp_path):
    path = tmp_path / "new.csv"
    frame_of(other_area(0, 600)).write_csv(path)
    decision = retrain(market.monitored, market.context("retraining.candidates=[refit, recent]"), data=str(path))
    assert [candidate.kind for candidate in decision.candidates] == ["refit"]
    assert any(note.startswith("recent: left out") for note in decision.notes)


def test_decision_is_stored_with_its_reasons(market, new_rows, run):
    options = ("--input", new_rows, "--folder", FOLDER, "--store", market.store.root)
    code, output, _ = run("retrain", MODEL, *options, "--why", "the market moved")
    assert code == 0
    assert "refit" in output["text"]
    (folder,) = (market.store.root / MODEL / "decisions").iterdir()
    stored = json.loads((folder / "decision.json").read_text())
    assert stored["reason"] == "the market moved"
    assert len(stored["candidates"]) == 3
    page = (folder / "decision.html").read_text()
    assert "the market moved" in page
    assert stored["chosen"] in page


def test_candidate_that_is_not_better_is_not_chosen(market, tmp_path, run):
    path = tmp_path / "same.csv"
    frame_of(same_area()).write_csv(path)
    arguments = ("--input", path, "--folder", FOLDER, "--store", market.store.root, "--json")
    live = market.live.version
    code, output, _ = run("retrain", MODEL, *arguments, "--set", "retraining.candidates=[new_only]")
    assert (code, output["chosen"]) == (3, None)
    assert output["reasons"][0] == "the live version stays: no candidate is proven better"
    assert output["candidates"][0]["comparisons"][0]["gain"]["value"] < 0
    assert market.live.version == live
    assert "candidate" not in market.store.aliases(MODEL)


def test_overrides_that_would_do_nothing_are_rejected(market, new_rows, run):
    arguments = ("--input", new_rows, "--folder", FOLDER, "--store", market.store.root, "--set", "tuning.n_trials=2")
    code, _, err = run("retrain", MODEL, *arguments)
    assert (code, "--set tuning.n_trials=2: a version keeps the config it was trained with" in err) == (1, True)
    assert "here it changes only keys of data, monitoring, retraining, promotion" in err


def test_candidate_that_is_worse_on_old_rows_is_not_chosen(market, new_rows):
    context = market.context("retraining.max_regression=0.0", "retraining.candidates=[new_only]")
    decision = retrain(market.monitored, context, data=new_rows)
    assert decision.chosen is None
    assert "the error on old rows grew" in decision.reasons[1]


def test_retrained_version_is_retrained_again(market, new_rows, tmp_path):
    first = retrain(market.monitored, market.context("retraining.candidates=[refit]"), data=new_rows)
    verbs.promote.promote(market.store, f"{MODEL}/{first.chosen}", why="better")
    later = tmp_path / "later.csv"
    frame_of(other_area(300, 500)).write_csv(later)
    second = retrain(market.monitored, market.context("retraining.candidates=[refit]"), data=str(later))
    # The rows that the first version had held out are learned from now.
    assert second.rows["old"] == 1200 + 300
    assert second.candidates[0].error is None


@pytest.mark.parametrize("kind", ["warm_start", "new_only"])
def test_a_version_of_the_new_rows_alone_forgets_no_row(market, new_rows, tmp_path, kind):
    first = retrain(market.monitored, market.context(f"retraining.candidates=[{kind}]"), data=new_rows)
    verbs.promote.promote(market.store, f"{MODEL}/{first.candidates[0].version}", why="by hand")
    later = tmp_path / "later.csv"
    frame_of(other_area(300, 500)).write_csv(later)
    second = retrain(market.monitored, market.context("retraining.candidates=[refit]"), data=str(later))
    assert second.rows["old"] == 1200 + 300
    manifest = market.context().version(f"{MODEL}/{second.candidates[0].version}").manifest
    assert manifest["data"]["rows"] - manifest["data"]["rows_held_out"] == 1200 + 210 + second.rows["new"]


def test_rows_that_a_config_leaves_unused_are_never_learned(market, new_rows):
    split = 'training.split={"kind": "rows", "test": "1-240", "unused": "241-300"}'
    version = verbs.train.train(FOLDER / "config.yml", market.context(split)).artefact.version
    verbs.promote.promote(market.store, f"{MODEL}/{version}", why="by hand")
    decision = retrain(market.monitored, market.context("retraining.candidates=[refit]"), data=new_rows)
    assert decision.rows["old"] == 1200 - 60


def test_rows_like_those_of_the_retraining_raise_no_alarm(market, new_rows):
    _, candidate = retrained(market, new_rows)
    verbs.promote.promote(market.store, f"{MODEL}/{candidate}", why="by hand")
    market.send(other_area(300, 700))
    assert "drift" not in kinds(market.step())


def comparison(verdict, gain):
    return Comparison("rmse", 10.0, 10.0 - gain, Score(gain, gain - 1.0, gain + 1.0), 0.1, 100, verdict)


@pytest.mark.parametrize(("prefer", "verdicts", "chosen"), [
    ("proven", {"refit": ("undecided", 0.5)}, None),
    ("newest", {"refit": ("undecided", 0.5)}, "refit"),
    ("proven", {"refit": ("undecided", 3.0), "new_only": ("better", 2.0)}, "new_only"),
    ("newest", {"refit": ("undecided", 3.0), "new_only": ("better", 2.0)}, "refit"),
    ("newest", {"refit": ("worse", -3.0), "new_only": ("better", 2.0)}, "new_only"),
    ("newest", {"warm_start": ("undecided", 3.0), "refit": ("undecided", 0.5)}, "refit"),
    ("newest", {"refit": ("worse", -3.0), "new_only": ("not better", 0.0)}, None),
])  # fmt: skip
def test_only_what_is_proven_better_is_chosen_unless_asked_for(market, prefer, verdicts, chosen):
    candidates = [
        Candidate(kind, version=kind, comparisons=(comparison(*verdict),)) for kind, verdict in verdicts.items()
    ]
    rows = RetrainingRows(pl.DataFrame({"a": [1]}), 0, 0, np.zeros(0, bool))
    decision = decide(market.live, rows, candidates, settings=Retraining(prefer=prefer), reason="test")
    assert decision.chosen == chosen
    assert ("retraining.prefer" in decision.reasons[0]) == (chosen == "refit")


def test_family_without_warm_start_reports_an_error(market, tmp_path, new_rows):
    conf = tmp_path / "ridge.json"
    table = str(FOLDER / "sold.csv.gz")
    conf.write_text(
        json.dumps({"name": "ridge", "data": {"path": table, "target": TARGET}, "model": {"kind": "linear"}})
    )  # fmt: skip
    verbs.train.train(conf, market.context())
    decision = retrain(
        MonitoredModel("ridge"), market.context("retraining.candidates=[warm_start,new_only]"), data=new_rows
    )
    warm_start, new_only = decision.candidates
    assert "cannot continue from version" in warm_start.error
    assert (new_only.error, new_only.kind) == (None, "new_only")


def test_settings_are_tuned_again(market, new_rows):
    context = market.context("retraining.candidates=[tune]")
    live = market.live
    config = json.loads((live.folder / "config.resolved.json").read_text())
    assert config["tuning"]["n_trials"] == 50
    conf = market.store.root / "short.json"
    table = str(FOLDER / "sold.csv.gz")
    content = {
        "name": "short", "data": {"path": table, "target": TARGET}, "model": {"kind": "linear"},
        "tuning": {"space": {"model.penalty": [0.1, 1.0, 10.0]}, "n_trials": 3},
    }  # fmt: skip
    conf.write_text(json.dumps(content))
    verbs.train.train(conf, market.context())
    (candidate,) = retrain(MonitoredModel("short"), context, data=new_rows).candidates
    assert candidate.error is None
    assert candidate.version is not None


@pytest.mark.parametrize(("rows", "message"), [(10, "too few"), (0, "too few")])
def test_too_few_new_rows_are_an_error(market, tmp_path, rows, message):
    path = tmp_path / "few.csv"
    frame_of(other_area(0, 10)).head(rows).write_csv(path)
    with pytest.raises(EstimatorError) as caught:
        retrain(market.monitored, market.context(), data=str(path))
    assert message in caught.value.message or "no rows" in caught.value.message
    assert market.store.aliases(MODEL).keys() == {"live"}


def test_new_rows_without_a_column_are_an_error(market, tmp_path):
    path = tmp_path / "narrow.csv"
    frame_of(other_area(0, 100)).drop("Foundation").write_csv(path)
    with pytest.raises(EstimatorError, match="Foundation"):
        retrain(market.monitored, market.context(), data=str(path))


def test_missing_old_rows_are_an_error(market, new_rows):
    with pytest.raises(EstimatorError, match=r"sold\.csv\.gz"):
        retrain(MonitoredModel(MODEL, str(market.log_path)), market.context(), data=new_rows)


def test_columns_of_different_types_become_text():
    schema = Schema((Column("a", "category"),), Column("b", "number"))
    joined = join_rows(pl.DataFrame({"a": ["1", "x"]}), pl.DataFrame({"a": [2.0, None], "b": [1, 2]}), schema)
    assert joined["a"].to_list() == ["1", "x", "2", None]


def test_numbers_of_requests_join_numbers_as_text_by_the_columns_rules():
    """JSON's 1.234 is not one thousand, whatever separates thousands in the file."""
    column = Column("a", "number", thousands=".", decimal=",", na_values=("-",))
    old, new = pl.DataFrame({"a": ["1.234", "2,5", "-"]}), pl.DataFrame({"a": [1.234, None, 1e300]})
    joined = join_rows(old, new, Schema((column,), Column("b", "number")))
    assert joined["a"].to_list() == [1234.0, 2.5, None, 1.234, None, 1e300]


def test_row_ranges_are_parsed():
    assert row_ranges("1-3, 7-9") == [(1, 3), (7, 9)]
    with pytest.raises(ValueError, match="801-1000"):
        row_ranges("1-3,x")


def retrained(market, new_rows) -> tuple[str, str]:
    """Return the live version and a candidate that is better for the other area."""
    live = market.live.version
    decision = retrain(market.monitored, market.context("retraining.candidates=[refit]"), data=new_rows)
    assert decision.chosen is not None
    market.now += 60.0
    return live, decision.chosen


@pytest.mark.parametrize(("by", "live_after"), [("automatic", "candidate"), ("approval", "live"), ("manual", "live")])
def test_labels_promote_as_configured(market, new_rows, by, live_after):
    live, candidate = retrained(market, new_rows)
    market.send(other_area(400, 600), labels=True)
    events = market.step(f"promotion.mode={by}", "monitoring.on_degradation=warn")
    assert ("promote" in kinds(events)) == (by != "manual")
    assert market.live.version == {"candidate": candidate, "live": live}[live_after]
    if by == "approval":
        (promotion,) = [event for event in events if event.kind == "promote"]
        assert f"estimator promote {MODEL}/{candidate}" in promotion.details["next"]


def test_a_candidate_starts_with_what_its_retraining_has_shown(market, new_rows):
    _, candidate = retrained(market, new_rows)
    market.send(other_area(400, 412), labels=True)
    (promotion,) = [event for event in market.step("promotion.mode=automatic") if event.kind == "promote"]
    assert promotion.version == candidate
    assert "12 labels and 90 held-out rows" in promotion.message
    assert promotion.details["gain"]["low"] > 0


def test_held_out_rows_alone_promote_nothing(market, new_rows):
    live, _ = retrained(market, new_rows)
    market.send(other_area(400, 405), labels=True)
    market.step("promotion.mode=automatic")
    assert market.live.version == live


def test_a_version_promoted_by_hand_is_judged_by_labels_from_then_on(market):
    worse = verbs.train.train(FOLDER / "config.yml", market.context("model.kind=constant")).artefact.version
    loop = market.loop("monitoring.on_degradation=warn")

    def promote() -> list[str]:
        moment = replace(Moment.now(), time=datetime.fromtimestamp(market.now, UTC).replace(microsecond=0))
        market.store.point(MODEL, "live", worse, action="promote", reason="by hand", moment=moment)
        market.now += 10.0
        return kinds(loop.step(market.now))

    assert promote() == []
    market.send(same_area(120), labels=True)
    market.now += 10.0
    assert "rollback" in kinds(loop.step(market.now))
    assert "rollback" not in promote()
    assert market.live.version == worse


def test_a_corrected_label_counts_once(market):
    other = verbs.train.train(FOLDER / "config.yml", market.context("model.kind=constant")).artefact
    records = market.send(same_area(20), labels=True)
    log = market.open_log()
    comparison = ShadowComparison(log, market.live, other, 0.0, 0.05)
    before = comparison.step(market.now)
    market.label(records[:1], [1_000_000])
    after = comparison.step(market.now + 5.0)
    log.close()
    assert (before.n_rows, after.n_rows) == (20, 20)
    assert after.champion_loss > 2.0 * before.champion_loss


def test_labels_of_rows_from_before_the_candidate_count_for_neither(market):
    other = verbs.train.train(FOLDER / "config.yml", market.context("model.kind=constant")).artefact
    since = market.now
    records = market.send(same_area(20))
    market.now += 100.0
    market.label(records, [price for _, price in same_area(20)])
    log = market.open_log()
    comparison = ShadowComparison(log, market.live, other, since + 50.0, 0.05)
    assert comparison.step(market.now + 5.0).n_rows == 0
    log.close()


def test_candidate_must_be_a_shadow_first(market, new_rows):
    live, _ = retrained(market, new_rows)
    market.send(other_area(400, 600), labels=True)
    market.step("promotion.mode=automatic", "promotion.shadow_rows=10", "monitoring.on_degradation=warn")
    assert market.live.version == live


def test_promoted_version_that_is_worse_is_rolled_back(market, new_rows):
    live, candidate = retrained(market, new_rows)
    context = market.context("model.kind=constant")
    worse = verbs.train.train(FOLDER / "config.yml", context).artefact.version
    verbs.promote.promote(market.store, f"{MODEL}/{worse}", why="a mistake")
    assert market.live.version == worse
    market.send(same_area(120), labels=True)
    events = market.step("monitoring.on_degradation=warn")
    assert "rollback" in kinds(events)
    assert market.live.version == live
    assert candidate != live
    last = market.store.history(MODEL)[-1]
    assert last.action == "rollback"
    assert "120 labels" in last.reason


def test_history_names_the_live_version_of_a_time(market, new_rows, run):
    live, candidate = retrained(market, new_rows)
    verbs.promote.promote(market.store, f"{MODEL}/{candidate}", why="approved by a person")
    moves = market.store.history(MODEL)
    code, output, _ = run("history", MODEL, "--store", market.store.root, "--at", moves[-1].time, "--json")
    assert (code, output["move"]["version"], output["move"]["reason"]) == (0, candidate, "approved by a person")
    assert run("history", MODEL, "--store", market.store.root, "--at", "2001-01-01", "--json")[1]["move"] is None
    text = run("history", MODEL, "--store", market.store.root)[1]["text"]
    assert len(text.strip().splitlines()) == len(moves)
    assert live in text


def test_replay_reports_differences(market, new_rows, run):
    _, candidate = retrained(market, new_rows)
    market.now = market.now - 7200.0
    market.send(other_area(600, 700), labels=True)
    options = ("--log", market.log_path, "--store", market.store.root, "--since", "2001-01-01")
    code, output, _ = run("replay", MODEL, "--against", f"{MODEL}/{candidate}", *options, "--json")
    assert code == 0
    assert (output["n_rows"], output["n_scored"]) == (100, 100)
    assert output["replayed_loss"] < output["logged_loss"]
    assert output["changed"] > 0.9
    code, output, _ = run("replay", MODEL, "--against", MODEL, *options, "--json")
    assert (output["changed"], output["logged_loss"]) == (0.0, pytest.approx(output["replayed_loss"]))


def test_replay_of_an_empty_time_is_an_error(market, run):
    market.send(same_area(5))
    options = ("--log", market.log_path, "--store", market.store.root, "--since", "1s")
    code, _, stderr = run("replay", MODEL, "--against", MODEL, *options)
    assert code == 1
    assert "--since" in stderr


def test_simultaneous_promotions_are_serialized(market, new_rows):
    _, candidate = retrained(market, new_rows)
    threads = [
        threading.Thread(
            target=verbs.promote.promote, args=(market.store, f"{MODEL}/{candidate}"), kwargs={"why": str(number)}
        )
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    moves = [move for move in market.store.history(MODEL) if move.action == "promote"]
    assert len(moves) == 4
    assert market.live.version == candidate


def test_retraining_is_due_as_scheduled(market):
    settings = ("retraining.every=2 days", "retraining.candidates=[new_only]", "monitoring.on_degradation=warn")
    market.send(same_area(100), labels=True)
    assert "retrain" not in kinds(market.step(*settings))
    market.now += 2 * 86_400.0
    (event,) = [event for event in market.step(*settings) if event.kind == "retrain"]
    assert event.details["reason"] == "on schedule, every 2 days"
    market.now += 1 * 86_400.0
    assert "retrain" not in kinds(market.step(*settings))
    market.now += 1 * 86_400.0
    assert "retrain" in kinds(market.step(*settings))


def test_alarm_leads_to_retraining_as_configured(market):
    market.send(other_area(0, 160), labels=True)
    settings = ("monitoring.on_degradation=warn", "retraining.candidates=[new_only]")
    events = market.step("monitoring.on_drift=retrain", *settings)
    assert [event.kind for event in events if event.kind in ("drift", "retrain")] == ["drift", "retrain"]
    (decision,) = (market.store.root / MODEL / "decisions").glob("*/decision.json")
    assert json.loads(decision.read_text())["reason"].startswith("drift: ")


def test_alarm_after_a_retraining_waits_for_as_many_labels_again(market):
    """A retraining replaces the candidate, so that too many of them would never let one be proven."""
    settings = ("monitoring.on_drift=warn", "monitoring.on_degradation=retrain", "monitoring.repeat_after=1 hours")
    loop, notes = market.loop(*settings, "retraining.candidates=[new_only]", "promotion.roll_back=false"), []
    loop.note = notes.append

    def labeled(start: int, stop: int) -> list[str]:
        market.now += 7200.0
        market.send(other_area(start, stop), labels=True)
        return kinds(loop.step(market.now + 5.0))

    assert "retrain" not in labeled(0, 60)
    assert any("retraining waits for" in note for note in notes)
    assert "retrain" in labeled(60, 160)
    (event,) = [event for event in read_events(loop.log, MODEL) if event.kind == "retrain"]
    assert 100 <= event.details["n_rows"] <= 160
    events = labeled(160, 220)
    assert "degradation" in events
    assert "retrain" not in events
    assert "retrain" in labeled(220, 320)
    loop.log.close()


def test_candidates_learn_rows_from_after_the_change_and_are_compared_on_them(market):
    """Of 280 labeled rows before a change, the newest 30 % of all rows would be nothing else."""
    market.send(same_area(280), labels=True)
    settings = ("monitoring.on_degradation=retrain", "retraining.candidates=[new_only]")
    loop = market.loop("monitoring.on_drift=warn", *settings)
    loop.step(market.now + 5.0)
    market.now += 3600.0
    market.send(other_area(0, 150), labels=True)
    assert "retrain" in kinds(loop.step(market.now + 5.0))
    loop.log.close()
    (path,) = (market.store.root / MODEL / "decisions").glob("*/decision.json")
    rows = json.loads(path.read_text())["rows"]
    assert rows["new"] + rows["holdout"] == 430
    assert 30 <= rows["holdout"] <= 50


def test_alarm_without_labels_waits_for_them_even_if_the_monitor_is_started_again(market):
    settings = ("monitoring.on_drift=retrain", "monitoring.on_degradation=warn", "retraining.candidates=[new_only]")
    records = market.send(other_area(0, 160))
    assert "retrain" not in kinds(market.step(*settings))
    market.label(records, [price for _, price in other_area(0, 160)])
    # Each step is one of a new monitor.
    assert kinds(market.step(*settings)).count("retrain") == 1
    market.now += 60.0
    assert "retrain" not in kinds(market.step(*settings))


def test_labels_that_come_after_a_retraining_are_learned_by_the_next_one(market, monkeypatch):
    """Where labels take a month, every row is older than the version that its label finds live."""
    now = Moment.now
    monkeypatch.setattr(Moment, "now", lambda: replace(now(), time=datetime.fromtimestamp(market.now, UTC)))
    settings = ("retraining.every=30 days", "retraining.candidates=[refit]", "monitoring.on_degradation=warn")
    loop = market.loop(
        *settings, "retraining.prefer=newest", "promotion.mode=automatic", "promotion.criterion=not_worse"
    )
    market.send(other_area(0, 100), labels=True)
    records = market.send(other_area(100, 200))
    market.now += 31 * 86_400.0
    assert "promote" in kinds(loop.step(market.now))
    market.label(records, [price for _, price in other_area(100, 200)])
    market.now += 31 * 86_400.0
    (retraining,) = [event for event in loop.step(market.now) if event.kind == "retrain"]
    loop.log.close()
    assert retraining.details.get("n_rows") == 100, retraining.message


def test_failed_retraining_is_an_event(market):
    market.send(other_area(0, 100))
    market.now += 2 * 86_400.0
    market.step("retraining.every=1 days")
    events = market.step("retraining.every=1 days")
    (event,) = [event for event in events if event.kind == "retrain"]
    assert event.message.startswith("retraining failed: ")
    assert "has a label" in event.message


def test_rollback_can_be_turned_off(market):
    worse = verbs.train.train(FOLDER / "config.yml", market.context("model.kind=constant")).artefact.version
    verbs.promote.promote(market.store, f"{MODEL}/{worse}", why="a mistake")
    market.send(same_area(120), labels=True)
    events = market.step("promotion.roll_back=false", "monitoring.on_degradation=warn")
    assert "rollback" not in kinds(events)
    assert market.live.version == worse


def test_example_detects_retrains_promotes_and_rolls_back(tmp_path, report_figure):
    story = runpy.run_path(str(EXAMPLES / "moving-market" / "story.py"))["story"]
    result = story(tmp_path, report=lambda text: None)
    assert result["calm_alarms"] == []
    drift, degradation = result["drift"]["details"], result["degradation"]["details"]
    n_rows = drift["after_rows"] - result["n_calm_rows"]
    assert {"Year_Built", "Foundation"} <= {moved["column"] for moved in drift["columns"]}
    assert degradation["message"].startswith("predictions have become worse")
    assert result["rejected"] == 0
    promoted = result["promotion"]["version"]
    assert result["predicted"][promoted] >= 20
    actions = [change["action"] for change in result["history"] if change["alias"] == "live"]
    assert actions == ["train", "promote", "rollback"]
    assert result["history"][-1]["version"] == result["first_version"]
    assert list((tmp_path / "models" / MODEL / "decisions").glob("*/decision.json"))
    report_figure(
        f"moving market: drift alarm after {n_rows} rows of another area, promotion after {result['n_labels']} labels, "
        f"{sum(result['predicted'].values())} requests served, none rejected"
    )
