"""estimator key: the API keys of a server."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from estimator import verbs
from estimator.cli import options

keys_file = click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("keys.json"),
    show_default=True,
    help="The file that serving.keys_file names; it holds hashes, not keys.",
)


@click.group("key")
def command() -> None:
    """Add, list and revoke API keys; a running server sees the change within a second.

    \b
    Example: estimator key add web-shop --days 90
             estimator serve --model houses --keys-file keys.json
    """


@command.command("add")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=("predict",),
    show_default=True,
    help="What the key may do: predict, labels, or admin (everything); repeatable.",
)
@click.option(
    "--days", type=click.FloatRange(min=0, min_open=True), help="Days until the key expires  [default: never]"
)
@keys_file
@options.as_json
def add(name: str, scopes: tuple[str, ...], days: float | None, path: Path, as_json: bool) -> None:
    """Add a key called NAME and print it once: only its hash is stored.

    A name may have several keys, so that the old one works until every client has the new one.

    \b
    Example: estimator key add web-shop --scope predict --scope labels
    """
    key, text = verbs.key.add(path, name, scopes, now=datetime.now(UTC), days=days)
    expiry = f", expires {key.expires}" if key.expires else ""
    options.say(f"{name}: scopes {', '.join(key.scopes)}{expiry}; written to {path}")
    data = {"name": name, "key": text, "scopes": list(key.scopes), "expires": key.expires}
    options.emit(data, text, as_json=as_json, is_secret=True)


@command.command("list")
@keys_file
@options.as_json
def list_keys(path: Path, as_json: bool) -> None:
    """List the keys of a file: names, scopes and expiry.

    \b
    Example: estimator key list
    """
    keys = verbs.key.list_keys(path, now=datetime.now(UTC))
    lines = [
        f"{key['name']}  {','.join(key['scopes'])}  created {key['created']}"
        + (f"  {'expired' if key['expired'] else 'expires'} {key['expires']}" if key["expires"] else "")
        for key in keys
    ]
    options.emit({"keys": keys}, "\n".join(lines) or f"no keys in {path}", as_json=as_json)


@command.command("revoke")
@click.argument("name")
@keys_file
@options.as_json
def revoke(name: str, path: Path, as_json: bool) -> None:
    """Revoke all keys called NAME.

    \b
    Example: estimator key revoke web-shop
    """
    verbs.key.revoke(path, name)
    options.emit({"revoked": name}, f"all keys of {name} are revoked", as_json=as_json)
