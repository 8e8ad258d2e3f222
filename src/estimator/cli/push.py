"""estimator push: the most recently built image -> a registry."""

from __future__ import annotations

from pathlib import Path

import click

from estimator import verbs
from estimator.cli import options


@click.command("push")
@options.named_model
@click.option("--to", required=True, help="HOST/NAME:TAG, or ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG.")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the built image  [default: build/MODEL]",
)
@options.as_json
def command(model: str, to: str, folder: Path | None, as_json: bool) -> None:
    """Push the most recently built image of MODEL.

    Layers that the registry has are not sent again, so the same command resumes an interrupted push. In AWS's registry
    the repository is created if it is missing.

    \b
    Example: estimator push houses --to ghcr.io/me/houses:1.0
    """
    pushed = verbs.push.push(
        options.deployed(model, folder, None), to, options.context(), note=options.note(as_json=as_json)
    )
    data = {"model": model, "pushed": str(pushed), "digest": pushed.digest}
    options.emit(data, f"pushed   {pushed}\n\nnext: estimator deploy {model}", as_json=as_json)
