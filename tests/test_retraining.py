"""Fresh rows make candidates that are judged beside the live version; truths decide which one is live."""

from __future__ import annotations

import json
import runpy
import threading

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.config.sections import row_ranges
from estimator.errors import EstimatorError
from estimator.monitoring.promotion import Paired
from estimator.monitoring.retrain import joined
from estimator.verbs.monitor import MonitoredModel
from tests.conftest import EXAMPLES
from tests.watched import FOLDER, MODEL, TARGET, kinds, moved, sold


def frame_of(rows) -> pl.DataFrame:
    return pl.DataFrame([{**row, TARGET: str(price)} for row, price in rows])


def order_of(market, *overrides: str) -> verbs.Context:
    return verbs.Context(overrides, store_path=str(market.store.root))


def site_of(market) -> MonitoredModel:
    return MonitoredModel(MODEL, str(market.log), None, FOLDER)


@pytest.fixture
def fresh(tmp_path):
    """Fresh rows of another area, in a file."""
    path = tmp_path / "fresh.csv"
    frame_of(moved(0, 300)).write_csv(path)
    return str(path)


def test_candidates_are_judged_on_rows_that_nobody_has_seen(market, fresh):
    decision = verbs.retrain.retrain(site_of(market), order_of(market), data=fresh)
    assert [each.kind for each in decision.candidates] == ["warm_start", "refit", "new_only"]
    assert decision.rows == {"old": 1200, "new": 210, "judged": 90, "kept_apart": 240}
    assert decision.live == market.live.version
    best = next(each for each in decision.candidates if each.version == decision.chosen)
    assert best.compared[0].verdict == "better"
    assert best.compared[0].rows == 90
    assert best.evidence > 20
    assert market.store.aliases(MODEL)["candidate"] == decision.chosen
    manifest = verbs.Context(store_path=str(market.store.root)).version(f"{MODEL}@candidate").manifest
    assert manifest["retraining"]["from"] == decision.live
    assert manifest["data"]["rows_held_out"] == 90


def test_every_candidate_can_be_made_again_bit_for_bit(market, fresh):
    decision = verbs.retrain.retrain(site_of(market), order_of(market), data=fresh)
    for each in decision.candidates:
        again = verbs.verify.verify(f"{MODEL}/{each.version}", order_of(market))
        assert again.is_equal, (each.kind, again.differences)


def test_a_decision_is_kept_with_its_reasons(market, fresh, run):
    words = ("--data", fresh, "--folder", FOLDER, "--store", market.store.root)
    code, told, _ = run("retrain", MODEL, *words, "--why", "the market moved")
    assert code == 0
    assert "refit" in told["text"]
    (folder,) = (market.store.root / MODEL / "decisions").iterdir()
    kept = json.loads((folder / "decision.json").read_text())
    assert kept["why"] == "the market moved"
    assert len(kept["candidates"]) == 3
    page = (folder / "decision.html").read_text()
    assert "the market moved" in page
    assert kept["chosen"] in page


def test_rows_like_the_old_ones_change_nothing_that_is_not_better(market, tmp_path, run):
    path = tmp_path / "same.csv"
    frame_of(sold()).write_csv(path)
    words = ("--data", path, "--folder", FOLDER, "--store", market.store.root, "--json")
    code, told, _ = run("retrain", MODEL, *words)
    better = [each for each in told["candidates"] if each["compared"] and each["compared"][0]["verdict"] == "better"]
    assert code == (0 if told["chosen"] else 3)
    assert told["chosen"] is None or told["chosen"] in {each["version"] for each in told["candidates"]}
    assert len(better) <= 1


def test_a_candidate_that_forgot_is_not_taken(market, fresh):
    order = order_of(market, "retraining.max_regression=0.0", "retraining.candidates=[new_only]")
    decision = verbs.retrain.retrain(site_of(market), order, data=fresh)
    assert decision.chosen is None
    assert "it has forgotten" in decision.reasons[1]


def test_a_renewed_version_is_renewed_again(market, fresh, tmp_path):
    first = verbs.retrain.retrain(site_of(market), order_of(market, "retraining.candidates=[refit]"), data=fresh)
    verbs.promote.promote(market.store, f"{MODEL}/{first.chosen}", why="better")
    later = tmp_path / "later.csv"
    frame_of(moved(300, 500)).write_csv(later)
    second = verbs.retrain.retrain(site_of(market), order_of(market, "retraining.candidates=[refit]"), data=str(later))
    assert second.rows["old"] == 1200 - 240 + 300
    assert second.candidates[0].problem is None


def test_a_family_that_cannot_go_on_says_so_and_the_others_are_judged(market, tmp_path, fresh):
    conf = tmp_path / "ridge.json"
    table = str(FOLDER / "sold.csv.gz")
    conf.write_text(
        json.dumps({"name": "ridge", "data": {"path": table, "target": TARGET}, "model": {"kind": "linear"}})
    )  # fmt: skip
    verbs.train.train(conf, order_of(market))
    decision = verbs.retrain.retrain(
        MonitoredModel("ridge"), order_of(market, "retraining.candidates=[warm_start,new_only]"), data=fresh
    )
    problems = {each.kind: each.problem for each in decision.candidates}
    assert problems["new_only"] is None
    assert (
        (problems["warm_start"] is None)
        or "continue" in problems["warm_start"]
        or "warm_start" in problems["warm_start"]
    )


def test_settings_can_be_searched_anew(market, fresh):
    order = order_of(market, "retraining.candidates=[tune]")
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
    verbs.train.train(conf, order_of(market))
    (candidate,) = verbs.retrain.retrain(MonitoredModel("short"), order, data=fresh).candidates
    assert candidate.problem is None
    assert candidate.version is not None


@pytest.mark.parametrize(("rows", "told"), [(10, "too few"), (0, "too few")])
def test_too_few_fresh_rows_are_refused(market, tmp_path, rows, told):
    path = tmp_path / "few.csv"
    frame_of(moved(0, 10)).head(rows).write_csv(path)
    with pytest.raises(EstimatorError) as caught:
        verbs.retrain.retrain(site_of(market), order_of(market), data=str(path))
    assert told in caught.value.message or "no rows" in caught.value.message
    assert market.store.aliases(MODEL).keys() == {"live"}


def test_fresh_rows_without_a_column_are_refused(market, tmp_path):
    path = tmp_path / "narrow.csv"
    frame_of(moved(0, 100)).drop("Foundation").write_csv(path)
    with pytest.raises(EstimatorError, match="Foundation"):
        verbs.retrain.retrain(site_of(market), order_of(market), data=str(path))


def test_old_rows_that_are_gone_are_refused(market, fresh):
    with pytest.raises(EstimatorError, match=r"sold\.csv\.gz"):
        verbs.retrain.retrain(MonitoredModel(MODEL, str(market.log)), order_of(market), data=fresh)


def test_old_and_fresh_rows_of_other_types_meet_as_text():
    found = joined(pl.DataFrame({"a": ["1", "x"]}), pl.DataFrame({"a": [2.0, None], "b": [1, 2]}))
    assert found["a"].to_list() == ["1", "x", "2", None]


def test_numbers_of_rows_are_read_and_refused():
    assert row_ranges("1-3, 7-9") == [(1, 3), (7, 9)]
    with pytest.raises(ValueError, match="801-1000"):
        row_ranges("1-3,x")


@pytest.mark.parametrize("draw", [
    lambda generator, n: generator.normal(size=n),
    lambda generator, n: generator.standard_t(3, n),
    lambda generator, n: generator.exponential(size=n) * generator.choice([-1.0, 1.0], n),
    lambda generator, n: np.zeros(n),
])  # fmt: skip
def test_an_equal_version_is_rarely_called_better_however_often_one_looks(draw):
    generator = np.random.default_rng(11)
    runs = [Paired().take(draw(generator, 500)).max() >= 20 for _ in range(100)]
    assert np.mean(runs) <= 0.08


def test_a_better_version_is_called_so_soon():
    generator, rows = np.random.default_rng(12), []
    for _ in range(20):
        error = np.abs(generator.normal(size=400))
        passed = np.flatnonzero(Paired().take(error - np.abs(error * 0.7 + 0.1 * generator.normal(size=400))) >= 20)
        rows.append(passed[0] if len(passed) else 400)
    assert np.median(rows) < 60


def renewed(market, fresh) -> tuple[str, str]:
    """Give the live version and a candidate that is better for the other area."""
    live = market.live.version
    decision = verbs.retrain.retrain(site_of(market), order_of(market, "retraining.candidates=[refit]"), data=fresh)
    assert decision.chosen is not None
    market.now += 60.0
    return live, decision.chosen


@pytest.mark.parametrize(("by", "live_after"), [("automatic", "candidate"), ("approval", "live"), ("manual", "live")])
def test_truths_promote_as_the_config_says(market, fresh, by, live_after):
    live, candidate = renewed(market, fresh)
    market.send(moved(400, 600), truth=True)
    events = market.step(f"promotion.mode={by}", "monitoring.on_degradation=warn")
    assert ("promote" in kinds(events)) == (by != "manual")
    assert market.live.version == {"candidate": candidate, "live": live}[live_after]
    if by == "approval":
        (told,) = [event for event in events if event.kind == "promote"]
        assert f"estimator promote {MODEL}/{candidate}" in told.details["next"]


def test_a_candidate_is_first_a_shadow_if_so_asked(market, fresh):
    live, _ = renewed(market, fresh)
    market.send(moved(400, 600), truth=True)
    market.step("promotion.mode=automatic", "promotion.shadow_rows=10", "monitoring.on_degradation=warn")
    assert market.live.version == live


def test_what_is_promoted_and_proven_worse_goes_back_by_itself(market, fresh):
    live, candidate = renewed(market, fresh)
    order = order_of(market, "model.kind=constant")
    worse = verbs.train.train(FOLDER / "config.yml", order).artefact.version
    verbs.promote.promote(market.store, f"{MODEL}/{worse}", why="somebody thought so")
    assert market.live.version == worse
    market.send(sold(120), truth=True)
    events = market.step("monitoring.on_degradation=warn")
    assert "rollback" in kinds(events)
    assert market.live.version == live
    assert candidate != live
    last = market.store.history(MODEL)[-1]
    assert last.action == "rollback"
    assert "120 truths" in last.reason


def test_history_tells_which_version_answered_at_a_time(market, fresh, run):
    live, candidate = renewed(market, fresh)
    verbs.promote.promote(market.store, f"{MODEL}/{candidate}", why="approved by a person")
    moves = market.store.history(MODEL)
    code, told, _ = run("history", MODEL, "--store", market.store.root, "--at", moves[-1].time, "--json")
    assert (code, told["move"]["after"], told["move"]["why"]) == (0, candidate, "approved by a person")
    assert run("history", MODEL, "--store", market.store.root, "--at", "2001-01-01", "--json")[1]["move"] is None
    text = run("history", MODEL, "--store", market.store.root)[1]["text"]
    assert len(text.strip().splitlines()) == len(moves)
    assert live in text


def test_replay_says_what_would_have_been_different(market, fresh, run):
    _, candidate = renewed(market, fresh)
    market.now = market.now - 7200.0
    market.send(moved(600, 700), truth=True)
    words = ("--log", market.log, "--store", market.store.root, "--since", "2001-01-01")
    code, told, _ = run("replay", MODEL, "--against", f"{MODEL}/{candidate}", *words, "--json")
    assert code == 0
    assert (told["rows"], told["judged"]) == (100, 100)
    assert told["after"] < told["before"]
    assert told["changed"] > 0.9
    code, told, _ = run("replay", MODEL, "--against", MODEL, *words, "--json")
    assert (told["changed"], told["before"]) == (0.0, pytest.approx(told["after"]))


def test_replay_of_an_empty_time_says_so(market, run):
    market.send(sold(5))
    words = ("--log", market.log, "--store", market.store.root, "--since", "1s")
    code, _, said = run("replay", MODEL, "--against", MODEL, *words)
    assert code == 1
    assert "--since" in said


def test_two_promotions_at_once_are_one_after_the_other(market, fresh):
    _, candidate = renewed(market, fresh)
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


def test_a_market_that_moves_is_seen_proven_renewed_promoted_and_taken_back(tmp_path, tell):
    told = runpy.run_path(str(EXAMPLES / "moving-market" / "story.py"))["story"](tmp_path, said=lambda text: None)
    assert told["calm"] == []
    rows = told["drift"]["details"]["after_rows"] - told["quiet_rows"]
    assert {"Year_Built", "Foundation"} <= {each["column"] for each in told["drift"]["details"]["columns"]}
    assert told["loss"]["details"]["latest_loss"] > 1.5 * told["loss"]["details"]["usual_loss"]
    assert told["refused"] == 0
    promoted = told["promote"]["version"]
    assert told["answered"][promoted] >= 20
    actions = [move["action"] for move in told["history"] if move["alias"] == "live"]
    assert actions == ["train", "promote", "rollback"]
    assert told["history"][-1]["after"] == told["first"]
    assert list((tmp_path / "models" / MODEL / "decisions").glob("*/decision.json"))
    tell(f"moving market: alarm looked at {rows} rows of another area, promoted after {told['labels']} labels, "
         f"{sum(told['answered'].values())} requests answered, none refused")  # fmt: skip
