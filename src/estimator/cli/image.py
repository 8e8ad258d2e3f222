"""estimator image: a version -> a tested container image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from estimator import verbs
from estimator.cli import options, progress_bar
from estimator.core.text import format_bytes

if TYPE_CHECKING:
    from estimator.shipping.image.builders import Builder, ImageBuild


@click.command("image")
@options.version
@click.option("--tag", help="The image's name  [default: MODEL:latest]")
@options.builder
@options.base_rootfs
@click.option(
    "--folder", type=click.Path(path_type=Path, file_okay=False), help="The folder to write  [default: build/MODEL]"
)
@options.overrides
@options.store
@options.as_json
def command(
    version: str, tag: str | None, builder: Builder, base_rootfs: Path | None, folder: Path | None,
    overrides: tuple[str, ...], store: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Build VERSION's container image, start it, and test its predictions and errors.

    VERSION is a version's or model's folder, or MODEL, MODEL@ALIAS or MODEL/VERSION in the store. The Dockerfile and
    everything it needs are in build/MODEL/context.

    \b
    Example: estimator image houses@live --tag houses:1.0
    """
    context = options.context(overrides, store)
    with progress_bar.notes(quiet=as_json) as note:
        built = verbs.image.image(
            context.version(version), context, tag=tag, folder=folder, builder=builder, rootfs=base_rootfs, note=note
        )
    options.emit(_data(built), _text(built), as_json=as_json)


def _data(built: ImageBuild) -> dict[str, object]:
    trial = None
    if built.smoke_test is not None:
        trial = {
            "started_by": built.smoke_test.started_by,
            "startup_seconds": round(built.smoke_test.startup_seconds, 3),
            "golden_rows": built.smoke_test.n_rows,
            "rejected_rows": built.smoke_test.n_rejected,
            "requires_key": built.smoke_test.requires_key,
            "latency_ms": {"median": built.smoke_test.latency_median_ms, "p99": built.smoke_test.latency_p99_ms},
        }
    return {
        **{name: value for name, value in built.record.items() if name not in ("layout", "smoke_tested")},
        "archive": None if built.archive is None else str(built.archive),
        "context": str(built.context),
        "layers": [{"created_by": created_by, "size_bytes": size} for created_by, size in built.layers],
        "inputs": built.inputs.to_data(),
        "smoke_test": trial,
    }


def _text(built: ImageBuild) -> str:
    spec, trial, inputs = built.spec, built.smoke_test, built.inputs
    lines = [f"{spec.tag}   {spec.artefact.name} {spec.artefact.version}, linux/{spec.architecture}"]
    lines += [f"  {format_bytes(size):>9}  {created_by[:80]}" for created_by, size in built.layers]
    lines.append(f"  {format_bytes(built.size_bytes):>9}  total")
    if trial is not None:
        lines.append(
            f"tested   {trial.n_rows} golden rows and {trial.n_rejected} rejected rows are as expected; ready after "
            f"{trial.startup_seconds:.2f} s, started by {trial.started_by}"
        )
        if inputs.keys:
            lines.append(f"         with stand-ins for {', '.join(inputs.keys)}")
        if trial.requires_key:
            lines.append("         requests without an API key, or with an unknown one, get 401")
        lines.append(f"latency  one row: median {trial.latency_median_ms:.2f} ms, p99 {trial.latency_p99_ms:.2f} ms")
    if built.archive is not None:
        lines += [f"archive  {built.archive}", f"digest   {built.digest}"]
        lines.append(f"\nnext: docker load --input {built.archive}")
    engine = built.builder if built.builder == "docker" else "podman" if built.archive is None else "docker"
    if inputs.permissions is not None:
        lines.append(f"\n{inputs.permissions}")
    lines += [
        " ".join([f"next: {engine} run --publish {spec.port}:{spec.port}", *inputs.options, spec.tag]),
        f"next: estimator push {spec.artefact.name} --to HOST/NAME:TAG",
        f"next: estimator deploy {spec.artefact.name}",
    ]
    return "\n".join(lines)
