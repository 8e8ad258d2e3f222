"""Compare the held-out error on many tables, and its CPU cost: ours, CatBoost, LightGBM, AutoGluon, FLAML, MAPIE.

The tables, with their licences, are listed in quality_tables.csv. Half of those of each kind of split are marked
`check`: develop with `--part develop`, the default, and run `--part check` only when a change is done, so that it says
what the change is worth on tables that did not shape it. Nothing is tuned per table.

Results are appended to a file; a run goes on where an earlier one stopped, and runs again what is now listed in another
way. Use another file once the code has changed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from processes import CACHE, built_environment, measured
from quality_frontier import frontier
from quality_ours import OURS, SAME, SHOWN, SOFTWARE, predict_by_ours
from quality_peers import PEERS
from quality_report import markdown, report
from quality_results import results_of
from quality_scores import block_losses, block_rows, intervals_of, scores_of
from quality_tables import (
    PART_COLUMN,
    SHARED,
    TABLES,
    SplitTable,
    Table,
    is_available,
    read_typed,
    write_sources,
    write_split,
)

from estimator.errors import EstimatorError

LIMIT_SECONDS = 7200
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
PARTS = ("develop", "check", "all")
Run = tuple[str, int, Table]


@dataclass(frozen=True)
class Cell:
    """The result of one competitor on one table and seed; `error` is None when it failed, and `failure` says why."""

    competitor: str
    table: str
    seed: int
    definition: str
    fingerprint: str
    software: str
    task: str
    n_train: int
    n_test: int
    n_columns: int
    block_rows: Sequence[int]
    error: float | None = None
    block_losses: Sequence[float] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, float] = field(default_factory=dict)
    cpu_seconds: float | None = None
    wall_seconds: float | None = None
    failure: str | None = None
    parity: float | None = None


def predict_by_peer(
    competitor: str, split_table: SplitTable, folder: Path, python: Path
) -> tuple[Any, dict[str, float]]:
    """Let a peer fit and predict in its own process; return its predictions for the held-out rows, and the cost."""
    path = folder / "predictions.npy"
    request = request_of(split_table) | {"competitor": competitor, "predictions": str(path)}
    script = Path(__file__).with_name("quality_peers.py")
    _, cost = measured([str(python), str(script), json.dumps(request)], ONE_THREAD, limit_seconds=LIMIT_SECONDS)
    return np.load(path), cost


def request_of(split_table: SplitTable) -> dict[str, Any]:
    """Return what a peer needs to know about a table; groups are no feature, as held-out rows are of other ones."""
    table = split_table.table
    return {
        "path": str(split_table.path),
        "part_column": PART_COLUMN,
        "left_out": [table.column] if table.split == "group" else [],
        "target": table.target,
        "task": table.task,
        "classes": split_table.classes,
        "seed": split_table.seed,
    }


def run_competitor(competitor: str, split_table: SplitTable, python: Path) -> Cell:
    """Fit and score one competitor on one split table; a failure is a result as well."""
    table, n_test = split_table.table, int(split_table.held_out.sum())
    software = PEERS[competitor].packages[0] if competitor in PEERS else SOFTWARE
    names = (competitor, table.name, split_table.seed, table.definition, split_table.fingerprint, software, table.task)
    # Without the target and the column that marks the parts.
    n_columns = len(pl.read_parquet_schema(split_table.path)) - 2
    counts = (len(split_table.held_out) - n_test, n_test, n_columns, block_rows(split_table))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            if competitor in PEERS:
                predictions, cost = predict_by_peer(competitor, split_table, folder, python)
            else:
                options = {"environment": ONE_THREAD, "limit": LIMIT_SECONDS}
                predictions, cost = predict_by_ours(OURS[competitor], split_table, folder, python, **options)
            if not np.isfinite(predictions).all():
                raise SystemExit(f"{(~np.isfinite(predictions)).sum()} predictions are no finite numbers")
            scores = {key: float(value) for key, value in scores_of(split_table, predictions).items()}
            error = next(iter(scores.values()))
            if abs(cost.get("reported", error) - error) > SAME * max(1.0, error):
                raise SystemExit(f"the report says {cost['reported']}, the predictions for the held-out rows {error}")
        except (SystemExit, TimeoutError) as failed:
            return Cell(*names, *counts, failure=str(failed)[-1000:])
    return Cell(
        *names,
        *counts,
        error=error,
        block_losses=block_losses(split_table, predictions),
        scores=scores,
        intervals=intervals_of(split_table, predictions),
        parity=cost.get("parity"),
        **{key: round(cost[key], 2) for key in ("cpu_seconds", "wall_seconds")},
    )


def missing(options: argparse.Namespace, tables: Sequence[Table], done: Sequence[Mapping[str, Any]]) -> Iterator[Run]:
    """Yield the missing runs: competitor by competitor, seed by seed."""
    kept = [cell for cell in done if not (options.retry and cell["failure"])]
    names = {(cell["competitor"], cell["definition"], cell["table"], cell["seed"]) for cell in kept}
    for competitor in options.competitors:
        peer = PEERS.get(competitor)
        for seed in range(options.seeds)[: peer.n_seeds if peer else None]:
            for table in tables:
                # Only numbers have intervals.
                fits = competitor != "mapie" or table.task == "regression"
                if fits and (competitor, table.definition, table.name, seed) not in names:
                    yield competitor, seed, table


def run(options: argparse.Namespace) -> None:
    """Run what is missing and append each result to the file as soon as it is there."""
    tables = present(options)
    done = read_cells(options.results)
    runs = list(missing(options, tables, done))
    with tempfile.TemporaryDirectory() as name:
        split_of = splitter(options, Path(name))
        for position, (competitor, seed, table) in enumerate(runs):
            try:
                split_table = split_of(table, seed)
            except EstimatorError as error:
                raise SystemExit(f"{table.name}: {error}") from error
            cell = run_competitor(competitor, split_table, python_of(competitor, options.environments))
            done.append(asdict(cell))
            with options.results.open("a") as file:
                file.write(json.dumps(asdict(cell)) + "\n")
            outcome = (cell.failure or f"{cell.error:.5g}, {cell.cpu_seconds:.1f} CPU s").strip().splitlines()[-1]
            left = f"{position + 1} of {len(runs)}, about {minutes_left(runs[position + 1 :], done):.0f} minutes left"
            print(f"{competitor}, {table.name}, seed {seed}: {outcome} ({left})", file=sys.stderr, flush=True)


def splitter(options: argparse.Namespace, folder: Path) -> Callable[[Table, int], SplitTable]:
    """Return a function that splits a table by a seed, and does it once."""
    frames: dict[str, pl.DataFrame] = {}
    splits: dict[tuple[str, int], SplitTable] = {}

    def split_of(table: Table, seed: int) -> SplitTable:
        if (table.name, seed) not in splits:
            if table.name not in frames:
                frames[table.name] = read_typed(table, options.data, options.environments)
            splits[table.name, seed] = write_split(table, frames[table.name], seed, folder)
        return splits[table.name, seed]

    return split_of


def minutes_left(runs: Sequence[Run], done: Sequence[Mapping[str, Any]]) -> float:
    """Forecast the runs that are left: as the competitor's last run on that table, else as its median run.

    A competitor that was not run yet is taken to be as slow as the slowest.
    """
    seconds: dict[str, dict[str, float]] = {}
    for cell in done:
        if cell["wall_seconds"] is not None:
            seconds.setdefault(cell["competitor"], {})[cell["table"]] = cell["wall_seconds"]
    medians = {name: statistics.median(by_table.values()) for name, by_table in seconds.items()}
    slowest = max(medians.values(), default=0.0)
    forecasts = [seconds.get(name, {}).get(table.name, medians.get(name, slowest)) for name, _, table in runs]
    return sum(forecasts) / 60


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


def names_among(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a reader of an option that names some of those known, separated by commas."""

    def read(names: str) -> list[str]:
        if unknown := set(names.split(",")) - set(known):
            raise argparse.ArgumentTypeError(f"expected some of {','.join(known)}, got {','.join(unknown)!r}")
        return names.split(",")

    return read


def chosen_tables(options: argparse.Namespace) -> list[Table]:
    """Return the tables of the options: those named, or all of the part and the sizes."""
    if options.tables:
        return [table for table in TABLES if table.name in options.tables]
    parts = PARTS[:2] if options.part == "all" else [options.part]
    return [table for table in TABLES if table.part in parts and (options.large or not table.is_large)]


def present(options: argparse.Namespace) -> list[Table]:
    """Return the chosen tables whose files are there, or can be written; the others are skipped with a note."""
    tables = chosen_tables(options)
    write_sources(tables, options.data, options.environments)
    found = [table for table in tables if is_available(table, options.data, options.environments)]
    for table in tables:
        if table not in found:
            print(f"{table.name}: not in {options.data}, skipped", file=sys.stderr)
    return found


def table_list(options: argparse.Namespace) -> str:
    """Return the tables that are there, with their rows and columns after cleaning."""
    rows = []
    for table in present(options):
        frame = read_typed(table, options.data, options.environments)
        split = f"{table.split}: {table.column}" if table.column else table.split
        size = [f"{frame.height:,}", str(frame.width - 1)]
        rows.append([table.name, *size, table.task, split, table.part, f"{table.source}: {table.path}", table.licence])
    return "\n".join(markdown(["", "rows", "columns", "task", "split", "part", "source", "licence"], rows))


def parsed_arguments() -> argparse.Namespace:
    """Read the command line."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    option, names = parser.add_argument, [*SHOWN, *PEERS]
    competitors = names_among([*OURS, *PEERS])
    option("--competitors", type=competitors, default=names, metavar="A,B", help=f"some of {','.join([*OURS, *PEERS])}")
    option(
        "--tables", type=names_among([table.name for table in TABLES]), metavar="A,B", help="only these, of any part"
    )
    option("--part", choices=PARTS, default="develop", help="tables to look at while changing something, or when done")
    option("--large", action="store_true", help="also the tables of 50,000 to 1,000,000 rows, with all their rows")
    option("--seeds", type=int, default=3, help="%(default)s")
    option("--retry", action="store_true", help="run again what failed")
    option("--data", type=Path, default=SHARED, metavar="DIR", help="where the shared tables are; %(default)s")
    option("--results", type=Path, default=Path("quality.jsonl"), help="results are appended here; %(default)s")
    option("--environments", type=Path, default=CACHE, metavar="DIR", help="where peers and tables are installed")
    option("--report", nargs="*", type=Path, metavar="FILE", help="only print the report, of these files too")
    option("--frontier", type=Path, metavar="FILE", help="with --report: draw error against CPU seconds as this SVG")
    option("--list", action="store_true", help="only list the tables, with their sources and licences")
    return parser.parse_args()


def main() -> None:
    """Run what is missing, or print the report or the list of tables."""
    options = parsed_arguments()
    if options.list:
        print(table_list(options))
    elif options.report is None:
        run(options)
    else:
        cells = [cell for path in (options.results, *options.report) for cell in read_cells(path)]
        chosen = {table.name for table in chosen_tables(options)}
        cells = [cell for cell in cells if cell["competitor"] in options.competitors and cell["table"] in chosen]
        results = results_of(cells)
        print(report(results))
        if options.frontier:
            options.frontier.write_text(frontier(results))


if __name__ == "__main__":
    main()
