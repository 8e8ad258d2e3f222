"""Compare what is left of the error on tables, and at what cost of CPU: ours, CatBoost, LightGBM, AutoGluon, FLAML."""

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
from quality_peers import LEVEL, PEERS
from quality_report import report
from quality_tables import PART_COLUMN, TABLES, Parted, Table, is_there, read_typed, write_parted
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error, r2_score, roc_auc_score

from estimator.models import KINDS

OURS = ("ensemble", "boosting", "linear", "constant")
DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "tables"
LIMIT_SECONDS = 7200
OUR_SOFTWARE = f"estimator=={metadata.version('estimator-lifepath')}"
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1")


@dataclass(frozen=True)
class Cell:
    """What one contestant made of one table and seed; `error` is None when it failed, and `failure` says how."""

    contestant: str
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


Answered = tuple[Any, dict[str, float]]


def answer_by_peer(contestant: str, parted: Parted, folder: Path, python: Path) -> Answered:
    """Let a peer fit and answer in a process of its own; give its answers to the held-out rows, and what it cost."""
    path = folder / "answers.npy"
    request = request_of(parted) | {"contestant": contestant, "answers": str(path)}
    script = Path(__file__).with_name("quality_peers.py")
    _, cost = measured([str(python), str(script), json.dumps(request)], ONE_THREAD, limit_seconds=LIMIT_SECONDS)
    return np.load(path), cost


def request_of(parted: Parted) -> dict[str, Any]:
    """Say what a peer must know of a table."""
    return {
        "path": str(parted.path),
        "part_column": PART_COLUMN,
        "target": parted.table.target,
        "task": parted.table.task,
        "levels": parted.levels,
        "seed": parted.seed,
    }


def answer_by_ours(contestant: str, parted: Parted, folder: Path, python: Path) -> Answered:
    """Let `estimator train` make a version; its cost has the report on the held-out rows in it.

    The answers are fetched from the version afterwards, which is not counted.
    """
    config = {
        "data": {"path": str(parted.path), "target": parted.table.target, "task": parted.table.task},
        "model": {"kind": contestant},
        "training": {"seed": parted.seed, "split": {"kind": "column", "column": PART_COLUMN, "test": "test"}},
    }
    conf, answers = folder / "config.json", folder / "answers.parquet"
    conf.write_text(json.dumps(config))
    command = [str(python), "-m", "estimator"]
    train = [*command, "train", "--conf", str(conf), "--store", str(folder / "store"), "--json"]
    made, cost = measured(train, ONE_THREAD, limit_seconds=LIMIT_SECONDS)
    predict = ["predict", "--model", made["folder"], "--input", str(parted.path), "--output", str(answers), "--json"]
    measured([*command, *predict], ONE_THREAD)
    frame = pl.read_parquet(answers).filter(pl.Series(parted.held_out))
    names = [f"probability_{level}" for level in parted.levels] or ["prediction"]
    names += [name for name in ("prediction_low", "prediction_high") if name in frame.columns]
    return frame.select(names).to_numpy().squeeze(), cost | {"parity": made["parity"]["largest_relative"]}


def scores_of(parted: Parted, answers: Any) -> dict[str, float]:
    """Score answers to the held-out rows; the first score is the error that contestants are compared by."""
    truth = parted.truth
    if parted.table.task == "regression":
        values = answers if answers.ndim == 1 else answers[:, 0]
        rmse = float(np.sqrt(np.mean((values - truth) ** 2)))
        return {"rmse": rmse, "mae": mean_absolute_error(truth, values), "r2": r2_score(truth, values)}
    shares = answers[:, : len(parted.levels)]
    shares = shares / shares.sum(axis=1, keepdims=True)
    decided = np.array(parted.levels)[shares.argmax(axis=1)]
    ranked = shares if len(parted.levels) > 2 else shares[:, 1]
    auc = roc_auc_score(truth, ranked, multi_class="ovr", labels=parted.levels)
    loss = log_loss(truth, shares, labels=parted.levels)
    return {"log_loss": loss, "auc": auc, "accuracy": accuracy_score(truth, decided)}


def intervals_of(parted: Parted, answers: Any) -> dict[str, float]:
    """Say how wide the intervals around numbers are and how many of the truths they hold, where there are any."""
    if parted.table.task != "regression" or answers.ndim == 1:
        return {}
    low, high = answers[:, 1], answers[:, 2]
    inside = (low <= parted.truth) & (parted.truth <= high)
    return {"level": LEVEL, "coverage": float(inside.mean()), "mean_width": float((high - low).mean())}


def compete(contestant: str, parted: Parted, python: Path) -> Cell:
    """Let one contestant learn and answer one parted table; a failure is a result as well."""
    answer = answer_by_peer if contestant in PEERS else answer_by_ours
    software = PEERS[contestant].packages[0] if contestant in PEERS else OUR_SOFTWARE
    n_test = int(parted.held_out.sum())
    known = (contestant, parted.table.name, parted.seed, parted.fingerprint, software, parted.table.task)
    rows = {"n_train": len(parted.held_out) - n_test, "n_test": n_test}
    with tempfile.TemporaryDirectory() as folder:
        try:
            answers, cost = answer(contestant, parted, Path(folder), python)
        except (SystemExit, TimeoutError) as failed:
            return Cell(*known, **rows, failure=str(failed)[-1000:])
    scores = {name: float(value) for name, value in scores_of(parted, answers).items()}
    times = {name: round(cost[name], 2) for name in ("cpu_seconds", "wall_seconds")}
    error = next(iter(scores.values()))
    return Cell(
        *known,
        **rows,
        error=error,
        scores=scores,
        intervals=intervals_of(parted, answers),
        parity=cost.get("parity"),
        **times,
    )


def missing(
    options: argparse.Namespace, tables: Sequence[Table], done: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, int, Table]]:
    """Give what is to be run: contestant by contestant, seed by seed."""
    known = {(cell["contestant"], cell["table"], cell["seed"]) for cell in done}
    for contestant in options.contestants:
        peer = PEERS.get(contestant)
        for seed in range(options.seeds)[: peer.n_seeds if peer else None]:
            for table in tables:
                # Intervals are of numbers.
                fits = contestant != "mapie" or table.task == "regression"
                if fits and (contestant, table.name, seed) not in known:
                    yield contestant, seed, table


def run(options: argparse.Namespace) -> None:
    """Run what is missing and append each result to the file as soon as it is there."""
    tables = present(options.tables, options.data)
    with tempfile.TemporaryDirectory() as name:
        whole: dict[str, pl.DataFrame] = {}
        parted: dict[tuple[str, int], Parted] = {}
        for contestant, seed, table in missing(options, tables, read_cells(options.results)):
            if (table.name, seed) not in parted:
                if table.name not in whole:
                    whole[table.name] = read_typed(table, options.data)
                parted[table.name, seed] = write_parted(table, whole[table.name], seed, Path(name))
            python = python_of(contestant, options.environments)
            cell = compete(contestant, parted[table.name, seed], python)
            with options.results.open("a") as file:
                file.write(json.dumps(asdict(cell)) + "\n")
            outcome = cell.failure or f"{cell.error:.5g}, {cell.cpu_seconds:.1f} CPU s"
            print(f"{contestant}, {table.name}, seed {seed}: {outcome}", file=sys.stderr, flush=True)


def python_of(contestant: str, folder: Path) -> Path:
    """Give the Python that runs a contestant, installing a peer that is not there."""
    if contestant not in PEERS:
        return Path(sys.executable)
    packages = PEERS[contestant].packages
    name, _, version = packages[0].partition("==")
    return built_environment(folder / f"{name.split('[')[0]}-{version}", packages)


def read_cells(path: Path) -> list[dict[str, Any]]:
    """Read the results that are there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def known_contestants(names: str) -> list[str]:
    """Read the option that names contestants; kinds of ours that do not exist are left out with a word."""
    wanted = names.split(",")
    if unknown := set(wanted) - {*OURS, *KINDS, *PEERS}:
        raise argparse.ArgumentTypeError(f"expected some of {','.join([*OURS, *PEERS])}, got {','.join(unknown)!r}")
    for name in wanted:
        if name not in (*KINDS, *PEERS):
            print(f"no kind {name!r} yet: left out", file=sys.stderr)
    return [name for name in wanted if name in (*KINDS, *PEERS)]


def named_tables(names: str) -> list[Table]:
    """Read the option that names tables."""
    known = {table.name: table for table in TABLES}
    if unknown := set(names.split(",")) - set(known):
        raise argparse.ArgumentTypeError(f"expected some of {','.join(known)}, got {','.join(unknown)!r}")
    return [known[name] for name in names.split(",")]


def present(wanted: Sequence[Table], folder: Path) -> list[Table]:
    """Give the tables whose files are there; the others are left out with a word."""
    for table in wanted:
        if not is_there(table, folder):
            print(f"{table.name}: not in {folder}, left out", file=sys.stderr)
    return [table for table in wanted if is_there(table, folder)]


def parsed_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    everybody = ",".join([*OURS, *PEERS])
    parser.add_argument("--contestants", type=known_contestants, default=everybody, help="%(default)s")
    parser.add_argument("--tables", type=named_tables, default=list(TABLES), help="all of them when left out")
    parser.add_argument("--seeds", type=int, default=3, help="%(default)s")
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help="where the tables are; %(default)s")
    parser.add_argument("--results", type=Path, default=Path("quality.jsonl"), help="is added to; %(default)s")
    parser.add_argument("--environments", type=Path, default=CACHE, metavar="DIR", help="where peers are installed")
    parser.add_argument("--report", nargs="*", type=Path, metavar="FILE", help="print what the results say; more files")
    return parser.parse_args()


def main() -> None:
    """Run what is missing, or print the report."""
    options = parsed_arguments()
    if options.report is None:
        run(options)
    else:
        cells = [cell for path in (options.results, *options.report) for cell in read_cells(path)]
        print(report([cell for cell in cells if cell["contestant"] in options.contestants], OURS))


if __name__ == "__main__":
    main()
