"""What was skipped or guessed in reading a table is said by every verb that reads one: once, and in `--json`."""

from __future__ import annotations

import io
import json
import logging
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

import estimator
from estimator.cli import main
from tests.conftest import QUICK_CONFIG

NOTE = "t.csv: the delimiter is ';', inferred from the header"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a table, its config and a version."""
    folder: Path = tmp_path_factory.mktemp("notes")
    lines = [f"{2 * x + x % 3};{x % 50 + 0.5};{'ab'[x % 2]}" for x in range(120)]
    (folder / "t.csv").write_text("\n".join(["y;x;c", *lines]))
    (folder / "c.yml").write_text(QUICK_CONFIG)
    run(folder, "train", "--conf", "{}/c.yml", "--store", "{}/models")
    return folder


def run(folder: Path, *words: str) -> tuple[dict[str, Any], str]:
    """Return the object that a command prints, and its messages; {} in a word is the folder."""
    output, messages = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(messages):
        code = main([*(word.replace("{}", str(folder)) for word in words), "--json"])
    assert code in (0, 3), messages.getvalue()
    return json.loads(output.getvalue()), messages.getvalue()


def test_skipped_lines_are_a_number(folder):
    (folder / "bad.csv").write_text("y;x;c\n1;2;a;9\n" + "\n".join(f"{x};{x % 7};b" for x in range(60)))
    skip = ("--set", "data.on_bad_lines=skip", "--set", "data.path={}/bad.csv")
    for verb in (("explore", "--page", "{}/bad.html"), ("train", *STORE)):
        data, messages = run(folder, *verb, "--conf", "{}/c.yml", *skip)
        assert data["skipped_lines"] == 1
        assert "1 line that cannot be read is left out" in messages


MODEL, TABLE, STORE = ("--model", "{}/models/t"), ("--input", "{}/t.csv"), ("--store", "{}/models")
VERBS = {
    "init": ["{}/t.csv", "--target", "y", "--conf", "{}/i.yml"],
    "explore": ["{}/t.csv", "--target", "y", "--page", "{}/e.html"],
    "train": ["--conf", "{}/c.yml", *STORE],
    "forecast": ["train", "--conf", "{}/c.yml", "--forecast"],
    "tune": ["--conf", "{}/c.yml", "--fresh", "--set", "validation.folds=2"],
    "evaluate": [*MODEL, *TABLE, "--include-learned"],
    "predict": [*MODEL, *TABLE, "--output", "{}/o.csv"],
    "verify": ["t", *STORE, "--folder", "{}"],
    "compare": ["t", "t", *STORE, "--folder", "{}"],
    "monitor": ["t", *TABLE, *STORE],
    "retrain": ["t", "--input", "{}/t.csv", "--include-learned", *STORE, "--folder", "{}"],
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_tells_the_notes_once(folder, verb):
    words = VERBS[verb] if verb == "forecast" else [verb, *VERBS[verb]]
    data, messages = run(folder, *words)
    assert (data["notes"], data["skipped_lines"]) == ([NOTE], 0)
    assert messages.count("note: ") == messages.count(f"note: {NOTE}\n") == 1


def test_a_version_keeps_the_notes_of_its_rows(folder):
    version = Path(run(folder, "train", "--conf", "{}/c.yml", *STORE)[0]["folder"])
    assert json.loads((version / "manifest.json").read_text())["data"]["notes"] == [NOTE]
    page = (version / "report.html").read_text()
    assert "Notes on the data" in page
    assert "inferred from the header" in page
    assert "inferred from the header" in (version / "card.md").read_text()


def test_the_page_of_an_exploration_shows_the_notes(folder):
    run(folder, "explore", "{}/t.csv", "--target", "y", "--page", "{}/e.html")
    assert "Notes on how the table was read" in (folder / "e.html").read_text()


def test_notes_are_printed_when_the_verb_fails(folder):
    messages = io.StringIO()
    with redirect_stderr(messages):
        assert main(["train", "--conf", str(folder / "c.yml"), "--set", "data.target=z"]) == 1
    assert messages.getvalue().startswith(f"note: {NOTE}\nerror: ")


def test_python_logs_the_notes(folder, caplog):
    with caplog.at_level(logging.WARNING, "estimator"):
        estimator.train(folder / "c.yml", store=str(folder / "models"))
    assert caplog.messages == [NOTE]
