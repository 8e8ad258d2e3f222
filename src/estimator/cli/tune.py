"""estimator tune: a config -> the best settings of its search, and a config that trains them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from estimator.cli import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from estimator.verbs import Tuned

EXIT_INTERRUPTED = 130


@click.command("tune")
@options.conf
@options.overrides
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that search at once.")
@click.option("--fresh", is_flag=True, help="Drop the trials of this search and start anew.")
@click.option("--parent", type=int, hidden=True, help="The process that a worker works for.")
@options.as_json
def command(
    conf: Path, overrides: tuple[str, ...], workers: int, fresh: bool, parent: int | None, as_json: bool
) -> int:
    """Search the settings in the config's section tuning, and write a config that trains the best.

    Every trial is kept as it ends: the same command goes on where it was interrupted or killed.
    """
    from estimator import verbs as life
    from estimator.cli import progress_bar
    from estimator.verbs.context import Helpers

    def called(parent: int) -> Sequence[str]:
        words = [word for text in overrides for word in ("--set", text)]
        return ["tune", "--conf", str(conf), *words, "--workers", str(workers), "--parent", str(parent)]

    helpers = Helpers(workers, called, parent)
    try:
        with progress_bar.trials(quiet=as_json or parent is not None) as (show, progress):
            made = life.tune(conf, options.order(overrides), fresh=fresh, helpers=helpers, show=show, progress=progress)
    except KeyboardInterrupt:
        options.say("interrupted: the trials that ended are kept; the same command goes on, without --fresh")
        return EXIT_INTERRUPTED
    if made is not None:
        options.emit(_data(made), _text(made), as_json=as_json)
    return 0


def _data(made: Tuned) -> dict[str, Any]:
    return {**made.outcome.to_data(), "study": made.study, "config": str(made.conf), "page": str(made.page)}


def _text(made: Tuned) -> str:
    from estimator.core.text import format_number
    from estimator.tuning.space import shown

    found = made.outcome
    lines = [
        found.counts,
        "",
        f"best settings, of trial {found.best.number}:",
        *(f"  {key}: {shown(value)}" for key, value in found.edits.items()),
        "",
        f"{found.metric} by the folds of the search  {format_number(found.search)}   (chosen by it, so it flatters)",
        f"{found.metric} on held-out rows           {found.held_out}",
        f"  with the config's own settings  {found.untuned}",
    ]
    lines += [f"  gain  {found.compared[0].gain}: {found.compared[0].verdict}"] if found.compared else []
    lines += ["", found.verdict, "", f"page    {made.page}", f"config  {made.conf}"]
    return "\n".join([*lines, "", f"next: estimator train --conf {made.conf}"])
