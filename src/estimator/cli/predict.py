"""estimator predict: a version's predictions for every row of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from estimator import verbs
from estimator.cli import options, progress_bar
from estimator.core.text import counted

if TYPE_CHECKING:
    from estimator.data.sinks import IfExists
    from estimator.store.artefact import Artefact
    from estimator.store.batch_prediction import PredictionPlan
    from estimator.store.partial_output import BatchSummary

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
@click.option(
    "--dry-run", is_flag=True, help="Show what would be written, with its columns and their types, and write nothing."
)
@options.data_overrides
@options.store
@options.as_json
def command(
    model: str, table: str, query: str | None, output: str, into: str | None, if_exists: IfExists | None,
    keep: tuple[str, ...], keep_all: bool, quote_formulas: bool, on_error: str, dry_run: bool,
    overrides: tuple[str, ...], store: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Predict every row of a table, in order and in batches: one row of output for each row of input.

    \b
    Example: estimator predict --model houses --input new.csv --output predictions.csv --keep id
    """
    if keep and keep_all:
        raise click.UsageError("give --keep or --keep-all, not both")
    context = options.context(overrides, store)
    artefact = context.version(model)
    destination = output if into is None else f"{output}, table {into}"
    if dry_run:
        plan = verbs.predict.plan(
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
        )
        data = {**_data(artefact, destination), **_plan_data(plan)}
        options.emit(data, _plan_text(plan, destination), as_json=as_json, notes=context.notes)
        return
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
    _say_problems(tally)
    data = {
        **_data(artefact, destination),
        "rows": tally.rows,
        "rows_without_prediction": tally.rows_without_prediction,
        "rows_resumed": tally.rows_resumed,
        "faults": [str(fault) for fault in tally.faults],
    }
    text = f"{counted(tally.rows, 'row')} predicted by {artefact.name} {artefact.version}: {destination}"
    options.emit(data, text, as_json=as_json, notes=context.notes)


def _say_problems(tally: BatchSummary) -> None:
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


def _data(artefact: Artefact, destination: str) -> dict[str, Any]:
    return {"name": artefact.name, "version": artefact.version, "output": destination}


def _plan_data(plan: PredictionPlan) -> dict[str, Any]:
    return {"action": plan.sink.action, "columns": dict(plan.sink.types), "rows": plan.n_rows, "written": False}


def _plan_text(plan: PredictionPlan, destination: str) -> str:
    rows, action = (
        "a row for each of the input" if plan.n_rows is None else counted(plan.n_rows, "row"),
        plan.sink.action,
    )
    details = {"create": rows, "replace": f"{rows} instead of what it holds", "append": f"{rows} after those it holds"}
    line = options.plan_line("change" if action == "append" else action, destination, details[action])
    width = max(map(len, plan.sink.types))
    columns = [f"      {name:<{width}}  {kind}" for name, kind in plan.sink.types.items()]
    return "\n".join([line, *columns, "nothing was written"])
