"""Names of columns: compared in one form of Unicode, and what tells two of them apart that look alike."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from unicodedata import category, name, normalize

# Letters and signs of other scripts that look like English ones, in lower case.
LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕһԁԛԝвкмнтαορειτυχβηκμı‐‑‒–—―−‘’´`“”", "aeopcyxijshdqwbkmhtaopeityxbhkmi-------''''\"\""
)


def nfc(column: str) -> str:
    """Return a name as it is compared: an accent may be written as one character or as two.

    >>> nfc("cafe\\u0301") == "café"
    True
    """
    return normalize("NFC", column)


def look_alike(column: str, choices: Iterable[str]) -> tuple[str, str] | None:
    """Return the choice that looks like a name, and what it differs by; None if there is none.

    >>> look_alike("total\\u00a0price", ["total price"])
    ('total price', 'a no-break space (U+00A0)')
    """
    others = [choice for choice in choices if choice != column and _appearance(choice) == _appearance(column)]
    if not others:
        return None
    closest = max(others, key=lambda other: SequenceMatcher(None, column, other).ratio())
    return closest, _difference(column, closest)


def _appearance(column: str) -> str:
    folded = normalize("NFKC", column).casefold()
    visible = (char for char in folded if category(char) not in ("Cf", "Cc") or char.isspace())
    return " ".join("".join(visible).translate(LOOK_ALIKES).split())


def _difference(column: str, other: str) -> str:
    if column.lower() == other.lower():
        return "case"
    if column.strip() == other.strip():
        return "blanks at its ends"
    unusual = [char for char in (*_only_in(column, other), *_only_in(other, column)) if not _is_usual(char)]
    if unusual:
        return " and ".join(dict.fromkeys(map(_described, unusual)))
    return "blanks" if re.sub(r"\s", "", column).casefold() == re.sub(r"\s", "", other).casefold() else "its characters"


def _only_in(column: str, other: str) -> list[str]:
    blocks = SequenceMatcher(None, column, other, autojunk=False).get_opcodes()
    return [char for operation, start, stop, _, _ in blocks if operation != "equal" for char in column[start:stop]]


def _is_usual(char: str) -> bool:
    return " " <= char <= "~"


def _described(char: str) -> str:
    words = name(char, "").lower()
    noun = "an" if words[:1] in "aeiou" else "a"
    return f"{noun} {words} (U+{ord(char):04X})" if words else f"the character U+{ord(char):04X}"
