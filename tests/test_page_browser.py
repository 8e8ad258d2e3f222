"""The model page as a user sees it: opened from a file, in a browser, without a server or a network."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.data.schema.frames import read_frame
from estimator.data.sources.opener import open_files
from estimator.errors import RowError
from estimator.serving.model_page.page import build_model_page
from estimator.store.artefact import Artefact, open_artefact
from estimator.store.store import version_folder
from tests.browser import CONTRASTS, REACHABLE
from tests.conftest import EXAMPLES

TABLES = {
    "house_pricing_model": "boston/boston.csv", "credit": "credit/credit.csv", "penguins": "penguins/penguins.csv",
    "ames": "ames/ames.csv.gz",
}  # fmt: skip
HOSTILE = ["<script>alert(1)</script>", "\"quo'te & <b>", "</script><style>", "__proto__", "long" * 40]
NOUNS = ["Haus", "garden", "РЕКА", "naïve", "x1", "sea view"]


def messy(n_rows: int = 240) -> pl.DataFrame:
    """Dates, months, times, prices, free text, flags, missing values, and names that would break a careless page."""
    generator = np.random.default_rng(3)
    size, days, row_numbers = generator.normal(100, 30, n_rows), generator.integers(0, 900, n_rows), range(n_rows)
    nouns = generator.choice(NOUNS, (n_rows, 4))
    start = np.datetime64("2021-01-01")
    price = 900 + 12 * size + 200 * (nouns == "garden").any(axis=1) + days / 3 + generator.normal(0, 40, n_rows)
    return pl.DataFrame(
        {
            "<i>size</i>": [f"{value:.1f}" if row % 11 else "" for row, value in zip(row_numbers, size, strict=True)],
            "fee": [f"${1000 * value:,.2f}" for value in generator.random(n_rows)],
            "day": [str(start + int(value)) for value in days],
            "month": [str(start + int(value))[:7] for value in days],
            "seen at": [
                f"{start + int(value)} {row % 24:02d}:15:00" for row, value in zip(row_numbers, days, strict=True)
            ],
            "\"quo'te": [HOSTILE[row % 5] if row % 7 else "" for row in row_numbers],
            "words": [f"{', '.join(words)} no. {row}!" for row, words in zip(row_numbers, nouns, strict=True)],
            "is new": ["yes" if row % 3 else "no" for row in row_numbers],
            "price": [f"{value:.2f}" for value in price],
        }
    )


@pytest.fixture(scope="module")
def versions(store, tmp_path_factory) -> dict[str, tuple[Artefact, Path]]:
    """Versions and the tables they were trained on, as CSV."""
    artefacts = {name: (open_artefact(version_folder(store / name)), EXAMPLES / path) for name, path in TABLES.items()}
    folder = tmp_path_factory.mktemp("messy")
    messy().write_csv(folder / "messy.csv")
    for kind in ("linear", "boosting"):
        data = {"path": "messy.csv", "target": "price"}
        columns = {"words": {"kind": "text"}, "fee": {"kind": "number", "strip": ["$"], "thousands": ","}}
        config = {"name": f"messy-{kind}", "data": data, "model": {"kind": kind}, "schema": {"columns": columns}}
        (folder / "config.json").write_text(json.dumps(config))
        made = verbs.train.train(folder / "config.json", verbs.Context(store_path=str(folder)))
        artefacts[f"messy-{kind}"] = (made.artefact, folder / "messy.csv")
    return artefacts


@pytest.fixture(scope="module")
def pages(versions, tmp_path_factory) -> dict[str, Path]:
    folder, paths = tmp_path_factory.mktemp("pages"), {}
    for name, (artefact, _) in versions.items():
        paths[name] = folder / f"{name}.html"
        paths[name].write_bytes(build_model_page(artefact).content)
    return paths


@pytest.fixture
def visit(visit_file, pages) -> Callable[..., Any]:
    """Open the page of a version and wait until it predicts."""

    def call(name: str, **options: Any) -> Any:
        page = visit_file(pages[name], **options)
        page.wait_for_selector("body[data-ready]")
        page.wait_for_selector("#effect > *")
        return page

    return call


def first_row(artefact: Artefact) -> dict[str, Any]:
    row: dict[str, Any] = artefact.read_json("golden.json")["rows"][0]
    return row


def sent(page: Any, content: bytes, name: str = "rows.csv") -> pl.DataFrame:
    """Return the predictions of a file."""
    page.set_input_files("#file", {"name": name, "mimeType": "text/csv", "buffer": content})
    with page.expect_download() as download:
        page.click("#batch-result a")
    assert download.value.suggested_filename == f"{name.partition('.')[0]}.predictions.csv"
    return pl.read_csv(io.BytesIO(Path(download.value.path()).read_bytes()), infer_schema_length=None)


@pytest.mark.parametrize("name", [*TABLES, "messy-linear", "messy-boosting"])
def test_file_gets_the_predictions_of_the_server(visit, versions, pages, name, report_figure):
    artefact, table = versions[name]
    downloaded = sent(visit(name), table.read_bytes(), table.name)
    must = artefact.predictor.predict_table(open_files(str(table)).frame())
    assert downloaded.select(pl.col(pl.String)).equals(must.select(pl.col(pl.String)))
    numbers = must.select(pl.col(pl.Float64))
    has, wanted = downloaded.select(numbers.columns).to_numpy(), numbers.to_numpy()
    largest = float((np.abs(has - wanted) / np.maximum(np.abs(wanted), np.abs(wanted).mean())).max())
    report_figure(f"page of {name}: {pages[name].stat().st_size / 1e3:.0f} kB, {len(must):,} rows to {largest:.0e}")
    assert largest < 1e-6


def test_form_starts_with_a_row_and_its_prediction(visit, versions):
    artefact, _ = versions["house_pricing_model"]
    page, row = visit("house_pricing_model"), first_row(artefact)
    predictions = artefact.predictor.predict_batch(artefact.schema.read_rows([row]))
    shown = float(page.text_content("#prediction .figure"))
    assert shown == pytest.approx(predictions.raw[0], rel=1e-3)
    assert (
        page.text_content("#prediction p + p") == f"90% interval: {predictions.low[0]:.4g} to {predictions.high[0]:.4g}"
    )
    assert {name: page.get_by_label(name, exact=True).input_value() for name in row} == {
        name: f"{value:g}" if isinstance(value, float) else str(value) for name, value in row.items()
    }


def test_slider_changes_value_and_prediction(visit, versions):
    artefact, _ = versions["house_pricing_model"]
    page, row = visit("house_pricing_model"), first_row(artefact)
    before = page.text_content("#prediction .figure")
    slider = page.get_by_label("RM, slider")
    slider.focus()
    for _ in range(8):
        page.keyboard.press("ArrowRight")
    value = float(page.get_by_label("RM", exact=True).input_value())
    page.wait_for_function(
        "(before) => document.querySelector('#prediction .figure').textContent !== before", arg=before
    )
    assert value > row["RM"]
    must = artefact.predictor.predict_batch(artefact.schema.read_rows([{**row, "RM": value}])).raw[0]
    assert float(page.text_content("#prediction .figure")) == pytest.approx(must, rel=1e-3)


def test_curve_shows_the_predictions(visit, versions):
    artefact, _ = versions["house_pricing_model"]
    page, row = visit("house_pricing_model"), first_row(artefact)
    page.select_option("#column", "LSTAT")
    label = page.wait_for_selector("#effect svg[aria-label^='MEDV by LSTAT']").get_attribute("aria-label")
    (low, high), *_ = [column.training_range for column in artefact.schema.features if column.name == "LSTAT"]
    rows = [{**row, "LSTAT": float(value)} for value in np.linspace(low, high, 41)]
    predictions = artefact.predictor.predict_batch(artefact.schema.read_rows(rows)).raw
    assert f"smallest {predictions.min():.4g} at " in label
    assert f"largest {predictions.max():.4g} at " in label


def test_invalid_value_gets_the_message_of_the_server(visit, versions):
    artefact, _ = versions["house_pricing_model"]
    page, row = visit("house_pricing_model"), first_row(artefact)
    box = page.get_by_label("TAX", exact=True)
    box.fill("many")
    message = page.wait_for_selector("#notes .fault").text_content()
    with pytest.raises(RowError) as error:
        artefact.schema.read_rows([{**row, "TAX": "many"}])
    assert message == f"TAX: {error.value.faults[0].message}"
    assert box.get_attribute("aria-invalid") == "true"
    assert page.text_content("#prediction .figure") == "no prediction"
    page.click("#reset")
    assert page.locator("#notes .fault").count() == 0


def test_values_out_of_range_are_reported(visit, versions):
    page = visit("house_pricing_model")
    page.get_by_label("RM", exact=True).fill("40")
    note = page.wait_for_selector("#notes li").text_content()
    assert note == "RM: out of range; training range 3.561 to 8.78"


def test_invalid_rows_of_a_file_are_named_and_left_empty(visit, versions):
    artefact, whole = versions["house_pricing_model"]
    lines = whole.read_text().splitlines()[:6]
    lines[2], lines[4] = f"much{lines[2][lines[2].index(',') :]}", f",{lines[4].split(',', 1)[1]}"
    table = "\n".join(lines).encode()
    page = visit("house_pricing_model")
    downloaded = sent(page, table)
    with pytest.raises(RowError) as error:
        read_frame(artefact.schema, pl.read_csv(table, infer_schema=False))
    messages = page.locator("#batch-result li").all_text_contents()
    assert messages == list(map(str, error.value.faults))
    assert downloaded["prediction"].is_null().to_list() == [False, True, False, True, False]
    assert page.text_content("#batch-status") == "predicted 3 of 5 rows"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"CRIM,ZN\n1,2\n", "rows.csv: row 1, column 'INDUS': missing: expected a number"),
        (b"", "rows.csv: the file is empty"),
        (b"a,b\n1,2,3\n", "rows.csv: expected 2 cells per line, as in the header, but found: line 2 (3 cells)"),
        (b'a,b\n"1,2\n', "rows.csv: a quote opened on line 2 is never closed"),
    ],
)
def test_unreadable_file_is_rejected(visit, content, message):
    page = visit("house_pricing_model")
    page.set_input_files("#file", {"name": "rows.csv", "mimeType": "text/csv", "buffer": content})
    assert page.wait_for_selector("#batch-result .fault").text_content().startswith(message)


def test_gzip_delimiter_and_encoding_are_detected(visit, versions):
    artefact, table = versions["house_pricing_model"]
    text = "\r\n".join(table.read_text().splitlines()[:4]).replace(",", ";")
    must = artefact.predictor.predict_table(pl.read_csv(table, n_rows=3, infer_schema=False))
    page = visit("house_pricing_model")
    for packed, name in ((gzip.compress(text.encode()), "rows.csv.gz"), (text.encode("utf-16"), "rows.csv")):
        page.set_input_files("#file", {"name": name, "mimeType": "text/csv", "buffer": packed})
        page.wait_for_function(
            "() => document.querySelector('#batch-status').textContent.startsWith('predicted 3 of 3')"
        )
        with page.expect_download() as download:
            page.click("#batch-result a")
        assert np.allclose(pl.read_csv(download.value.path())["prediction"], must["prediction"], rtol=1e-6)


def test_file_can_be_dropped(visit, versions):
    page = visit("penguins")
    page.evaluate(
        """(text) => {
          const held = new DataTransfer();
          held.items.add(new File([text], "few.csv"));
          document.querySelector("#batch").dispatchEvent(new DragEvent("drop", { dataTransfer: held, bubbles: true }));
        }""",
        "\n".join(versions["penguins"][1].read_text().splitlines()[:5]),
    )
    page.wait_for_selector("#batch-result a")
    assert page.text_content("#batch-status") == "predicted 4 of 4 rows"


def test_hostile_names_and_categories_are_shown_as_text(visit, versions):
    page = visit("messy-linear")
    assert set(page.locator("#fields label bdi").all_text_contents()) == set(messy().columns) - {"price"}
    options = (
        page.get_by_label("\"quo'te", exact=True).locator("option").evaluate_all("(all) => all.map((o) => o.value)")
    )
    assert set(HOSTILE) <= set(options)


@pytest.mark.parametrize("name", ["ames", "messy-boosting", "penguins"])
def test_nothing_is_wider_than_the_window(visit, name):
    for width in (400, 1400):
        page = visit(name, width=width)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["credit", "house_pricing_model"])
def test_text_has_enough_contrast(visit, name, scheme):
    page = visit(name, color_scheme=scheme)
    page.locator("#fields input:not([type=range])").first.fill("much")
    page.wait_for_selector("#notes .fault")
    assert {part: ratio for part, ratio in page.evaluate(CONTRASTS).items() if ratio < 4.5} == {}


def test_every_control_is_reachable_and_labeled(visit):
    page = visit("penguins")
    every, reached = page.evaluate(REACHABLE), set()
    for _ in range(len(every) + 2):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("Number(document.activeElement.dataset.tabIndex ?? -1)"))
    assert set(every) <= reached
    unnamed = "[...document.querySelectorAll('#fields [id]')].filter((e) => e.labels && !e.labels.length).length"
    assert page.evaluate(unnamed) == 0


def test_page_cannot_use_the_network(window, pages):
    page = window().new_page()
    page.goto(pages["penguins"].as_uri())
    page.wait_for_selector("body[data-ready]")
    reached = page.evaluate(
        """async () => {
          const violations = [];
          document.addEventListener("securitypolicyviolation", ({ effectiveDirective: name }) => violations.push(name));
          await fetch("http://127.0.0.1:9/").catch(() => {});
          const script = document.createElement("script");
          script.textContent = "window.ran = true";
          document.body.append(script, Object.assign(new Image(), { src: "http://127.0.0.1:9/x.png" }));
          await new Promise((resolve) => setTimeout(resolve, 100));
          return [window.ran ?? false, violations.sort()];
        }"""
    )
    page.close()
    assert reached == [False, ["connect-src", "img-src", "script-src-elem"]]


def test_failed_self_test_is_reported(visit_file, versions, tmp_path):
    artefact, _ = versions["penguins"]
    content = build_model_page(artefact).content.decode()
    share = json.dumps(artefact.read_json("golden.json")["predictions"][0][0])
    (tmp_path / "page.html").write_text(content.replace(f'"predictions":[[{share}', '"predictions":[[0.25'))
    page = visit_file(tmp_path / "page.html")
    page.wait_for_selector("#check.fault")
    assert "Do not rely on this page" in page.text_content("#check")


def test_page_command_reports_sizes(store, run, tmp_path):
    page = tmp_path / "model.html"
    code, output, _ = run("page", store / "penguins", "--output", page, "--json")
    assert code == 0
    assert output["bytes"] == page.stat().st_size < 150_000
    assert output["operators"] == sorted(output["operators"])
    code, shown, _ = run("page", "penguins", "--store", store, "--output", page)
    assert f"page    {page}" in shown["text"]
