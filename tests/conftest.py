"""Small real tables and trained versions that tests share; each is made once per run or process."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from estimator.store.store import Store

# Two processes test at once; threads of trees that share cores would mostly wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jax.monitoring  # the same
import polars as pl  # the same
import pytest  # the same
from hypothesis import settings

from tests.browser import browser, visit_file, window  # noqa: F401 # fixtures
from tests.chaos import KILLS, N_KILLS

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
# Trained versions that outlive a run; any change of src/ or examples/ trains them again.
CACHE = ROOT / ".pytest_cache" / "stores"
# They are signed, and so must be by the same key in all runs; the user's own is left alone.
os.environ["ESTIMATOR_SIGNING_KEY"] = str(CACHE / "signing.key")
TABLES = ROOT.parent / "shared" / "data" / "tables"

# Made examples are the same in every run; `make test-tables` looks for new ones.
settings.register_profile("repeatable", derandomize=True)
if "ESTIMATOR_CRUEL_TABLES" not in os.environ:
    settings.load_profile("repeatable")

# A config that every verb runs in a second.
QUICK_CONFIG = """\
data: {path: t.csv, target: y}
model: {kind: linear}
validation: {folds: 0}
evaluation: {bootstrap_samples: 100, importance_repeats: 0}
tuning: {n_trials: 1, space: {model.penalty: {low: 0.1, high: 1.0}}}
"""

HOUSE = {
    "CRIM": 0.09178, "ZN": 0.0, "INDUS": 4.05, "CHAS": 0, "NOX": 0.510, "RM": 6.416, "AGE": 84.1,
    "DIS": 2.6463, "RAD": 5.0, "TAX": 296.0, "PTRATIO": 16.6, "B": 395.50, "LSTAT": 9.04,
}  # fmt: skip


# What a test config says unless the test says otherwise: a single family without folds, importance and many samples.
QUICK_SECTIONS: Mapping[str, Mapping[str, Any]] = {
    "model": {"kind": "boosting"},
    "validation": {"folds": 0},
    "evaluation": {"bootstrap_samples": 100, "importance_repeats": 0},
}

# What `--quick` leaves out: tests that need trained examples, servers, browsers or databases.
SLOW_FIXTURES = frozenset({"store", "market", "market_store", "browser", "window", "visit_file", "run", "config_of"})


# And files whose tests train models or run servers of their own.
SLOW_FILES = re.compile(
    r"test_(deployment_|image|pipeline|promises|dense|tabm|trees|tuning|training|validation|known_faults|cleaning|plugin"
    r"|retraining|engine|sources_sql|exploration|page|server_|process|progress|explanation|comparison|forecast|openapi|drift)"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="run only tests that train nothing and start no process")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--quick"):
        return
    slow = [
        item
        for item in items
        if SLOW_FIXTURES & set(item.fixturenames) or item.get_closest_marker("slow") or SLOW_FILES.match(item.path.name)
    ]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in set(slow)]


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Share compiled programs between the tests of a run, outside the user's cache."""
    os.environ["ESTIMATOR_CACHE"] = str(tmp_path_factory.getbasetemp().parent / "cache")


@pytest.fixture
def compilations() -> Iterator[list[str]]:
    """The programs that XLA compiled since the list was last cleared."""
    programs: list[str] = []

    def listen(event: str, seconds: float, **details: Any) -> None:
        if event.endswith("backend_compile_duration"):
            programs.append(str(details))

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield programs
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.fixture
def house() -> dict[str, Any]:
    return dict(HOUSE)


@pytest.fixture(scope="session")
def tables() -> Path:
    if not TABLES.is_dir():
        pytest.skip("the development tables are not on this machine")
    return TABLES


def read_example(name: str) -> pl.DataFrame:
    path = next(item for item in (EXAMPLES / name).iterdir() if ".csv" in item.name)
    return pl.read_csv(path, infer_schema=False)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a live version of every example."""
    configs = dict.fromkeys(sorted(EXAMPLES.glob("*/config.*")), ())
    return _trained_once("examples", configs, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def market_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which the moving market's model has one version."""
    from tests.market import FOLDER, QUICK

    return _trained_once("market", {FOLDER / "config.yml": QUICK}, tmp_path_factory.mktemp("market"))


def _trained_once(name: str, configs: Mapping[Path, Sequence[str]], folder: Path) -> Path:
    """Copy a store of these configs' versions to a folder; it is trained once for this state of src/ and examples/."""
    from estimator import verbs

    cached = CACHE / f"{name}-{_code_hash()}"
    CACHE.mkdir(exist_ok=True, parents=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not cached.is_dir():
            for old in CACHE.glob(f"{name}-*"):
                shutil.rmtree(old)
            building = CACHE / f".{name}"
            shutil.rmtree(building, ignore_errors=True)
            for config, overrides in configs.items():
                verbs.train.train(config, verbs.Context(overrides, store_path=str(building)))
            building.rename(cached)
        # Still locked: another run may replace the cache.
        return Path(shutil.copytree(cached, folder, dirs_exist_ok=True))


def _code_hash() -> str:
    """Return a hash of all that a trained version depends on: the code, the examples, the installed packages."""
    digest = hashlib.sha256()
    for path in sorted(path for root in ("src", "examples") for path in (ROOT / root).rglob("*") if path.is_file()):
        if path.suffix != ".pyc":
            digest.update(str(path.relative_to(ROOT)).encode() + path.read_bytes())
    packages = sorted(f"{package.name}=={package.version}" for package in metadata.distributions())
    digest.update("\n".join([sys.version, *packages]).encode())
    return digest.hexdigest()[:16]


@pytest.fixture
def market(market_store: Path, tmp_path: Path) -> Any:
    """The moving market with an empty log."""
    from tests.market import Market

    shutil.copytree(market_store, tmp_path / "models")
    return Market(Store(tmp_path / "models"), tmp_path / "log.db")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any], str]]:
    """Run the command line; give exit code, the JSON object on stdout (empty when none) and stderr."""
    from estimator.cli import main

    def call(*args: object) -> tuple[int, dict[str, Any], str]:
        capsys.readouterr()
        code = main([str(word) for word in args])
        out, err = capsys.readouterr()
        return code, json.loads(out) if "--json" in args and out else {"text": out}, err

    return call


@pytest.fixture
def config_of(tmp_path: Path) -> Callable[..., Path]:
    """Write a config for a table and return its path; `QUICK_SECTIONS` are its defaults."""

    def write(frame: pl.DataFrame, target: str, **sections: Any) -> Path:
        frame.write_csv(tmp_path / "table.csv")
        content = {"name": "model", **{key: dict(section) for key, section in QUICK_SECTIONS.items()}}
        for key, section in sections.items():
            is_quick = key in ("validation", "evaluation")
            content[key] = {**content[key], **section} if is_quick else section
        content["data"] = {**sections.get("data", {}), "path": "table.csv", "target": target}
        path = tmp_path / "config.json"
        path.write_text(json.dumps(content))
        return path

    return write


@pytest.fixture
def scratches(tmp_path, monkeypatch) -> Path:
    """The folder that temporary copies are made in."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def report_figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Report a figure; the end of the run prints it, whichever process the test ran in."""
    return lambda text: request.node.user_properties.append(("figure", text))


@pytest.fixture(autouse=True)
def _count_kills(request: pytest.FixtureRequest) -> Iterator[None]:
    """Report how many processes a test has killed; the end of `make test-chaos` prints it."""
    before = len(KILLS)
    yield
    if len(KILLS) > before:
        request.node.user_properties.append(("kills", len(KILLS) - before))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    figures = [
        text
        for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
        if report.when == "call"
        for name, text in report.user_properties
        if name == "figure"
    ]
    for text in figures:
        terminalreporter.write_line(text)
    for report in terminalreporter.getreports("") if N_KILLS else ():
        for name, n_kills in report.user_properties:
            if report.when == "teardown" and name == "kills":
                test = report.nodeid.rpartition("/")[2]
                terminalreporter.write_line(f"{n_kills:>5} kills  {test}")
