"""Addresses: ${NAME} is replaced from the environment, and what messages show holds no secret."""

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
# An S3 key may contain ? and #, which start a query or fragment in other addresses.
SCHEMES_WITHOUT_QUERY = ("s3",)
PASSWORD_KEY = re.compile(r"[?&](\w*password|passwd|pwd)=", re.IGNORECASE)
SQLITE_FILE = "sqlite:///"
# The scheme that stands for rows which a caller handed in.
HANDED_IN = "memory"


@dataclass(frozen=True, slots=True)
class Address:
    """Where rows are: `name` is for messages; `url` opens it, and may hold a password.

    `secrets` maps each value from the environment to the ${NAME} that stood for it.
    """

    name: str
    url: str = field(repr=False)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def scheme(self) -> str:
        """What is before ://, in lower case; "" for a path in the file system."""
        match = SCHEME.match(self.url)
        return match.group(1).lower() if match else ""

    def scrubbed(self, text: str) -> str:
        """Return a message of another program with every secret replaced by its ${NAME}."""
        for value in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(value, self.secrets[value])
        return text


def locate(text: str, environment: Mapping[str, str]) -> Address:
    """Return the address in a text such as "postgresql://me:${PGPASSWORD}@host/db".

    User and password are percent-encoded; a text that is a single ${NAME} is replaced by a whole address.

    >>> locate("https://host/${DAY}.csv?sig=1", {"DAY": "monday"})
    Address(name='https://host/${DAY}.csv')

    Raises
    ------
    SourceError: an environment variable is not set, or a password is written in the text.
    """
    user, host, rest = _parts(text)
    name = f"{host}{rest}" if host[: host.find(":")] in SCHEMES_WITHOUT_QUERY else re.split(r"[?#]", f"{host}{rest}")[0]
    _reject_password(name, user, text)
    values = {variable: _value(variable, environment, name) for variable in REFERENCE.findall(text)}
    secrets = {value: f"${{{variable}}}" for variable, value in values.items()}
    if REFERENCE.fullmatch(text):
        secrets |= dict.fromkeys(_credentials(*values.values()), text)
    credentials = REFERENCE.sub(lambda match: quote(values[match[1]], safe=""), user)
    secrets |= {quote(value, safe=""): reference for value, reference in secrets.items()}
    scheme, separator, hostname = host.partition("://")
    if not separator:
        return Address(name, _replaced(text, values), secrets)
    return Address(name, f"{scheme}://{credentials}{_replaced(hostname + rest, values)}", secrets)


def label(text: str) -> str:
    """Return the last part of the path, with its ending: a name for a model of these rows.

    >>> label("data/houses.csv.gz"), label("https://host/a/x.csv?sig=1"), label("postgresql://me@host/sales")
    ('houses.csv.gz', 'x.csv', 'sales')
    """
    _, host, rest = _parts(text)
    return re.split(r"[?#]", f"{host}{rest}" if SCHEME.match(text) else text)[0].rstrip("/").rpartition("/")[2]


def model_name(table: str, query: str | None = None) -> str:
    """Return a name for the model of a table, made of its path or query, in letters that a folder's name may hold.

    >>> model_name("data/my houses.csv.gz"), model_name("postgresql://host/sales", "public.houses")
    ('my_houses', 'houses')
    """
    is_table = query is not None and TABLE_NAME.fullmatch(query.strip())
    stem = str(query).strip().split(".")[-1] if is_table else label(table).split(".")[0]
    safe = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_-") else "_" for letter in stem)
    return safe.strip("_-") or "model"


def relative_to(text: str, folder: Path) -> str:
    """Return the text as a config in `folder` must write it: a relative path starts at that folder."""
    if text.startswith(SQLITE_FILE):
        return SQLITE_FILE + relative_to(text.removeprefix(SQLITE_FILE), folder)
    if SCHEME.match(text) or text.startswith("${") or Path(text).is_absolute():
        return text
    return Path(os.path.relpath(text, folder)).as_posix()


def _parts(text: str) -> tuple[str, str, str]:
    """Return credentials with their @, scheme and host, and the rest; a path is returned as the host."""
    match = SCHEME.match(text)
    if not match:
        return "", text, ""
    rest = text[match.end() :]
    host = re.split(r"[/?#]", rest)[0]
    # A password with an unescaped / or ? must not pass for a host.
    end = host.rfind("@") + 1 or (rest.rfind("@") + 1 if _has_invalid_port(host) else 0)
    host = re.split(r"[/?#]", rest[end:])[0]
    return rest[:end], match.group() + host, rest[end + len(host) :]


def _has_invalid_port(host: str) -> bool:
    port = host.rpartition("]")[2].rpartition(":")[2] if ":" in host.rpartition("]")[2] else ""
    return not (port.isdecimal() or port == "" or REFERENCE.fullmatch(port))


def _reject_password(name: str, user: str, text: str) -> None:
    password = user.removesuffix("@").partition(":")[2]
    if PASSWORD_KEY.search(text) or (password and not REFERENCE.fullmatch(password)):
        raise SourceError(
            f"{name}: the address contains a password",
            hint="write user:${NAME}@host, in single quotes on the command line, and set the environment variable NAME",
        )


def _value(name: str, environment: Mapping[str, str], address: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise SourceError(
            f"{address}: the environment variable {name!r} is not set or empty",
            hint=f"set it before the command, for example with `read -s {name}; export {name}`",
        )
    return value


def _replaced(text: str, values: Mapping[str, str]) -> str:
    return REFERENCE.sub(lambda match: values[match[1]], text)


def _credentials(url: str) -> list[str]:
    """Return the credentials of an address, and the fragments of its password that a message may show alone."""
    match = SCHEME.match(url)
    user_info = url[match.end() :].rpartition("@")[0] if match else ""
    fragments = re.split(r"[:/@?#&]", user_info.partition(":")[2])
    return [fragment for fragment in [*fragments, user_info] if fragment]
