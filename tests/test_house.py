"""The house keeps its own rules: imports point up, docs say what the code does, kinds are complete."""

from __future__ import annotations

import ast
import json
import re
import runpy
import shlex
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "src" / "estimator"


def order_of_life() -> list[str]:
    """Return the modules as docs/architecture.md lists them."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    listing = text.split("## The rooms, in the order of a model's life")[1].split("```")[1]
    return [line.split()[0] for line in listing.strip().splitlines()]


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def own_imports(path: Path) -> set[str]:
    """Return the modules of ours a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("estimator"):
            inside = node.module.split(".")[1:]
            found |= {inside[0]} if inside else {alias.name for alias in node.names}
    return found


def test_the_list_of_life_is_complete():
    names = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in modules()} - {"__main__"}
    assert set(order_of_life()) == names
    assert len(order_of_life()) == len(names)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_up(path):
    order = [*order_of_life(), "__main__"]
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    below = {name for name in own_imports(path) if order.index(name) > order.index(own)}
    assert not below


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_opens_with_its_idea_and_stays_short(path):
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text))
    assert text.count("\n") <= 400


@pytest.mark.parametrize("page", ["config.md", "cli.md"])
def test_the_written_pages_are_up_to_date(page):
    pages = runpy.run_path(str(ROOT / "docs" / "write.py"))["PAGES"]
    assert (ROOT / "docs" / page).read_text() == pages[page](), "run `make docs`"


def test_every_word_of_the_vocabulary_is_built():
    from estimator.models.nets.dense import activations, initializers, losses, optimizers, schedules, vocabulary

    assert set(vocabulary.ACTIVATIONS) == set(activations.ACTIVATIONS)
    assert set(vocabulary.LOSSES) == set(losses.LOSSES) | set(losses.BATCH_LOSSES)
    assert set(vocabulary.OPTIMIZERS) == set(optimizers.RULES)
    assert set(vocabulary.SCHEDULES) == set(schedules.SCHEDULES)
    assert set(vocabulary.INITIALIZERS) == set(initializers.INITIALIZERS)


@pytest.mark.parametrize(
    "page", ["README.md", "docs/life-of-a-model.md", "docs/tuning.md", "docs/watching.md", "CONTRIBUTING.md"]
)
def test_the_commands_in_the_docs_exist(page):
    from estimator.cli import VERBS, estimator

    for block in re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(), re.DOTALL):
        for line in block.splitlines():
            words = [word for word in shlex.split(line, comments=True) if not re.match(r"[A-Z_]+=", word)]
            if not words or words[0] != "estimator":
                continue
            assert words[1] in VERBS
            known = {name for option in estimator.get_command(None, words[1]).params for name in option.opts}
            assert {word for word in words if word.startswith("--")} <= known


def test_the_make_targets_in_the_docs_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md", "docs/adding-a-kind.md"):
        named = re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / page).read_text(), re.MULTILINE)
        assert set(named) <= targets


def test_links_between_the_docs_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")]:
        for link in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_the_readmes_answer_is_the_services(store, house):
    from estimator import load

    body = re.search(r"-d '(\[.*?\])'", (ROOT / "README.md").read_text())
    assert body is not None
    assert json.loads(body.group(1)) == [house]
    told = re.search(r'"Prediction price 0": ([\d.]+)', (ROOT / "README.md").read_text())
    assert told is not None
    assert load(store / "house_pricing_model").predict([house])[0] == pytest.approx(float(told.group(1)), abs=0.3)


def test_examples_in_docstrings_hold():
    import doctest
    import importlib

    for path in modules():
        if ">>>" in path.read_text():
            name = ".".join(("estimator", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
            assert doctest.testmod(importlib.import_module(name)).failed == 0, name


def test_nothing_pickles_or_evaluates():
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & {"pickle", "joblib", "dill", "cloudpickle"}
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec")
