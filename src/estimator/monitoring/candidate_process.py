"""Candidates trained in a process of their own: a library that crashes costs a candidate one try, and nothing else."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from estimator.config import Shelves, resolve
from estimator.config.sections import row_ranges as parse_ranges
from estimator.core.child_process import child_environment
from estimator.core.files import scratch_folder
from estimator.models import Progress, TrainingStep
from estimator.monitoring.candidates import CandidateTask, CandidateTrainer, RetrainingRows, TrainingOutcome, row_ranges
from estimator.store.artefact import missing_packages_named, open_artefact
from estimator.store.store import Store

MAX_TRIES = 2
# A line of the stack trace that Python writes when it dies.
STACK_LINE = re.compile(r'File "(?P<file>.+)", line (?P<line>\d+) in (?P<function>\S+)')
TRACE = "trace"


def train_in_process(
    trainer: CandidateTrainer, tasks: Sequence[CandidateTask], command: Sequence[str], *, note: Callable[[str], None]
) -> list[TrainingOutcome]:
    """Train candidates by a command that runs `train_job`; one that dies is started again, once per candidate.

    `note` gets what begins, and what a process that died was doing.
    """
    outcomes, pending, n_tries = list[TrainingOutcome](), list(tasks), 1
    while pending:
        with scratch_folder() as scratch:
            trace = scratch / TRACE
            job = {**_job(trainer), "tasks": [asdict(task) for task in pending], "trace": str(trace)}
            trained, exit_code = _run(command, job, trainer.progress, note)
            death = _death(exit_code, trace)
        outcomes += trained
        n_tries = n_tries if not trained else 1
        pending = pending[len(trained) :]
        if not pending:
            break
        doing = f"{pending[0].kind}: the process that trained it {death}"
        if n_tries < MAX_TRIES:
            note(f"{doing}; it is tried once more")
            n_tries += 1
        else:
            note(f"{doing}, again")
            error = f"the process that trained it died {MAX_TRIES} times; the last one {death}"
            outcomes.append(TrainingOutcome(pending.pop(0).kind, error=error))
            n_tries = 1
    return outcomes


def _job(trainer: CandidateTrainer) -> dict[str, Any]:
    """Return what `train_job` makes the same trainer of."""
    return {
        "live": str(trainer.live.folder),
        "store": str(trainer.store.root),
        "path": str(trainer.path),
        "fingerprint": dict(trainer.fingerprint),
        "n_old": trainer.rows.n_old,
        "n_new": trainer.rows.n_new,
        "learned": row_ranges(np.flatnonzero(trainer.rows.is_learned) + 1),
        "reason": trainer.reason,
    }


def _run(
    command: Sequence[str], job: Mapping[str, Any], progress: Progress, note: Callable[[str], None]
) -> tuple[list[TrainingOutcome], int]:
    """Run a job in a process; return the outcomes of the candidates that it finished, and its exit code."""
    outcomes = []
    process = subprocess.Popen(  # noqa: S603 # our own
        command, env=child_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
        for message in _messages(process.stdout):
            if "begins" in message:
                note(message["begins"])
            elif "step" in message:
                progress(TrainingStep(**message["step"]))
            else:
                outcomes.append(TrainingOutcome(**message["outcome"]))
        return outcomes, process.wait()
    finally:
        process.kill()
        process.wait()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()


def _messages(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the messages of a process; the last line of one that died may be cut off."""
    for line in lines:
        with contextlib.suppress(json.JSONDecodeError):
            yield json.loads(line)


def _death(exit_code: int, trace: Path) -> str:
    """Return how a process died and what it was doing, to complete "the process ..."."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}; its messages are above"
    name = signal.Signals(-exit_code).name
    how = f"was killed by {name} ({(signal.strsignal(-exit_code) or name).lower()})"
    match = STACK_LINE.search(trace.read_text(errors="replace")) if trace.exists() else None
    if match is not None:
        return f"{how} in {match['function']}, {Path(match['file']).name}:{match['line']}"
    return f"{how}; is there too little memory?" if exit_code == -signal.SIGKILL else how


def train_job(shelves: Shelves, environment: Mapping[str, str]) -> None:
    """Train the candidates of the job on standard input, and report on standard output: the process of a candidate."""
    # What libraries print must not come between the messages.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    job = json.loads(sys.stdin.readline())

    def send(**message: object) -> None:
        output.write(json.dumps(message) + "\n")
        output.flush()

    with Path(job["trace"]).open("w") as trace:
        faulthandler.enable(trace, all_threads=False)
        trainer = _trainer(job, shelves, environment, lambda step: send(step=asdict(step)))
        for task in (CandidateTask(**values) for values in job["tasks"]):
            send(begins=task.description)
            send(outcome=asdict(trainer.outcome(task)))
        faulthandler.disable()


def _trainer(
    job: Mapping[str, Any], shelves: Shelves, environment: Mapping[str, str], progress: Progress
) -> CandidateTrainer:
    live, path = open_artefact(Path(job["live"])), Path(job["path"])
    is_learned = np.zeros(job["n_old"], dtype=np.bool_)
    for first, last in parse_ranges(job["learned"]) if job["learned"] else ():
        is_learned[first - 1 : last] = True
    with missing_packages_named(live):
        config = resolve(live.config, shelves)
    return CandidateTrainer(
        live=live,
        config=config,
        shelves=shelves,
        environment=environment,
        store=Store(Path(job["store"])),
        rows=RetrainingRows(pl.read_parquet(path), job["n_old"], job["n_new"], is_learned),
        path=path,
        fingerprint=job["fingerprint"],
        reason=job["reason"],
        progress=progress,
    )
