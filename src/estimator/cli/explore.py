"""estimator explore: what a table holds, and the config edit that answers each finding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from estimator.cli import options

if TYPE_CHECKING:
    from estimator.exploration.findings import Finding

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
    from estimator import life

    if (conf is None) == (table is None) or (table is not None and target is None):
        raise click.UsageError("give --conf, or TABLE and --target")
    if query is not None and conf is not None:
        raise click.UsageError("--query goes with TABLE; with --conf it is --set data.query=...")
    if accept is not None and conf is None:
        raise click.UsageError("--accept writes into --conf")
    what = conf or life.Table(str(table), str(target), query)
    found = life.explore(what, options.order(overrides), page=page, tsne=tsne)
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
    lines += _lines(found.findings) or ["nothing stands out"]
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


def _lines(findings: Sequence[Finding]) -> list[str]:
    from estimator.exploration.page import edit_text

    lines = []
    for item in findings:
        lines.append(f"{item.number:>3}  {click.style(item.severity, fg=COLOURS[item.severity]):<6}  {item.sentence}")
        if item.edit:
            lines += [f"        {line}" for line in edit_text(item.edit).splitlines()]
    return lines
