"""Compare HTTP servers of one model on one core: ours, FastAPI, frameworks for serving, and the limit (on Linux).

Each competitor is restarted per number of rows and round, pinned to one core. Its predictions must equal the model's;
then wrk loads it from another core over loopback. Results are saved at once, so an interrupted run continues.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from processes import keras_environment, machine_line
from serve_competitors import COMPETITORS, NGINX, QUIET, ServerSetup
from serve_model import Served, train
from serve_processes import ServerError, free_port, running
from serve_report import CONNECTIONS, N_ROWS, Load, Result, report

WARM_UP_SECONDS, WARM_UP_CONNECTIONS = 1, 8
MIN_RESPONSES, MAX_SECONDS = 4, 60
# Keras computes in float32.
TOLERANCE = 1e-4
OUR_PACKAGES = ("estimator-lifepath", "fastapi", "uvicorn", "uvloop", "httptools", "msgspec", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Job:
    """One competitor with a number of rows per request, in one round."""

    competitor: str
    n_rows: int
    round: int


def run_job(job: Job, served: Served, options: argparse.Namespace) -> Result:
    """Measure a competitor; a failure is a result as well."""
    job_fields = {**asdict(job), "seconds": options.seconds, "software": COMPETITORS[job.competitor].software}
    with tempfile.TemporaryDirectory() as name:
        try:
            return Result(**job_fields, **measured(job, served, Path(name), options))
        except (ServerError, SystemExit, OSError, subprocess.CalledProcessError) as failed:
            return Result(**job_fields, failure=str(failed))


def measured(job: Job, served: Served, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Start a competitor, check its predictions, load it, measure its memory and stop it.

    Raises
    ------
    ServerError: it does not start, or its predictions are wrong.
    """
    competitor = COMPETITORS[job.competitor]
    path, body = competitor.request_format.path, folder / "body.json"
    body.write_text(json.dumps(competitor.request_format.request(served.rows[: job.n_rows]), separators=(",", ":")))
    setup = ServerSetup(competitor.python(), free_port(), served, served.response(job.n_rows), folder)
    command, environment = competitor.start(setup), setup.environment if competitor.packages else QUIET
    with running(command, environment, port=setup.port, core=options.server_core, folder=folder) as server:
        response, start_seconds = server.first_response(path, body.read_bytes())
        check(response, competitor.request_format.values, served.expected[: job.n_rows])
        server.load(path, body, WARM_UP_CONNECTIONS, WARM_UP_SECONDS)
        loads: list[dict[str, float]] = []
        for count in CONNECTIONS:
            seconds = max([options.seconds, *(seconds_for(count, load) for load in loads)])
            loads.append({"connections": count, **server.load(path, body, count, seconds)})
        return {"start_seconds": start_seconds, "megabytes": server.megabytes(), "loads": loads}


def seconds_for(connections: int, load: Load) -> int:
    """Return how long a server as slow as in an earlier load needs for a few responses per connection."""
    per_response = load["seconds"] / max(load["requests"], 1)
    return min(math.ceil(MIN_RESPONSES * connections * per_response), MAX_SECONDS)


def check(response: Any, values: Callable[[Any], list[float]], expected: Sequence[float]) -> None:
    """Compare a response with the predictions of the model.

    Raises
    ------
    ServerError: they differ.
    """
    try:
        predictions = values(response)
        pairs = list(zip(predictions, expected, strict=True))
        is_equal = all(abs(value - reference) <= TOLERANCE * abs(reference) for value, reference in pairs)
    except (LookupError, TypeError, ValueError, AttributeError):
        is_equal = False
    if not is_equal:
        raise ServerError(f"wrong predictions: expected {str(expected)[:200]}, got {str(response)[:400]}")


def run(options: argparse.Namespace) -> None:
    """Run what is missing and append each result to the file as soon as it is there."""
    # The load and this process stay off the server's core.
    os.sched_setaffinity(0, {options.load_core})
    if not (jobs := missing(options)):
        return
    with tempfile.TemporaryDirectory() as folder:
        served = train(Path(folder), max(N_ROWS))
        for job in jobs:
            result = run_job(job, served, options)
            with options.results.open("a") as file:
                file.write(json.dumps(asdict(result)) + "\n")
            rates = ", ".join(f"{load['requests'] / load['seconds']:.0f}/s" for load in result.loads)
            message = f"round {job.round}, {job.competitor}, {job.n_rows} rows: {result.failure or rates}"
            print(message, file=sys.stderr, flush=True)


def missing(options: argparse.Namespace) -> list[Job]:
    """Return the missing runs, round by round; failures are tried again."""
    done = {
        (result.competitor, result.n_rows, result.round) for result in results_of(options) if result.failure is None
    }
    names, rounds = options.competitors, range(options.rounds)
    jobs = [(name, rows, number) for number in rounds for name in names for rows in COMPETITORS[name].n_rows]
    return [Job(*result) for result in jobs if result not in done]


def results_of(options: argparse.Namespace) -> list[Result]:
    """Read the last result of each requested job."""
    lines = options.results.read_text().splitlines() if options.results.exists() else []
    results = [Result(**json.loads(line)) for line in lines]
    requested = [
        result for result in results if result.competitor in options.competitors and result.seconds == options.seconds
    ]
    current = [result for result in requested if result.software == COMPETITORS[result.competitor].software]
    return list({(result.competitor, result.n_rows, result.round): result for result in current}.values())


def software_line(results: Sequence[Result]) -> str:
    """Return a line about the machine and the versions of the software."""
    names = {result.competitor for result in results if result.failure is None}
    pinned = [competitor for name, competitor in COMPETITORS.items() if name in names and competitor.packages]
    peers = {result.python(): [package.split("==")[0] for package in result.packages] for result in pinned}
    if any(name.startswith("tutorial") for name in names):
        peers[keras_environment()] = ["keras", "tensorflow", "tensorflow-cpu"]
    tools = [tool for tool in (("wrk", "-v"), ("gcc", "--version"), (NGINX, "-v")) if shutil.which(tool[0])]
    message = [subprocess.run(tool, capture_output=True, text=True, check=False) for tool in tools]
    versions = [(result.stdout + result.stderr).splitlines()[0].split(" [")[0] for result in message]
    return ", ".join([machine_line(OUR_PACKAGES, peers), *versions])


def parsed_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--competitors", nargs="+", choices=COMPETITORS, default=list(COMPETITORS), metavar="NAME")
    parser.add_argument("--seconds", type=int, default=5, help="of each load; %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="%(default)s")
    parser.add_argument("--server-core", type=int, default=0, help="%(default)s")
    parser.add_argument("--load-core", type=int, default=1, help="%(default)s")
    parser.add_argument(
        "--results", type=Path, default=Path("serve.jsonl"), help="results are appended here; %(default)s"
    )
    parser.add_argument("--report", action="store_true", help="only print the report")
    return parser.parse_args()


def main() -> None:
    """Run what is missing, and print the report."""
    options = parsed_arguments()
    if not options.report:
        if missing_tools := [name for name in ("wrk", "taskset") if shutil.which(name) is None]:
            raise SystemExit(f"{', '.join(missing_tools)}: not installed; on Debian: apt-get install wrk util-linux")
        # SIGTERM stops the running server too.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        run(options)
    results = results_of(options)
    print(software_line(results), report(results, options.competitors), sep="\n")


if __name__ == "__main__":
    main()
