"""Text for messages: the closest of several names, lists of names, numbers, sizes and durations."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable

from estimator.core.names import look_alike


def closest(name: str, choices: Iterable[str]) -> str | None:
    """Return the choice closest to `name`, ignoring case, or None.

    >>> closest("epocs", ["epochs", "batch_size"])
    'epochs'
    """
    by_lower = {item.lower(): item for item in choices}
    matches = difflib.get_close_matches(name.lower(), list(by_lower), n=5, cutoff=0.6)
    # Swapped letters are the most common typo, and difflib ranks them low.
    matches.sort(key=lambda item: sorted(item) != sorted(name.lower()))
    return by_lower[matches[0]] if matches else None


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return a hint with the closest choice and, if they are few, all choices: fewer where one is close.

    >>> did_you_mean("epocs", ["epochs", "batch_size"])
    "did you mean 'epochs'?; known: epochs, batch_size"
    """
    names = list(choices)
    guess = closest(name, names)
    twin = look_alike(name, names)
    parts = [f"did you mean {twin[0]!r}? it differs by {twin[1]}"] if twin else []
    parts += [f"did you mean {guess!r}?"] if guess and not twin else []
    if len(names) <= (6 if guess else 40):
        parts.append(f"known: {join_names(names)}")
    return "; ".join(parts)


def join_names(names: Iterable[str], *, limit: int = 40) -> str:
    """Return names joined by commas, those that cannot be printed in quotes; after `limit`, the number of the rest.

    >>> join_names(["a", "b", "c"], limit=2), join_names(["a", "", "b\\nc"])
    ('a, b and 1 more', "a, '', 'b\\\\nc'")
    """
    items = [name if name.strip() and name.isprintable() else repr(name) for name in map(str, names)]
    shown = ", ".join(items[:limit]) or "none"
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit:,} more"


def counted(count: int, noun: str) -> str:
    """Return a number of things in words; `noun` is in the singular.

    >>> counted(1, "row"), counted(2000, "training row"), counted(0, "category")
    ('1 row', '2,000 training rows', '0 categories')
    """
    if count == 1:
        return f"1 {noun}"
    is_y = noun.endswith("y") and noun[-2:-1] not in "aeiou"
    return f"{count:,} {f'{noun[:-1]}ies' if is_y else f'{noun}s'}"


def format_number(value: float) -> str:
    """Return a number for a table: four significant digits, thousands separated, years as they are.

    >>> format_number(23226.4), format_number(2015.0), format_number(0.85232), format_number(-0.0000021)
    ('23,226', '2015', '0.8523', '-2.1e-06')
    >>> format_number(1.3e300)
    '1.3e+300'
    """
    # Turns -0.0 into 0.0.
    value += 0.0
    return f"{value:,.0f}" if 10_000 <= abs(value) < 1e16 else f"{value:.4g}"


def format_plain(number: float) -> str:
    """Return a number without trailing zeros, to six significant digits.

    >>> format_plain(396.9), format_plain(31770.0), format_plain(0.00632)
    ('396.9', '31770', '0.00632')
    """
    if number == int(number) and abs(number) < 1e15:
        return str(int(number))
    return f"{number:.6g}"


def format_e_value(e_value: float) -> str:
    """Return an e-value: a large one by its order of magnitude.

    >>> format_e_value(18.36), format_e_value(2_000_000.0)
    ('18.36', 'over 10^6')
    """
    return format_number(e_value) if e_value < 10_000 else f"over 10^{int(math.log10(e_value))}"


def format_bytes(size_bytes: int) -> str:
    """Return a size in a suitable unit.

    >>> format_bytes(1_234_567_890), format_bytes(64_000_000), format_bytes(900)
    ('1.2 GB', '64 MB', '900 bytes')
    """
    for size, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}" if size_bytes < 10 * size else f"{size_bytes / size:,.0f} {unit}"
    return f"{size_bytes} bytes"


def parse_bytes(text: str) -> int:
    """Return a size in bytes.

    >>> parse_bytes("4GB"), parse_bytes("1.5 MB"), parse_bytes("2 GiB")
    (4000000000, 1500000, 2147483648)

    Raises
    ------
    ValueError: the text is no size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt])(i?)b\s*", text, re.IGNORECASE)
    size = 0.0
    if found is not None:
        number, unit, is_binary = found.groups()
        size = float(number) * (1024 if is_binary else 1000) ** ("kmgt".index(unit.lower()) + 1)
    if size < 1.0:
        raise ValueError(f"expected a size with its unit, such as 4GB or 500 MB, got {text!r}")
    return int(size)


def format_duration(seconds: float) -> str:
    """Return a duration in suitable units.

    >>> format_duration(0.82), format_duration(75), format_duration(7300)
    ('0.8 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def markdown(text: object) -> str:
    """Return a text as Markdown that shows it as it is: no HTML, link, image, emphasis or code.

    >>> print(markdown("<b> [a](b) *c* d_e R&D &lt; http://f"))
    &lt;b&gt; \\[a\\](b) \\*c\\* d_e R&D &amp;lt; http&#58;//f
    """
    escaped = re.sub(r"&(?=#?\w+;)", "&amp;", str(text)).replace("<", "&lt;").replace(">", "&gt;")
    # Addresses become links without any mark around them.
    unlinked = re.sub(r":(?=//)|(?<=www)\.|[@~]", lambda match: f"&#{ord(match[0])};", escaped)
    return re.sub(r"[\\`*\[\]]|(?<!\w)_|_(?!\w)", r"\\\g<0>", unlinked)
