"""Compare HTTP servers of one model on one core: ours, FastAPI, frameworks for serving, and the limit (on Linux).

Each contestant is started anew per number of rows and round, pinned to one core; it must give the model's answers, and
then wrk asks it from another core over loopback. Results are kept as they come: a run that was ended goes on.
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
from serve_contestants import CONTESTANTS, NGINX, QUIET, Place
from serve_model import Served, train
from serve_processes import ServerError, free_port, running
from serve_report import CONNECTIONS, N_ROWS, Load, Result, report

WARM_UP_SECONDS, WARM_UP_CONNECTIONS = 1, 8
FEW_ANSWERS, LONGEST_SECONDS = 4, 60
# Keras computes in float32.
TOLERANCE = 1e-4
OUR_PACKAGES = ("estimator-lifepath", "fastapi", "uvicorn", "uvloop", "httptools", "msgspec", "onnxruntime", "numpy")


@dataclass(frozen=True)
class Job:
    """One contestant asked so many rows at once, in one round."""

    contestant: str
    n_rows: int
    round: int


def compete(job: Job, served: Served, options: argparse.Namespace) -> Result:
    """Let a contestant answer; a failure is a result as well."""
    known = {**asdict(job), "seconds": options.seconds, "software": CONTESTANTS[job.contestant].software}
    with tempfile.TemporaryDirectory() as name:
        try:
            return Result(**known, **measured(job, served, Path(name), options))
        except (ServerError, SystemExit, OSError, subprocess.CalledProcessError) as failed:
            return Result(**known, failure=str(failed))


def measured(job: Job, served: Served, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Start a contestant, check its answer, load it, weigh it and stop it.

    Raises
    ------
    ServerError: it does not start, or its answer is wrong.
    """
    contestant = CONTESTANTS[job.contestant]
    path, body = contestant.form.path, folder / "body.json"
    body.write_text(json.dumps(contestant.form.request(served.rows[: job.n_rows]), separators=(",", ":")))
    place = Place(contestant.python(), free_port(), served, served.answer(job.n_rows), folder)
    command, environment = contestant.start(place), place.environment if contestant.packages else QUIET
    with running(command, environment, port=place.port, core=options.server_core, folder=folder) as server:
        answer, start_seconds = server.first_answer(path, body.read_bytes())
        check(answer, contestant.form.values, served.truths[: job.n_rows])
        server.load(path, body, WARM_UP_CONNECTIONS, WARM_UP_SECONDS)
        loads: list[dict[str, float]] = []
        for count in CONNECTIONS:
            seconds = max([options.seconds, *(seconds_for(count, load) for load in loads)])
            loads.append({"connections": count, **server.load(path, body, count, seconds)})
        return {"start_seconds": start_seconds, "megabytes": server.megabytes(), "loads": loads}


def seconds_for(connections: int, load: Load) -> int:
    """Give how long a server as slow as in an earlier load needs to answer every connection a few times."""
    per_answer = load["seconds"] / max(load["requests"], 1)
    return min(math.ceil(FEW_ANSWERS * connections * per_answer), LONGEST_SECONDS)


def check(answer: Any, values: Callable[[Any], list[float]], truths: Sequence[float]) -> None:
    """Compare an answer with what the model says.

    Raises
    ------
    ServerError: they differ.
    """
    try:
        found = values(answer)
        pairs = list(zip(found, truths, strict=True))
        right = all(abs(value - truth) <= TOLERANCE * abs(truth) for value, truth in pairs)
    except (LookupError, TypeError, ValueError, AttributeError):
        right = False
    if not right:
        raise ServerError(f"wrong answer: expected {str(truths)[:200]}, got {str(answer)[:400]}")


def run(options: argparse.Namespace) -> None:
    """Run what is missing and append each result to the file as soon as it is there."""
    # The load, and whatever else is done here, stays off the server's core.
    os.sched_setaffinity(0, {options.load_core})
    if not (jobs := missing(options)):
        return
    with tempfile.TemporaryDirectory() as folder:
        served = train(Path(folder), max(N_ROWS))
        for job in jobs:
            result = compete(job, served, options)
            with options.results.open("a") as file:
                file.write(json.dumps(asdict(result)) + "\n")
            rates = ", ".join(f"{load['requests'] / load['seconds']:.0f}/s" for load in result.loads)
            told = f"round {job.round}, {job.contestant}, {job.n_rows} rows: {result.failure or rates}"
            print(told, file=sys.stderr, flush=True)


def missing(options: argparse.Namespace) -> list[Job]:
    """Give what is to be run, round by round; failures are tried again."""
    done = {(each.contestant, each.n_rows, each.round) for each in results_of(options) if each.failure is None}
    names, rounds = options.contestants, range(options.rounds)
    wanted = [(name, rows, number) for number in rounds for name in names for rows in CONTESTANTS[name].n_rows]
    return [Job(*each) for each in wanted if each not in done]


def results_of(options: argparse.Namespace) -> list[Result]:
    """Read the results that are there of what is asked for, each job's last one."""
    lines = options.results.read_text().splitlines() if options.results.exists() else []
    results = [Result(**json.loads(line)) for line in lines]
    asked = [each for each in results if each.contestant in options.contestants and each.seconds == options.seconds]
    current = [each for each in asked if each.software == CONTESTANTS[each.contestant].software]
    return list({(each.contestant, each.n_rows, each.round): each for each in current}.values())


def software_line(results: Sequence[Result]) -> str:
    """Say what the figures were measured on, and the versions of what was measured."""
    names = {each.contestant for each in results if each.failure is None}
    pinned = [contestant for name, contestant in CONTESTANTS.items() if name in names and contestant.packages]
    peers = {each.python(): [package.split("==")[0] for package in each.packages] for each in pinned}
    if any(name.startswith("tutorial") for name in names):
        peers[keras_environment()] = ["keras", "tensorflow", "tensorflow-cpu"]
    tools = [tool for tool in (("wrk", "-v"), ("gcc", "--version"), (NGINX, "-v")) if shutil.which(tool[0])]
    told = [subprocess.run(tool, capture_output=True, text=True, check=False) for tool in tools]
    versions = [(each.stdout + each.stderr).splitlines()[0].split(" [")[0] for each in told]
    return ", ".join([machine_line(OUR_PACKAGES, peers), *versions])


def parsed_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS), metavar="NAME")
    parser.add_argument("--seconds", type=int, default=5, help="of each load; %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="%(default)s")
    parser.add_argument("--server-core", type=int, default=0, help="%(default)s")
    parser.add_argument("--load-core", type=int, default=1, help="%(default)s")
    parser.add_argument("--results", type=Path, default=Path("serve.jsonl"), help="is added to; %(default)s")
    parser.add_argument("--report", action="store_true", help="only print what the results say")
    return parser.parse_args()


def main() -> None:
    """Run what is missing, and print what the results say."""
    options = parsed_arguments()
    if not options.report:
        if lacking := [name for name in ("wrk", "taskset") if shutil.which(name) is None]:
            raise SystemExit(f"{', '.join(lacking)}: not there; on Debian: apt-get install wrk util-linux")
        # Told to end, it stops the server that runs.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        run(options)
    results = results_of(options)
    print(software_line(results), report(results, options.contestants), sep="\n")


if __name__ == "__main__":
    main()
