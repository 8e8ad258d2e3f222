"""Debian's Chromium for the tests of pages, and checks that every page must pass."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on this machine")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=chromium, args=flags)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def window(browser) -> Callable[..., Any]:
    """A window without motion; the same one for the same options, as opening one takes most of a test's time."""

    @cache
    def call(**options: Any) -> Any:
        return browser.new_context(reduced_motion="reduce", **options)

    return call


@pytest.fixture
def visit_file(window) -> Iterator[Callable[..., Any]]:
    """Open a file; afterwards, it must have requested nothing and logged nothing."""
    opened, faults = [], []

    def call(path: Path, *, width: int = 1400, before: str = "", **options: Any) -> Any:
        page = window(**options).new_page()
        opened.append(page)
        page.set_viewport_size({"width": width, "height": 900})
        if before:
            page.add_init_script(before)
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda fault: faults.append(str(fault)))
        page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
        # Downloads of a page are blobs.
        own_urls = (path.as_uri(), "blob:")
        page.on("request", lambda request: None if request.url.startswith(own_urls) else faults.append(request.url))
        page.goto(path.as_uri())
        return page

    yield call
    for page in opened:
        page.close()
    assert faults == []


# Every text against what is behind it, also where a bar is; WCAG's formula.
CONTRASTS = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => rgb.slice(0, 3).map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, index) => sum + c * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const rgb = numbers(getComputedStyle(at).backgroundColor);
      if (rgb.length === 3 || rgb[3] > 0) return rgb;
    }
    return [255, 255, 255];
  };
  const ratios = {};
  for (const element of document.querySelectorAll('body *:not(script, option, title)')) {
    if (![...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim())) continue;
    const style = getComputedStyle(element);
    const bar = element.closest('tbody') && element.closest('.bar-table')?.querySelector('path');
    let ground = behind(element);
    if (bar) {
      const share = Number(getComputedStyle(bar).strokeOpacity), over = numbers(getComputedStyle(bar).stroke);
      ground = ground.slice(0, 3).map((c, index) => c * (1 - share) + over[index] * share);
    }
    const [a, b] = [light(numbers(element.closest('svg') ? style.fill : style.color)), light(ground)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const name = `${element.tagName}.${element.getAttribute('class')}`;
    ratios[name] = Math.min(ratios[name] ?? 99, ratio);
  }
  return ratios;
}"""
# Numbers all that Tab must reach.
REACHABLE = """() => [...document.querySelectorAll('a[href], button, input, select, textarea, summary, [tabindex]')]
  .map((element, index) => { element.dataset.tabIndex = index; return index; })"""
