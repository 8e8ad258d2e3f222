"""estimator init: a table -> a first config and a schema to review."""

from __future__ import annotations

from pathlib import Path

import click

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
@options.query
@click.option("--ci", "system", type=click.Choice(["github", "gitlab", "bitbucket"]), help="Write a workflow, too.")
@click.option("--force", is_flag=True, help="Write over existing files.")
@options.as_json
def command(
    table: str | None, target: str | None, conf: Path, query: str | None, system: str | None, force: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Look at TABLE (a file, a pattern, a folder of parts or an address) and write a first config that runs.

    The schema is written beside it, as schema.yml, for you to review. With --ci, a workflow is written that holds every
    push to `estimator ci` and deploys what somebody approves; without TABLE, for the config that is there.
    """
    from estimator import verbs as life

    if table is None and system is None:
        raise click.UsageError("Missing argument 'TABLE'.")
    if table is not None and target is None:
        raise click.UsageError("Missing option '--target'.")
    data: dict[str, object] = {"config": str(conf)}
    lines: list[str] = []
    if table is not None and target is not None:
        drafted = life.init(table, target, conf=conf, force=force, query=query, order=options.order())
        schema = conf.with_name("schema.yml")
        data |= {"schema": str(schema), "task": drafted.task.kind, "reasons": list(drafted.reasons)}
        lines += [*drafted.reasons, "", f"written: {conf}, {schema}"]
    if system is not None:
        workflow = life.init_ci(conf, system, options.order(), force=force)
        data["workflow"] = str(workflow)
        lines += [f"written: {workflow}; its first lines say what is to be set", f"next: estimator ci --conf {conf}"]
    lines.append(f"next: estimator train --conf {conf}")
    options.emit(data, "\n".join(lines), as_json=as_json)
