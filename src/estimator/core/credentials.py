"""What looks like a credential in a text: keys of well-known services, private keys, passwords in addresses."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

# What services give out has a form of its own; the group `value`, where there is one, is the credential.
_TOKENS = {
    "a private key": r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----",
    "an AWS access key": r"\b(?:AKIA|ASIA|ABIA|ACCA)[0-9A-Z]{16}\b",
    "an AWS secret key": r"(?i:aws)[_\W]?(?i:secret)\S{0,20}\s*[=:]\s*[\"']?(?P<value>[A-Za-z0-9/+]{40})\b",
    "a GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})",
    "a GitLab token": r"\bgl(?:pat|dt|rt|ptt|cbt|soat)-[A-Za-z0-9_-]{20,}",
    "a Slack token": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "a webhook's address": r"https://(?:hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]{20,}"
    r"|discord(?:app)?\.com/api/webhooks/\d+/[\w-]{20,}|[\w.-]+\.webhook\.office\.com/webhookb2/[\w@/-]{20,})",
    "a Stripe key": r"\b[rs]k_(?:live|test)_[0-9A-Za-z]{16,}",
    "a Google API key": r"\bAIza[0-9A-Za-z_-]{35}",
    "an API key": r"\bsk-(?:ant-|proj-|svcacct-)?[A-Za-z0-9_-]{32,}",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "an npm token": r"\bnpm_[A-Za-z0-9]{36}\b",
    "a PyPI token": r"\bpypi-[A-Za-z0-9_-]{50,}",
    "a SendGrid key": r"\bSG\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{40,}",
    "a Databricks token": r"\bdapi[0-9a-f]{32}\b",
    "a DigitalOcean token": r"\bdo[opr]_v1_[0-9a-f]{64}\b",
    "a Telegram token": r"\b\d{8,10}:AA[A-Za-z0-9_-]{33}\b",
    "an Azure storage key": r"\bAccountKey=(?P<value>[A-Za-z0-9+/=]{40,})",
    "an age key": r"\bAGE-SECRET-KEY-1[0-9A-Z]{50,}",
    "an API key of this server": r"\best_[A-Za-z0-9_-]{43}\b",
    "a JSON web token": r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    "an authorization header": r"\b(?:[Bb]earer|[Bb]asic) (?P<value>(?=\S*\d)[A-Za-z0-9+/=._-]{20,})",
    # A port and a path are no password, nor is ${NAME}.
    "a password in an address": r"\b[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s/\"'<>@:\[]*:(?P<value>(?!\d*/)[^\s\"'<>@]+)@",
}
_TOKEN_PATTERNS = {rule: re.compile(pattern) for rule, pattern in _TOKENS.items()}
_PASSWORD = r"pass(?:word|wd|phrase)?|pwd"  # noqa: S105 # a pattern
_SECRET = r"secret|token|credentials?|(?:api|access|secret|private|account|auth)[_-]?key|auth(?:orization)?"  # noqa: S105
# The name of a setting that holds a credential, not one that names a variable, file or duration.
SECRET_NAME = re.compile(rf"(?i)(?:^|[^a-z]|(?<=[a-z])(?=[A-Z]))(?:{_PASSWORD}|{_SECRET}|connection[_-]?string|dsn)$")
_ASSIGNMENT = re.compile(
    rf"(?i)(?:(?P<password>{_PASSWORD})|(?:{_SECRET}|sig(?:nature)?|x-amz-[a-z-]+))"
    r"\s*=\s*[\"']?(?P<value><[^>]*>|[^\s\"'&;,)}\]]+)"
)
_REFERENCE = re.compile(
    r"\$\{?[A-Za-z_]\w*\}?|\{\{.*\}\}|<[^>]*>|%\(?\w+\)?s?|(.)\1{2,}|null|none|true|false", re.IGNORECASE
)
MIN_SECRET_CHARS, MIN_SECRET_BITS = 12, 2.5


@dataclass(frozen=True, slots=True)
class Credential:
    """What looks like a credential: the rule, where it begins, and the credential, which no message shows."""

    rule: str
    start: int
    value: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits by which a config may allow it."""
        return hashlib.sha256(self.value.encode()).hexdigest()[:12]


def find_credentials(text: str, *, assignments: bool = True) -> Iterator[Credential]:
    """Yield what looks like a credential, without references such as ${NAME}.

    With `assignments`, also values after `password=` and the like, which other people's texts often hold harmlessly.

    >>> [item.rule for item in find_credentials("postgresql://me:hunter2@host/db?token=${TOKEN}")]
    ['a password in an address']
    """
    values = set()
    for rule, pattern in _TOKEN_PATTERNS.items():
        for match in pattern.finditer(text):
            value = match["value"] if "value" in pattern.groupindex else match[0]
            if not is_reference(value):
                values.add(value)
                yield Credential(rule, match.start(), value)
    for match in _ASSIGNMENT.finditer(text) if assignments else ():
        value = match["value"]
        is_new = not is_reference(value) and not any(is_same(value, known) for known in values)
        if is_new and (match["password"] or looks_random(value)):
            yield Credential("a password" if match["password"] else "a secret", match.start(), value)


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
    counts = Counter(value).values()
    bits = -sum(count / len(value) * math.log2(count / len(value)) for count in counts)
    return len(value) >= MIN_SECRET_CHARS and bits >= MIN_SECRET_BITS and any(letter.isdigit() for letter in value)
