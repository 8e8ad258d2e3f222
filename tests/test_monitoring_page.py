"""The monitoring page in a browser."""

from __future__ import annotations

import pytest

from estimator.monitoring.page import monitoring_page
from tests.browser import CONTRASTS
from tests.market import other_area, same_area


def overview_of(market):
    market.send(same_area(), labels=True)
    market.step()
    market.send(other_area(0, 200), labels=True)
    market.step("monitoring.on_degradation=warn")
    return market.overview()


@pytest.mark.parametrize("width", [400, 1400])
def test_page_is_readable_at_any_width(market, visit_file, tmp_path, width):
    (tmp_path / "page.html").write_bytes(monitoring_page(overview_of(market)))
    page = visit_file(tmp_path / "page.html", width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert "have become worse" in page.inner_text(".verdict")
    assert "An e-value measures the evidence" in page.inner_text("body")
    assert page.locator("svg[role=img]").count() == 6
    assert min(page.evaluate(CONTRASTS).values()) >= 4.5
