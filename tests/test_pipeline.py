"""What every push is held to, the files by which other systems do so, and the whole way from a push to what runs."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from ruamel.yaml import YAML

from estimator.cli import estimator
from estimator.config import read_config
from estimator.shipping.ci.workflows import FILES, workflow
from estimator.store.store import Store
from estimator.verbs.context import SHELVES
from tests.cluster import cluster
from tests.conftest import read_example
from tests.rootfs import write_rootfs
from tests.servers import docker_registry

SCHEMAS = {"github": "github-workflows", "gitlab": "gitlab-ci", "bitbucket": "bitbucket-pipelines"}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with Boston and a config of a quick model, in which everything is done."""
    read_example("boston").write_csv(tmp_path / "boston.csv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ESTIMATOR_STORE", raising=False)
    write(tmp_path)
    return tmp_path


def write(folder, **sections):
    content = {
        "name": "prices", "data": {"path": "boston.csv", "target": "MEDV"},
        "model": {"kind": "boosting", "n_estimators": 40, "early_stopping_rounds": 0},
        "evaluation": {"bootstrap_samples": 200}, **sections,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(content))


def ci(run, *words):
    return run("ci", "--conf", "config.json", "--no-image", *words, "--json")


def verdicts(told):
    return {check["name"]: check["status"] for check in told["checks"]}


def test_a_first_push_makes_the_live_version(project, run):
    code, told, _ = ci(run)
    assert (code, told["status"]) == (0, "passed")
    assert verdicts(told) == {
        "config": "passed", "data": "passed", "version": "passed", "live": "passed", "image": "skipped",
    }  # fmt: skip
    assert Store(project / "models").aliases("prices")["live"] == told["version"]


def test_what_is_live_already_is_made_again_and_not_trained_anew(project, run):
    first = ci(run)[1]["version"]
    code, told, _ = ci(run)
    assert (code, told["version"]) == (0, first)
    assert "bit for bit" in told["checks"][2]["message"]
    assert len(Store(project / "models").versions("prices")) == 1


def test_a_version_that_is_proven_worse_is_refused(project, run):
    ci(run)
    write(project, model={"kind": "linear"}, features={"columns": {}}, data={
        "path": "boston.csv", "target": "MEDV", "drop": ["LSTAT", "RM", "DIS", "PTRATIO", "CRIM", "NOX"],
    })  # fmt: skip
    code, told, _ = ci(run)
    assert (code, told["status"]) == (3, "rejected")
    assert "worse than" in told["checks"][3]["message"]
    assert "⛔" in (project / "build" / "ci.md").read_text()


def test_a_version_no_better_than_a_constant_is_refused(project, run):
    write(project, model={"kind": "constant"})
    code, told, _ = ci(run)
    assert (code, verdicts(told)["version"], verdicts(told)["live"]) == (3, "rejected", "skipped")


def test_a_config_that_is_wrong_is_told_in_the_report(project, run):
    (project / "config.json").write_text('{"data": {"path": "boston.csv", "target": "MEDV"}, "modle": {}}')
    code, told, _ = ci(run)
    assert (code, told["status"]) == (1, "failed")
    assert "did you mean 'model'" in (project / "build" / "ci.md").read_text()
    assert verdicts(told)["version"] == "skipped"


def test_rows_that_break_the_reviewed_contract_stop_the_push(project, run):
    run("init", "boston.csv", "--target", "MEDV", "--conf", "first.yml")
    write(project, schema={"file": "schema.yml"})
    assert ci(run)[0] == 0
    text = (project / "boston.csv").read_text().splitlines()
    (project / "boston.csv").write_text("\n".join([*text, ",".join(["much"] * text[0].count(",")) + ",1"]))
    code, told, _ = ci(run)
    assert (code, verdicts(told)["data"]) == (1, "failed")
    assert "much" in told["checks"][1]["message"]


def test_the_report_says_how_good_and_where_weak(project, run):
    write(project, training={"seed": 1})
    ci(run)
    write(project, model={"kind": "boosting", "n_estimators": 60, "early_stopping_rounds": 0}, training={"seed": 1})
    ci(run, "--report", "out/report.md")
    text = (project / "out" / "report.md").read_text()
    assert re.search(r"\| mae \| [\d.]+ \([\d.]+ to [\d.]+\) \|", text)
    assert "| live version | gain |" in text
    assert "weak slice" in text


@pytest.mark.parametrize("system", FILES)
def test_a_workflow_is_one_that_its_system_takes(project, run, system):
    pytest.importorskip("check_jsonschema")
    assert run("init", "--ci", system, "--conf", "config.json")[0] == 0
    path = project / FILES[system].format(model="prices")
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{SCHEMAS[system]}", path]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def commands(value):
    """Yield the lines of all scripts in a workflow."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("run", "script") and isinstance(inner, str):
                yield from inner.splitlines()
            elif name == "script" and isinstance(inner, list):
                yield from (line for text in inner for line in text.splitlines())
            else:
                yield from commands(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from commands(inner)


@pytest.mark.parametrize("system", FILES)
def test_a_workflow_calls_verbs_that_there_are(project, system):
    text = workflow(system, read_config(project / "config.json", SHELVES), Path("conf/my config.json"))
    called = [line for line in commands(YAML(typ="safe", pure=True).load(text)) if line.startswith("estimator ")]
    assert {line.split()[1] for line in called} == {"ci", "push", "deploy"}
    for line in called:
        _, verb, *words = shlex.split(line)
        command = estimator.get_command(click.Context(estimator), verb)
        parsed = command.make_context(verb, words)
        if "conf" in parsed.params:
            assert parsed.params["conf"] == Path("conf/my config.json")


@pytest.mark.parametrize("system", FILES)
def test_a_workflow_is_not_written_over(project, run, system):
    assert run("init", "--ci", system, "--conf", "config.json")[0] == 0
    code, _, told = run("init", "--ci", system, "--conf", "config.json")
    assert code == 1
    assert "--force" in told
    assert run("init", "--ci", system, "--conf", "config.json", "--force")[0] == 0


def test_init_needs_a_table_or_a_system(project, run):
    assert run("init")[0] == 2
    assert run("init", "boston.csv")[0] == 2
    assert run("init", "boston.csv", "--target", "MEDV", "--conf", "new.yml", "--ci", "github")[0] == 0
    assert (project / ".github" / "workflows" / "boston.yml").exists()


def test_the_whole_way_from_a_push_to_what_runs(project, run, tmp_path_factory):
    """Checked, pushed to a registry, deployed by its digest, promoted, changed, taken back and down."""
    folder = tmp_path_factory.mktemp("way")
    write_rootfs(folder / "rootfs.tar", folder)
    where = ("--set", "deployment.kind=kubernetes")
    code, told, said = run(
        "ci", "--conf", "config.json", "--builder", "direct", "--base-rootfs", folder / "rootfs.tar", "--json"
    )
    assert code == 0, said or told
    assert "golden rows" in told["checks"][4]["message"]
    assert "p99" in (project / "build" / "ci.md").read_text()
    with docker_registry() as registry:
        code, pushed, said = run("push", "prices", "--to", f"{registry}/prices:v1", "--json")
        assert code == 0, said
        version = project / "models" / "prices" / told["version"]
        (folder / "cluster").mkdir()
        with cluster(folder / "cluster", {pushed["digest"]: version}) as objects:
            assert run("status", "prices", *where, "--json")[0] == 3
            code, plan, said = run("deploy", "prices", *where, "--dry-run", "--json")
            assert (code, plan["applied"], list(objects.iterdir())) == (0, False, []), said
            code, done, said = run("deploy", "prices", *where, "--yes", "--promote", "--json")
            assert (code, done["applied"]) == (0, True), said
            assert done["release"]["image"] == f"{registry}/prices@{pushed['digest']}"
            code, stands, _ = run("status", "prices", *where, "--json")
            assert (code, stands["release"]["version"]) == (0, told["version"])
            assert run("deploy", "prices", *where, "--rollback", "--yes")[0] == 1
            assert run("down", "prices", *where, "--yes", "--json")[1]["left"] == []
