"""estimator ci: what every push is held to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from estimator.cli import options

if TYPE_CHECKING:
    from estimator.shipping.ci.pipeline import Check
    from estimator.shipping.image.build import Builder, Job
    from estimator.store.artefact import Artefact

EXIT_GATE = 3


@click.command("ci")
@options.conf
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("build/ci.md"),
    show_default=True,
    help="The report, in Markdown.",
)
@click.option("--image/--no-image", "with_image", default=True, help="Build and try the image.")
@options.builder
@options.base_rootfs
@options.overrides
@options.store
@options.as_json
def command(
    conf: Path, report: Path, with_image: bool, builder: Builder, base_rootfs: Path | None,
    overrides: tuple[str, ...], store: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Hold a push to all that it must pass: config, data, version, the live version, image; and report it.

    A config and rows that have made the live version are not trained again but verified. Exit code 3 when all went
    well and the version is proven worse than the live one, or cannot be made again.
    """
    from estimator import verbs as life

    def job(artefact: Artefact) -> Job:
        from estimator.shipping.image.build import Job

        return Job(f"{artefact.name.lower()}:latest", Path("build") / artefact.name, builder, base_rootfs)

    request = life.Request(conf, report, job if with_image else None)
    outcome = life.ci(request, options.order(overrides, store), note=lambda check: None if as_json else _say(check))
    data = {**outcome.to_data(), "report": str(report)}
    options.emit(data, f"{outcome.model}: {outcome.verdict}\nreport  {report}", as_json=as_json)
    if outcome.verdict == "failed":
        return 1
    return EXIT_GATE if outcome.verdict == "refused" else 0


def _say(check: Check) -> None:
    from estimator.core.text import format_duration

    time = f"  ({format_duration(check.seconds)})" if check.verdict != "left out" else ""
    options.say(f"{check.verdict:<9}{check.name}: {check.text}{time}")
