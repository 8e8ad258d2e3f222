"""estimator sign: make versions one's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from estimator import verbs
from estimator.cli import options

if TYPE_CHECKING:
    from estimator.store.artefact import Artefact


@click.command("sign")
@click.argument("versions", nargs=-1)
@options.yes
@options.store
@options.as_json
def command(versions: tuple[str, ...], yes: bool, store: str | None, as_json: bool) -> None:
    """Sign VERSIONS with your key, so that all of their configs applies; without VERSIONS, all of the store.

    Versions that you train are signed. One that is not predicts, and what its config says of hosts, keys, logs, alerts,
    images and deployments is not used. What would apply is shown first. The key is the file signing.key in
    ~/.config/estimator, or the one that ESTIMATOR_SIGNING_KEY names.

    \b
    Example: estimator sign houses@live
    """

    def confirm(artefact: Artefact) -> bool:
        options.say("\n".join(_lines(artefact)))
        return options.confirm("Sign it?", yes=yes, otherwise="")

    signed = verbs.sign.sign(versions, options.context(store=store), confirm=confirm)
    names = [f"{artefact.name}/{artefact.version}" for artefact in signed]
    text = "\n".join(f"signed {name}" for name in names) or "nothing was signed"
    options.emit({"signed": names}, text, as_json=as_json)


def _lines(artefact: Artefact) -> list[str]:
    """Return what a version's config would do on this machine."""
    shown = {"data.path": artefact.recorded_config["data"]["path"], **artefact.unused_config}
    return [
        f"{artefact.name} {artefact.version}, trained {artefact.manifest.get('created')}: its config says",
        *(f"  {key}: {json.dumps(value, ensure_ascii=False)}" for key, value in shown.items()),
    ]
