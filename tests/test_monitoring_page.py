"""The monitoring page in a browser."""

from __future__ import annotations

import shutil

import pytest

from estimator.monitoring.page import monitoring_page
from estimator.store.store import Store
from tests.browser import CONTRASTS
from tests.market import Market, other_area, same_area


@pytest.fixture(scope="module")
def page_path(market_store, tmp_path_factory):
    """The page of a market that drifted after rows like those of training."""
    folder = tmp_path_factory.mktemp("monitoring-page")
    shutil.copytree(market_store, folder / "models")
    market = Market(Store(folder / "models"), folder / "log.db")
    market.send(same_area(), labels=True)
    market.step()
    market.send(other_area(0, 200), labels=True)
    market.step("monitoring.on_degradation=warn")
    path = folder / "page.html"
    path.write_bytes(monitoring_page(market.overview()))
    return path


@pytest.mark.parametrize("width", [400, 1400])
def test_page_is_readable_at_any_width(page_path, visit_file, width):
    page = visit_file(page_path, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert "have become worse" in page.inner_text(".verdict")
    assert "An e-value measures the evidence" in page.inner_text("body")
    assert page.locator("svg[role=img]").count() == 6
    assert min(page.evaluate(CONTRASTS).values()) >= 4.5
