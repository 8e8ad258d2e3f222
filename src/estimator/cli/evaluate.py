"""estimator evaluate: a version and a table whose truth is known -> metrics, and whether they are good enough."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from estimator.cli import options

if TYPE_CHECKING:
    from estimator.evaluation.scores import Score

EXIT_GATE = 3
REQUIREMENT = re.compile(r"\s*(\w+)\s*(>=|<=)\s*([-+.\deE]+)\s*")


@click.command("evaluate")
@options.model
@click.option("--input", "table", required=True, help="A table that holds the target.")
@options.query
@click.option("--require", multiple=True, metavar="'METRIC>=VALUE'", help="End with 3 when a metric is not this good.")
@options.store
@options.as_json
def command(
    model: str, table: str, query: str | None, require: tuple[str, ...], store: str | None, as_json: bool
) -> int:
    """Score a version on a table whose truth is known, with bootstrap intervals."""
    from estimator import verbs as life

    artefact = life.load(model, options.opened(store))
    n_rows, scores = life.evaluate(artefact, table, query=query, order=options.order())
    missed = _missed(require, scores)
    data = {
        "name": artefact.name,
        "version": artefact.version,
        "rows": n_rows,
        "metrics": {name: score.to_data() for name, score in scores.items()},
        "required": list(require),
        "missed": missed,
    }
    width = max(len(name) for name in scores)
    lines = [f"{artefact.name} {artefact.version} on {n_rows:,} rows"]
    lines += [f"{name.ljust(width)}  {score}" for name, score in scores.items()]
    lines += [f"not good enough: {text} is required" for text in missed]
    options.emit(data, "\n".join(lines), as_json=as_json)
    return EXIT_GATE if missed else 0


def _missed(requirements: Sequence[str], scores: Mapping[str, Score]) -> list[str]:
    """Return the requirements that the scores do not meet; a score that is not defined meets none."""
    missed = []
    for text in requirements:
        parts = REQUIREMENT.fullmatch(text)
        if parts is None or parts.group(1) not in scores:
            raise click.UsageError(
                f"--require {text}: expected one of {', '.join(scores)}, then >= or <=, then a number"
            )
        holds = {">=": operator.ge, "<=": operator.le}[parts.group(2)]
        if not holds(scores[parts.group(1)].value, float(parts.group(3))):
            missed.append(text)
    return missed
