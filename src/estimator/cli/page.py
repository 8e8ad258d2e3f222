"""estimator page: a version -> one offline HTML file that answers by itself."""

from __future__ import annotations

from pathlib import Path

import click

from estimator.cli import options


@click.command("page")
@click.argument("version")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False),
    help="The page to write  [default: the model's name, .html]",
)  # fmt: skip
@options.store
@options.as_json
def command(version: str, output: Path | None, store: str | None, as_json: bool) -> None:
    """Write VERSION as one HTML file that answers without a server or a network.

    VERSION is a version's or model's folder, or MODEL, MODEL@ALIAS, MODEL/VERSION in the store.
    """
    from estimator import verbs as life
    from estimator.core.text import format_bytes

    artefact = life.load(version, options.opened(store))
    output = output or Path(f"{artefact.name}.html")
    page = life.page(artefact, output)
    sizes = {"bytes": len(page.content), "graph_bytes": page.graph_bytes, "packed_bytes": page.packed_bytes}
    data = {"name": artefact.name, "version": artefact.version, "page": str(output), **sizes,
            "operators": list(page.operators)}  # fmt: skip
    text = (
        f"{artefact.name} {artefact.version}: {format_bytes(len(page.content))}, "
        f"{format_bytes(page.packed_bytes)} of it the graph of {format_bytes(page.graph_bytes)}, packed\npage    {output}\n"
        "note: the model and some rows it was trained on are in the file"
    )
    options.emit(data, text, as_json=as_json)
