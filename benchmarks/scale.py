"""Train boosting on tables that outgrow memory: time, memory and disk by the number of rows, next to plain LightGBM.

The tables are synthetic houses of 31 columns, of which 27 are features. Every training makes the same number of trees,
once with `validation.folds: 0`, a single fit as LightGBM's, and once with the default split for intervals.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from processes import child_command, machine_line, measured
from quality_tables import SHARED

# Only the standard library up here: see processes.py.

DROPPED = ["id", "days_on_market", "sold_at", "sold_30d"]
LEARNING_RATE, NUM_LEAVES = 0.1, 24


def write_table(rows: int, folder: Path) -> Path:
    """Write a table of so many rows, if it is not there."""
    path = folder / f"houses-{rows}.parquet"
    if not path.exists():
        script = SHARED.parent / "make_big.py"
        command = [sys.executable, str(script), "--rows", str(rows), "--out", str(path)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return path


def run_lightgbm(request: dict[str, Any]) -> dict[str, Any]:
    """Fit LightGBM to four fifths of the rows, all in memory: numbers as they are, texts as category codes."""
    import lightgbm
    import numpy as np
    import polars as pl

    frame = pl.read_parquet(request["table"]).drop(DROPPED)
    target = frame.drop_in_place("price").to_numpy()
    texts = [name for name, dtype in frame.schema.items() if dtype in (pl.String, pl.Categorical, pl.Enum)]
    frame = frame.with_columns(pl.col(texts).cast(pl.String).rank("dense"), pl.col(pl.Datetime, pl.Date).dt.epoch("s"))
    matrix = frame.cast(pl.Float64).fill_null(np.nan).to_numpy()
    categorical = [frame.columns.index(name) for name in texts]
    del frame
    train = np.random.default_rng(0).random(len(target)) < 0.8
    parameters = {"objective": "regression", "learning_rate": LEARNING_RATE, "num_leaves": NUM_LEAVES, "verbosity": -1}
    parameters |= {"bagging_fraction": 0.8, "bagging_freq": 1, "feature_fraction": 0.6, "num_threads": 1}
    data = lightgbm.Dataset(matrix[train], target[train], categorical_feature=categorical, free_raw_data=True)
    booster = lightgbm.train(parameters, data, num_boost_round=request["trees"])
    errors = booster.predict(matrix[~train]) - target[~train]
    return {"rmse": float(np.sqrt(np.mean(np.square(errors))))}


def run_ours(request: dict[str, Any], folds: int, folder: Path) -> tuple[dict[str, Any], dict[str, float]]:
    """Train boosting by the command line within a limit of memory."""
    config = {
        "data": {"path": request["table"], "target": "price", "drop": DROPPED},
        "model": {
            "kind": "boosting",
            "n_estimators": request["trees"],
            "learning_rate": LEARNING_RATE,
            "early_stopping_rounds": 0,
        },
        "validation": {"folds": folds},
        "training": {} if request["memory"] is None else {"memory_limit": request["memory"]},
    }
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    train = [
        sys.executable,
        "-m",
        "estimator",
        "train",
        "--conf",
        str(path),
        "--store",
        str(folder / "store"),
        "--json",
    ]
    version, cost = measured(train, {"OMP_NUM_THREADS": "1"})
    return {"rmse": version["metrics"]["rmse"]["value"], "folder": version["folder"]}, cost


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default="1000000,10000000", help="%(default)s")
    parser.add_argument("--memory", default="4GB", help="limit of ours, or none; %(default)s")
    parser.add_argument("--trees", type=int, default=50, help="%(default)s")
    parser.add_argument("--folder", type=Path, help="where the tables are kept; a temporary folder when left out")
    parser.add_argument("--without-lightgbm", action="store_true", help="for sizes at which its matrix does not fit")
    parser.add_argument("--child", choices=["lightgbm"], help=argparse.SUPPRESS)
    parser.add_argument("--request", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(run_lightgbm(options.request)))
        return
    print(machine_line(("lightgbm", "polars", "numpy"), {}))
    print("\n| rows | | RMSE | wall s | CPU s | CPU µs per row | peak MB |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        for rows in (int(float(text)) for text in options.rows.split(",")):
            memory = None if options.memory == "none" else options.memory
            request = {"table": str(write_table(rows, folder)), "trees": options.trees, "memory": memory}
            runs = {f"ours, {folds} split" if folds else "ours, one fit": folds for folds in (0, 1)}
            for label, folds in runs.items():
                print_row(rows, label, *run_ours(request, folds, Path(name)))
            if not options.without_lightgbm:
                command = child_command(Path(sys.executable), Path(__file__), "lightgbm", request)
                print_row(rows, "LightGBM in memory, one fit", *measured(command, {"OMP_NUM_THREADS": "1"}))


def print_row(rows: int, label: str, outcome: dict[str, Any], cost: dict[str, float]) -> None:
    """Print what a run has cost."""
    cells = [f"{rows:,}", label, f"{outcome['rmse']:,.0f}", f"{cost['wall_seconds']:.0f}", f"{cost['cpu_seconds']:.0f}"]
    cells += [f"{1e6 * cost['cpu_seconds'] / rows:.1f}", f"{cost['peak_megabytes']:,.0f}"]
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
