"""The exploration page in a browser: by mouse and keyboard, in the dark, and on a phone."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from estimator.data.schema.inference import infer_schema
from estimator.data.sources.opener import open_files
from estimator.exploration import Profile, profile_table
from estimator.exploration.findings import run_rules
from estimator.exploration.page import exploration_page, linked
from tests.browser import CONTRASTS, REACHABLE
from tests.conftest import EXAMPLES

TABLES = {
    "boston": ("boston.csv", "MEDV"),
    "credit": ("credit.csv", "Status"),
    "penguins": ("penguins.csv", "species"),
    "ames": ("ames.csv.gz", "Sale_Price"),
}
SENSITIVE = {"boston": ("B", "LSTAT")}
HOSTILE = ["<script>alert(1)</script>", "\"quo'te & <b>", "new\nline", "\u202eright to left", "long" * 75, "</style>"]


def page_of(frame: pl.DataFrame, target: str, **changes: Any) -> bytes:
    schema = infer_schema(frame, target)
    profile = profile_table(schema, [frame])
    return exploration_page(replace(profile, **changes), run_rules(schema, profile, frame), name="<i>a table</i>")


@pytest.fixture(scope="module")
def frames() -> dict[str, pl.DataFrame]:
    return {name: open_files(str(EXAMPLES / name / file)).frame() for name, (file, _) in TABLES.items()}


@pytest.fixture(scope="module")
def profiles(frames) -> dict[str, Profile]:
    return {name: profile_table(infer_schema(frames[name], TABLES[name][1]), [frames[name]]) for name in TABLES}


@pytest.fixture(scope="module")
def pages(frames, profiles, tmp_path_factory) -> dict[str, Path]:
    folder, paths = tmp_path_factory.mktemp("pages"), {}
    for name, (_, target) in TABLES.items():
        schema, sensitive = infer_schema(frames[name], target), SENSITIVE.get(name, ())
        findings = run_rules(schema, profiles[name], frames[name], sensitive=sensitive, model="linear")
        paths[name] = folder / f"{name}.html"
        paths[name].write_bytes(exploration_page(profiles[name], findings, name=name))
    rows = [f"{i}" for i in range(60)]
    columns = {name: [HOSTILE[i % len(HOSTILE)] for i in range(60)] for name in HOSTILE}
    paths["hostile"] = folder / "hostile.html"
    paths["hostile"].write_bytes(
        page_of(pl.DataFrame(columns | {"n": rows, "<y>": [f"{i % 7}.5" for i in range(60)]}), "<y>")
    )
    paths["wide"] = folder / "wide.html"
    paths["wide"].write_bytes(exploration_page(widened(profiles["ames"], 7), [], name="wide"))
    return paths


def widened(profile: Profile, times: int) -> Profile:
    """Return the profile of the columns of a table, all but the target several times over."""
    copies = [
        replace(column, name=f"{column.name}_{copy}")
        for copy in range(times)
        for column in profile.columns
        if column.name != profile.target
    ]
    names = [column.name for column in copies if column.name.rpartition("_")[0] in profile.numeric]
    indices = [profile.numeric.index(name.rpartition("_")[0]) for name in names]
    return replace(
        profile,
        columns=(*copies, profile.column(profile.target)),
        numeric=tuple(names),
        pearson=profile.pearson[np.ix_(indices, indices)],
        spearman=profile.spearman[np.ix_(indices, indices)],
        vif={name: profile.vif[name.rpartition("_")[0]] for name in names},
        target_association={
            column.name: profile.target_association[column.name.rpartition("_")[0]] for column in copies
        },
    )


@pytest.fixture
def visit(visit_file, pages) -> Callable[..., Any]:
    """Open a page by its name."""
    return lambda name, **options: visit_file(pages[name], **options)


@pytest.mark.parametrize("name", [*TABLES, "hostile"])
@pytest.mark.parametrize("width", [400, 1400])
def test_nothing_is_wider_than_the_window(visit, name, width):
    page = visit(name, width=width)
    page.evaluate("document.querySelectorAll('.card').forEach((card) => { card.style.contentVisibility = 'visible'; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_search_hides_cards_and_shows_the_count(visit):
    page = visit("ames")
    page.get_by_label("Search").fill("garage")
    shown = page.locator("#cards > article:visible h3").all_text_contents()
    assert shown == ["Garage_Type", "Garage_Finish", "Garage_Cars", "Garage_Area", "Garage_Cond"]
    assert page.locator("#column-count").text_content() == "5 of 73 columns"


@pytest.mark.parametrize(
    ("key", "first"),
    [
        ("missing", "Income"),
        ("association", "Records"),
        ("skewness", "Assets"),
        ("name", "Age"),
        ("position", "Seniority"),
    ],
)
def test_cards_are_sorted_by_the_chosen_key(visit, key, first):
    page = visit("credit")
    page.get_by_label("Sort by").select_option("kind")
    page.get_by_label("Sort by").select_option(key)
    assert page.locator("#cards > article h3").first.text_content() == first


def test_findings_are_filtered_by_severity(visit):
    page = visit("boston")
    page.get_by_label("low (1)").uncheck()
    page.get_by_label("note (2)").uncheck()
    assert set(page.locator(".finding:visible .severity").all_text_contents()) == {"medium"}
    assert page.locator("#finding-count").text_content() == "2 of 5 findings"


def test_findings_and_columns_link_to_each_other(visit):
    page = visit("boston")
    page.get_by_label("Search").fill("crim")
    page.locator(".finding a", has_text="LSTAT").click()
    card = page.locator("article:target")
    assert card.locator("h3").text_content() == "LSTAT"
    assert card.is_visible()
    page.get_by_label("medium (2)").uncheck()
    card.locator(".kind a").click()
    assert "LSTAT may be protected attributes" in (page.locator(".finding:target").text_content() or "")
    assert page.locator(".finding:target").is_visible()


@pytest.mark.parametrize("before", ["", "Object.defineProperty(navigator, 'clipboard', { value: undefined });"])
def test_edit_is_copied_without_a_clipboard_too(visit, before):
    page = visit("boston", before=before)
    page.get_by_role("button", name="Copy the edit of finding 1").click()
    page.locator("button", has_text="Copied").wait_for()
    page.get_by_label("Search").focus()
    page.keyboard.press("Control+V")
    assert page.get_by_label("Search").input_value() == 'data.drop: ["AGE", "B", "LSTAT"]'


def test_pointer_shows_a_bars_tooltip(visit):
    page = visit("boston")
    page.locator("article", has_text="CHAS").locator("svg").hover(position={"x": 5, "y": 40})
    assert page.locator("#tip").text_content() == "0 to 0.5: 471 rows (93.1%)"
    page.mouse.move(5, 5)
    assert page.locator("#tip").is_hidden()


def test_arrow_keys_show_tooltips(visit):
    page = visit("boston")
    page.locator("article", has_text="CHAS").locator("svg").focus()
    assert page.locator("#tip").text_content() == "0 to 0.5: 471 rows (93.1%)"
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").text_content() == "0.5 to 1: 35 rows (6.9%)"
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


def test_category_tooltip_has_the_target_mean(visit):
    page = visit("ames")
    page.locator("article", has_text="Lot_Shape").locator(".bar-table").focus()
    page.keyboard.press("ArrowDown")
    assert page.locator("#tip").text_content() == "Slightly_Irregular: 979 rows (33.4%)\ntarget mean 210,925"


def test_correlation_tooltip_names_both_columns(visit, profiles):
    page = visit("boston")
    page.locator("svg[data-names]").focus()
    page.keyboard.press("ArrowDown")
    tip = re.fullmatch(r"(\w+) × (\w+): (-?[\d.]+)", page.locator("#tip").text_content() or "")
    assert tip is not None
    names = profiles["boston"].numeric
    exact = profiles["boston"].pearson[names.index(tip[1]), names.index(tip[2])]
    assert float(tip[3]) == pytest.approx(exact, abs=0.0051)


def test_tab_reaches_every_control(visit):
    page = visit("penguins")
    every = page.evaluate(REACHABLE)
    reached = set()
    for _ in every:
        page.keyboard.press("Tab")
        reached.add(page.evaluate("Number(document.activeElement.dataset.tabIndex)"))
    assert reached == set(every)


def test_hostile_names_are_shown_as_text(visit):
    page = visit("hostile")
    assert page.locator("h1").text_content() == "<i>a table</i>"
    assert page.locator("#cards h3").all_text_contents() == [*HOSTILE, "n"]
    page.locator("#cards .bar-table").first.focus()
    tip = page.locator("#tip").text_content() or ""
    assert any(tip.startswith(name[:100]) for name in HOSTILE)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_enough_contrast(visit, scheme):
    page = visit("ames", color_scheme=scheme)
    page.evaluate("document.querySelector('#tip').hidden = false, document.querySelector('#tip').textContent = 'x'")
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 15
    assert {name: ratio for name, ratio in contrasts.items() if ratio < 4.5} == {}


def test_page_shows_five_hundred_columns(visit, pages):
    page = visit("wide")
    assert page.locator("#cards > article").count() == 7 * 73
    assert page.locator("svg[data-names]").evaluate("(chart) => JSON.parse(chart.dataset.names).length") == 60
    assert pages["wide"].stat().st_size < 1_500_000


def test_points_are_grouped_by_class(profiles):
    profile = profiles["penguins"]
    groups = np.arange(len(profile.components)) % 3.0
    both = replace(profile, row_targets=groups, tsne=profile.components[:, ::-1])
    text = exploration_page(both, [], name="penguins").decode()
    assert len(re.findall(r"<figcaption><h3>(?:Principal components|Neighbors)", text)) == 2
    legend = text.split('aria-label="colors">')[1].split("</ul>")[0]
    assert re.findall(r"<bdi>(.*?)</bdi>", legend) == [name for name, _, _ in profile.column("species").top_categories]


def test_text_lengths_and_times_are_shown(profiles):
    first, second, *others = profiles["penguins"].columns
    text = replace(first, lengths={"min": 3, "mean": 12.5, "max": 40})
    times = {"first": "2007-11-11", "last": "2009-12-01", "longest_gap_days": 31.0, "empty_days_fraction": 0.25}
    date = replace(second, kind="date", times=times, statistics={"min": 0.0, "max": 1.0}, histogram=([0.0, 1.0], [344]))
    profile = replace(profiles["penguins"], columns=(text, date, *others))
    page = exploration_page(profile, [], name="penguins").decode()
    for text in ("3 to 40, mean 12.5", "2007-11-11", "2009-12-01", "31 days", "25.0%"):
        assert f">{text}<" in page


@pytest.mark.parametrize("name", TABLES)
def test_page_is_small_and_offline(pages, name):
    text = pages[name].read_text()
    assert len(text.encode()) < 150_000
    assert len(text.split("<script>")[1].encode()) < 10_000
    assert "http://" not in text
    assert "https://" not in text
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'")
    assert "unsafe" not in policy[1]


def test_twenty_categorical_columns_fit_the_size_limit(frames):
    categorical = [name for name, kind in frames["ames"].schema.items() if kind == pl.String][:19]
    assert len(page_of(frames["ames"].select(*categorical, "Sale_Price"), "Sale_Price")) < 150_000


class Outline(HTMLParser):
    """Checks that tags close in order; collects ids, links and headings."""

    VOID = ("meta", "input", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.headings: list[int] = []
        self.unnamed: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        attributes = dict(attrs)
        self.ids += [attributes["id"] or ""] if "id" in attributes else []
        self.links += [(attributes["href"] or "").removeprefix("#")] if "href" in attributes else []
        self.headings += [int(tag[1])] if tag in ("h1", "h2", "h3") else []
        if tag == "svg" and not attributes.get("aria-label") and "aria-hidden" not in attributes:
            self.unnamed.append(self.get_starttag_text() or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag that closes itself."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"line {self.getpos()[0]}"


@pytest.mark.parametrize("name", [*TABLES, "hostile"])
def test_page_is_well_formed(pages, name):
    outline = Outline()
    outline.feed(pages[name].read_text())
    assert outline.open == []
    assert outline.unnamed == []
    assert len(set(outline.ids)) == len(outline.ids)
    assert set(outline.links) <= set(outline.ids)
    assert all(below <= above + 1 for above, below in zip(outline.headings[:-1], outline.headings[1:], strict=True))


@pytest.mark.parametrize(
    ("sentence", "names", "parts"),
    [
        ("B is B and AB", ["B"], [("B", "c1"), (" is ", ""), ("B", ""), (" and AB", "")]),
        ("a b is wide", ["a", "a b"], [("a b", "c2"), (" is wide", ""), (" · ", ""), ("a", "c3")]),
        ("nothing here", [], [("nothing here", "")]),
        ("gone is gone", ["gone"], [("gone is gone", "")]),
    ],
)
def test_names_in_a_sentence_are_links(sentence, names, parts):
    assert linked(sentence, names, {"B": "c1", "a b": "c2", "a": "c3"}) == parts
