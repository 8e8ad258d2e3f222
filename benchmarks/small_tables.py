"""Compare boosting on cuts of real tables: categories as AutoGluon's portfolio treats them, and as we do."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import exp, log
from pathlib import Path

import numpy as np
import polars as pl
from processes import machine_line
from quality_tables import PART_COLUMN, TABLES, Table, is_available, read_typed

from estimator.config import resolve
from estimator.evaluation.metrics import SHELF
from estimator.models import model_of
from estimator.training.prepare import prepare
from estimator.verbs.context import SHELVES

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "tables"
NAMES = (
    "ames", "credit", "penguins", "adult", "telco_churn", "bank_marketing", "hotel_bookings", "melbourne",
    "ebay_autos", "hdb_resale",
)  # fmt: skip
LIBRARIES = ("lightgbm", "polars")
SIZES, SEEDS, TEST_ROWS = (100, 300, 1000, 4000), 3, 1500
# About the medians of the portfolio: levels are trusted more.
PUBLISHED = {"cat_smooth": 1.0, "cat_l2": 0.1, "max_cat_to_onehot": 16, "min_data_per_group": 10}


@dataclass(frozen=True)
class Cut:
    """The errors on one cut of a table, with our settings and with the published ones: RMSE, or log loss of classes."""

    table: str
    n_rows: int
    before: float
    after: float


def cuts(table: Table, frame: pl.DataFrame, size: int) -> Iterator[Cut]:
    """Fit to `size` random rows by each rule, and score both on the same other rows."""
    is_regression = table.task == "regression"
    metric = SHELF.load("rmse" if is_regression else "log_loss")()
    for seed in range(SEEDS):
        order = np.random.default_rng([seed, size]).permutation(frame.height)[: size + TEST_ROWS]
        parts = np.where(np.arange(len(order)) < size, "train", "test")
        rows = frame[order.tolist()].with_columns(pl.Series(PART_COLUMN, parts.tolist()))
        split = {"kind": "column", "column": PART_COLUMN, "test": "test"}
        config = resolve(
            {
                "data": {"path": "rows.csv", "target": table.target, "task": table.task},
                "training": {"seed": seed, "split": split},
                "validation": {"folds": 0},
                "model": {"kind": "boosting"},
            },
            SHELVES,
        )
        prepared = prepare(rows, config)
        data, test = replace(prepared.fit_data(config), threads=1), prepared.test_rows

        def error(settings: Mapping[str, float], config=config, data=data, test=test) -> float:
            fitted = model_of(config).model_copy(update=settings).fit(data, config.training)
            predictions = fitted.task.predictions(fitted.predict(test.batch))
            return float(metric.scores(test.target, predictions, np.ones((1, len(test))))[0])

        yield Cut(table.name, size, error({}), error(PUBLISHED))


def ratio_of(group: list[Cut]) -> float:
    """Return the geometric mean of after / before."""
    return exp(statistics.fmean(log(cut.after / cut.before) for cut in group))


def markdown(measured: Mapping[tuple[str, int], list[Cut]], names: list[str]) -> str:
    """Return the ratios per table and size, and over all tables."""
    lines = ["| table | " + " | ".join(f"{size} rows" for size in SIZES) + " |", "| --- " * (1 + len(SIZES)) + "|"]
    lines += [
        f"| {name} | " + " | ".join(f"{ratio_of(measured[name, size]):.3f}" for size in SIZES) + " |" for name in names
    ]
    over_all = [[cut for name in names for cut in measured[name, size]] for size in SIZES]
    lines.append("| all | " + " | ".join(f"{ratio_of(group):.3f}" for group in over_all) + " |")
    better = [sum(cut.after < cut.before for cut in group) for group in over_all]
    worse = [sum(cut.after > cut.before for cut in group) for group in over_all]
    counts = [f"{up} / {down} of {len(group)}" for up, down, group in zip(better, worse, over_all, strict=True)]
    return "\n".join([*lines, "| better / worse | " + " | ".join(counts) + " |"])


def main() -> None:
    """Run all cuts and print the table for RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of the shared tables")
    folder = parser.parse_args().data
    measured: dict[tuple[str, int], list[Cut]] = {}
    for table in TABLES:
        if table.name in NAMES and is_available(table, folder):
            frame = read_typed(table, folder)
            for size in SIZES:
                # A table of few rows keeps some to score.
                usable = min(size, frame.height * 2 // 3)
                measured[table.name, size] = list(cuts(table, frame, usable))
                print(table.name, size, f"{ratio_of(measured[table.name, size]):.3f}", flush=True)
    print(f"\n{machine_line(LIBRARIES, {})}\n\n{markdown(measured, list(dict.fromkeys(name for name, _ in measured)))}")


if __name__ == "__main__":
    main()
