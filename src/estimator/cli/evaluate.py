"""estimator evaluate: score a version on a table that holds the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from estimator import verbs
from estimator.cli import EXIT_GATE, options, progress_bar
from estimator.core.requirement import Requirement
from estimator.core.text import counted

if TYPE_CHECKING:
    from estimator.evaluation.scores import Score


@click.command("evaluate")
@options.model
@click.option("--input", "table", required=True, help="A table that holds the target.")
@options.query
@click.option(
    "--require",
    multiple=True,
    metavar="'METRIC>=VALUE'",
    help="Exit with 3 if a metric misses this value; <= for an error.",
)
@options.include_learned
@options.data_overrides
@options.store
@options.as_json
def command(
    model: str,
    table: str,
    query: str | None,
    require: tuple[str, ...],
    include_learned: bool,
    overrides: tuple[str, ...],
    store: str | None,
    as_json: bool,
) -> int:
    """Score a version on a table that holds the target, with bootstrap confidence intervals.

    Rows that the version has learned from are left out, with a note.

    \b
    Example: estimator evaluate --model houses --input new.csv --require 'r2>=0.8'
    """
    context = options.context(overrides, store)
    artefact = context.version(model)
    with progress_bar.steps(quiet=as_json) as progress:
        evaluation = verbs.evaluate.evaluate(
            artefact, table, query=query, include_learned=include_learned, context=context, progress=progress
        )
    scores, confusion = evaluation.metrics, evaluation.confusion
    missed = _missed(require, scores)
    data = {
        "name": artefact.name,
        "version": artefact.version,
        "rows": evaluation.rows,
        "metrics": {name: score.to_data() for name, score in scores.items()},
        "confusion": None if confusion is None else confusion.to_data(),
        "required": list(require),
        "missed": missed,
    }
    width = max(len(name) for name in scores)
    lines = [f"{artefact.name} {artefact.version} on {counted(evaluation.rows, 'row')}"]
    lines += [f"{name.ljust(width)}  {score}" for name, score in scores.items()]
    lines += ["", *options.table(confusion.table)] if confusion else []
    lines += [f"not met: {requirement}" for requirement in missed]
    options.emit(data, "\n".join(lines), as_json=as_json, notes=context.notes)
    return EXIT_GATE if missed else 0


def _missed(requirements: Sequence[str], scores: Mapping[str, Score]) -> list[str]:
    """Return the requirements that the scores do not meet; an undefined score meets none."""
    missed = []
    for text in requirements:
        requirement = Requirement.parse(text)
        if requirement is None or requirement.metric not in scores:
            raise click.UsageError(
                f"--require {text}: expected one of {', '.join(scores)}, then >= or <=, then a number"
            )
        name = requirement.metric
        better, best = ("higher", ">=") if verbs.evaluate.is_higher_better(name) else ("lower", "<=")
        if requirement.sign != best:
            expected = f"{name}{best}{requirement.value:g}"
            raise click.UsageError(f"--require {text}: {name} is better when {better}, so expected {expected}")
        if not requirement.is_met(scores[name].value):
            missed.append(text)
    return missed
