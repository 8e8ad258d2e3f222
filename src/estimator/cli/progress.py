"""A line that moves while something long runs, for a person at a terminal; silent everywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from estimator.cli.options import is_watched
from estimator.models.base import Step, Watch, silent


@contextmanager
def epochs(*, quiet: bool) -> Iterator[Watch]:
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

        def watch(step: Step) -> None:
            words = [step.what, *(f"{name} {value:.4g}" for name, value in step.values.items())]
            shown.update(task, total=step.total, completed=step.number, description="  ".join(filter(None, words)))

        yield watch


@contextmanager
def rows(*, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Give a watcher that shows how many rows are done."""
    if quiet or not is_watched():
        yield lambda done: None
        return
    import sys

    yield lambda done: print(f"\r{done:,} rows", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
