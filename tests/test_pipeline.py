"""`estimator ci`, its workflow files, and the whole way from a push to a deployment."""

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
    """The working folder of a test, with the Boston table and the config of a quick model."""
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


def ci(run, *options):
    return run("ci", "--conf", "config.json", "--no-image", *options, "--json")


def statuses(result):
    return {check["name"]: check["status"] for check in result["checks"]}


def test_first_push_makes_the_live_version(project, run):
    code, result, _ = ci(run)
    assert (code, result["status"]) == (0, "passed")
    assert statuses(result) == {
        "config": "passed", "data": "passed", "version": "passed", "live": "passed", "image": "skipped",
    }  # fmt: skip
    assert Store(project / "models").aliases("prices")["live"] == result["version"]


def test_live_version_is_reproduced_without_a_new_version(project, run):
    first = ci(run)[1]["version"]
    code, result, _ = ci(run)
    assert (code, result["version"]) == (0, first)
    assert "bit for bit" in result["checks"][2]["message"]
    assert len(Store(project / "models").versions("prices")) == 1


def test_worse_version_is_rejected(project, run):
    ci(run)
    write(project, model={"kind": "linear"}, features={"columns": {}}, data={
        "path": "boston.csv", "target": "MEDV", "drop": ["LSTAT", "RM", "DIS", "PTRATIO", "CRIM", "NOX"],
    })  # fmt: skip
    code, result, _ = ci(run)
    assert (code, result["status"]) == (3, "rejected")
    assert "worse than" in result["checks"][3]["message"]
    assert "⛔" in (project / "build" / "ci.md").read_text()


def test_version_no_better_than_a_constant_is_rejected(project, run):
    write(project, model={"kind": "constant"})
    code, result, _ = ci(run)
    assert (code, statuses(result)["version"], statuses(result)["live"]) == (3, "rejected", "skipped")


def test_report_has_config_errors(project, run):
    (project / "config.json").write_text('{"data": {"path": "boston.csv", "target": "MEDV"}, "modle": {}}')
    code, result, _ = ci(run)
    assert (code, result["status"]) == (1, "failed")
    assert "did you mean 'model'" in (project / "build" / "ci.md").read_text()
    assert statuses(result)["version"] == "skipped"


def test_invalid_rows_fail_the_data_check(project, run):
    run("init", "boston.csv", "--target", "MEDV", "--conf", "first.yml")
    write(project, schema={"file": "first.schema.yml"})
    assert ci(run)[0] == 0
    text = (project / "boston.csv").read_text().splitlines()
    (project / "boston.csv").write_text("\n".join([*text, ",".join(["much"] * text[0].count(",")) + ",1"]))
    code, result, _ = ci(run)
    assert (code, statuses(result)["data"]) == (1, "failed")
    assert "much" in result["checks"][1]["message"]


def test_report_has_scores_and_weak_slices(project, run):
    write(project, training={"seed": 1})
    ci(run)
    write(project, model={"kind": "boosting", "n_estimators": 60, "early_stopping_rounds": 0}, training={"seed": 1})
    ci(run, "--report", "out/report.md")
    text = (project / "out" / "report.md").read_text()
    assert re.search(r"\| mae \| [\d.]+ \([\d.]+ to [\d.]+\) \|", text)
    assert "| live version | gain |" in text
    assert "weak slice" in text


@pytest.mark.parametrize("system", FILES)
def test_workflow_follows_the_schema_of_its_system(project, run, system):
    pytest.importorskip("check_jsonschema")
    assert run("init", "--ci", system, "--conf", "config.json")[0] == 0
    path = project / FILES[system].format(model="prices")
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{SCHEMAS[system]}", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def commands(value):
    """Yield the lines of all scripts of a workflow."""
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
def test_workflow_calls_existing_verbs(project, system):
    text = workflow(system, read_config(project / "config.json", SHELVES), Path("conf/my config.json"))
    called = [line for line in commands(YAML(typ="safe", pure=True).load(text)) if line.startswith("estimator ")]
    assert {line.split()[1] for line in called} == {"ci", "push", "deploy"}
    for line in called:
        _, verb, *words = shlex.split(line)
        command = estimator.get_command(click.Context(estimator), verb)
        parsed = command.make_context(verb, words)
        if "conf" in parsed.params:
            assert parsed.params["conf"] == Path("conf/my config.json")


def installed_by(folder, system):
    """Return what pip installs in a workflow, always the same."""
    value = YAML(typ="safe", pure=True).load(folder / FILES[system].format(model="prices"))
    lines = [value, *value.get("default", {}).get("before_script", [])]
    lines = [*commands(value), *(line for line in lines if isinstance(line, str))]
    (requirement,) = {line.removeprefix("pip install ") for line in lines if line.startswith("pip install ")}
    (word,) = shlex.split(requirement)
    return word


@pytest.mark.parametrize("system", FILES)
def test_workflow_installs_the_wheel_next_to_it(project, run, system, tmp_path_factory):
    _, written, _ = run("init", "--ci", system, "--conf", "config.json", "--json")
    (wheel,) = written["wheels"]
    assert installed_by(project, system) == f"./{wheel}[train,deploy]"
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target]
    subprocess.run([*command, installed_by(project, system)], cwd=project, check=True)
    assert (target / "estimator" / "shipping" / "ci" / f"{system}.yml").is_file()


@pytest.mark.parametrize(
    ("package", "requirement"),
    [
        ("tools/estimator", "./tools/estimator[train,deploy]"),
        ("https://example.com/e.whl", "estimator-lifepath[train,deploy] @ https://example.com/e.whl"),
    ],
)
def test_workflow_installs_the_package_of_the_config(project, run, package, requirement):
    (project / "tools" / "estimator").mkdir(parents=True)
    write(project, ci={"package": package})
    code, written, _ = run("init", "--ci", "github", "--conf", "config.json", "--json")
    assert (code, written["wheels"], installed_by(project, "github")) == (0, [], requirement)


@pytest.mark.parametrize("package", ["tools/none.whl", "../estimator", "/opt/estimator"])
def test_package_outside_the_repository_is_rejected(project, run, package):
    write(project, ci={"package": package})
    code, _, error = run("init", "--ci", "github", "--conf", "config.json")
    assert (code, list(project.glob(".github/**/*.yml"))) == (1, [])
    assert "ci.package" in error or "expected a path below the top" in error


@pytest.mark.parametrize("system", FILES)
def test_workflow_is_not_overwritten(project, run, system):
    assert run("init", "--ci", system, "--conf", "config.json")[0] == 0
    code, _, error = run("init", "--ci", system, "--conf", "config.json")
    assert code == 1
    assert "--force" in error
    assert run("init", "--ci", system, "--conf", "config.json", "--force")[0] == 0


def test_init_needs_a_table_or_a_ci_system(project, run):
    assert run("init")[0] == 2
    assert run("init", "boston.csv")[0] == 2
    assert run("init", "boston.csv", "--target", "MEDV", "--conf", "new.yml", "--ci", "github")[0] == 0
    assert (project / ".github" / "workflows" / "boston.yml").exists()


def test_push_is_checked_deployed_and_removed(project, run, tmp_path_factory):
    """Check a version, push its image to a registry, deploy and promote it, and remove the deployment."""
    folder = tmp_path_factory.mktemp("shipping")
    write_rootfs(folder / "rootfs.tar", folder)
    options = ("--set", "deployment.kind=kubernetes")
    code, result, error = run(
        "ci", "--conf", "config.json", "--builder", "direct", "--base-rootfs", folder / "rootfs.tar", "--json"
    )
    assert code == 0, error or result
    assert "golden rows" in result["checks"][4]["message"]
    assert "p99" in (project / "build" / "ci.md").read_text()
    with docker_registry() as registry:
        push = ("push", "prices", "--to", f"{registry}/prices:v1")
        assert f"+ create  tag {registry}/prices:v1\nnothing was changed" in run(*push, "--dry-run")[1]["text"]
        code, pushed, error = run(*push, "--json")
        assert code == 0, error
        assert run(*push, "--dry-run", "--json")[1]["plan"]["steps"][0]["action"] == "keep"
        version = project / "models" / "prices" / result["version"]
        with cluster(folder / "cluster", {pushed["digest"]: version}) as objects:
            assert run("status", "prices", *options, "--json")[0] == 3
            code, plan, error = run("deploy", "prices", *options, "--dry-run", "--json")
            assert (code, plan["applied"], list(objects.iterdir())) == (0, False, []), error
            code, deployed, error = run("deploy", "prices", *options, "--yes", "--promote", "--json")
            assert (code, deployed["applied"]) == (0, True), error
            assert deployed["release"]["image"] == f"{registry}/prices@{pushed['digest']}"
            code, status, _ = run("status", "prices", *options, "--json")
            assert (code, status["release"]["version"]) == (0, result["version"])
            assert run("deploy", "prices", *options, "--rollback", "--yes")[0] == 1
            assert run("down", "prices", *options, "--yes", "--json")[1]["left"] == []
