"""estimator export: the prediction log as a table."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from estimator import verbs
from estimator.cli import options, progress_bar
from estimator.core.text import counted, join_names

if TYPE_CHECKING:
    from estimator.data.sinks import IfExists
    from estimator.verbs.export import LogExport


@click.command("export")
@options.named_model
@click.option(
    "--output", required=True, help="Where the table goes: .parquet, .csv, sqlite:///my.db or postgresql://..."
)
@click.option("--since", metavar="TIME", help="7d, 12h or 30m ago, or a date  [default: the first prediction]")
@click.option("--until", metavar="TIME", help="The end of that time, as in --since  [default: now]")
@click.option("--version", metavar="VERSION", help="Only predictions of this version, or of an alias such as live.")
@click.option("--shadow", is_flag=True, help="What shadow versions predicted, instead of what was served.")
@click.option(
    "--for-training",
    is_flag=True,
    help="A table for evaluate, retrain or train: only rows with a label, only the inputs and the target.",
)
@click.option("--table", "into", help="For a database: the table to write.")
@click.option(
    "--if-exists",
    type=click.Choice(["fail", "replace", "append"]),
    help="What to do if that table exists  [default: fail]",
)
@click.option(
    "--quote-formulas",
    is_flag=True,
    help="For .csv: put ' before text that a spreadsheet would run as a formula, as predict does.",
)
@options.log
@options.store
@options.as_json
def command(
    model: str, output: str, since: str | None, until: str | None, version: str | None, shadow: bool,
    for_training: bool, into: str | None, if_exists: IfExists | None, quote_formulas: bool, log: str | None,
    store: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Export MODEL's prediction log as a table: inputs, predictions and labels, one row per prediction.

    \b
    Example: estimator export houses --log predictions.db --output log.parquet --since 30d
    """
    now = time.time()
    context = options.context(store=store)
    selection = verbs.export.LogSelection(
        since=0.0 if since is None else options.timestamp(since, now),
        until=now if until is None else options.timestamp(until, now),
        version=version,
        shadow=shadow,
        for_training=for_training,
    )
    with progress_bar.rows(quiet=as_json) as progress:
        exported = verbs.export.export(
            verbs.monitor.MonitoredModel(model, log),
            output,
            context,
            selection,
            into=into,
            if_exists=if_exists,
            quote_formulas=quote_formulas,
            progress=progress,
        )
    path = output if into is None else f"{output}, table {into}"
    data = {"path": path, **exported.to_data()}
    options.emit(data, _text(exported, path, shadow=shadow), as_json=as_json, notes=context.notes)


def _text(exported: LogExport, path: str, *, shadow: bool) -> str:
    lines = [f"{counted(exported.n_rows, 'row')}, {exported.n_labels:,} with a label: {path}"]
    if len(exported.versions) > 1:
        lines += [f"  {version}  {counted(n_rows, 'row')}" for version, n_rows in exported.versions.items()]
    for name, n_values in exported.unreadable.items():
        lines.append(f"missing     {counted(n_values, 'value')} of {name!r} not of its type")
    if exported.private_columns:
        lines.append(f"private     {join_names(map(repr, exported.private_columns))}: never in the log")
    if exported.n_shadow_rows and not shadow:
        lines.append(f"left out    {counted(exported.n_shadow_rows, 'shadow prediction')}: see --shadow")
    return "\n".join(lines)
