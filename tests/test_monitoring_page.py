"""The monitoring page in a browser."""

from __future__ import annotations

import shutil

import pytest

from estimator.monitoring import overview
from estimator.monitoring.page import monitoring_page
from estimator.store.store import Store
from tests.browser import CONTRASTS
from tests.market import Market, other_area, same_area


@pytest.fixture(scope="module")
def moved_market(market_store, tmp_path_factory):
    """A market of three versions; the last one's rows drifted after rows like those of training."""
    folder = tmp_path_factory.mktemp("monitoring-page")
    shutil.copytree(market_store, folder / "models")
    market = Market(Store(folder / "models"), folder / "log.db")
    for version in ("second", "third"):
        market.send(same_area(100), labels=True)
        market.step()
        market.go_live(version)
    market.send(same_area(), labels=True)
    market.step()
    market.send(other_area(0, 200), labels=True)
    market.step("monitoring.on_degradation=warn")
    return market


@pytest.fixture(scope="module")
def page_path(moved_market, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_bytes(monitoring_page(moved_market.overview()))
    return path


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_page_is_readable_at_any_width(page_path, visit_file, width, color_scheme):
    page = visit_file(page_path, width=width, color_scheme=color_scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert "have become worse" in page.inner_text(".verdict")
    assert page.locator(".alarms li").count() == 2
    assert "An e-value measures the evidence" in page.inner_text("body")
    assert min(page.evaluate(CONTRASTS).values()) >= 4.5


def test_every_chart_has_a_legend(page_path, visit_file):
    page = visit_file(page_path)
    charts = page.locator(".card:has(svg[role=img])")
    assert charts.count() >= 7
    assert page.locator(".card:has(svg[role=img]):has(.legend li)").count() == charts.count()
    rows = page.locator(".card", has=page.locator("h2", has_text="Rows")).locator(".legend").inner_text()
    assert "third" in rows
    assert "a version goes live" in rows


def test_all_versions_are_drawn(moved_market):
    state = moved_market.overview()
    assert [traffic.name for traffic in state.traffic][:2] == ["third", "second"]
    assert sum(item.n_rows for traffic in state.traffic for item in traffic.bins) == moved_market.n_sent
    assert f"of {moved_market.n_sent:,} rows, the others of 2 other versions" in state.rows_message


def test_drifted_columns_have_histograms(moved_market):
    state = moved_market.overview()
    drift = next(event for event in reversed(state.alarms) if event.kind == "drift")
    assert [histogram.moved.column for histogram in state.histograms] == [
        moved["column"] for moved in drift.details["columns"]
    ]
    for histogram in state.histograms:
        for fractions, missing in zip(
            (histogram.bins.before, histogram.bins.after), histogram.bins.missing, strict=True
        ):
            assert sum(fractions) + missing == pytest.approx(1.0)


def test_rows_that_were_not_read_are_counted(moved_market, monkeypatch):
    monkeypatch.setattr(overview, "MAX_ROWS", 300)
    state = moved_market.overview()
    assert f"read: the last 300 of {moved_market.n_sent:,} rows" in state.rows_message
    assert state.span[0] == pytest.approx(state.since)


def test_page_of_an_empty_log_says_so(market, tmp_path, visit_file):
    market.open_log().close()
    path = tmp_path / "page.html"
    path.write_bytes(monitoring_page(market.overview()))
    page = visit_file(path, width=400)
    assert "no prediction" in page.inner_text(".verdict")
    assert page.locator("svg[role=img]").count() == 0
