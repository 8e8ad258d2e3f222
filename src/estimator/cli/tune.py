"""estimator tune: search settings, and write a config that trains the best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from estimator import verbs
from estimator.cli import options, progress_bar
from estimator.core.text import format_number

if TYPE_CHECKING:
    from estimator.verbs.tune import TunedConfig

EXIT_INTERRUPTED = 130


@click.command("tune")
@options.conf
@options.overrides
@options.engine
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that search at once.")
@click.option("--fresh", is_flag=True, help="Delete the trials of this search and start again.")
@click.option("--worker", is_flag=True, hidden=True, help="Search for the process that started this one.")
@options.as_json
def command(
    conf: Path, overrides: tuple[str, ...], engine: str | None, workers: int, fresh: bool, worker: bool, as_json: bool
) -> int:
    """Search the settings in tuning.space, and write a config that trains the best.

    Every trial is saved as it ends: the same command continues an interrupted or killed search.

    \b
    Example: estimator tune --conf config.yml --set tuning.n_trials=30 --workers 2
    """
    settings = [word for text in overrides for word in ("--set", text)]
    settings += [] if engine is None else ["--engine", engine]
    worker_command = ["tune", "--conf", str(conf), *settings, "--workers", str(workers), "--worker"]
    # The process that started this one prints the notes.
    context = options.context(overrides, engine=engine, quiet=worker)
    processes = verbs.tune.Workers(workers, worker_command, worker)
    try:
        with progress_bar.trials(quiet=as_json or worker) as (show, progress):
            tuned = verbs.tune.tune(conf, context, fresh=fresh, workers=processes, show=show, progress=progress)
    except KeyboardInterrupt:
        options.say("interrupted: finished trials are saved; the same command, without --fresh, continues")
        return EXIT_INTERRUPTED
    if tuned is not None:
        options.emit(_data(tuned), _text(tuned), as_json=as_json, notes=context.notes)
    return 0


def _data(tuned: TunedConfig) -> dict[str, Any]:
    return {**tuned.result.to_data(), "study": tuned.study, "config": str(tuned.conf), "page": str(tuned.page)}


def _text(tuned: TunedConfig) -> str:
    result = tuned.result
    on_folds = result.on_folds
    scores = [
        (result.metric, "best settings", "current config"),
        ("held-out rows", str(result.held_out), str(result.untuned)),
        (
            "folds of the search, optimistic",
            format_number(result.search_score),
            format_number(result.search_score if on_folds is None else on_folds.first),
        ),
    ]
    lines = [
        result.counts,
        "",
        f"best settings, from trial {result.best.number}:",
        *(f"  {key}: {verbs.tune.format_setting(value)}" for key, value in result.edits.items()),
        "",
        *options.table(scores),
        "",
        result.verdict,
        "",
        f"page    {tuned.page}",
        f"config  {tuned.conf}",
    ]
    is_worse = bool(result.comparisons) and result.comparisons[0].verdict == "worse"
    next_step = "next: keep the current config" if is_worse else f"next: estimator train --conf {tuned.conf}"
    return "\n".join([*lines, "", next_step])
