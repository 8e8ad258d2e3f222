"""estimator compare: is the second version, or config, really better?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from estimator import verbs
from estimator.cli import EXIT_GATE, options, progress_bar
from estimator.core.text import format_number

if TYPE_CHECKING:
    from estimator.training.comparison import Comparison


@click.command("compare")
@click.argument("first")
@click.argument("second")
@click.option("--input", "table", help="Rows new to both versions  [default: the rows both held out]")
@options.query
@options.folder
@options.trust
@click.option("--require-better", is_flag=True, help="Exit with 3 unless SECOND is better by the first metric.")
@options.overrides
@options.store
@options.as_json
def command(
    first: str, second: str, table: str | None, query: str | None, folder: Path, trust: bool, require_better: bool,
    overrides: tuple[str, ...], store: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Compare two versions on the same rows, or two configs on the same folds.

    The verdict is better, worse, not better, or undecided, and then how many rows would decide. Overrides apply to both
    configs; versions keep theirs.

    \b
    Example: estimator compare houses@live houses@candidate --input new.csv
             estimator compare config.yml boosting.yml
    """
    context = options.context(overrides, store, trust=trust)
    with progress_bar.steps(quiet=as_json) as progress:
        comparisons = verbs.compare.compare(
            first, second, context, table=(table, query) if table else None, folder=folder, progress=progress
        )
    verdict = comparisons[0].verdict
    metrics = [comparison.to_data() for comparison in comparisons]
    data = {"first": first, "second": second, "verdict": verdict, "metrics": metrics}
    options.emit(data, _text(first, second, comparisons), as_json=as_json, notes=context.notes)
    return EXIT_GATE if require_better and verdict != "better" else 0


def _text(first: str, second: str, comparisons: Sequence[Comparison]) -> str:
    rows = [("metric", "first", "second", "gain", "second is")]
    rows += [
        (one.metric, format_number(one.first), format_number(one.second), str(one.gain), one.verdict)
        for one in comparisons
    ]
    sentence = comparisons[0].sentence
    return "\n".join([f"first   {first}", f"second  {second}", "", *options.table(rows), "", sentence])
