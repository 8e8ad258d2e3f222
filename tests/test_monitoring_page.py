"""The page of what is watched, as a person meets it in a browser."""

from __future__ import annotations

import pytest

from estimator import verbs
from estimator.monitoring.page import monitoring_page
from estimator.verbs.monitor import MonitoredModel
from tests.browser import CONTRASTS
from tests.watched import MODEL, moved, sold


def overview_of(market):
    market.send(sold(), truth=True)
    market.step()
    market.send(moved(0, 200), truth=True)
    market.step("monitoring.on_degradation=warn")
    order, site = verbs.Context(store_path=str(market.store.root)), MonitoredModel(MODEL, str(market.log))
    return verbs.monitor.monitor(site, order, since=None, until=market.now)


@pytest.mark.parametrize("width", [400, 1400])
def test_the_page_can_be_read_at_any_width(market, visit_file, tmp_path, width):
    (tmp_path / "page.html").write_bytes(monitoring_page(overview_of(market)))
    page = visit_file(tmp_path / "page.html", width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert "not as in training" in page.inner_text("body") or "worse than" in page.inner_text(".verdict")
    assert page.locator("svg[role=img]").count() == 6
    assert min(page.evaluate(CONTRASTS).values()) >= 4.5
