"""What data.path names, with ${NAME} filled in from the environment and a name that shows no secret."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from estimator.errors import SourceError

REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
TABLE_NAME = re.compile(r"[^\W\d][\w$]*(\.[^\W\d][\w$]*)?")
# A name in a bucket may hold the signs that start a query elsewhere.
WITHOUT_QUERY = ("s3",)
PASSWORD_KEY = re.compile(r"[?&](\w*password|passwd|pwd)=", re.IGNORECASE)
SQLITE_FILE = "sqlite:///"


@dataclass(frozen=True, slots=True)
class Address:
    """Where rows are: `name` is for messages, `url` for opening only, as it may hold a password.

    `secrets` are the values that were filled in, each with how it was written.
    """

    name: str
    url: str = field(repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def scheme(self) -> str:
        """Return what stands before ://, or "" for a path of the file system."""
        found = SCHEME.match(self.url)
        return found.group(1).lower() if found else ""

    def scrubbed(self, text: str) -> str:
        """Return a text of somebody else's with every secret replaced by the name it was written with."""
        for value in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(value, self.secrets[value])
        return text


def locate(text: str, environment: Mapping[str, str]) -> Address:
    """Return the address that a text such as "postgresql://me:${PGPASSWORD}@host/db" stands for.

    What is filled in before the host is percent-encoded; a text that is one ${NAME} stands for the whole address.

    >>> locate("https://host/${DAY}.csv?sig=1", {"DAY": "monday"})
    Address(name='https://host/${DAY}.csv')

    Raises
    ------
    SourceError: a variable is not set, or a password is written out.
    """
    user, host, rest = _parts(text)
    name = f"{host}{rest}" if host[: host.find(":")] in WITHOUT_QUERY else re.split(r"[?#]", f"{host}{rest}")[0]
    _refuse_password(name, user, text)
    values = {found: _value(found, environment, name) for found in REFERENCE.findall(text)}
    secrets = {value: f"${{{found}}}" for found, value in values.items()}
    if REFERENCE.fullmatch(text):
        secrets |= dict.fromkeys(_pieces(*values.values()), text)
    filled = REFERENCE.sub(lambda match: quote(values[match[1]], safe=""), user)
    secrets |= {quote(value, safe=""): written for value, written in secrets.items()}
    scheme, sign, place = host.partition("://")
    url = f"{scheme}{sign}{filled}{_filled(place, values)}{_filled(rest, values)}" if sign else _filled(text, values)
    return Address(name, url, secrets)


def label(text: str) -> str:
    """Return what a model of these rows may be called: the last part of the path, its ending included.

    >>> label("data/houses.csv.gz"), label("https://host/a/x.csv?sig=1"), label("postgresql://me@host/sales")
    ('houses.csv.gz', 'x.csv', 'sales')
    """
    _, host, rest = _parts(text)
    return re.split(r"[?#]", f"{host}{rest}" if SCHEME.match(text) else text)[0].rstrip("/").rpartition("/")[2]


def named_from(text: str, folder: Path) -> str:
    """Return the text as a config in `folder` should name it: a relative path starts at that folder."""
    if text.startswith(SQLITE_FILE):
        return SQLITE_FILE + named_from(text.removeprefix(SQLITE_FILE), folder)
    if SCHEME.match(text) or text.startswith("${") or Path(text).is_absolute():
        return text
    return Path(os.path.relpath(text, folder)).as_posix()


def _parts(text: str) -> tuple[str, str, str]:
    """Return user info with its @, scheme and host, and what follows; all is host without a scheme."""
    found = SCHEME.match(text)
    if not found:
        return "", text, ""
    rest = text[found.end() :]
    host = re.split(r"[/?#]", rest)[0]
    # A password with an unescaped / or ? in it is still no host.
    end = host.rfind("@") + 1 or (rest.rfind("@") + 1 if _has_odd_port(host) else 0)
    host = re.split(r"[/?#]", rest[end:])[0]
    return rest[:end], found.group() + host, rest[end + len(host) :]


def _has_odd_port(host: str) -> bool:
    port = host.rpartition("]")[2].rpartition(":")[2] if ":" in host.rpartition("]")[2] else ""
    return not (port.isdecimal() or port == "" or REFERENCE.fullmatch(port))


def _refuse_password(name: str, user: str, text: str) -> None:
    password = user.removesuffix("@").partition(":")[2]
    if PASSWORD_KEY.search(text) or (password and not REFERENCE.fullmatch(password)):
        raise SourceError(
            f"{name}: the address has a password written in it",
            hint="write user:${NAME}@host, in single quotes on the command line, and set the environment variable NAME",
        )


def _value(name: str, environment: Mapping[str, str], place: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise SourceError(
            f"{place}: the environment variable {name!r} is not set, or empty",
            hint=f"set it before the command, for example with `read -s {name}; export {name}`",
        )
    return value


def _filled(text: str, values: Mapping[str, str]) -> str:
    return REFERENCE.sub(lambda match: values[match[1]], text)


def _pieces(url: str) -> list[str]:
    """Return what stands before the host of a whole address, in the pieces a foreign message may cut it into."""
    found = SCHEME.match(url)
    user = url[found.end() :].rpartition("@")[0] if found else ""
    return [piece for piece in re.split(r"[:/@?#&]", user.partition(":")[2]) if piece] + ([user] if user else [])
