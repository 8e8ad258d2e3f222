"""estimator init: a table -> a first config and schema."""

from __future__ import annotations

from pathlib import Path

import click

from estimator import verbs
from estimator.cli import options


@click.command("init")
@click.argument("table", required=False)
@click.option("--target", help="The column to predict.")
@click.option(
    "--conf",
    type=click.Path(path_type=Path),
    default=Path("config.yml"),
    show_default=True,
    help="The config to write.",
)
@click.option("--name", help="The model's name  [default: that of the table]")
@options.query
@click.option("--ci", "system", type=click.Choice(["github", "gitlab", "bitbucket"]), help="Also write a CI workflow.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
@options.as_json
def command(
    table: str | None,
    target: str | None,
    conf: Path,
    name: str | None,
    query: str | None,
    system: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write a first config that runs, and a schema to review, for TABLE.

    TABLE is a file, a glob pattern, a folder of files, or a URL. With --ci, a workflow that runs `estimator ci` on
    every push and deploys after approval is written too; without TABLE, for the config that exists.

    \b
    Example: estimator init houses.csv --target price
             estimator init loans.csv --target status --name loans --conf loans.yml
    """
    if table is None and system is None:
        raise click.UsageError("Missing argument 'TABLE'.")
    if table is not None and target is None:
        raise click.UsageError("Missing option '--target'.")
    context = options.context()
    data: dict[str, object] = {"config": str(conf)}
    lines: list[str] = []
    if table is not None and target is not None:
        scaffold = verbs.init.init(table, target, context, conf=conf, force=force, query=query, name=name)
        schema = verbs.init.schema_path_for(conf)
        keys = verbs.init.key_schema_path(conf)
        data |= {
            "schema": str(schema),
            "key_schema": str(keys),
            "task": scaffold.task.kind,
            "reasons": list(scaffold.reasons),
        }
        lines += [*scaffold.reasons, "", f"written: {conf}, {schema}", f"written: {keys}, for editors"]
    if system is not None:
        workflow, *wheels = verbs.init.init_ci(conf, system, context, force=force)
        data |= {"workflow": str(workflow), "wheels": [str(path) for path in wheels]}
        lines += [f"written: {workflow}; its first lines list the settings it needs"]
        lines += [f"written: {path}, which it installs: commit both" for path in wheels]
        lines.append(f"next: estimator ci --conf {conf}")
    lines.append(f"next: estimator train --conf {conf}")
    options.emit(data, "\n".join(lines), as_json=as_json, notes=context.notes)
