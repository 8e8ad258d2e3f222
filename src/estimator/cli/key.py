"""estimator key: make, list and take back the keys that open a server."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from estimator.cli import options

keys_file = click.option(
    "--file", "path", type=click.Path(path_type=Path, dir_okay=False), default=Path("keys.json"), show_default=True,
    help="The file that serving.keys_file names; it holds hashes, no keys.",
)  # fmt: skip


@click.group("key")
def command() -> None:
    """Make, list and take back the keys that open a server; a running one sees it within a second."""


@command.command("add")
@click.argument("name")
@click.option(
    "--scope", "scopes", multiple=True, default=("predict",), show_default=True,
    help="What it may do: predict, labels, admin (everything). Several times for several.",
)  # fmt: skip
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="How long it holds  [default: for ever]")
@keys_file
@options.as_json
def add(name: str, scopes: tuple[str, ...], days: float | None, path: Path, as_json: bool) -> None:
    """Make a key called NAME and print it, once: it is kept nowhere.

    A name may have several keys, so that the old one holds until the new one is in use everywhere.
    """
    from estimator.serving.auth.keys import new_key, read_keys, write_keys

    key, text = new_key(name, scopes, now=datetime.now(UTC), days=days)
    write_keys(path, [*read_keys(path), key])
    options.say(f"{name} may {', '.join(key.scopes)}{f' until {key.expires}' if key.expires else ''}; kept in {path}")
    options.emit({"name": name, "key": text, "scopes": list(key.scopes), "expires": key.expires}, text, as_json=as_json)


@command.command("list")
@keys_file
@options.as_json
def listed(path: Path, as_json: bool) -> None:
    """List the keys of a file: names, scopes and ends."""
    from estimator.serving.auth.keys import list_keys, read_keys

    found = list_keys(read_keys(path), datetime.now(UTC))
    lines = [
        f"{key['name']}  {','.join(key['scopes'])}  made {key['created']}"
        + (f"  {'expired' if key['expired'] else 'ends'} {key['expires']}" if key["expires"] else "")
        for key in found
    ]
    options.emit({"keys": found}, "\n".join(lines) or f"no keys in {path}", as_json=as_json)


@command.command("revoke")
@click.argument("name")
@keys_file
@options.as_json
def revoke(name: str, path: Path, as_json: bool) -> None:
    """Take back all keys called NAME."""
    from estimator.serving.auth.keys import read_keys, without_key, write_keys

    write_keys(path, without_key(read_keys(path), name))
    options.emit({"revoked": name}, f"{name} opens nothing any more", as_json=as_json)
