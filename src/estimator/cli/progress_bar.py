"""A line that moves while something long runs, for a person at a terminal; silent everywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from estimator.cli.options import is_watched
from estimator.models.base import Progress, TrainingStep, silent

if TYPE_CHECKING:
    from estimator.tuning import SearchProgress


@contextmanager
def epochs(*, quiet: bool) -> Iterator[Progress]:
    """Give a watcher that shows the epoch or round, its losses and the time that is left."""
    if quiet or not is_watched():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.completed}/{task.total}"),
        BarColumn(bar_width=24),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("starting", total=1)

        def progress(step: TrainingStep) -> None:
            words = [step.what, *(f"{name} {value:.4g}" for name, value in step.values.items())]
            shown.update(task, total=step.total, completed=step.number, description="  ".join(filter(None, words)))

        yield progress


@contextmanager
def trials(*, quiet: bool) -> Iterator[tuple[Callable[[SearchProgress], None], Progress]]:
    """Give what shows how far a search has come, and a watcher of the trial that runs."""
    if quiet or not is_watched():
        yield (lambda progress: None), silent
        return
    from time import perf_counter

    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    from estimator.core.text import format_number

    columns = (
        TextColumn("trial {task.completed}/{task.total}"),
        BarColumn(bar_width=24),
        TextColumn("{task.description}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as shown:
        task, began, before = shown.add_task("starting", total=None), perf_counter(), list[int]()

        def show(found: SearchProgress) -> None:
            before.append(found.done)
            # Trials of earlier runs took no time of this one.
            fresh = found.done - before[0]
            left = (perf_counter() - began) / fresh * (found.total - found.done) if fresh > 0 else None
            best = (
                f"best {format_number(found.best)} (trial {found.best_trial})" if found.best is not None else "none yet"
            )
            told = [best, f"{found.pruned} given up early", "" if left is None else f"about {_span(left)} left"]
            shown.update(task, total=found.total, completed=found.done, description="  ".join(filter(None, told)))

        yield show, silent


def _span(left: float) -> str:
    """Return seconds as a person would say them."""
    return f"{left:.0f} s" if left < 90 else f"{left / 60:.0f} min" if left < 5400 else f"{left / 3600:.1f} h"


@contextmanager
def rows(*, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Give a watcher that shows how many rows are done."""
    if quiet or not is_watched():
        yield lambda done: None
        return
    import sys

    yield lambda done: print(f"\r{done:,} rows", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
