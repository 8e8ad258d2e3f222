"""Progress of long work on stderr: a bar in a terminal, elsewhere a line every ten seconds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Thread
from time import perf_counter
from typing import TYPE_CHECKING

import click

from estimator.cli import options
from estimator.core.text import counted, format_duration, format_number

if TYPE_CHECKING:
    from estimator.models import Progress, TrainingStep
    from estimator.tuning import SearchProgress

# Seconds of work between two lines where there is no terminal.
INTERVAL_SECONDS = 10.0
# A narrower terminal shows no bar, only what it would say.
MIN_BAR_COLUMNS = 60


@dataclass(frozen=True, slots=True)
class ShownStep:
    """What is being done, `done` steps of `total`; a total of 0 is unknown."""

    text: str
    done: int = 0
    total: int = 0

    def __str__(self) -> str:
        count = f"{self.done:,}/{self.total:,}" if self.total else ""
        return "  ".join(filter(None, [count, self.text]))


Show = Callable[[ShownStep], None]


@contextmanager
def steps(*, quiet: bool) -> Iterator[Progress]:
    """Yield a callback that shows the stage of the work, and of a fit its epoch or round with the losses."""
    with _shown(quiet=quiet) as show:
        stage_seconds, latest = perf_counter(), ShownStep("starting")

        def progress(step: TrainingStep) -> None:
            nonlocal stage_seconds, latest
            if not step.total:
                stage_seconds = perf_counter()
            texts = [f"{name} {value:.4g}" for name, value in step.values.items()]
            # Epochs and rounds, which have losses, may stop early.
            if step.number < step.total and not texts:
                left_seconds = (perf_counter() - stage_seconds) / step.number * (step.total - step.number)
                texts = [f"about {format_duration(left_seconds)} left"]
            latest = ShownStep("  ".join(filter(None, [step.label, *texts])), step.number, step.total)
            show(latest)

        try:
            yield progress
        except KeyboardInterrupt:
            click.echo(f"stopped at: {latest}", err=True)
            raise


@contextmanager
def trials(*, quiet: bool) -> Iterator[tuple[Callable[[SearchProgress], None], Progress]]:
    """Yield a callback that shows the trials of a search, and one that shows what follows it."""
    with _shown(quiet=quiet) as show:
        start_seconds, earlier = perf_counter(), list[int]()

        def show_search(search: SearchProgress) -> None:
            earlier.append(search.done)
            # Trials of earlier runs took none of this run's time.
            n_new = search.done - earlier[0]
            left_seconds = (perf_counter() - start_seconds) / max(n_new, 1) * (search.total - search.done)
            best = "no result yet"
            if search.best is not None:
                best = f"best {format_number(search.best)} (trial {search.best_trial})"
            left = f"about {format_duration(left_seconds)} left" if n_new else ""
            text = "  ".join(filter(None, ["trials", best, f"{search.pruned} pruned", left]))
            show(ShownStep(text, search.done, search.total))

        def show_stage(step: TrainingStep) -> None:
            # Steps of a trial's fits would hide the trials.
            if not step.total:
                show(ShownStep(step.label))

        yield show_search, show_stage


@contextmanager
def rows(*, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Yield a callback that shows how many rows are done."""
    with _shown(quiet=quiet) as show:
        yield lambda n_rows: show(ShownStep(counted(n_rows, "row")))


@contextmanager
def notes(*, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Yield a callback that prints the steps of long work, and shows that the latest goes on."""
    with _shown(quiet=quiet) as show:

        def note(text: str) -> None:
            options.note(as_json=quiet)(text)
            show(ShownStep(text))

        yield note


@contextmanager
def _shown(*, quiet: bool) -> Iterator[Show]:
    if quiet:
        yield lambda step: None
        return
    is_bar = options.is_terminal() and os.environ.get("TERM") != "dumb"
    with _bar() if is_bar else _lines() as show:
        yield show


@contextmanager
def _bar() -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    one_line = Column(no_wrap=True, overflow="ellipsis", ratio=1)
    text = TextColumn("{task.description}", markup=False, table_column=one_line)
    columns: list[ProgressColumn] = [TimeElapsedColumn(), text]
    console = Console(stderr=True)
    if console.width >= MIN_BAR_COLUMNS:
        columns.insert(0, BarColumn(bar_width=24))
    with Progress(*columns, console=console, transient=True, expand=True) as bar:
        task = bar.add_task("starting", total=None)

        def show(step: ShownStep) -> None:
            # A stage may be over before the bar is next drawn.
            bar.update(
                task, total=step.total or None, completed=step.done, description=str(step), refresh=not step.total
            )

        yield show


@contextmanager
def _lines() -> Iterator[Show]:
    """Print the latest moment every few seconds, by a thread: some stages report nothing while they run."""
    start_seconds, is_done, latest = perf_counter(), Event(), [ShownStep("starting")]

    def show(step: ShownStep) -> None:
        latest[0] = step

    def print_lines() -> None:
        while not is_done.wait(INTERVAL_SECONDS):
            click.echo(f"{format_duration(perf_counter() - start_seconds)}: {latest[0]}", err=True)

    printer = Thread(target=print_lines, daemon=True)
    printer.start()
    try:
        yield show
    finally:
        is_done.set()
        printer.join()
