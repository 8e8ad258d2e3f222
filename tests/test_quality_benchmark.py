"""The benchmark of quality: its tables hold out what they say, and its report calls noise noise."""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pytest

from estimator.config import resolve
from estimator.training.prepare import prepare
from estimator.verbs.context import SHELVES

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
Cell = Callable[..., dict[str, Any]]
SPLITS = ("random", "time", "group")


@pytest.fixture(scope="module")
def benchmark() -> Iterator[dict[str, ModuleType]]:
    """The modules of the benchmark by their names."""
    names = (
        "package_tables",
        "quality_tables",
        "quality_ours",
        "quality_scores",
        "quality_results",
        "quality_frontier",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield {name: importlib.import_module(name) for name in names}


@pytest.fixture(scope="module")
def tables(benchmark: dict[str, ModuleType]) -> tuple[Any, ...]:
    return benchmark["quality_tables"].TABLES


def test_every_table_states_split_source_and_licence(tables: tuple[Any, ...]) -> None:
    assert len({table.name for table in tables}) == len(tables) >= 30
    for table in tables:
        assert table.split in SPLITS and (table.column != "") == (table.split != "random"), table.name
        assert table.task in ("regression", "classification") and table.part in ("develop", "check"), table.name
        assert table.source and table.path and table.target and table.licence, table.name


@pytest.mark.parametrize("split", SPLITS)
def test_halves_are_balanced(split: str, tables: tuple[Any, ...]) -> None:
    counts = Counter((table.part, table.task) for table in tables if table.split == split and not table.is_large)
    for task in ("regression", "classification"):
        assert abs(counts["develop", task] - counts["check", task]) <= 1


def test_rows_of_the_check_half_are_in_no_other_table(tables: tuple[Any, ...]) -> None:
    parts: dict[tuple[str, str], set[str]] = {}
    for table in tables:
        parts.setdefault((table.source, table.path), set()).add(table.part)
    assert all(len(found) == 1 for found in parts.values())


def small_tables(benchmark: dict[str, ModuleType], folder: Path) -> Iterator[tuple[Any, pl.DataFrame]]:
    """Yield tables of the examples and of scikit-learn, which are there wherever tests run."""
    module, packages = benchmark["quality_tables"], benchmark["package_tables"]
    found = [table for table in module.TABLES if table.source in ("examples", "sklearn") and table.name != "ames"]
    carried = [f"sklearn:{table.path}" for table in found if table.source == "sklearn"]
    packages.write_tables(packages.package_folder(folder), carried)
    for table in found:
        yield table, module.read_typed(table, folder, folder)


def test_small_tables_are_read_and_split(benchmark: dict[str, ModuleType], tmp_path: Path) -> None:
    module = benchmark["quality_tables"]
    for table, frame in small_tables(benchmark, tmp_path):
        assert not set(table.dropped) & set(frame.columns), table.name
        split = module.write_split(table, frame, 0, tmp_path)
        rows = pl.read_parquet(split.path)
        train, test = (rows.filter(pl.col(module.PART_COLUMN) == part) for part in ("train", "test"))
        assert len(test) == len(split.actual) == round(len(rows) / 3), table.name
        columns = [name for name in rows.columns if name != module.PART_COLUMN]
        assert train.join(test, on=columns, how="inner", nulls_equal=True).is_empty(), table.name


@pytest.mark.parametrize(
    ("name", "split", "column"), [("boston", "random", ""), ("ames", "time", "Year_Built"), ("credit", "group", "Age")]
)
def test_ours_holds_out_the_rows_that_peers_predict(
    name: str, split: str, column: str, benchmark: dict[str, ModuleType], tmp_path: Path
) -> None:
    module, ours = benchmark["quality_tables"], benchmark["quality_ours"]
    listed = next(table for table in module.TABLES if table.name == name)
    table = replace(listed, split=split, column=column)
    written = module.write_split(table, module.read_typed(table), 1, tmp_path)
    config = resolve(ours.config_of(ours.OURS["linear"], written), SHELVES)
    prepared = prepare(pl.read_parquet(written.path), config)
    assert prepared.test_mask.tolist() == written.held_out.tolist()
    assert module.PART_COLUMN not in [feature.name for feature in prepared.schema.features]


def test_a_variant_of_ours_keeps_table_and_split(benchmark: dict[str, ModuleType], tmp_path: Path) -> None:
    module, ours = benchmark["quality_tables"], benchmark["quality_ours"]
    table = next(table for table in module.TABLES if table.name == "penguins")
    written = module.write_split(table, module.read_typed(table), 2, tmp_path)
    variant = ours.Ours("boosting", {"training": {"validation_size": 0.3}, "validation": {"folds": 0}})
    config = resolve(ours.config_of(variant, written), SHELVES)
    assert (config.training.seed, config.training.validation_size, config.training.split.kind) == (2, 0.3, "column")


@pytest.mark.parametrize(("split", "column"), [("time", "x"), ("group", "x"), ("random", "")])
def test_a_leaking_split_is_refused(split: str, column: str, benchmark: dict[str, ModuleType]) -> None:
    module = benchmark["quality_tables"]
    table = replace(module.TABLES[0], split=split, column=column, target="y")
    rows = pl.DataFrame({"x": [1, 2, 2, 1], "y": [1.0, 2.0, 3.0, 1.0]})
    with pytest.raises(SystemExit, match=table.name):
        module.check_split(table, rows, np.array([False, False, True, True]))


def test_results_on_a_table_listed_otherwise_are_left_out(benchmark: dict[str, ModuleType], cell: Cell) -> None:
    cells = [cell("a", [1.0, 2.0]), cell("b", [1.0, 2.0]) | {"definition": "other"}]
    assert benchmark["quality_results"].results_of(cells).competitors == ["a"]


@pytest.mark.parametrize("name", ["boston", "penguins"])
def test_losses_of_blocks_add_up_to_the_error(name: str, benchmark: dict[str, ModuleType], tmp_path: Path) -> None:
    module, scores = benchmark["quality_tables"], benchmark["quality_scores"]
    table = next(table for table in module.TABLES if table.name == name)
    written = module.write_split(table, module.read_typed(table), 0, tmp_path)
    shape = (len(written.actual), len(written.classes)) if written.classes else len(written.actual)
    predictions = np.random.default_rng(0).uniform(0.1, 1, shape)
    error = next(iter(scores.scores_of(written, predictions).values()))
    mean = sum(scores.block_losses(written, predictions)) / sum(scores.block_rows(written))
    assert mean == pytest.approx(error if written.classes else error**2)


@pytest.fixture
def cell(tables: tuple[Any, ...]) -> Cell:
    """A result on boston with these losses of blocks of ten rows."""

    def made(competitor: str, losses: list[float], seed: int = 0, cpu: float = 1.0) -> dict[str, Any]:
        table = next(table for table in tables if table.name == "boston")
        names = {"competitor": competitor, "table": table.name, "seed": seed, "definition": table.definition}
        figures = {"block_losses": losses, "block_rows": [10] * len(losses), "error": sum(losses), "cpu_seconds": cpu}
        return names | figures | {"fingerprint": "same", "failure": None, "intervals": {}}

    return made


def test_only_a_steady_difference_is_no_noise(benchmark: dict[str, ModuleType], cell: Cell) -> None:
    module = benchmark["quality_results"]
    draw = np.random.default_rng(0)
    base, noise = draw.uniform(50, 100, 20), draw.normal(0, 5, 20)
    cells = [cell("a", base.tolist()), cell("same", (base + noise - noise.mean() + 0.1).tolist())]
    results = module.results_of([*cells, cell("worse", (base + 5 + noise).tolist())])
    outcomes = [module.comparison(results, "a", other, results.tables[0]) for other in ("same", "worse")]
    assert outcomes == [0, -1]


def test_a_difference_that_seeds_reverse_is_noise(benchmark: dict[str, ModuleType], cell: Cell) -> None:
    module = benchmark["quality_results"]
    cells = [cell("a", [1.0] * 20, seed=seed) for seed in (0, 1)]
    cells += [cell("b", [loss] * 20, seed=seed) for seed, loss in ((0, 2.0), (1, 0.1))]
    results = module.results_of(cells)
    assert module.comparison(results, "a", "b", results.tables[0]) == 0


def test_results_on_other_rows_are_not_compared(benchmark: dict[str, ModuleType], cell: Cell) -> None:
    cells = [cell("a", [1.0, 2.0]), cell("b", [1.0, 2.0]) | {"fingerprint": "other"}]
    with pytest.raises(SystemExit, match="other rows"):
        benchmark["quality_results"].results_of(cells)


def test_a_competitor_with_fewer_seeds_is_compared_on_those(benchmark: dict[str, ModuleType], cell: Cell) -> None:
    cells = [cell("a", [1.0, 1.0]), cell("a", [9.0, 9.0], seed=1), cell("b", [2.0, 2.0])]
    titled = benchmark["quality_results"].results_of(cells).by_seeds()
    errors = {title: benchmark["quality_results"].field_of(results).errors.tolist() for title, results in titled}
    assert errors == {"seeds 0, 1": [[10.0]], "seed 0": [[2.0], [4.0]]}


def test_labels_of_the_frontier_do_not_overlap(benchmark: dict[str, ModuleType], cell: Cell) -> None:
    frontier = benchmark["quality_frontier"]
    names = ("ensemble", "boosting", "linear", "catboost", "lightgbm", "flaml", "autogluon-medium", "autogluon-best")
    cells = [cell(name, [1.0 + 0.001 * i, 1.0], cpu=5.0 + 0.2 * i) for i, name in enumerate(names)]
    svg = frontier.frontier(benchmark["quality_results"].results_of(cells))
    labels = re.findall(r'<text x="([\d.]+)" y="([\d.]+)">([^<]+)</text>', svg)
    boxes = [(float(x), float(y), float(x) + len(text) * 7, float(y) + 14) for x, y, text in labels]
    assert [text for *_, text in labels if text in names] and len(labels) == len(names)
    for i, one in enumerate(boxes):
        assert not any(frontier._overlap(one, other) for other in boxes[i + 1 :])
