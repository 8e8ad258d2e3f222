"""estimator verify: train a version again; is it equal, bit for bit?"""

from __future__ import annotations

from pathlib import Path

import click

from estimator import verbs
from estimator.cli import EXIT_GATE, options, progress_bar


@click.command("verify")
@options.version
@options.folder
@options.trust
@options.store
@options.as_json
def command(version: str, folder: Path, trust: bool, store: str | None, as_json: bool) -> int:
    """Train VERSION again from its own config and data, and compare the graphs bit for bit.

    Exits with 3 if they differ.

    \b
    Example: estimator verify houses@live
    """
    context = options.context(store=store, trust=trust)
    with progress_bar.steps(quiet=as_json) as progress:
        reproduction = verbs.verify.verify(version, context, folder=folder, progress=progress)
    lines = [
        f"{reproduction.version} is reproducible: training again gave the same graph, bit for bit"
        if reproduction.is_equal
        else f"{reproduction.version} differs",
        *reproduction.differences,
    ]
    options.emit(reproduction.to_data(), "\n".join(lines), as_json=as_json, notes=context.notes)
    return 0 if reproduction.is_equal else EXIT_GATE
