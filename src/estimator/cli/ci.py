"""estimator ci: every check of a push."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from estimator import verbs
from estimator.cli import EXIT_EXPLAINED, EXIT_GATE, options
from estimator.core.text import format_duration

if TYPE_CHECKING:
    from estimator.shipping.ci.pipeline import CiCheck
    from estimator.shipping.image.builders import Builder


@click.command("ci")
@options.conf
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("build/ci.md"),
    show_default=True,
    help="The Markdown report to write.",
)
@click.option("--image/--no-image", "with_image", default=True, help="Build and test the image.")
@options.builder
@options.base_rootfs
@options.overrides
@options.store
@options.as_json
def command(
    conf: Path, report: Path, with_image: bool, builder: Builder, base_rootfs: Path | None,
    overrides: tuple[str, ...], store: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Run every check of a push: config, data, version, comparison with the live version, image.

    A config and rows that made the live version are verified instead of trained again. Exits with 3 if the new version
    is worse than the live one, or the live one cannot be reproduced.

    \b
    Example: estimator ci --conf config.yml --no-image
    """
    request = verbs.ci.CiRequest(conf, report, builder if with_image else None, base_rootfs)
    result = verbs.ci.ci(
        request, options.context(overrides, store), note=lambda check: None if as_json else _print_check(check)
    )
    data = {**result.to_data(), "report": str(report)}
    options.emit(data, f"{result.model}: {result.status}\nreport  {report}", as_json=as_json)
    if result.status == "failed":
        return EXIT_EXPLAINED
    return EXIT_GATE if result.status == "rejected" else 0


def _print_check(check: CiCheck) -> None:
    time = f"  ({format_duration(check.seconds)})" if check.status != "skipped" else ""
    options.say(f"{check.status:<9}{check.name}: {check.message}{time}")
