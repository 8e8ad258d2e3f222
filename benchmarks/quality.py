"""Compare the held-out error on many tables, and its CPU cost: ours, CatBoost, LightGBM, AutoGluon, FLAML, MAPIE."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from processes import CACHE, built_environment, measured
from quality_peers import COVERAGE, PEERS
from quality_report import report
from quality_tables import PART_COLUMN, TABLES, SplitTable, Table, is_available, read_typed, write_split
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, r2_score, roc_auc_score

from estimator.models import KINDS

OURS = ("ensemble", "boosting", "linear", "constant")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "tables"
LIMIT_SECONDS = 7200
OUR_SOFTWARE = f"estimator=={metadata.version('estimator-lifepath')}"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1")


@dataclass(frozen=True)
class Cell:
    """The result of one competitor on one table and seed; `error` is None when it failed, and `failure` says why."""

    competitor: str
    table: str
    seed: int
    fingerprint: str
    software: str
    task: str
    n_train: int
    n_test: int
    error: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, float] = field(default_factory=dict)
    cpu_seconds: float | None = None
    wall_seconds: float | None = None
    failure: str | None = None
    parity: float | None = None


PredictionsAndCost = tuple[Any, dict[str, float]]


def predict_by_peer(competitor: str, split_table: SplitTable, folder: Path, python: Path) -> PredictionsAndCost:
    """Let a peer fit and predict in its own process; return its predictions for the held-out rows, and the cost."""
    path = folder / "predictions.npy"
    request = request_of(split_table) | {"competitor": competitor, "predictions": str(path)}
    script = Path(__file__).with_name("quality_peers.py")
    _, cost = measured([str(python), str(script), json.dumps(request)], ONE_THREAD, limit_seconds=LIMIT_SECONDS)
    return np.load(path), cost


def request_of(split_table: SplitTable) -> dict[str, Any]:
    """Return what a peer needs to know about a table."""
    return {
        "path": str(split_table.path),
        "part_column": PART_COLUMN,
        "target": split_table.table.target,
        "task": split_table.table.task,
        "classes": split_table.classes,
        "seed": split_table.seed,
    }


def predict_by_ours(competitor: str, split_table: SplitTable, folder: Path, python: Path) -> PredictionsAndCost:
    """Train a version by `estimator train`; the cost includes the report on the held-out rows.

    The predictions are made by that version afterwards, which is not counted.
    """
    config = {
        "data": {"path": str(split_table.path), "target": split_table.table.target, "task": split_table.table.task},
        "model": {"kind": competitor},
        "training": {"seed": split_table.seed, "split": {"kind": "column", "column": PART_COLUMN, "test": "test"}},
    }
    conf, predictions = folder / "config.json", folder / "predictions.parquet"
    conf.write_text(json.dumps(config))
    command = [str(python), "-m", "estimator"]
    train = [*command, "train", "--conf", str(conf), "--store", str(folder / "store"), "--json"]
    version, cost = measured(train, ONE_THREAD, limit_seconds=LIMIT_SECONDS)
    predict = [
        "predict",
        "--model",
        version["folder"],
        "--input",
        str(split_table.path),
        "--output",
        str(predictions),
        "--json",
    ]
    measured([*command, *predict], ONE_THREAD)
    frame = pl.read_parquet(predictions).filter(pl.Series(split_table.held_out))
    names = [f"probability_{class_name}" for class_name in split_table.classes] or ["prediction"]
    names += [name for name in ("prediction_low", "prediction_high") if name in frame.columns]
    return frame.select(names).to_numpy().squeeze(), cost | {"parity": version["parity"]["largest_relative"]}


def scores_of(split_table: SplitTable, predictions: Any) -> dict[str, float]:
    """Score predictions for the held-out rows; competitors are compared by the first score, an error."""
    actual = split_table.actual
    if split_table.table.task == "regression":
        values = predictions if predictions.ndim == 1 else predictions[:, 0]
        rmse = float(np.sqrt(np.mean((values - actual) ** 2)))
        return {"rmse": rmse, "mae": mean_absolute_error(actual, values), "r2": r2_score(actual, values)}
    probabilities = predictions[:, : len(split_table.classes)]
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    predicted_class = np.array(split_table.classes)[probabilities.argmax(axis=1)]
    ranking = probabilities if len(split_table.classes) > 2 else probabilities[:, 1]
    auc = roc_auc_score(actual, ranking, multi_class="ovr", labels=split_table.classes)
    loss = log_loss(actual, probabilities, labels=split_table.classes)
    return {"log_loss": loss, "auc": auc, "accuracy": accuracy_score(actual, predicted_class)}


def intervals_of(split_table: SplitTable, predictions: Any) -> dict[str, float]:
    """Return the mean width of the intervals around numbers, and the fraction of actual values that they cover."""
    if split_table.table.task != "regression" or predictions.ndim == 1:
        return {}
    low, high = predictions[:, 1], predictions[:, 2]
    is_covered = (low <= split_table.actual) & (split_table.actual <= high)
    return {"target_coverage": COVERAGE, "coverage": float(is_covered.mean()), "mean_width": float((high - low).mean())}


def run_competitor(competitor: str, split_table: SplitTable, python: Path) -> Cell:
    """Fit and score one competitor on one split table; a failure is a result as well."""
    predict_by = predict_by_peer if competitor in PEERS else predict_by_ours
    software = PEERS[competitor].packages[0] if competitor in PEERS else OUR_SOFTWARE
    n_test = int(split_table.held_out.sum())
    names = (
        competitor,
        split_table.table.name,
        split_table.seed,
        split_table.fingerprint,
        software,
        split_table.table.task,
    )
    rows = {"n_train": len(split_table.held_out) - n_test, "n_test": n_test}
    with tempfile.TemporaryDirectory() as folder:
        try:
            predictions, cost = predict_by(competitor, split_table, Path(folder), python)
        except (SystemExit, TimeoutError) as failed:
            return Cell(*names, **rows, failure=str(failed)[-1000:])
    scores = {name: float(value) for name, value in scores_of(split_table, predictions).items()}
    times = {name: round(cost[name], 2) for name in ("cpu_seconds", "wall_seconds")}
    error = next(iter(scores.values()))
    return Cell(
        *names,
        **rows,
        error=error,
        scores=scores,
        intervals=intervals_of(split_table, predictions),
        parity=cost.get("parity"),
        **times,
    )


def missing(
    options: argparse.Namespace, tables: Sequence[Table], done: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, int, Table]]:
    """Yield the missing runs: competitor by competitor, seed by seed."""
    names = {(cell["competitor"], cell["table"], cell["seed"]) for cell in done}
    for competitor in options.competitors:
        peer = PEERS.get(competitor)
        for seed in range(options.seeds)[: peer.n_seeds if peer else None]:
            for table in tables:
                # Only numbers have intervals.
                fits = competitor != "mapie" or table.task == "regression"
                if fits and (competitor, table.name, seed) not in names:
                    yield competitor, seed, table


def run(options: argparse.Namespace) -> None:
    """Run what is missing and append each result to the file as soon as it is there."""
    tables = present(options.tables, options.data)
    with tempfile.TemporaryDirectory() as name:
        frames: dict[str, pl.DataFrame] = {}
        split_table: dict[tuple[str, int], SplitTable] = {}
        for competitor, seed, table in missing(options, tables, read_cells(options.results)):
            if (table.name, seed) not in split_table:
                if table.name not in frames:
                    frames[table.name] = read_typed(table, options.data)
                split_table[table.name, seed] = write_split(table, frames[table.name], seed, Path(name))
            python = python_of(competitor, options.environments)
            cell = run_competitor(competitor, split_table[table.name, seed], python)
            with options.results.open("a") as file:
                file.write(json.dumps(asdict(cell)) + "\n")
            outcome = cell.failure or f"{cell.error:.5g}, {cell.cpu_seconds:.1f} CPU s"
            print(f"{competitor}, {table.name}, seed {seed}: {outcome}", file=sys.stderr, flush=True)


def python_of(competitor: str, folder: Path) -> Path:
    """Return the Python that runs a competitor, installing a peer if it is missing."""
    if competitor not in PEERS:
        return Path(sys.executable)
    packages = PEERS[competitor].packages
    name, _, version = packages[0].partition("==")
    return built_environment(folder / f"{name.split('[')[0]}-{version}", packages)


def read_cells(path: Path) -> list[dict[str, Any]]:
    """Read the results so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def known_competitors(names: str) -> list[str]:
    """Read the option that names competitors; kinds of ours that do not exist are skipped with a note."""
    names_given = names.split(",")
    if unknown := set(names_given) - {*OURS, *KINDS, *PEERS}:
        raise argparse.ArgumentTypeError(f"expected some of {','.join([*OURS, *PEERS])}, got {','.join(unknown)!r}")
    for name in names_given:
        if name not in (*KINDS, *PEERS):
            print(f"no kind {name!r} yet: skipped", file=sys.stderr)
    return [name for name in names_given if name in (*KINDS, *PEERS)]


def named_tables(names: str) -> list[Table]:
    """Read the option that names tables."""
    tables = {table.name: table for table in TABLES}
    if unknown := set(names.split(",")) - set(tables):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(tables)}, got {','.join(unknown)!r}")
    return [tables[name] for name in names.split(",")]


def present(names_given: Sequence[Table], folder: Path) -> list[Table]:
    """Return the tables whose files are there; the others are skipped with a note."""
    for table in names_given:
        if not is_available(table, folder):
            print(f"{table.name}: not in {folder}, skipped", file=sys.stderr)
    return [table for table in names_given if is_available(table, folder)]


def parsed_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    all_names = ",".join([*OURS, *PEERS])
    parser.add_argument("--competitors", type=known_competitors, default=all_names, help="%(default)s")
    parser.add_argument("--tables", type=named_tables, default=list(TABLES), help="all of them when left out")
    parser.add_argument("--seeds", type=int, default=3, help="%(default)s")
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help="where the tables are; %(default)s")
    parser.add_argument(
        "--results", type=Path, default=Path("quality.jsonl"), help="results are appended here; %(default)s"
    )
    parser.add_argument("--environments", type=Path, default=CACHE, metavar="DIR", help="where peers are installed")
    parser.add_argument(
        "--report", nargs="*", type=Path, metavar="FILE", help="only print the report, of these files too"
    )
    return parser.parse_args()


def main() -> None:
    """Run what is missing, or print the report."""
    options = parsed_arguments()
    if options.report is None:
        run(options)
    else:
        cells = [cell for path in (options.results, *options.report) for cell in read_cells(path)]
        print(report([cell for cell in cells if cell["competitor"] in options.competitors], OURS))


if __name__ == "__main__":
    main()
