"""Habits of the command line: what need not be said, what may be said twice, and what is left as it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.conftest import QUICK_CONFIG, read_example


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A current folder with a table and its config.yml."""
    rows = [f"{2 * x + x % 3},{x % 50 + 0.5},{'ab'[x % 2]},{x}" for x in range(120)]
    (tmp_path / "t.csv").write_text("\n".join(["y,x,c,id", *rows]))
    (tmp_path / "config.yml").write_text(QUICK_CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ("train",),
        ("train", "config.yml"),
        ("explore",),
        ("explore", "config.yml"),
        ("tune", "--set", "validation.folds=2"),
    ],
    ids=" ".join,
)
def test_the_config_of_the_folder_is_the_default(folder, run, words):
    assert run(*words, "--json")[0] == 0


def test_without_a_config_the_error_says_how_to_make_one(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for verb in ("train", "explore", "tune", "ci"):
        code, _, err = run(verb)
        assert (code, "estimator init TABLE --target COLUMN" in err) == (2, True)


def test_a_config_given_twice_is_a_usage_error(folder, run):
    code, _, err = run("train", "config.yml", "--conf", "other.yml")
    assert (code, "CONF is given twice: config.yml and --conf other.yml" in err) == (2, True)


def test_every_verb_of_a_model_takes_it_by_position_or_by_option(folder, run):
    assert run("train")[0] == 0
    table = ("--input", "t.csv", "--include-learned", "--json")
    for words in (("t",), ("--model", "t")):
        for verb in (("evaluate", *words, *table), ("verify", *words), ("history", *words), ("page", *words)):
            assert run(*verb)[0] == 0, verb
    assert "Missing argument 'VERSION'" in run("verify")[2]


def test_rows_are_called_input_by_every_verb():
    from estimator.cli import VERBS, estimator

    names = {
        name: [option for item in estimator.get_command(None, name).params for option in item.opts] for name in VERBS
    }
    assert [name for name, options in names.items() if "--data" in options] == []
    readers = {"predict", "evaluate", "compare", "monitor", "retrain"}
    assert {name for name, options in names.items() if "--input" in options} >= readers


def test_two_tables_share_a_folder(folder, run):
    code, first, _ = run("init", "t.csv", "--target", "y", "--force", "--json")
    assert (code, first["config"], first["schema"]) == (0, "config.yml", "schema.yml")
    read_example("penguins").write_csv("p.csv")
    code, _, err = run("init", "p.csv", "--target", "species")
    assert (code, "such as --conf houses.yml" in err) == (1, True)
    second = ("init", "p.csv", "--target", "species", "--name", "birds", "--conf", "birds.yml", "--json")
    code, created, _ = run(*second)
    assert (code, created["schema"]) == (0, "birds.schema.yml")
    assert 'name: "birds"' in Path("birds.yml").read_text()
    assert run("explore", "birds.yml", "--json")[1]["page"] == "birds.exploration.html"
    assert run("explore", "--json")[1]["page"] == "exploration.html"
    quick = ("--set", "model.kind=linear", "--set", "validation.folds=0")
    assert run("train", "birds.yml", *quick, "--json")[1]["name"] == "birds"


def test_the_page_of_another_table_is_kept(folder, run):
    read_example("penguins").write_csv("p.csv")
    first, again, second, other = (
        run("explore", table, "--target", target, "--json")[1]["page"]
        for table, target in (("t.csv", "y"), ("t.csv", "x"), ("p.csv", "species"), ("p.csv", "island"))
    )
    assert (first, again) == ("exploration.html", "exploration.html")
    assert (second, other) == ("p.exploration.html", "p.exploration.html")
    assert 'data-table="t"' in Path("exploration.html").read_text()


def test_predict_names_the_file_of_a_row_that_breaks_the_schema(folder, run):
    run("train", "config.yml", "--json")
    (Path("new.csv")).write_text("x,c,id\n1.5,a,1\nmuch,a,2\n")
    (model,) = [path for path in Path("models").iterdir() if path.is_dir()]
    code, _, error = run("predict", model, "--input", "new.csv", "--output", "out.csv")
    assert (code, "error: new.csv: row 2, x" in error or "new.csv: row 2" in error) == (1, True)


def test_a_config_whose_schema_exists_is_not_half_written(folder, run):
    Path("config.yml").unlink()
    Path("schema.yml").write_text("columns: []")
    assert run("init", "t.csv", "--target", "y")[0] == 1
    assert not Path("config.yml").exists()


def test_a_name_that_is_none_is_rejected(folder, run):
    code, _, err = run("init", "t.csv", "--target", "y", "--name", "two words", "--force")
    assert (code, "--name: expected letters" in err) == (1, True)


def test_predict_keeps_all_columns(folder, run):
    assert run("train")[0] == 0
    pl.read_csv("t.csv").with_columns(note=pl.lit("new")).write_csv("new.csv")
    assert run("predict", "t", "--input", "new.csv", "--output", "o.csv", "--keep-all")[0] == 0
    columns = pl.read_csv("o.csv").columns
    assert columns[:6] == ["y", "x", "c", "id", "note", "prediction"]
    assert run("predict", "t", "--input", "new.csv", "--output", "o.csv", "--keep-all", "--keep", "id")[0] == 2


def test_a_range_of_findings_is_accepted_and_gone(folder, run):
    pl.read_csv("t.csv").with_columns(twice=2 * pl.col("x"), age=pl.col("id") % 7, same=pl.lit("a")).write_csv("t.csv")
    first = run("explore", "--json")[1]["findings"]
    with_edit = [item["number"] for item in first if item["edit"]]
    assert len(with_edit) > 1
    result = run("explore", "--accept", f"1-{max(with_edit)}", "--json")[1]
    assert result["accepted"] == with_edit
    assert {item["number"] for item in result["findings"]} == {item["number"] for item in first} - set(with_edit)
    code, _, err = run("explore", "--accept", "700-800")
    assert (code, "has the number 700-800" in err) == (1, True)


@pytest.mark.parametrize("text", ["3-1", "a", "1-", "", "1,,2"])
def test_malformed_ranges_are_usage_errors(folder, run, text):
    assert run("explore", "--accept", text or " ")[0] == 2


INTERRUPT = """
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
from estimator.__main__ import command
command()
"""


def test_an_interruption_of_the_imports_leaves_no_trace():
    done = subprocess.run([sys.executable, "-c", INTERRUPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-2, "")


def test_the_shell_completes_verbs_and_options():
    environment = {**os.environ, "_ESTIMATOR_COMPLETE": "bash_complete"}
    for words, expected in (("estimator tra", "plain,train"), ("estimator predict --keep", "plain,--keep-all")):
        words_of_shell = {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        done = subprocess.run(
            [sys.executable, "-m", "estimator"],
            env={**environment, **words_of_shell}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert expected in done.stdout.splitlines(), done.stderr
