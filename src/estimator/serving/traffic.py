"""Which requests a canary predicts: a share of them, by a key in a request's first row or by the request's id."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from estimator.core.names import nfc
from estimator.data.schema.cells import number_text, plain_value
from estimator.errors import RequestError
from estimator.serving.request_body import read_json
from estimator.serving.request_forms import rows_of


@dataclass(frozen=True)
class TrafficShare:
    """A share of the requests, between 0 and 1.

    `names` are those that a row may give the key column; without any, or where the first row has no key, the random id
    of the request decides. Equal keys stay together for as long as `salt` is the same, and a larger share holds all of
    a smaller one.

    >>> customers = TrafficShare(0.5, "v2", frozenset({"customer"}))
    >>> [customers.includes(b'[{"customer": %d}]' % number, "any id") for number in (1, 3, 3)]
    [False, True, True]
    """

    share: float
    salt: str
    names: frozenset[str] = frozenset()

    def includes(self, body: bytes, request_id: str) -> bool:
        """Whether a request with a body in JSON is one of the share."""
        return self.includes_row(_first_row(body) if self.names else {}, request_id)

    def includes_row(self, row: Mapping[str, Any], request_id: str) -> bool:
        """Whether a request whose first row is `row` is one of the share."""
        value = next((value for name, value in row.items() if nfc(name) in self.names), None) if self.names else None
        digest = hashlib.sha256(f"{self.salt} {_text(value) or request_id}".encode(errors="replace")).digest()
        return int.from_bytes(digest[:8]) < self.share * 2.0**64


def _first_row(body: bytes) -> Mapping[str, Any]:
    """Return the first row of a body in JSON; empty where it has none, which the version that predicts will reject."""
    try:
        rows = rows_of(read_json(body)[0])
    except RequestError:
        return {}
    return rows[0] if rows and isinstance(rows[0], Mapping) else {}


def _text(value: Any) -> str:
    """Return a key as text, the same for a number in JSON, in text and in a table."""
    value = plain_value(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number_text(value)
    return "" if value is None else str(value).strip()
