"""Compare thresholds on held-out rows of real tables: 0.5, that of f1, that of costs in theory and out of fold."""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl
from processes import machine_line
from quality_tables import PART_COLUMN, SHARED, TABLES, Table, drawn_rows, held_out_rows, is_available, read_typed

from estimator.config import Costs, Evaluation, resolve
from estimator.evaluation.metrics import SHELF, Metric
from estimator.evaluation.metrics.cost import MisclassificationCost
from estimator.evaluation.threshold import choose_threshold
from estimator.models import Dataset, model_of
from estimator.training.prepare import prepare
from estimator.training.train import TrainedModel, train
from estimator.verbs.context import SHELVES

NAMES = ("bank_marketing", "credit_default", "adult", "telco_churn", "credit", "hotel_bookings")
LIBRARIES = ("lightgbm", "numpy", "polars")
POSITIVE = {"credit": "bad", "adult": ">50K"}
SEEDS, HALF = 5, 0.5
COSTS = {"5:1": Costs(false_negative=5, false_positive=1), "20:1": Costs(false_negative=20, false_positive=1)}
# What is shown of each fit, in the order of the columns.
COLUMNS = (
    "f1 at 0.5", "f1 by f1", "cost 5:1 at 0.5", "cost 5:1 by costs", "cost 5:1 lowest out of fold",
    "cost 20:1 at 0.5", "cost 20:1 by costs", "cost 20:1 lowest out of fold",
)  # fmt: skip


def trained(table: Table, frame: pl.DataFrame, seed: int, class_weight: str | None) -> TrainedModel:
    """Return boosted trees fitted to two thirds of at most 12,000 rows."""
    rows = drawn_rows(table, frame, seed)
    parts = np.where(held_out_rows(table, rows, seed), "test", "train").tolist()
    config = resolve(
        {
            "data": {"path": "rows.csv", "target": table.target, "task": table.task,
                     **({"positive_class": POSITIVE[table.name]} if table.name in POSITIVE else {})},
            "training": {
                "seed": seed,
                "split": {"kind": "column", "column": PART_COLUMN, "test": "test"},
                "class_weight": class_weight,
            },
            "model": {"kind": "boosting"},
        },
        SHELVES,
    )  # fmt: skip
    prepared = prepare(rows.with_columns(pl.Series(PART_COLUMN, parts)), config)
    return train(prepared, model_of(config), config, clock=perf_counter)


def scores(new: TrainedModel) -> Iterator[float]:
    """Yield the held-out scores of a fit at each threshold, in the order of `COLUMNS`."""
    test, of_folds, rows = new.prepared.test_rows, new.calibrated, new.fit_data.rows
    raw, task = new.predictor.predict_batch(test.batch).raw, new.prepared.task

    def score(metric: Metric, threshold: float) -> float:
        predictions = replace(task, threshold=threshold).predictions(raw)
        return float(metric.scores(test.target, predictions, np.ones((1, len(test))))[0])

    def chosen(evaluation: Evaluation, rows: Dataset = rows) -> float:
        threshold = choose_threshold(evaluation, task, of_folds, rows)
        assert threshold is not None
        return threshold.value

    yield score(SHELF.load("f1")(), HALF)
    yield score(SHELF.load("f1")(), chosen(Evaluation(threshold="f1")))
    # Rows of different weights have the threshold of the lowest cost chosen.
    unequal = replace(rows, weights=np.arange(1.0, len(rows) + 1.0))
    for costs in COSTS.values():
        metric = MisclassificationCost(costs.false_negative, costs.false_positive)
        yield score(metric, HALF)
        yield score(metric, costs.threshold)
        yield score(metric, chosen(Evaluation(costs=costs), unequal))


def line(name: str, measured: Sequence[Sequence[float]]) -> str:
    """Return a row of the table: means over the seeds."""
    return (
        f"| {name} | " + " | ".join(f"{statistics.fmean(column):.3f}" for column in zip(*measured, strict=True)) + " |"
    )


def main() -> None:
    """Run all fits and print the table for RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED, help="the folder of the shared tables")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    arguments = parser.parse_args()
    measured: dict[str, list[list[float]]] = defaultdict(list)
    for table in TABLES:
        if table.name in NAMES and is_available(table, arguments.data):
            frame = read_typed(table, arguments.data)
            for class_weight in (None, "balanced"):
                name = table.name + (", balanced" if class_weight else "")
                for seed in range(arguments.seeds):
                    new = trained(table, frame, seed, class_weight)
                    measured[name].append(list(scores(new)))
                rate = float(new.prepared.rows.target.mean())
                print(f"{rate:.3f} {line(name, measured[name])}", flush=True)
    head = ["| table | " + " | ".join(COLUMNS) + " |", "| --- " * (1 + len(COLUMNS)) + "|"]
    print("\n".join([machine_line(LIBRARIES, {}), "", *head, *(line(*item) for item in measured.items())]))


if __name__ == "__main__":
    main()
