"""estimator predict: a table of new rows -> a table of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from estimator.cli import options

if TYPE_CHECKING:
    from estimator.data.sinks import IfExists


@click.command("predict")
@options.model
@click.option("--input", "table", required=True, help="New rows: a file, a pattern, a folder or an address.")
@options.query
@click.option(
    "--output", required=True, help="The answers: .parquet, .csv, or a database: sqlite:///my.db, postgresql://..."
)
@click.option("--table", "into", help="Of a database: the table for the answers.")
@click.option(
    "--if-exists", type=click.Choice(["fail", "replace", "append"]),
    help="If that table exists.  [default: fail]",
)  # fmt: skip
@click.option("--keep", multiple=True, metavar="COLUMN", help="A column of the input to put before the answers.")
@click.option(
    "--on-error", type=click.Choice(["stop", "missing"]), default="stop", show_default=True,
    help="At a row that breaks the contract: stop, or leave its answer empty and go on.",
)  # fmt: skip
@options.store
@options.as_json
def command(
    model: str, table: str, query: str | None, output: str, into: str | None, if_exists: IfExists | None,
    keep: tuple[str, ...], on_error: str, store: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Answer every row of a table, in order, in batches."""
    from estimator import verbs as life
    from estimator.cli import progress_bar

    artefact = life.load(model, options.opened(store))
    with progress_bar.rows(quiet=as_json) as progress:
        tally = life.predict(
            artefact, table, output, query=query, into=into, if_exists=if_exists, keep=keep, order=options.order(),
            invalid_as_missing=on_error == "missing", progress=progress,
        )  # fmt: skip
    data = {
        "name": artefact.name,
        "version": artefact.version,
        "output": output if into is None else f"{output}, table {into}",
        "rows": tally.rows,
        "rows_without_prediction": tally.rows_without_prediction,
        "rows_resumed": tally.rows_resumed,
        "faults": [str(fault) for fault in tally.faults],
    }
    told = [f"{fault}" for fault in tally.faults[:5]]
    if tally.rows_without_prediction:
        told.append(f"{tally.rows_without_prediction:,} of {tally.rows:,} rows break the contract and have no answer")
    if tally.rows_resumed:
        told.append(f"{tally.rows_resumed:,} rows had been answered before the last run ended")
    for line in told:
        options.say(line)
    options.emit(
        data, f"{tally.rows:,} rows answered by {artefact.name} {artefact.version}: {data['output']}", as_json=as_json
    )
