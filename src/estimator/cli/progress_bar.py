"""A progress bar on stderr while long work runs; silent without a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

from estimator.cli.options import is_terminal
from estimator.core.text import format_number

if TYPE_CHECKING:
    from estimator.models import Progress, TrainingStep
    from estimator.tuning import SearchProgress


def _ignore(step: object) -> None:
    return None


@contextmanager
def epochs(*, quiet: bool) -> Iterator[Progress]:
    """Yield a callback that shows the epoch or round, its losses and the remaining time."""
    if quiet or not is_terminal():
        yield _ignore
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.completed}/{task.total}"),
        BarColumn(bar_width=24),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=1)

        def progress(step: TrainingStep) -> None:
            parts = [step.label, *(f"{name} {value:.4g}" for name, value in step.values.items())]
            bar.update(task, total=step.total, completed=step.number, description="  ".join(filter(None, parts)))

        yield progress


@contextmanager
def trials(*, quiet: bool) -> Iterator[tuple[Callable[[SearchProgress], None], Progress]]:
    """Yield a callback that shows the trials of a search, and one for the steps of a trial, which shows nothing."""
    if quiet or not is_terminal():
        yield _ignore, _ignore
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (
        TextColumn("trial {task.completed}/{task.total}"),
        BarColumn(bar_width=24),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task, start_seconds, earlier = bar.add_task("starting", total=None), perf_counter(), list[int]()

        def show(search: SearchProgress) -> None:
            earlier.append(search.done)
            # Trials of earlier runs took none of this run's time.
            n_new = search.done - earlier[0]
            left_seconds = (
                (perf_counter() - start_seconds) / n_new * (search.total - search.done) if n_new > 0 else None
            )
            best = (
                "no result yet"
                if search.best is None
                else f"best {format_number(search.best)} (trial {search.best_trial})"
            )
            left = "" if left_seconds is None else f"about {_short_duration(left_seconds)} left"
            description = "  ".join(filter(None, [best, f"{search.pruned} pruned", left]))
            bar.update(task, total=search.total, completed=search.done, description=description)

        yield show, _ignore


def _short_duration(value_seconds: float) -> str:
    if value_seconds < 90:
        return f"{value_seconds:.0f} s"
    return f"{value_seconds / 60:.0f} min" if value_seconds < 5400 else f"{value_seconds / 3600:.1f} h"


@contextmanager
def rows(*, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Yield a callback that shows how many rows are done."""
    if quiet or not is_terminal():
        yield _ignore
        return
    yield lambda n_rows: print(f"\r{n_rows:,} rows", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
