"""estimator push: the image that was built last -> a registry."""

from __future__ import annotations

from pathlib import Path

import click

from estimator.cli import options


@click.command("push")
@click.argument("model")
@click.option("--to", required=True, help="HOST/NAME:TAG, or ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG.")
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), help="Where it was built  [default: build/MODEL]"
)
@options.as_json
def command(model: str, to: str, folder: Path | None, as_json: bool) -> None:
    """Push the image that was built last of MODEL.

    What the registry has is not sent twice, so that a push that broke off goes on with the same command. In AWS's
    registry the repository is made when it is missing.
    """
    from estimator import verbs as life

    order = options.order()
    pushed = life.push(
        folder or Path("build") / model, to, order, note=lambda text: None if as_json else options.say(text)
    )
    options.emit(
        {"model": model, "pushed": str(pushed), "digest": pushed.digest},
        f"pushed   {pushed}\n\nnext: estimator deploy {model}",
        as_json=as_json,
    )
