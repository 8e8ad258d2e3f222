"""estimator init: a table -> a first config and a schema to review."""

from __future__ import annotations

from pathlib import Path

import click

from estimator.cli import options


@click.command("init")
@click.argument("table")
@click.option("--target", required=True, help="The column to predict.")
@click.option(
    "--conf",
    type=click.Path(path_type=Path),
    default=Path("config.yml"),
    show_default=True,
    help="The config to write.",
)
@options.query
@click.option("--force", is_flag=True, help="Write over existing files.")
@options.as_json
def command(table: str, target: str, conf: Path, query: str | None, force: bool, as_json: bool) -> None:
    """Look at TABLE (a file, a pattern, a folder of parts or an address) and write a first config that runs.

    The schema is written beside it, as schema.yml, for you to review.
    """
    from estimator import life

    drafted = life.init(table, target, conf=conf, force=force, query=query, order=options.order())
    data = {
        "config": str(conf),
        "schema": str(conf.with_name("schema.yml")),
        "task": drafted.task.kind,
        "reasons": list(drafted.reasons),
    }
    lines = [
        *drafted.reasons,
        "",
        f"written: {conf}, {conf.with_name('schema.yml')}",
        f"next: estimator train --conf {conf}",
    ]
    options.emit(data, "\n".join(lines), as_json=as_json)
