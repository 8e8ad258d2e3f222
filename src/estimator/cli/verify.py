"""estimator verify: a version -> does its own config and data give it again?"""

from __future__ import annotations

from pathlib import Path

import click

from estimator.cli import options

EXIT_GATE = 3


@click.command("verify")
@click.argument("version")
@options.folder
@options.store
@options.as_json
def command(version: str, folder: Path, store: str | None, as_json: bool) -> int:
    """Train VERSION again from its own config and data: equal, bit for bit, or where it differs.

    Ends with 3 when it differs.
    """
    from estimator import verbs as life
    from estimator.cli import progress_bar

    with progress_bar.epochs(quiet=as_json) as progress:
        found = life.verify(version, options.order((), store), folder=folder, progress=progress)
    lines = [f"{found.version} is equal: training again gave the same graph, bit for bit"] if found.is_equal else []
    lines += [] if found.is_equal else [f"{found.version} differs"]
    options.emit(found.to_data(), "\n".join([*lines, *found.differences]), as_json=as_json)
    return 0 if found.is_equal else EXIT_GATE
