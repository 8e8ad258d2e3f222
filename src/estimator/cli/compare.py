"""estimator compare: two versions, or two configs -> is the second really better?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from estimator.cli import options

if TYPE_CHECKING:
    from estimator.training.comparison import Comparison

EXIT_GATE = 3


@click.command("compare")
@click.argument("first")
@click.argument("second")
@click.option("--input", "table", help="Rows new to both versions; else those that both held out are used.")
@options.query
@options.folder
@click.option("--require-better", is_flag=True, help="End with 3 unless the second is better by the first metric.")
@options.overrides
@options.store
@options.as_json
def command(
    first: str,
    second: str,
    table: str | None,
    query: str | None,
    folder: Path,
    require_better: bool,
    overrides: tuple[str, ...],
    store: str | None,
    as_json: bool,
) -> int:
    """Tell whether SECOND is really better than FIRST: two versions on the same rows, or two configs on the same folds.

    Better, not better, or nobody can tell with so many rows, and then how many would do.
    """
    from estimator import verbs as life
    from estimator.cli import progress_bar

    with progress_bar.epochs(quiet=as_json) as progress:
        found = life.compare(
            first, second, options.order(overrides, store), table=(table, query) if table else None, folder=folder,
            progress=progress,
        )  # fmt: skip
    data = {"first": first, "second": second, "verdict": found[0].verdict, "metrics": [one.to_data() for one in found]}
    options.emit(data, _text(first, second, found), as_json=as_json)
    return EXIT_GATE if require_better and found[0].verdict != "better" else 0


def _text(first: str, second: str, found: Sequence[Comparison]) -> str:
    from estimator.core.text import format_number
    from estimator.training.comparison import in_words

    rows = [("metric", "first", "second", "gain", "second is")]
    rows += [
        (one.metric, format_number(one.first), format_number(one.second), str(one.gain), one.verdict) for one in found
    ]
    widths = [max(len(row[place]) for row in rows) for place in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([f"first   {first}", f"second  {second}", "", *lines, "", in_words(found[0])])
