"""estimator image: a version -> a container image that has been started and has answered as it must."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from estimator.cli import options

if TYPE_CHECKING:
    from estimator.shipping.image.build import Builder, Built


@click.command("image")
@click.argument("version")
@click.option("--tag", help="What the image is called  [default: the model's name, :latest]")
@options.builder
@options.base_rootfs
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), help="What is written  [default: build/MODEL]"
)
@options.overrides
@options.store
@options.as_json
def command(
    version: str, tag: str | None, builder: Builder, base_rootfs: Path | None, folder: Path | None,
    overrides: tuple[str, ...], store: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Build VERSION's container image, start it, and check its answers and refusals.

    VERSION is a version's or model's folder, or MODEL, MODEL@ALIAS, MODEL/VERSION in the store. The Dockerfile and all
    it needs are in build/MODEL/context.
    """
    from estimator import verbs as life
    from estimator.shipping.image.build import Job

    order = options.order(overrides, store)
    artefact = life.load(version, options.opened(store))
    job = Job(tag or f"{artefact.name.lower()}:latest", folder or Path("build") / artefact.name, builder, base_rootfs)
    built = life.image(artefact, order, job, note=lambda text: None if as_json else options.say(text))
    options.emit(_data(built), _text(built), as_json=as_json)


def _data(built: Built) -> dict[str, object]:
    trial = built.trial
    told = {name: value for name, value in built.record.items() if name not in ("layout", "tried")}
    return {
        **told,
        "archive": None if built.archive is None else str(built.archive),
        "context": str(built.context),
        "layers": [{"made_by": made, "bytes": size} for made, size in built.layers],
        "trial": None
        if trial is None
        else {
            "started_by": trial.started, "seconds": round(trial.seconds, 3), "golden_rows": trial.n_rows,
            "refusals": trial.n_refused, "latency_ms": {"median": trial.latency[0], "p99": trial.latency[1]},
        },
    }  # fmt: skip


def _text(built: Built) -> str:
    from estimator.core.text import format_bytes

    recipe, trial = built.recipe, built.trial
    lines = [f"{recipe.tag}   {recipe.artefact.name} {recipe.artefact.version}, linux/{recipe.architecture}"]
    lines += [f"  {format_bytes(size):>9}  {made[:80]}" for made, size in built.layers]
    lines.append(f"  {format_bytes(built.size):>9}  in all")
    if trial is not None:
        lines.append(
            f"tried    {trial.n_rows} golden rows and {trial.n_refused} refusals as they must be; ready after "
            f"{trial.seconds:.2f} s, started in {trial.started}"
        )
        lines.append(f"latency  one row {trial.latency[0]:.2f} ms, 99 of 100 within {trial.latency[1]:.2f} ms")
    if built.archive is not None:
        lines += [
            f"archive  {built.archive}",
            f"digest   {built.digest}",
            f"\nnext: docker load --input {built.archive}",
        ]
    engine = built.builder if built.builder == "docker" else "podman" if built.archive is None else "docker"
    lines += [
        f"next: {engine} run --publish {recipe.port}:{recipe.port} {recipe.tag}",
        f"next: estimator push {recipe.artefact.name} --to HOST/NAME:TAG",
        f"next: estimator deploy {recipe.artefact.name}",
    ]
    return "\n".join(lines)
