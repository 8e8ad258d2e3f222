"""The docs say what the code does: generated pages are current, and nothing that a user can name is missing."""

from __future__ import annotations

import io
import json
import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import polars as pl
import pytest

from estimator import load
from estimator.checks import metrics as metric_checks
from estimator.checks import sources as source_checks
from estimator.cli import EXIT_GATE, VERBS, estimator, main
from estimator.config import Config, Section, resolve
from estimator.core.registry import Shelf
from estimator.data import sources
from estimator.data.sources.address import locate
from estimator.drift import DETECTORS
from estimator.monitoring.candidates import Candidate
from estimator.monitoring.decision import Decision
from estimator.monitoring.drift_check import DriftCheck
from estimator.monitoring.replay import Replay, ReplayDifference
from estimator.serving.auth.access import PUBLIC_PATHS, scope_of
from estimator.serving.explain_prediction import Contribution, PredictionExplanation
from estimator.serving.telemetry.metrics import COUNTERS, DURATION, GAUGES, MODEL_INFO, PREFIX
from estimator.shipping.ci.pipeline import CiCheck
from estimator.shipping.deployment import DeploymentStatus, PlanStep, Release, Resource
from estimator.store.store import AliasChange
from estimator.training.comparison import Comparison
from estimator.training.forecast import Forecast
from estimator.training.parity import ParityCheck
from estimator.verbs.context import SHELVES, Context
from estimator.verbs.export import LogExport
from tests.clients import Client, gateway
from tests.conftest import ROOT

DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")), *sorted(ROOT.glob("examples/*.md"))]
REFERENCE = DOCS / "reference"
PROSE = [page for page in PAGES if page.parent != REFERENCE and page.name != "CHANGELOG.md"]


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a language, also those that are indented in a tab."""
    found = re.findall(rf"^( *)```(?:{language})\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE)
    return ["\n".join(line.removeprefix(indent) for line in text.splitlines()) for indent, text in found]


@pytest.mark.parametrize("name", ["config.md", "cli.md", "python.md"])
def test_generated_pages_are_up_to_date(name):
    write = runpy.run_path(str(DOCS / "write.py"))["PAGES"][name]
    assert (REFERENCE / name).read_text() == write(), "run `make docs`"


def sections(kind: type[Section], path: str = "") -> Iterator[tuple[str, str, Any]]:
    """Yield (section, key, type) of every key of the config, at any depth, and of every kind."""
    for name, field in kind.model_fields.items():
        yield path, field.alias or name, field.annotation
        for inner in inner_types(field.annotation):
            if isinstance(inner, type) and issubclass(inner, Section) and inner is not Section:
                yield from sections(inner, f"{path}.{field.alias or name}".strip("."))


def inner_types(annotation: Any) -> Iterator[Any]:
    yield annotation
    for item in get_args(annotation):
        yield from inner_types(item)


def every_key() -> Iterator[tuple[str, str, Any]]:
    yield from sections(Config)
    for name, shelf in (("model", SHELVES.models), ("deployment", SHELVES.targets)):
        for kind in shelf.names():
            # `kind` itself is in the heading of its table.
            yield from (item for item in sections(shelf.load(kind), f"{name}.kind: {kind}") if item[1] != "kind")


def test_every_config_key_and_choice_is_in_the_reference():
    text = (REFERENCE / "config.md").read_text()
    missing = []
    for section, key, annotation in every_key():
        row = re.findall(rf"^\| `{re.escape(key)}` \|.*$", text, re.MULTILINE)
        choices = [
            str(choice) for item in inner_types(annotation) if get_origin(item) is Literal for choice in get_args(item)
        ]
        if (
            not any(all(f"`{choice}`" in line for choice in choices if choice) for line in row)
            and f"## `{key}`" not in text
        ):
            missing.append(f"{section}.{key}")
    assert missing == []


def test_every_kind_is_in_the_reference():
    text = (REFERENCE / "config.md").read_text()
    lists = {
        "encoder": SHELVES.encoders,
        "metric": SHELVES.metrics,
        "source": sources.SHELF,
        "drift": SHELVES.drift,
        "engine": SHELVES.engines,
        "detector": DETECTORS,
    }
    listed = {f"- `{kind}`:" for shelf in lists.values() for kind in shelf.names()}
    headings = {f"### `model.kind: {kind}`" for kind in SHELVES.models.names()}
    headings |= {f"### `deployment.kind: {kind}`" for kind in SHELVES.targets.names()}
    assert sorted(line for line in listed | headings if line not in text) == []


def test_every_section_says_what_it_is():
    for section, key, annotation in every_key():
        kinds = [item for item in inner_types(annotation) if isinstance(item, type) and issubclass(item, Section)]
        assert all(kind.__doc__ for kind in kinds), f"{section}.{key}"


def test_every_command_is_in_the_prose():
    text = "\n".join(page.read_text() for page in PROSE)
    assert [verb for verb in VERBS if f"estimator {verb}" not in text] == []


def test_every_help_has_an_example():
    for verb in VERBS:
        command = estimator.get_command(None, verb)
        commands = [command, *getattr(command, "commands", {}).values()]
        assert [item.name for item in commands if "Example:" not in (item.help or "")] == []


def commands_of(page: Path) -> Iterator[list[str]]:
    for block in blocks(page, "sh|console"):
        for line in block.replace("\\\n", " ").splitlines():
            words = [word for word in shlex.split(line, comments=True) if not re.match(r"[A-Z_]+=", word)]
            if words[:1] == ["estimator"] and len(words) > 1:
                yield words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_docs_exist(page):
    for words in commands_of(page):
        assert words[1] in VERBS, words
        command = estimator.get_command(None, words[1])
        inner = getattr(command, "commands", {}).get(words[2]) if len(words) > 2 else None
        options = {
            name
            for item in (command, inner)
            if item
            for option in item.params
            for name in option.opts + option.secondary_opts
        }
        given = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert given <= options | {"--help"}, words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_configs_in_the_docs_are_valid(page):
    from ruamel.yaml import YAML

    top = {field.alias or name for name, field in Config.model_fields.items()}
    for block in blocks(page, "ya?ml"):
        content = YAML(typ="safe").load(block)
        if isinstance(content, dict) and content and set(content) <= top:
            data = {"path": "table.csv", "target": "y", **content.get("data", {})}
            resolve({**content, "data": data}, SHELVES)


def test_make_targets_in_the_docs_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PROSE:
        named = re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)
        assert set(named) <= targets, page


def test_links_between_the_docs_lead_somewhere():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.relative_to(ROOT)}: {link}"


def test_every_page_is_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert [str(page) for page in DOCS.rglob("*.md") if str(page.relative_to(DOCS)) not in navigation] == []


def test_every_environment_variable_is_documented():
    names = {
        name
        for path in (ROOT / "src").rglob("*.py")
        for name in re.findall(r'"(ESTIMATOR_[A-Z_]+|MODEL_FOLDER|ORT_[A-Z_]+|OTEL_[A-Z_]*)"', path.read_text())
    }
    text = (REFERENCE / "environment.md").read_text()
    assert sorted(name for name in names if name not in text) == []


def documented_scopes() -> dict[str, str]:
    """Return path -> scope of the table of routes."""
    rows = re.findall(r"^\| (`[A-Z]+ /.*?) \| (\w+) \|", (REFERENCE / "http.md").read_text(), re.MULTILINE)
    return {path: scope for cell, scope in rows for path in re.findall(r"(/[^`]*)`", cell)}


def test_every_route_is_documented(store):
    artefact = Context(store_path=str(store)).version("penguins")
    paths = {route.path.replace(artefact.name, "{name}") for route in gateway(artefact).snapshot.app.routes}
    public = {path for path in paths if not path.startswith("/static")} - {"/docs/oauth2-redirect"}
    assert set(documented_scopes()) == public


def test_every_server_metric_is_documented():
    metrics = [MODEL_INFO, DURATION, *COUNTERS, *GAUGES]
    text = (REFERENCE / "http.md").read_text()
    rows = [f"| `{PREFIX}{metric.name}` | {metric.kind} | {', '.join(metric.labels)}".rstrip() for metric in metrics]
    assert [row for row in rows if f"{row} |" not in text] == []


def test_every_route_has_its_scope():
    documented = documented_scopes()
    assert documented == {path: "none" if path in PUBLIC_PATHS else scope_of(path) for path in documented}


def printed(*words: str) -> set[str]:
    """Return the top-level keys of the object that a command prints."""
    output = io.StringIO()
    with redirect_stdout(output):
        assert main([*words, "--json"]) in (0, EXIT_GATE), words
    return set(json.loads(output.getvalue()))


@pytest.fixture(scope="module")
def printed_keys(tmp_path_factory) -> dict[str, set[str]]:
    """The top-level keys that commands really print, on the penguins."""
    folder = tmp_path_factory.mktemp("json")
    penguins = ROOT / "examples/penguins"
    table, conf, keys = str(penguins / "penguins.csv"), str(penguins / "config.yml"), ["--file", str(folder / "keys")]
    store = ["--store", str(folder / "models")]
    quick = ["--conf", conf, *store, "--set", "evaluation.importance_repeats=0", "--set", "validation.folds=0"]
    calls = [
        ["init", table, "--target", "species", "--conf", str(folder / "config.yml")],
        ["explore", "--conf", conf, "--page", str(folder / "exploration.html")],
        ["train", *quick],
        ["train", *quick],
        ["train", *quick, "--forecast"],
        ["evaluate", "--model", "penguins", "--input", table, *store],
        ["predict", "--model", "penguins", "--input", table, "--output", str(folder / "out.csv"), *store],
        ["models", *store],
        ["compare", "penguins@live", "penguins@candidate", "--folder", str(penguins), *store],
        ["verify", "penguins@live", "--folder", str(penguins), *store],
        ["promote", "penguins", *store],
        ["rollback", "penguins", *store],
        ["history", "penguins", *store],
        ["history", "penguins", "--at", "1h", *store],
        ["page", "penguins", "--output", str(folder / "page.html"), *store],
        ["key", "add", "web", *keys],
        ["key", "list", *keys],
        ["key", "revoke", "web", *keys],
    ]
    printed_by: dict[str, set[str]] = {}
    for words in calls:
        printed_by.setdefault(words[0], set()).update(printed(*words))
    return printed_by


# What commands print that need a log, an engine or a target: the fields of the class that is printed.
PRINTED_CLASSES = {
    "ci": (CiCheck,),
    "why": (PredictionExplanation, Contribution),
    "monitor": (DriftCheck,),
    "retrain": (Decision, Candidate),
    "replay": (Replay, ReplayDifference),
    "export": (LogExport,),
    "deploy": (PlanStep, Release),
    "status": (DeploymentStatus, Release, Resource),
    "train": (Forecast, ParityCheck),
    "compare": (Comparison,),
    "history": (AliasChange,),
}


def json_section(verb: str) -> str:
    """Return the section of a command on the page of JSON output."""
    text = (REFERENCE / "json.md").read_text()
    return text.partition(f"## `estimator {verb}`\n")[2].partition("\n## ")[0]


def test_every_command_has_a_section_on_its_json():
    assert [verb for verb in VERBS if not json_section(verb)] == []


def test_every_printed_key_is_documented(printed_keys):
    missing = [
        f"{verb}: {key}" for verb, keys in printed_keys.items() for key in keys if f"`{key}`" not in json_section(verb)
    ]
    assert missing == []


@pytest.mark.parametrize("verb", VERBS)
def test_every_key_in_the_code_of_a_command_is_documented(verb):
    # Also for commands that need an engine, a registry or a cluster.
    code = (ROOT / f"src/estimator/cli/{verb}.py").read_text()
    keys = set(re.findall(r'(?:^ +|[{,] ?)"([a-z_]+)": ', code, re.MULTILINE))
    assert sorted(key for key in keys if f"`{key}`" not in json_section(verb)) == []


@pytest.mark.parametrize("verb", PRINTED_CLASSES)
def test_every_printed_field_is_documented(verb):
    names = [field.name for kind in PRINTED_CLASSES[verb] for field in fields(kind)]
    assert [name for name in names if f"`{name}`" not in json_section(verb)] == []


def test_the_readmes_response_is_the_services(store, house):
    text = (ROOT / "README.md").read_text()
    body = re.search(r"-d '(\[.*?\])'", text)
    assert body is not None
    assert json.loads(body.group(1)) == [house]
    price = re.search(r'"Prediction price 0": ([\d.]+)', text)
    assert price is not None
    assert load(store / "house_pricing_model").predict([house])[0] == pytest.approx(float(price.group(1)), abs=0.3)


@pytest.mark.parametrize("page", [ROOT / "README.md", REFERENCE / "http.md"], ids=lambda page: page.name)
def test_the_422_in_the_docs_is_the_services(store, house, page):
    documented = json.loads(re.search(r'^\{"detail": .*$', page.read_text(), re.MULTILINE)[0])
    client = Client(gateway(Context(store_path=str(store)).version("house_pricing_model")))
    response = client.post("/v1/predict", [{**house, "TAX": "many"}])
    assert (response.status_code, response.json()) == (422, documented)


def test_the_response_in_the_docs_has_the_fields_of_a_prediction(store, house):
    documented = json.loads(next(text for text in blocks(REFERENCE / "http.md", "json") if '"coverage"' in text))
    client = Client(gateway(Context(store_path=str(store)).version("house_pricing_model")))
    response = client.post("/v1/predict", [house]).json()
    assert documented.keys() == response.keys()
    assert documented["predictions"][0].keys() == response["predictions"][0].keys()


def test_the_example_kinds_keep_their_promises(tmp_path):
    names = {}
    for index, code in enumerate(blocks(DOCS / "how-to/add-a-kind.md", "python")):
        if "import pytest" not in code:
            path = tmp_path / f"example{index}.py"
            path.write_text(code)
            names |= runpy.run_path(str(path))
    for promise in metric_checks.PROMISES:
        promise(names["MedianAbsoluteError"]())
    table = source_checks.example(names["Avro"], tmp_path, pl.DataFrame.write_avro)
    for promise in source_checks.PROMISES:
        promise(table)
    for promise in source_checks.FILE_PROMISES:
        promise(names["Avro"], tmp_path, pl.DataFrame.write_avro)
    address = locate(f"file://{tmp_path}/table.avro", {})
    assert list(names["FileUrl"].download(address, tmp_path, (".avro",))) == [tmp_path / "table.avro"]


def test_every_shelf_is_in_the_page_on_kinds():
    text = (DOCS / "how-to/add-a-kind.md").read_text()
    shelves = (*(getattr(SHELVES, field.name) for field in fields(SHELVES)), sources.CONNECTORS, DETECTORS)
    nouns = [shelf.noun for shelf in shelves if isinstance(shelf, Shelf)]
    assert len(nouns) == 9
    assert [noun for noun in nouns if f"`estimator.{noun}` |" not in text] == []


def test_every_finding_is_documented():
    text = (DOCS / "how-to/explore.md").read_text()
    code = "".join(path.read_text() for path in (ROOT / "src/estimator/exploration/findings").glob("*.py"))
    rules = set(re.findall(r'Finding\(\s*"([^"]+)"', code))
    assert len(rules) > 25
    assert sorted(rule for rule in rules if f"`{rule}`" not in text) == []


def test_the_site_builds_and_needs_no_other_host(tmp_path):
    # A few seconds: the theme adds links that the sources of the pages do not show.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    loads = r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(?:https?:)?//[^"]*"'
    assert [link for page in tmp_path.rglob("*.html") for link in re.findall(loads, page.read_text())] == []
    assert (tmp_path / "search/search_index.js").read_text().startswith("var __index = {")
