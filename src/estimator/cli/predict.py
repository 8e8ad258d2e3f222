"""estimator predict: a version's predictions for every row of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from estimator import verbs
from estimator.cli import options, progress_bar
from estimator.core.text import counted

if TYPE_CHECKING:
    from estimator.data.sinks import IfExists

MAX_SHOWN_FAULTS = 5


@click.command("predict")
@options.model
@click.option("--input", "table", required=True, help="New rows: a file, a glob pattern, a folder or a URL.")
@options.query
@click.option(
    "--output", required=True, help="Where predictions go: .parquet, .csv, sqlite:///my.db or postgresql://..."
)
@click.option("--table", "into", help="For a database: the table to write.")
@click.option(
    "--if-exists",
    type=click.Choice(["fail", "replace", "append"]),
    help="What to do if that table exists  [default: fail]",
)
@click.option("--keep", multiple=True, metavar="COLUMN", help="Copy this input column to the output; repeatable.")
@click.option("--keep-all", is_flag=True, help="Copy all input columns to the output.")
@click.option(
    "--quote-formulas",
    is_flag=True,
    help="For .csv: put ' before text that begins with =, +, -, @, a tab or a carriage return, which spreadsheets run "
    "as a formula; numbers such as -5 stay as they are.",
)
@click.option(
    "--on-error",
    type=click.Choice(["stop", "missing"]),
    default="stop",
    show_default=True,
    help="At a row that breaks the schema or a line that cannot be read: stop, or write a missing prediction.",
)
@options.data_overrides
@options.store
@options.as_json
def command(
    model: str, table: str, query: str | None, output: str, into: str | None, if_exists: IfExists | None,
    keep: tuple[str, ...], keep_all: bool, quote_formulas: bool, on_error: str, overrides: tuple[str, ...],
    store: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Predict every row of a table, in order and in batches: one row of output for each row of input.

    \b
    Example: estimator predict --model houses --input new.csv --output predictions.csv --keep id
    """
    if keep and keep_all:
        raise click.UsageError("give --keep or --keep-all, not both")
    context = options.context(overrides, store)
    artefact = context.version(model)
    with progress_bar.rows(quiet=as_json) as progress:
        tally = verbs.predict.predict(
            artefact,
            table,
            output,
            context,
            query=query,
            into=into,
            if_exists=if_exists,
            keep=keep,
            keep_all=keep_all,
            quote_formulas=quote_formulas,
            invalid_as_missing=on_error == "missing",
            progress=progress,
        )
    destination = output if into is None else f"{output}, table {into}"
    data = {
        "name": artefact.name,
        "version": artefact.version,
        "output": destination,
        "rows": tally.rows,
        "rows_without_prediction": tally.rows_without_prediction,
        "rows_resumed": tally.rows_resumed,
        "faults": [str(fault) for fault in tally.faults],
    }
    messages = [str(fault) for fault in tally.faults[:MAX_SHOWN_FAULTS]]
    if tally.rows_without_prediction:
        messages.append(
            f"without a prediction: {tally.rows_without_prediction:,} of {counted(tally.rows, 'row')}, "
            "which cannot be read or break the schema"
        )
    if tally.rows_resumed:
        verb = "was" if tally.rows_resumed == 1 else "were"
        messages.append(
            f"{counted(tally.rows_resumed, 'row')} {verb} already predicted by the run that was interrupted"
        )
    for message in messages:
        options.say(message)
    text = f"{counted(tally.rows, 'row')} predicted by {artefact.name} {artefact.version}: {destination}"
    options.emit(data, text, as_json=as_json, notes=context.notes)
