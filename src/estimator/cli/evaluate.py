"""estimator evaluate: a version and a table whose truth is known -> metrics."""

from __future__ import annotations

import click

from estimator.cli import options


@click.command("evaluate")
@options.model
@click.option("--input", "table", required=True, help="A table that holds the target.")
@options.store
@options.as_json
def command(model: str, table: str, store: str | None, as_json: bool) -> None:
    """Score a version on a table whose truth is known, with bootstrap intervals."""
    from estimator import life

    artefact = life.load(model, options.opened(store))
    n_rows, scores = life.evaluate(artefact, table)
    data = {
        "name": artefact.name,
        "version": artefact.version,
        "rows": n_rows,
        "metrics": {name: score.to_data() for name, score in scores.items()},
    }
    width = max(len(name) for name in scores)
    lines = [f"{artefact.name} {artefact.version} on {n_rows:,} rows"]
    lines += [f"{name.ljust(width)}  {score}" for name, score in scores.items()]
    options.emit(data, "\n".join(lines), as_json=as_json)
