"""estimator explore: what a table holds, and the config edit that answers each finding."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import click

from estimator.cli import options

if TYPE_CHECKING:
    from estimator.exploration.findings import Finding

LONGEST_EDIT = 300
COLOURS = {"high": "red", "medium": "yellow", "low": "blue", "note": "white"}


@click.command("explore")
@click.argument("table", required=False)
@click.option("--target", help="The column to predict; with TABLE.")
@click.option(
    "--conf", type=click.Path(path_type=Path, dir_okay=False), help="A config; in place of TABLE and --target."
)
@options.query
@options.overrides
@click.option(
    "--page",
    type=click.Path(path_type=Path),
    default=Path("exploration.html"),
    show_default=True,
    help="The page to write.",
)
@click.option("--accept", help="Write the edits of these findings into --conf, such as 3,5.")
@click.option("--tsne", is_flag=True, help="Also draw rows beside their nearest neighbours; takes seconds.")
@options.as_json
def command(
    table: str | None, target: str | None, conf: Path | None, query: str | None, overrides: tuple[str, ...],
    page: Path, accept: str | None, tsne: bool, as_json: bool,
) -> None:  # fmt: skip
    """Profile a table and say what a careful reader would notice, each with the config edit that answers it."""
    from estimator import verbs as life
    from estimator.cli import progress_bar

    if (conf is None) == (table is None) or (table is not None and target is None):
        raise click.UsageError("give --conf, or TABLE and --target")
    if query is not None and conf is not None:
        raise click.UsageError("--query goes with TABLE; with --conf it is --set data.query=...")
    if accept is not None and conf is None:
        raise click.UsageError("--accept writes into --conf")
    what = conf or life.Table(str(table), str(target), query)
    with progress_bar.rows(quiet=as_json) as progress:
        found = life.explore(what, options.order(overrides), page=page, tsne=tsne, progress=progress)
    accepted = life.accept(conf, found.findings, _numbers(accept)) if accept and conf else []
    data = {
        "page": str(page),
        "accepted": [item.number for item in accepted],
        "notes": list(found.notes),
        "findings": [item.to_data() for item in found.findings],
        "profile": found.profile.to_data(),
    }
    lines = [f"{found.profile.rows:,} rows, {len(found.profile.columns)} columns, target {found.profile.target}", ""]
    lines += [f"note: {note}" for note in found.notes]
    lines.append(_told(found.findings) if found.findings else "nothing stands out")
    lines += ["", f"page    {page}"]
    lines += [f"written into {conf}: {', '.join(str(item.number) for item in accepted)}"] if accepted else []
    if conf is not None and not accepted and any(item.edit for item in found.findings):
        lines.append(f"next: estimator explore --conf {conf} --accept NUMBERS")
    options.emit(data, "\n".join(lines), as_json=as_json)


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise click.UsageError(f"--accept {text}: expected numbers of findings such as 3,5")
    return [int(part) for part in parts]


def _told(findings: Sequence[Finding]) -> str:
    """Return the findings as a list that fits the terminal; in a pipe, lines are as long as they need to be."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from estimator.exploration.page import edit_text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for item in findings:
        table.add_row(str(item.number), Text(item.severity, COLOURS[item.severity]), Text(item.sentence))
        for line in edit_text(item.edit).splitlines() if item.edit else ():
            table.add_row("", "", Text(line if len(line) <= LONGEST_EDIT else f"{line[:LONGEST_EDIT]}...", "dim"))
    console = Console(file=StringIO(), force_terminal=sys.stdout.isatty(), width=None if sys.stdout.isatty() else 1000)
    console.print(table)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())  # type: ignore[attr-defined] # a StringIO
