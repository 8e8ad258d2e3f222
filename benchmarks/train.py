"""Compare training as whole processes: ours, Keras on TensorFlow, scikit-learn's MLPRegressor (on Unix)."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from processes import CACHE, child_command, keras_environment, machine_line, measured, ratio, spread

# Only the standard library up here: see processes.py.

BOSTON = Path(__file__).resolve().parent.parent / "examples" / "boston" / "boston.csv"
PART_COLUMN = "part"
COMPETITORS = ("ours", "keras", "sklearn")
NOTES = """\
Every figure is of a whole process: start, imports, reading, preparing, fitting, scoring the held-out rows;
ours also stores the trained version. Competitors take turns, run by run, each warmed up by an uncounted run.
Seeds change both the split and the training; within a seed all hold out the same rows.
Ours keeps compiled programs in a cache on disk: its counted runs find them there, as a user's second run
does; the row "ours, cold" is the first run of each job, which began with an empty cache.
The large table's noise alone gives a MAE of 0.40. Cells: median (min..max); MAE: mean ± sd."""
COSTS = {  # field of a run: its title, and how to print it
    "wall_seconds": ("wall s", ".2f"),
    "cpu_seconds": ("CPU s", ".2f"),
    "peak_megabytes": ("peak RSS MB", ".0f"),
    "fit_seconds": ("fit s", ".2f"),
}


@dataclass(frozen=True)
class Job:
    """One table and one net to train on it."""

    name: str
    table: str
    suffix: str
    target: str
    layers: list[int]
    batch_size: int
    epochs: int


@dataclass(frozen=True)
class Run:
    """What one process cost, and how well its net did on the held-out rows."""

    job: str
    competitor: str
    seed: int
    cold: bool
    wall_seconds: float
    cpu_seconds: float
    peak_megabytes: float
    fit_seconds: float
    mae: float


JOBS = (
    Job("boston, 17 epochs", "boston", "csv", "MEDV", [64, 64, 32, 1], 10, 17),
    Job("boston, 100 epochs", "boston", "csv", "MEDV", [64, 64, 32, 1], 10, 100),
    Job("100,000 x 60, 10 epochs", "large", "parquet", "target", [256, 256, 128, 1], 256, 10),
)


# --- children: each runs in a process of its own and prints one JSON object ---


def write_tables(request: dict[str, Any]) -> dict[str, Any]:
    """Write each table once per seed, its held-out rows marked in the part column."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(0)
    features = rng.standard_normal((120_000, 60))
    x0, x1, x2, x3, x4 = features[:, :5].T
    target = features @ rng.standard_normal(60) * 0.3 + 2 * np.sin(2 * x0) + x1 * x2 + 2 * np.maximum(x3, x4)
    target += 0.5 * rng.standard_normal(len(target))
    large = pl.DataFrame(features, [f"x{column}" for column in range(60)]).with_columns(target=target)
    boston = pl.read_csv(BOSTON)

    def split(table: pl.DataFrame, held_out: int, seed: int) -> pl.DataFrame:
        order = np.random.default_rng(seed).permutation(table.height)
        part = np.where(order < held_out, "test", "train")
        return table.with_columns(pl.Series(PART_COLUMN, part.tolist()))

    for seed in range(request["seeds"]["boston"]):
        split(boston, round(boston.height * 0.2), seed).write_csv(f"{request['folder']}/boston-{seed}.csv")
    for seed in range(request["seeds"]["large"]):
        split(large, 20_000, seed).write_parquet(f"{request['folder']}/large-{seed}.parquet")
    return {}


def read_parts(request: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    """Return training features and target, then held-out ones, features standardized by the training rows."""
    import pandas as pd

    path = request["path"]
    table = pd.read_parquet(path) if path.endswith(".parquet") else pd.read_csv(path)
    held_out = (table[PART_COLUMN] == "test").to_numpy()
    target = table[request["target"]].to_numpy("float32")
    features = table.drop(columns=[PART_COLUMN, request["target"]]).to_numpy("float32")
    train, test = features[~held_out], features[held_out]
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    return (train - mean) / deviation, target[~held_out], (test - mean) / deviation, target[held_out]


def train_keras(request: dict[str, Any]) -> dict[str, Any]:
    """Train with Keras."""
    import keras

    keras.utils.set_random_seed(request["seed"])
    train, train_target, test, test_target = read_parts(request)
    *hidden, outputs = request["layers"]
    layers = [keras.layers.Dense(width, activation="relu") for width in hidden]
    net = keras.Sequential([keras.Input((train.shape[1],)), *layers, keras.layers.Dense(outputs)])
    net.compile(optimizer="adam", loss="mse")
    started = time.perf_counter()
    net.fit(train, train_target, batch_size=request["batch_size"], epochs=request["epochs"], verbose=0)
    fit_seconds = time.perf_counter() - started
    predicted = net.predict(test, batch_size=1024, verbose=0)[:, 0]
    return {"mae": float(abs(predicted - test_target).mean()), "fit_seconds": fit_seconds}


def train_sklearn(request: dict[str, Any]) -> dict[str, Any]:
    """Train with scikit-learn."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    # It takes "all epochs used" for a failure to converge.
    warnings.simplefilter("ignore", ConvergenceWarning)
    train, train_target, test, test_target = read_parts(request)
    shape = {"hidden_layer_sizes": request["layers"][:-1], "batch_size": request["batch_size"]}
    all_epochs = {"max_iter": request["epochs"], "tol": 0.0, "n_iter_no_change": 10**9}
    net = MLPRegressor(**shape, **all_epochs, alpha=0.0, random_state=request["seed"])
    started = time.perf_counter()
    net.fit(train, train_target)
    fit_seconds = time.perf_counter() - started
    return {"mae": float(abs(net.predict(test) - test_target).mean()), "fit_seconds": fit_seconds}


CHILDREN = {"tables": write_tables, "keras": train_keras, "sklearn": train_sklearn}


# --- the parent: starts the children, measures, reports ---


def our_command(job: Job, table: Path, seed: int, folder: Path) -> list[str]:
    """Return the command that trains the job by ours, into a new store."""
    config = {
        "data": {"path": str(table), "target": job.target, "drop": []},
        "model_config": {
            "model_name": f"{job.table}_model",
            "layers": {f"layer_{number}": width for number, width in enumerate(job.layers, 1)},
            "activations": [*["relu"] * (len(job.layers) - 1), None],
            "loss_function": "mse",
            "optimiser": "adam",
            "metrics": ["mae"],
        },
        # The others train once and have no intervals.
        "validation": {"folds": 0},
        "training_config": {
            "batch_size": job.batch_size,
            "epochs": job.epochs,
            "seed": seed,
            "split": {"kind": "column", "column": PART_COLUMN, "test": "test"},
        },
    }
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    options = ["--conf", str(path), "--store", str(folder / "store"), "--json"]
    return [sys.executable, "-m", "estimator", "train", *options]


def train_once(job: Job, competitor: str, seed: int, folder: Path, pythons: dict[str, Path]) -> Run:
    """Train the job by one competitor in a process of its own."""
    scratch, table = Path(tempfile.mkdtemp(dir=folder)), folder / f"{job.table}-{seed}.{job.suffix}"
    # Each job has its own cache, so that its first run is cold.
    cache = folder / f"cache-{JOBS.index(job)}"
    cold = competitor == "ours" and not cache.exists()
    if competitor == "ours":
        cache.mkdir(exist_ok=True)
        printed, cost = measured(our_command(job, table, seed, scratch), {"ESTIMATOR_CACHE": str(cache)})
        mae = printed["metrics"]["mae"]["value"]
    else:
        request = asdict(job) | {"path": str(table), "seed": seed}
        command = child_command(pythons[competitor], Path(__file__), competitor, request)
        printed, cost = measured(command, {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"})
        mae = printed["mae"]
    print(f"{job.name}: {competitor}, seed {seed}: {cost['wall_seconds']:.2f} s", file=sys.stderr)
    return Run(job.name, competitor, seed, cold, fit_seconds=printed["fit_seconds"], mae=mae, **cost)


def train_all(competitors: Iterable[str], seeds: dict[str, int], pythons: dict[str, Path]) -> list[Run]:
    """Run every job by every competitor, taking turns."""
    runs = []
    with tempfile.TemporaryDirectory() as name:
        folder, request = Path(name), {"folder": name, "seeds": seeds}
        measured(child_command(Path(sys.executable), Path(__file__), "tables", request), {})
        for job in JOBS:
            warmed_up = competitors if job is JOBS[0] else set(competitors) & {"ours"}
            first_runs = [train_once(job, name, 0, folder, pythons) for name in warmed_up]
            runs += [run for run in first_runs if run.cold]
            for seed in range(seeds[job.table]):
                runs += [train_once(job, name, seed, folder, pythons) for name in competitors]
    return runs


def table_row(label: str, runs: list[Run]) -> str:
    """Return one row of the printed table."""
    cells = []
    for field, (_, form) in COSTS.items():
        cells.append(spread([getattr(run, field) for run in runs], form))
    errors = [run.mae for run in runs]
    deviation = f" ± {statistics.stdev(errors):.3f}" if len(errors) > 1 else ""
    cells.append(f"{statistics.mean(errors):.3f}{deviation}")
    return f"| {label:<10} | {len(runs):>4} | " + " | ".join(f"{cell:<22}" for cell in cells) + " |"


def job_report(job: Job, runs: list[Run]) -> str:
    """Return the runs of one job as a table, with the ratios below it."""
    titles = [title for title, _ in COSTS.values()] + ["MAE held out"]
    lines = ["", f"{job.name}, batch {job.batch_size}, dense {'-'.join(map(str, job.layers))}", ""]
    lines.append(f"| {'':<10} | runs | " + " | ".join(f"{title:<22}" for title in titles) + " |")
    lines.append(f"|{'-' * 12}|-----:|" + f"{'-' * 24}|" * len(titles))
    groups: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda run: (run.cold, COMPETITORS.index(run.competitor))):
        if run.job == job.name:
            groups.setdefault(run.competitor + ", cold" * run.cold, []).append(run)
    lines += [table_row(label, group) for label, group in groups.items()]
    if "ours" in groups and "keras" in groups:
        ours, keras = groups["ours"], groups["keras"]
        costs = f"wall {ratio(keras, ours, 'wall_seconds')}, CPU {ratio(keras, ours, 'cpu_seconds')}"
        lines += ["", f"keras / ours: {costs}; ours / keras: fit alone {ratio(ours, keras, 'fit_seconds')}"]
    return "\n".join(lines)


def parsed_arguments() -> argparse.Namespace:
    """Read the command line."""
    peer = CACHE / "keras-tf"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="seeds of the Boston jobs; the large one has 2")
    parser.add_argument("--quick", action="store_true", help="at most 2 seeds, and 1 for the large job")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write every run there")
    parser.add_argument("--only", nargs="+", choices=COMPETITORS, default=COMPETITORS)
    parser.add_argument("--peer-env", type=Path, default=peer, metavar="DIR", help="where Keras is installed")
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    parser.add_argument("--request", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print, or be one of the children."""
    options = parsed_arguments()
    if options.child:
        print(json.dumps(CHILDREN[options.child](options.request)))
        return
    pythons = {"sklearn": Path(sys.executable)}
    if "keras" in options.only:
        pythons["keras"] = keras_environment(options.peer_env)
    limits = {"boston": 2, "large": 1} if options.quick else {"boston": options.seeds, "large": 2}
    seeds = {table: min(options.seeds, limit) for table, limit in limits.items()}
    runs = train_all(options.only, seeds, pythons)
    peers = {pythons["keras"]: ("keras", "tensorflow", "tensorflow-cpu")} if "keras" in pythons else {}
    machine = machine_line(("jax", "scikit-learn"), peers)
    print(machine, NOTES, *(job_report(job, runs) for job in JOBS), sep="\n")
    if options.json:
        record = {"machine": machine, "runs": [asdict(run) for run in runs]}
        options.json.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
