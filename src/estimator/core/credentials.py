"""What looks like a credential in a text: keys of well-known services, private keys, passwords in addresses."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_KEY_NAME = r"(?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"
# What services give out has a form of its own. Each rule has the texts of which one must occur, and the pattern; its
# group `value`, where there is one, is the credential. Looking for the texts first makes a scan much faster.
_TOKENS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "a private key": (
        ("PRIVATE KEY",),
        rf"-----BEGIN {_KEY_NAME}(?:[\s\S]{{0,20000}}?-----END {_KEY_NAME}|(?:[A-Za-z0-9+/=\s]|\\[nr])*)",
    ),
    "an AWS access key": (("AKIA", "ASIA", "ABIA", "ACCA"), r"\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b"),
    "an AWS secret key": (
        ("aws", "AWS", "Aws"),
        r"(?i:aws)[_\W]?(?i:secret)\S{0,20}\s*[=:]\s*[\"']?(?P<value>[A-Za-z0-9/+]{40})\b",
    ),
    "a GitHub token": (
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})",
    ),
    "a GitLab token": (
        ("glpat-", "gldt-", "glrt-", "glptt-", "glcbt-", "glsoat-"),
        r"\bgl(?:pat|dt|rt|ptt|cbt|soat)-[A-Za-z0-9_-]{20,}",
    ),
    "a Slack token": (("xox", "xapp-"), r"\b(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{10,}"),
    "a webhook's address": (
        ("hooks.slack.com", "/api/webhooks/", "webhook.office.com"),
        (
            r"https://(?:hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]{20,}"
            r"|discord(?:app)?\.com/api/webhooks/\d+/[\w-]{20,}|[\w.-]+\.webhook\.office\.com/webhookb2/[\w@/-]{20,})"
        ),
    ),
    "a Stripe key": (
        ("k_live_", "k_test_", "whsec_"),
        r"\b(?:[rs]k_(?:live|test)_[0-9A-Za-z]{16,}|whsec_[0-9A-Za-z+/]{32,})",
    ),
    "a Google API key": (("AIza", "GOCSPX-"), r"\b(?:AIza[0-9A-Za-z_-]{35}|GOCSPX-[0-9A-Za-z_-]{28})"),
    # Words joined by hyphens are none: such a key has a digit.
    "an API key": (("sk-",), r"\bsk-(?:ant-|proj-|svcacct-)?(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{32,}"),
    "a Hugging Face token": (("hf_",), r"\bhf_[A-Za-z0-9]{30,}"),
    "an npm token": (("npm_",), r"\bnpm_[A-Za-z0-9]{36}\b"),
    "a PyPI token": (("pypi-",), r"\bpypi-[A-Za-z0-9_-]{50,}"),
    "a SendGrid key": (("SG.",), r"\bSG\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{40,}"),
    "a Databricks token": (("dapi",), r"\bdapi[0-9a-f]{32}\b"),
    "a DigitalOcean token": (("_v1_",), r"\bdo[opr]_v1_[0-9a-f]{64}\b"),
    "a Docker Hub token": (("dckr_pat_",), r"\bdckr_pat_[A-Za-z0-9_-]{20,}"),
    "a Vault token": (("hvs.", "hvb."), r"\bhv[sb]\.[A-Za-z0-9_-]{24,}"),
    "a Grafana token": (("glsa_", "glc_"), r"\b(?:glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}|glc_[A-Za-z0-9+/=]{32,})"),
    "a Shopify token": (("shpat_", "shpca_", "shppa_", "shpss_"), r"\bshp(?:at|ca|pa|ss)_[0-9a-f]{32}\b"),
    "a Telegram token": ((":AA",), r"\b\d{8,10}:AA[A-Za-z0-9_-]{33}\b"),
    "an Azure storage key": (("AccountKey=",), r"\bAccountKey=(?P<value>[A-Za-z0-9+/=]{40,})"),
    "a signed address": (
        ("sig=", "X-Amz-Signature="),
        r"[?&;](?:sig=(?P<value>[A-Za-z0-9%/+]{43,}(?:%3[Dd]|=))|X-Amz-Signature=(?P<other>[0-9a-f]{64}))",
    ),
    "an age key": (("AGE-SECRET-KEY-",), r"\bAGE-SECRET-KEY-1[0-9A-Z]{50,}"),
    "an API key of this server": (("est_",), r"\best_[A-Za-z0-9_-]{43}\b"),
    "a JSON web token": (("eyJ",), r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
    "an authorization header": (
        ("earer ", "asic "),
        r"\b(?:[Bb]earer|[Bb]asic) (?P<value>(?=\S*\d)[A-Za-z0-9+/=._-]{20,})",
    ),
    # A port and a path are no password, nor is ${NAME}. JSON may write / as \/.
    "a password in an address": (
        ("://", ":\\/\\/"),
        r":(?://|\\/\\/)[^\s/\"'<>@:\[]*:(?P<value>(?!\d*/)[^\s\"'<>@]+)@",
    ),
}
_RULES = [(rule, texts, re.compile(pattern)) for rule, (texts, pattern) in _TOKENS.items()]
# One of these is in every text that holds the credential of a rule.
ANCHORS = tuple(text for texts, _ in _TOKENS.values() for text in texts)
_ANCHOR_BYTES = tuple(text.encode() for text in ANCHORS)
_PASSWORD = r"pass(?:word|wd|phrase)?|pwd"  # noqa: S105 # a pattern
_SECRET = r"secret|token|credentials?|(?:api|access|secret|private|account|auth)[_-]?key|auth(?:orization)?"  # noqa: S105
# The name of a setting that holds a credential, not one that names a variable, file or duration.
SECRET_NAME = re.compile(rf"(?i)(?:^|[^a-z]|(?<=[a-z])(?=[A-Z]))(?:{_PASSWORD}|{_SECRET}|connection[_-]?string|dsn)$")
_NAME_BEFORE = re.compile(
    rf"(?i)(?:(?P<password>{_PASSWORD})|(?:{_SECRET}|sig(?:nature)?|x-amz-[a-z-]+|api[_-]?key))[\"']?\s*$"
)
# One of these is in every such name, in lower case.
_NAME_PARTS = ("pass", "pwd", "secret", "token", "credential", "auth", "sig", "x-amz", *(f"{c}key" for c in "_-isteh"))
_MAX_NAME_CHARS = 40
_VALUE = r"\s*[\"']?(?P<value><[^>]*>|[^\s\"'&;,)}\]]+)"
_ASSIGNMENT = re.compile("=" + _VALUE)
# Also "password": "...", as JSON and Python write it.
_ASSIGNMENT_OR_FIELD = re.compile(r"(?:=|(?<=[\"']):)" + _VALUE)
_REFERENCE = re.compile(
    r"\$\{?[A-Za-z_]\w*\}?|\{\{.*\}\}|<[^>]*>|%\(?\w+\)?s?|(.)\1{2,}|null|none|true|false|\[an?", re.IGNORECASE
)
_BLANKS = re.compile(r"\s|\\[nr]")
MIN_SECRET_CHARS, MIN_SECRET_BITS = 12, 2.5
# A text without a name such as `token` before it must be more irregular.
_KEY_LIKE, MIN_KEY_BITS, MIN_KEY_DIGITS = re.compile(r"[A-Za-z0-9+=]{24,}"), 4.0, 2
# Shorter ones may occur in a text by chance.
MIN_REPEATED_CHARS = 8


@dataclass(frozen=True, slots=True)
class Credential:
    """What looks like a credential: the rule, where it begins, and the credential, which no message shows."""

    rule: str
    start: int
    value: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits by which a config may allow it, the same however its lines are broken."""
        return hashlib.sha256(_BLANKS.sub("", self.value).encode()).hexdigest()[:12]


def find_credentials(text: str, *, assignments: bool = True) -> Iterator[Credential]:
    """Yield what looks like a credential, without references such as ${NAME}.

    With `assignments`, also values after `password=` and the like, which other people's texts often hold harmlessly.

    >>> [item.rule for item in find_credentials("postgresql://me:hunter2@host/db?token=${TOKEN}")]
    ['a password in an address']
    """
    values = set()
    for rule, anchors, pattern in _RULES:
        for match in pattern.finditer(text) if any(map(text.__contains__, anchors)) else ():
            group = match.lastgroup or 0
            if not is_reference(match[group]):
                values.add(match[group])
                yield Credential(rule, match.start(group), match[group])
    if assignments:
        found = _assigned(text, _ASSIGNMENT)
        yield from (item for item in found if not any(is_same(item.value, known) for known in values))


def _assigned(text: str, pattern: re.Pattern[str]) -> Iterator[Credential]:
    """Yield passwords and random texts after a name that says so."""
    for match in pattern.finditer(text) if any(map(text.lower().__contains__, _NAME_PARTS)) else ():
        name = _NAME_BEFORE.search(text[max(0, match.start() - _MAX_NAME_CHARS) : match.start()])
        value = match["value"]
        if name is not None and not is_reference(value) and (name["password"] or looks_random(value)):
            yield Credential("a password" if name["password"] else "a secret", match.start("value"), value)


def find_random(text: str) -> Iterator[Credential]:
    """Yield texts that are as irregular as a key and have upper and lower case letters and digits, so no hashes or ids.

    >>> [item.value for item in find_random("https://host/in/8fKz2QvT7LmXr4WcYb9NdJ3p?page=2")]
    ['8fKz2QvT7LmXr4WcYb9NdJ3p']
    >>> list(find_random("sha256:9f8a7c6e5d4b3a219f8a7c6e5d4b3a21 arn:aws:MyServiceOfTheSecondYear-2"))
    []
    """
    for match in _KEY_LIKE.finditer(text):
        value = match[0]
        is_mixed = value != value.lower() and value != value.upper()
        if is_mixed and sum(map(str.isdigit, value)) >= MIN_KEY_DIGITS and _bits(value) >= MIN_KEY_BITS:
            yield Credential("a random key", match.start(), value)


def may_hold_credential(content: bytes) -> bool:
    """Whether a text holds what a key of a service begins with: microseconds, for what is read with every request."""
    return any(map(content.__contains__, _ANCHOR_BYTES))


def redacted(text: str, allowed: Collection[str] = (), *, assignments: bool = True) -> str:
    """Return a text for people to read, with each credential replaced by its rule and fingerprint.

    `allowed` are fingerprints that stay.

    >>> redacted("cannot connect to postgresql://me:hunter2@host")
    'cannot connect to postgresql://me:[a password in an address f52fbd32b2b3]@host'
    """
    items = [*find_credentials(text, assignments=False)]
    if assignments:
        items += _assigned(text, _ASSIGNMENT_OR_FIELD)
    parts, end = [], 0
    # Of two at one place the longer one.
    items = sorted(items, key=lambda item: (item.start, -len(item.value)))
    items = [item for item in items if item.fingerprint not in allowed]
    for item in items:
        if item.start >= end:
            parts += [text[end : item.start], _mark(item)]
            end = item.start + len(item.value)
    result = "".join([*parts, text[end:]])
    for item in items:
        if len(item.value) >= MIN_REPEATED_CHARS:
            result = result.replace(item.value, _mark(item))
    return result


def redacted_data(data: Any, allowed: Collection[str] = (), *, assignments: bool = True) -> Any:
    """Return JSON-ready data with every text in it, keys too, as `redacted` returns it."""
    if isinstance(data, str):
        return redacted(data, allowed, assignments=assignments)
    if isinstance(data, Mapping):
        items = ((name, redacted_data(value, allowed, assignments=assignments)) for name, value in data.items())
        return {redacted(name, allowed, assignments=assignments): value for name, value in items}
    if isinstance(data, list | tuple):
        return [redacted_data(item, allowed, assignments=assignments) for item in data]
    return data


def _mark(item: Credential) -> str:
    return f"[{item.rule} {item.fingerprint}]"


def is_same(value: str, other: str) -> bool:
    """Whether two credentials are one, of which another rule found more or less."""
    return value == other or (min(len(value), len(other)) >= 6 and (value in other or other in value))


def is_reference(value: str) -> bool:
    """Whether a value stands for a credential, or for none: ${NAME}, <password>, xxx, null.

    >>> is_reference("${PASSWORD}"), is_reference("****"), is_reference("hunter2")
    (True, True, False)
    """
    return _REFERENCE.fullmatch(value.strip()) is not None


def looks_random(value: str) -> bool:
    """Whether a text is long and irregular enough to be a key: by the entropy of its characters, in bits.

    >>> looks_random("9f8a7c6e5d4b3a21"), looks_random("identifier"), looks_random("aaaaaaaaaaaaaaaa")
    (True, False, False)
    """
    has_digit = any(letter.isdigit() for letter in value)
    return has_digit and len(value) >= MIN_SECRET_CHARS and _bits(value) >= MIN_SECRET_BITS


def _bits(value: str) -> float:
    counts = Counter(value).values()
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts)
