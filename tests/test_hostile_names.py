"""Names and values of a table are text on every page: none becomes an element, runs, or loads anything."""

from __future__ import annotations

import html
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import markdown
import polars as pl
import pytest

from estimator import verbs
from estimator.core.text import markdown as as_text
from estimator.monitoring.overview import Overview
from tests.clients import post, serving, within

# Each would show itself: by a dialog, by an element with this id, or by a request to another host.
IMAGE = "<img id=injected src=http://injected.test/1 onerror=alert(1)>"
SCRIPT = "</script></style></title><script id=injected>alert(2)</script>"
LINK = "![x](http://injected.test/2)[y](javascript:alert(3))"
QUOTES = '"\'` onmouseover=alert(4) autofocus onfocus=alert(4) id=injected x="'
FRAME = "<iframe id=injected srcdoc='<script>parent.alert(5)</script>'></iframe>"
STYLE = "<style id=injected>@import url(http://injected.test/3)</style>"
MATH = "${alert(6)}{{alert(6)}}<svg id=injected onload=alert(6)>"
ENTITY = "&lt;img id=injected src=x onerror=alert(7)&gt;"
NAMES = (IMAGE, SCRIPT, LINK, QUOTES, FRAME, STYLE, MATH, ENTITY)
TARGET = f"y {IMAGE} {LINK}"
CONFIG = {
    "name": "hostile",
    "purpose": f"{IMAGE}\n\n{LINK}\n\n{FRAME}",
    "model": {"kind": "linear"},
    "training": {"split": {"kind": "time", "column": STYLE}},
    "validation": {"folds": 2},
    "evaluation": {"bootstrap_samples": 100, "importance_repeats": 1, "fairness_columns": [SCRIPT]},
    "tuning": {"n_trials": 2, "space": {f"features.columns.{MATH}.encoder": ["standard", "raw"]}},
    "serving": {"label": f"label {IMAGE}"},
    "retraining": {"candidates": ["refit"]},
    "schema": {"columns": {MATH: {"unit": IMAGE, "aliases": [SCRIPT + "2", LINK]}, QUOTES: {"default": FRAME}}},
}
INJECTED = "[id=injected], [src*=injected], [href*=injected], [href^='javascript:'], [srcdoc], [onerror], [onload]"
# What unfolds the descriptions of all operations, of Swagger UI and of ReDoc.
UNFOLD = """() => document.querySelectorAll(`.opblock-summary-control[aria-expanded=false], .model-toggle, [role=tab],
  .expand-operation, td.property-name button, .redoc-json .collapser, summary`).forEach((item) => item.click())"""


def rows(n: int, *, start: int = 0) -> pl.DataFrame:
    """Return a table whose names and categories are hostile; a class follows from a category and a number."""
    indices = range(start, start + n)
    return pl.DataFrame(
        {
            MATH: [index * 37 % 101 / 10 for index in indices],
            IMAGE: [index * 53 % 89 / 7 for index in indices],
            SCRIPT: [NAMES[index % 3] for index in indices],
            QUOTES: [NAMES[3 + index % 4] for index in indices],
            FRAME: [
                f"{NAMES[index % 8]} some words {index * 7 % 50} and {NAMES[index % 5]} {index % 13}"
                for index in indices
            ],
            STYLE: [f"2026-{1 + index % 12:02}-{1 + index % 28:02}" for index in indices],
            TARGET: [NAMES[(index % 3 > 0) + (index * 37 % 101 > 60)] for index in indices],
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """The pages that a hostile table's model is written as, and its store."""
    folder = tmp_path_factory.mktemp("hostile")
    rows(240).write_csv(folder / "table.csv")
    rows(120, start=500).write_csv(folder / "new.csv")
    conf = folder / "config.json"
    conf.write_text(json.dumps({**CONFIG, "data": {"path": "table.csv", "target": TARGET}}))
    context = verbs.Context(store_path=str(folder / "models"))
    version = verbs.train.train(conf, context).artefact
    verbs.explore.explore(conf, context, page=folder / "exploration.html")
    verbs.tune.tune(conf, context)
    model = verbs.monitor.MonitoredModel("hostile", folder=folder)
    verbs.retrain.retrain(model, context, data=str(folder / "new.csv"), reason=f"{IMAGE} {LINK}")
    verbs.promote.promote(context.store(), f"hostile/{version.version}", why=f"{IMAGE} {LINK}")
    (decision,) = (folder / "models" / "hostile" / "decisions").glob("*/decision.html")
    card = (version.folder / "card.md").read_text()
    # Markdown lets HTML through.
    (folder / "card.html").write_text(f"<meta charset=utf-8>{markdown.markdown(card, extensions=['tables'])}")
    verbs.page.page(version, folder / "page.html")
    for name, path in {"report": version.folder / "report.html", "decision": decision}.items():
        shutil.copy(path, folder / f"{name}.html")
    (folder / "config.tuning.html").rename(folder / "tuning.html")
    return folder


@pytest.fixture(scope="module")
def address(folder) -> Iterator[str]:
    """A server of the model, with some logged predictions."""
    context, log = verbs.Context(store_path=str(folder / "models")), folder / "log.db"
    drifted = rows(60, start=900).drop(TARGET).with_columns(pl.col(IMAGE, MATH) * 50)
    with serving(folder / "models" / "hostile", "--log", str(log)) as (_, address):
        post(address, json.loads(drifted.write_json()), "/v1/predict")
        model = verbs.monitor.MonitoredModel("hostile", str(log))

        def monitored() -> Overview:
            return verbs.monitor.monitor(model, context, since=None, until=time.time() + 1)

        assert within(10, lambda: monitored().n_rows == 60)
        verbs.monitor.write_page(monitored(), folder / "monitoring.html")
        yield address


class Visit:
    """A page that is opened: its dialogs, and its requests to others that its policy did not block."""

    def __init__(self, browser: Any, url: str, ready: str) -> None:
        self.dialogs, self.requests, self._own = list[str](), list[str](), (url.rpartition("/")[0], "blob:", "data:")
        self.page = browser.new_context(viewport={"width": 1400, "height": 2000}).new_page()
        self.page.on("dialog", self._dismiss)
        self.page.on("requestfinished", self._note)
        self.page.on("requestfailed", self._note)
        self.page.goto(url)
        self.page.wait_for_selector(ready)

    def _dismiss(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def _note(self, request: Any) -> None:
        # ReDoc asks for the logo of its makers.
        if request.failure != "csp" and not request.url.startswith(self._own):
            self.requests.append(request.url)


FILES = ("report", "card", "exploration", "tuning", "decision", "page", "monitoring")
# What is on a page once its scripts have drawn it.
SERVED = {"/": "main", "/monitor": "main", "/docs": ".opblock", "/redoc": "h1"}


@pytest.mark.parametrize("name", [*FILES, *SERVED])
def test_page_shows_hostile_names_as_text(name, folder, address, browser, report_figure):
    url = (folder / f"{name}.html").as_uri() if name in FILES else address + name
    visit = Visit(browser, url, SERVED.get(name, "body"))
    for _ in range(3):
        visit.page.evaluate(UNFOLD)
        visit.page.wait_for_timeout(200)
    injected = visit.page.locator(INJECTED).count()
    counts = f"{len(visit.dialogs)} dialogs, {injected} injected elements, {len(visit.requests)} foreign requests"
    report_figure(f"hostile names: {name:<12} {counts}")
    assert "alert(" in visit.page.inner_text("body")
    visit.page.context.close()
    assert (visit.dialogs, injected, visit.requests) == ([], 0, [])


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_policy_stops_what_is_injected(path, address, browser):
    """Should a name become an element all the same, it would neither run nor load anything."""
    visit = Visit(browser, address + path, SERVED[path])
    for name in NAMES:
        visit.page.evaluate(
            "(name) => document.body.append(document.createRange().createContextualFragment(name))", name
        )
    assert visit.page.locator(INJECTED).count() >= 5
    visit.page.wait_for_timeout(200)
    visit.page.context.close()
    assert (visit.dialogs, visit.requests) == ([], [])


@pytest.mark.parametrize("text", NAMES)
def test_text_in_markdown_shows_as_it_is(text):
    shown = markdown.markdown(as_text(text))
    assert html.unescape(shown.removeprefix("<p>").removesuffix("</p>")) == text
    assert "<" not in shown.removeprefix("<p>").removesuffix("</p>")
