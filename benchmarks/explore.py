"""Compare exploring a table as whole processes: ours, a bare scan, DuckDB, ydata-profiling, skrub (on Unix)."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from processes import CACHE, built_environment, child_command, machine_line, measured, ratio, spread

# Only the standard library up here: see processes.py.

# What each peer's own environment holds; ydata-profiling lives on as fg-data-profiling.
PEERS = {
    "duckdb": ("duckdb==2.0.0",),
    "ydata": ("fg-data-profiling==4.20.0", "pandas==2.3.3", "numpy==2.4.6", "pyarrow==26.0.1", "matplotlib==3.11.2"),
    "skrub": ("skrub==0.11.0", "polars==2.1.0", "pandas==3.1.1", "pyarrow==26.0.1", "matplotlib==3.11.2"),
}
TYPED_SCAN = "scan-typed"
SCANS = ("scan-nulls", "scan-max", "scan-batches", TYPED_SCAN)
COMPETITORS = ("ours", *SCANS, *PEERS)
WHOLE_IN_MEMORY = ("ydata", "skrub")
FORMATS = ("parquet", "csv")
TARGET = "price"
N_THREADS = 2
ENVIRONMENT = {
    **dict.fromkeys(("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(N_THREADS)),
    "YDATA_PROFILING_NO_ANALYTICS": "1",
}
NOTES = f"""\
Every figure is of a whole process: start, imports, reading, computing, writing the page where there is one; it must
read every row. Competitors take turns, run by run, each warmed up by an uncounted run on the smallest table, and
each file is read through beforehand, so it comes from memory. Each has {N_THREADS} threads.
ours          estimator explore: profile, associations, findings, page
scan-nulls    polars, streaming: every column's null count
scan-max      polars, streaming: every column's largest value
scan-batches  polars, streaming: every batch handed over
scan-typed    the same of a CSV with given types; the other scans infer them from 10,000 rows first
duckdb        SUMMARIZE: no page, no associations
ydata         fg-data-profiling, which succeeds ydata-profiling: ProfileReport(minimal=True), no associations
skrub         TableReport, with associations on the rows that it samples
All scans decode every value with the polars named above: each fails on a file with one damaged value.
Cells: median (min..max)."""
COSTS = {  # field of a run: its title, and how to print it
    "wall_seconds": ("wall s", ".2f"),
    "cpu_seconds": ("CPU s", ".2f"),
    "peak_megabytes": ("peak RSS MB", ".0f"),
}
RATIOS = {"wall": "wall_seconds", "CPU": "cpu_seconds", "peak RSS": "peak_megabytes"}


@dataclass(frozen=True)
class Job:
    """One table, to be explored by each competitor."""

    path: Path
    n_rows: int
    limit_seconds: float
    types: Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """What one process cost; the costs are None when it was stopped at the time limit."""

    table: str
    table_bytes: int
    competitor: str
    n_columns: int | None = None
    page_bytes: int | None = None
    wall_seconds: float | None = None
    cpu_seconds: float | None = None
    peak_megabytes: float | None = None


# --- children: each runs in a process of its own and prints one JSON object ---


def scan_nulls(lazy: Any) -> list[int]:
    """Count every column's missing values."""
    import polars as pl

    counts = lazy.select(pl.len().alias("\n"), pl.all().null_count()).collect(engine="streaming")
    return [counts.item(0, 0), counts.width - 1]


def scan_max(lazy: Any) -> list[int]:
    """Find every column's largest value."""
    import polars as pl

    largest = lazy.select(pl.len().alias("\n"), pl.all().max()).collect(engine="streaming")
    return [largest.item(0, 0), largest.width - 1]


def scan_batches(lazy: Any) -> list[int]:
    """Read every batch and discard it."""
    shapes = [batch.shape for batch in lazy.collect_batches(engine="streaming")]
    return [sum(height for height, _ in shapes), shapes[0][1]]


def scan(request: dict[str, Any]) -> list[int]:
    """Read every column once with polars, by the requested scan."""
    scans: dict[str, Callable[[Any], list[int]]] = {"scan-nulls": scan_nulls, "scan-max": scan_max}
    return scans.get(request["competitor"], scan_batches)(lazy_table(request))


def lazy_table(request: dict[str, Any]) -> Any:
    """Return the lazy table; the typed scan does not infer types."""
    import polars as pl

    path = request["path"]
    if path.endswith(".parquet"):
        return pl.scan_parquet(path)
    if request["competitor"] == TYPED_SCAN:
        return pl.scan_csv(path, schema={name: getattr(pl, kind) for name, kind in request["types"].items()})
    return pl.scan_csv(path, try_parse_dates=True, infer_schema_length=10_000)


def find_types(request: dict[str, Any]) -> dict[str, str]:
    """Return the name of each column's polars type."""
    return {name: str(kind.base_type()) for name, kind in lazy_table(request).collect_schema().items()}


def explore_duckdb(request: dict[str, Any]) -> list[int]:
    """Summarise with DuckDB."""
    import duckdb

    connection = duckdb.connect(config={"threads": N_THREADS})
    reader = "read_parquet" if request["path"].endswith(".parquet") else "read_csv"
    source = f"{reader}('{request['path']}')"
    columns = connection.execute(f"SUMMARIZE SELECT * FROM {source}").fetchall()
    # The count of rows comes with each column.
    return [columns[0][-2], len(columns)]


def explore_ydata(request: dict[str, Any]) -> list[int]:
    """Write the minimal page of fg-data-profiling."""
    import pandas as pd
    from data_profiling import ProfileReport

    path = request["path"]
    # pyarrow is faster than pandas's own reader, and parses dates.
    table = pd.read_parquet(path) if path.endswith(".parquet") else pd.read_csv(path, engine="pyarrow")
    ProfileReport(table, minimal=True, progress_bar=False).to_file(request["page"])
    return list(table.shape)


def explore_skrub(request: dict[str, Any]) -> list[int]:
    """Write skrub's page."""
    import polars as pl
    from skrub import TableReport

    path = request["path"]
    options: dict[str, Any] = {"try_parse_dates": True, "infer_schema_length": 10_000}
    table = pl.read_parquet(path) if path.endswith(".parquet") else pl.read_csv(path, **options)
    TableReport(table, verbose=0).write_html(request["page"])
    return list(table.shape)


CHILDREN: dict[str, Callable[[dict[str, Any]], Any]] = {
    **dict.fromkeys(SCANS, scan),
    "types": find_types,
    "duckdb": explore_duckdb,
    "ydata": explore_ydata,
    "skrub": explore_skrub,
}


# --- the parent: starts the children, measures, reports ---


def explore_once(job: Job, competitor: str, python: Path) -> Run:
    """Explore the table by one competitor in a process of its own."""
    run = Run(job.path.name, job.path.stat().st_size, competitor)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        options = ["--target", TARGET, "--page", str(page), "--json"]
        command = [str(python), "-m", "estimator", "explore", str(job.path), *options]
        if competitor != "ours":
            paths = {"path": str(job.path), "page": str(page)}
            request = {"competitor": competitor, "types": job.types, **paths}
            command = child_command(python, Path(__file__), competitor, request)
        try:
            printed, cost = measured(command, ENVIRONMENT, limit_seconds=job.limit_seconds)
        except TimeoutError as stopped:
            print(f"{job.path.name}: {competitor}: {stopped}", file=sys.stderr)
            return run
        page_bytes = page.stat().st_size if page.exists() else None
    n_rows, n_columns = printed["result"] if competitor != "ours" else our_shape(printed["profile"])
    if n_rows != job.n_rows:
        raise SystemExit(f"{job.path.name}: {competitor} read {n_rows} rows, expected {job.n_rows}")
    print(f"{job.path.name}: {competitor}: {cost['wall_seconds']:.2f} s", file=sys.stderr)
    return replace(run, n_columns=n_columns, page_bytes=page_bytes, **cost)


def our_shape(profile: Mapping[str, Any]) -> tuple[int, int]:
    """Return the rows and columns of our profile."""
    return profile["rows"], len(profile["columns"])


def explore_table(job: Job, pythons: Mapping[str, Path], *, n_runs: int) -> Iterator[Run]:
    """Explore one table by every competitor, taking turns; one that exceeds the limit is not run again."""
    read_through(job.path)
    stopped: set[str] = set()
    for _ in range(n_runs):
        for competitor, python in pythons.items():
            if competitor not in stopped:
                run = explore_once(job, competitor, python)
                stopped |= {competitor} if run.wall_seconds is None else set()
                yield run


def explore_all(options: argparse.Namespace, pythons: Mapping[str, Path]) -> Iterator[list[Run]]:
    """Explore the tables from the smallest on, each in every format, with a warm-up; yield the runs of each."""
    with tempfile.TemporaryDirectory() as name:
        folder = options.tables or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        for index, n_rows in enumerate(sorted(options.rows)):
            for suffix in options.formats:
                path = ready_table(folder, n_rows, suffix)
                job = Job(path, n_rows, options.limit, types_of(path))
                unsuitable = set() if n_rows <= options.memory_rows else set(WHOLE_IN_MEMORY)
                # Parquet files contain the types.
                unsuitable |= {TYPED_SCAN} if suffix == "parquet" else set()
                fitting = {key: python for key, python in pythons.items() if key not in unsuitable}
                if index == 0:
                    list(explore_table(job, fitting, n_runs=1))
                yield list(explore_table(job, fitting, n_runs=options.runs))


def ready_table(folder: Path, n_rows: int, suffix: str) -> Path:
    """Return the table of so many rows in the folder, writing it if it is missing."""
    path = folder / f"{n_rows}.{suffix}"
    if not path.exists():
        print(f"writing {path}", file=sys.stderr)
        measured([sys.executable, str(Path(__file__).with_name("houses.py")), str(path), str(n_rows)], {})
    return path


def types_of(path: Path) -> dict[str, str]:
    """Return the types that polars infers, for the typed scan."""
    request = {"competitor": "", "path": str(path)}
    printed, _ = measured(child_command(Path(sys.executable), Path(__file__), "types", request), {})
    return dict(printed["result"])


def read_through(path: Path) -> None:
    """Read the file, in small pieces, so that the first run need not read it from disk."""
    with path.open("rb") as file:
        while file.read(2**20):
            pass


def table_row(label: str, runs: Sequence[Run], limit_seconds: float) -> str:
    """Return one row of the printed table."""
    counted = [run for run in runs if run.wall_seconds is not None]
    cells = [spread([getattr(run, field) for run in counted], form) for field, (_, form) in COSTS.items() if counted]
    pages = [run.page_bytes / 1e3 for run in counted if run.page_bytes is not None]
    cells.append(spread(pages, ".0f") if pages else "")
    if len(counted) < len(runs):
        cells = [f"over {limit_seconds:g}", *[""] * len(COSTS)]
    return f"| {label:<12} | {len(runs):>4} | " + " | ".join(f"{cell:<22}" for cell in cells) + " |"


def table_report(runs: Sequence[Run], limit_seconds: float) -> str:
    """Return the runs on one table as a table, with the ratios below it."""
    rows, suffix = runs[0].table.split(".")
    n_columns = next((run.n_columns for run in runs if run.n_columns is not None), 0)
    titles = [*(title for title, _ in COSTS.values()), "page kB"]
    lines = ["", f"### {int(rows):,} rows, {n_columns} columns, {suffix}, {runs[0].table_bytes / 1e6:,.1f} MB", ""]
    lines.append(f"| {'':<12} | runs | " + " | ".join(f"{title:<22}" for title in titles) + " |")
    lines.append(f"|{'-' * 14}|-----:|" + f"{'-' * 24}|" * len(titles))
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.competitor, []).append(run)
    lines += [table_row(label, group, limit_seconds) for label, group in groups.items()]
    finished = {label: group for label, group in groups.items() if all(run.wall_seconds for run in group)}
    return "\n".join([*lines, "", *ratios(finished)])


def ratios(groups: Mapping[str, Sequence[Run]]) -> list[str]:
    """Compare the medians that matter: ours with the scans, each peer with ours."""
    lines = []
    scans = ("scan-batches", TYPED_SCAN)
    for above, below in (*(("ours", scan) for scan in scans), *((peer, "ours") for peer in PEERS)):
        if above in groups and below in groups:
            compared = [f"{name} {ratio(groups[above], groups[below], field)}" for name, field in RATIOS.items()]
            lines.append(f"- {above} / {below}: {', '.join(compared)}")
    return lines


def pythons_of(competitors: Sequence[str], folder: Path) -> dict[str, Path]:
    """Return the Python that runs each competitor, installing missing peers."""
    pythons = {}
    for name in competitors:
        # The pin is in the folder's name: each version has its own environment.
        packages = PEERS.get(name)
        pythons[name] = (
            built_environment(folder / packages[0].replace("==", "-"), packages) if packages else Path(sys.executable)
        )
    return pythons


def parsed_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=sizes, default="1e4,1e5,1e6,1e7", help="sizes of the tables; %(default)s")
    parser.add_argument("--formats", type=names_of(FORMATS), default=",".join(FORMATS), help="%(default)s")
    parser.add_argument("--competitors", type=names_of(COMPETITORS), default=",".join(COMPETITORS), help="%(default)s")
    parser.add_argument("--runs", type=int, default=3, help="of each competitor on each table; %(default)s")
    parser.add_argument("--limit", type=float, default=120, help="seconds after which a run is stopped; %(default)s")
    in_memory = f"{' and '.join(WHOLE_IN_MEMORY)} get tables of at most so many rows; %(default)s"
    parser.add_argument("--memory-rows", type=float, default=1e5, metavar="N", help=in_memory)
    tables_help = f"tables to use, such as 100000.csv, each with a column {TARGET!r}; those missing are written there"
    parser.add_argument("--tables", type=Path, metavar="DIR", help=tables_help)
    parser.add_argument("--environments", type=Path, default=CACHE, metavar="DIR", help="where peers are installed")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write every run there")
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    parser.add_argument("--request", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def sizes(text: str) -> list[int]:
    """Read an option such as 1e5,1e6."""
    return [int(float(part)) for part in text.split(",")]


def names_of(choices: Sequence[str]) -> Callable[[str], list[str]]:
    """Return the reader of an option that lists some of the choices."""

    def read(text: str) -> list[str]:
        names = text.split(",")
        if set(names) - set(choices):
            raise argparse.ArgumentTypeError(f"expected some of {','.join(choices)}, got {text!r}")
        return names

    return read


def main() -> None:
    """Measure and print, or be one of the children."""
    options = parsed_arguments()
    if options.child:
        print(json.dumps({"result": CHILDREN[options.child](options.request)}))
        return
    pythons = pythons_of(options.competitors, options.environments)
    peers = {pythons[name]: [PEERS[name][0].split("==")[0]] for name in pythons if name in PEERS}
    machine = machine_line(("polars", "numpy"), peers)
    print(machine, NOTES, sep="\n\n", flush=True)
    record: list[Run] = []
    for runs in explore_all(options, pythons):
        print(table_report(runs, options.limit), flush=True)
        record += runs
        if options.json:
            report = {"machine": machine, "runs": [asdict(run) for run in record]}
            options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
