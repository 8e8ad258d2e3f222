"""estimator page: a version as one offline HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from estimator import verbs
from estimator.cli import options
from estimator.core.text import format_bytes


@click.command("page")
@options.version
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The page to write  [default: the model's name with .html]",
)
@options.store
@options.as_json
def command(version: str, output: Path | None, store: str | None, as_json: bool) -> None:
    """Write VERSION as one HTML file that predicts without a server or a network.

    VERSION is a version's or model's folder, or MODEL, MODEL@ALIAS or MODEL/VERSION in the store.

    \b
    Example: estimator page houses --output houses.html
    """
    artefact = options.context(store=store).version(version)
    output = output or Path(f"{artefact.name}.html")
    page = verbs.page.page(artefact, output)
    size = format_bytes(len(page.content))
    data = {
        "name": artefact.name,
        "version": artefact.version,
        "page": str(output),
        "bytes": len(page.content),
        "graph_bytes": page.graph_bytes,
        "compressed_bytes": page.compressed_bytes,
        "operators": list(page.operators),
    }
    text = (
        f"{artefact.name} {artefact.version}: {size}, "
        f"of which the compressed graph is {format_bytes(page.compressed_bytes)}\n"
        f"page    {output}\n"
        "note: the file contains the model and some of its training rows"
    )
    options.emit(data, text, as_json=as_json)
