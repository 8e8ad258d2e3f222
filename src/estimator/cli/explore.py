"""estimator explore: a table -> its profile, findings with the config edits that resolve them, and a page."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import click

from estimator import verbs
from estimator.cli import options, progress_bar
from estimator.core.text import counted

if TYPE_CHECKING:
    from estimator.exploration.findings import Finding

MAX_EDIT_LENGTH = 300
CONFIG_SUFFIXES = (".yml", ".yaml", ".json", ".toml")
COLORS = {"high": "red", "medium": "yellow", "low": "blue", "note": "white"}


@click.command("explore")
@click.argument("table", metavar="[TABLE]", required=False)
@click.option("--target", help="The column to predict; with TABLE.")
@click.option(
    "--conf",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A config, in place of TABLE and --target  [default: config.yml in the current folder]",
)
@options.query
@options.overrides
@click.option(
    "--page",
    type=click.Path(path_type=Path),
    help="The page to write  [default: exploration.html; for houses.yml, or where that page shows another table, "
    "houses.exploration.html]",
)
@click.option("--accept", help="Write the edits of these findings into the config, such as 1-3,5.")
@click.option("--tsne", is_flag=True, help="Also draw a t-SNE map of the rows; takes seconds.")
@options.as_json
def command(
    table: str | None, target: str | None, conf: Path | None, query: str | None, overrides: tuple[str, ...],
    page: Path | None, accept: str | None, tsne: bool, as_json: bool,
) -> None:  # fmt: skip
    """Profile a table and list what needs attention, each with the config edit that fixes it.

    Without --target, TABLE is a config.

    \b
    Example: estimator explore houses.csv --target price
             estimator explore config.yml --accept 1-3,5
    """
    if table is not None and conf is not None:
        raise click.UsageError("give TABLE and --target, or a config")
    if table is not None and target is None:
        if Path(table).suffix.lower() not in CONFIG_SUFFIXES:
            raise click.UsageError("Missing option '--target': the column of TABLE to predict.")
        conf, table = Path(table), None
    if table is None and target is not None:
        raise click.UsageError("--target goes with TABLE; a config names its own")
    if table is None and conf is None:
        conf = options.config_here()
    if query is not None and conf is not None:
        raise click.UsageError("--query goes with TABLE; with --conf, use --set data.query=...")
    if accept is not None and conf is None:
        raise click.UsageError("--accept needs --conf, the config to write into")
    source = conf or verbs.explore.TableReference(str(table), str(target), query)
    page = page or verbs.explore.page_for(source)
    context, numbers = options.context(overrides), _numbers(accept) if accept else []
    with progress_bar.steps(quiet=as_json) as progress:
        explored = verbs.explore.explore(source, context, page=page, tsne=tsne, accept=numbers, progress=progress)
    profile, findings, accepted = explored.profile, explored.findings, explored.accepted
    data = {
        "page": str(page),
        "accepted": [finding.number for finding in accepted],
        "findings": [finding.to_data() for finding in findings],
        "profile": profile.to_data(),
    }
    lines = [f"{counted(profile.rows, 'row')}, {counted(len(profile.columns), 'column')}, target {profile.target}", ""]
    lines.append(_finding_table(findings) if findings else "no findings")
    lines += ["", f"page    {page}"]
    lines += [f"written to {conf}: {', '.join(str(finding.number) for finding in accepted)}"] if accepted else []
    if conf is not None and any(finding.edit for finding in findings):
        lines.append(f"next: estimator explore --conf {conf} --accept NUMBERS")
    options.emit(data, "\n".join(lines), as_json=as_json, notes=context.notes)


def _numbers(text: str) -> list[range]:
    """Return the numbers of findings such as 1-3,5."""
    spans = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,6})\s*(?:-\s*([0-9]{1,6})\s*)?", part)
        span = range(int(match[1]), int(match[2] or match[1]) + 1) if match else range(0)
        if not span:
            raise click.UsageError(f"--accept {text}: expected numbers of findings such as 3,5 or 1-6")
        spans.append(span)
    return spans


def _finding_table(findings: Sequence[Finding]) -> str:
    """Return the findings as a list that fits the terminal; in a pipe, lines are as long as they need to be."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        table.add_row(str(finding.number), Text(finding.severity, COLORS[finding.severity]), Text(finding.sentence))
        for line in verbs.explore.edit_text(finding.edit).splitlines() if finding.edit else ():
            table.add_row("", "", Text(line if len(line) <= MAX_EDIT_LENGTH else f"{line[:MAX_EDIT_LENGTH]}...", "dim"))
    text, is_terminal = StringIO(), sys.stdout.isatty()
    Console(file=text, force_terminal=is_terminal, width=None if is_terminal else 1000).print(table)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
