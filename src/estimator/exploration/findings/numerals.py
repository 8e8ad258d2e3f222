"""A text with one number in it, read by its characters: sign, digits, multiplier, and the words around it.

Proposed edits are checked against this reading, which shares no code with the schema's.
"""

from __future__ import annotations

import math
import re
import statistics
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

BLANKS = " \u00a0\u2009\u202f"
DIGITS = re.compile(rf"\d(?:[\d.,'\u2019{BLANKS}]*\d)?(?:[eE][-+]?\d+(?!\w))?")
# A plain number, and one whose digits stand in groups; in India, groups before the last one have two digits.
GROUPED = r"(?:\d{{1,3}}(?:{0}\d{{3}})+|\d{{1,2}}(?:{0}\d\d)+{0}\d{{3}}|\d+)"
POWER_OF_UNIT = re.compile(r"(?<=[A-Za-z])\.?[23²³]\s*$")
# Signs that say that the number is not the value: a fraction, a limit, a range, an estimate, a product, an error.
OTHER_MEANING = frozenset("/#!=<>~^*±:;?&|\\()[]{}≤≥≈×@")
_VAGUE_WORDS = """
about above approx approximately around below between ca circa fast from less max maximum min minimum more over rund
than to under unter up über ungefähr ab bis or and und y et
"""
VAGUE_WORDS = frozenset(_VAGUE_WORDS.split())
MULTIPLIERS: dict[str, float] = {
    **dict.fromkeys(("k", "K", "tsd", "Tsd", "thousand", "Thousand"), 1e3),
    **dict.fromkeys(("lakh", "lakhs", "Lakh", "Lakhs", "lac", "Lac"), 1e5),
    **dict.fromkeys(("mio", "Mio", "mn", "Mn", "mln", "million", "Million", "millions", "Millions"), 1e6),
    **dict.fromkeys(("crore", "crores", "Crore", "Crores", "cr", "Cr"), 1e7),
    **dict.fromkeys(("mrd", "Mrd", "bn", "Bn", "bln", "billion", "Billion", "billions", "Billions"), 1e9),
}
# With a currency, or next to "k", these are no meters or bytes.
MULTIPLIERS_OF_MONEY: dict[str, float] = {"m": 1e6, "M": 1e6, "MM": 1e6, "b": 1e9, "B": 1e9}
# Signs and names of one currency; two currencies in a column do not measure the same.
_CURRENCIES = """
$ USD US$ US-$ dollar dollars, € EUR Euro euro euros, £ GBP pound pounds, ¥ JPY 円 yen, CNY RMB 元,
kr kr. SEK NOK DKK ISK,
₹ INR Rs Rs. rupees, CHF Fr Fr. SFr SFr., zł zl PLN, Kč Kc CZK, Ft HUF, ₽ RUB руб руб. р., ₺ TRY TL, R$ BRL, ₩ KRW won,
R ZAR, A$ AUD AU$, C$ CAD CA$, NZ$ NZD, S$ SGD, HK$ HKD, NT$ TWD, MX$ MXN, lei RON, лв лв. BGN, ₪ ILS NIS, ฿ THB,
₫ VND đ, ₱ PHP, Rp IDR, RM MYR, ₦ NGN, ₴ UAH грн, ₸ KZT, AED, SAR, EGP, KES KSh, ARS, CLP, COP, PEN
"""
CURRENCIES: Sequence[frozenset[str]] = tuple(frozenset(names.split()) for names in _CURRENCIES.split(","))
CURRENCY_OF = {name: group for group in CURRENCIES for name in group}


@dataclass(frozen=True, slots=True)
class Numeral:
    """One number in a text: its sign and digits as written, and the words before and after it.

    `is_scaled` means that other numbers of the column count in thousands, so that M is a million and no unit.
    """

    sign: str
    digits: str
    before: str
    after: str
    is_scaled: bool = False

    @property
    def factor(self) -> float:
        """What the word after the number multiplies it by."""
        is_money = self.is_scaled or bool(currencies_of(self))
        words = self.after.rstrip(".").split()
        factors = {**MULTIPLIERS, **(MULTIPLIERS_OF_MONEY if is_money else {})}
        return factors.get(words[0], 1.0) if words else 1.0

    def value(self, thousands: str, decimal: str) -> float | None:
        """Return the number under these signs, None if it is not written with them."""
        # Blanks of any width separate thousands as well; without thousands, a point is a decimal sign, too.
        whole = GROUPED.format(f"[{re.escape(thousands)}{BLANKS}]") if thousands else r"\d+"
        point = re.escape(decimal) if thousands else f"[.{decimal}]"
        match = re.fullmatch(rf"({whole})(?:{point}(\d+))?([eE][-+]?\d+)?", self.digits)
        if match is None:
            return None
        number = float(f"{re.sub(r'[^0-9]', '', match[1])}.{match[2] or '0'}{match[3] or ''}")
        return (-number if self.sign == "-" else number) * self.factor


def parse_numeral(text: str) -> Numeral | None:
    """Return the one number of a text, None if there is none, there are several, or its meaning is another.

    >>> parse_numeral("-$1,000.50"), parse_numeral("1/2"), parse_numeral("(5)"), parse_numeral("2 - 3")
    (Numeral(sign='-', digits='1,000.50', before='$', after='', is_scaled=False), None, None, None)
    """
    plain = text.strip().replace("\u2212", "-").replace("\u2010", "-").replace("\u2011", "-")
    body = POWER_OF_UNIT.sub("", plain)
    matches = list(DIGITS.finditer(body))
    if len(matches) != 1:
        return None
    match = matches[0]
    before, after = body[: match.start()].strip(), plain[match.end() :].strip()
    sign = ""
    # A sign stands before the number, or before the word that stands before the number.
    for position in (0, -1):
        if not sign and before and before[position] in "-+":
            sign, before = (
                before[position],
                before.strip("-+").strip() if len(before) == 1 else _without(before, position),
            )
    words = f"{before} {after}"
    if any(letter in OTHER_MEANING or letter in "-+" for letter in words if words.strip() not in CURRENCY_OF):
        return None
    # A fraction such as one half is a number of its own; the exponent of a unit was checked above.
    if any(letter.isnumeric() for letter in f"{before} {body[match.end() :]}"):
        return None
    if VAGUE_WORDS & {word.strip(".,").lower() for word in words.split()}:
        return None
    is_code = before != "" and before[-1].isalpha() and before not in CURRENCY_OF and body[match.start() - 1].isalpha()
    return None if is_code else Numeral(sign, match.group(), before, after)


def with_scale(numerals: Mapping[str, Numeral]) -> dict[str, Numeral]:
    """Return the numbers of a column, by text, in which M and B are multipliers if K is one."""
    words = {numeral.after for numeral in numerals.values()}
    is_scaled = bool(words & {"k", "K"}) and bool(words & MULTIPLIERS_OF_MONEY.keys())
    return {text: replace(numeral, is_scaled=is_scaled) for text, numeral in numerals.items()}


def _without(text: str, position: int) -> str:
    return (text[1:] if position == 0 else text[:-1]).strip()


def currencies_of(numeral: Numeral) -> set[frozenset[str]]:
    """Return the currencies that are named around a number."""
    found = set()
    for word in (*numeral.before.split(), *numeral.after.split()):
        if word in CURRENCY_OF:
            found.add(CURRENCY_OF[word])
        elif len(word) == 1 and unicodedata.category(word) == "Sc":
            found.add(frozenset(word))
    return found


def accounting_negative(text: str) -> str | None:
    """Return what accounting means by a number in brackets, None for other texts.

    >>> accounting_negative("(1,250.00)"), accounting_negative("($5)"), accounting_negative("10 (5)")
    ('-1,250.00', '-$5', None)
    """
    match = re.fullmatch(r"(\D{0,4})\(\s*([^()]*\d[^()]*)\s*\)(\D{0,4})", text.strip())
    inner = parse_numeral(match[2]) if match else None
    if match is None or inner is None or inner.sign or match[1].strip() + match[3].strip() not in {"", *CURRENCY_OF}:
        return None
    return f"-{match[1].strip()}{match[2].strip()}{match[3].strip()}"


def number_signs(numerals: Sequence[Numeral]) -> tuple[str, str] | None:
    """Return the thousands separator and decimal sign under which all numbers can be read; None if that is a guess.

    >>> number_signs([Numeral("", "3.505,95", "", "€"), Numeral("", "12,5", "", "€")])
    ('.', ',')
    """
    written = {letter for numeral in numerals for letter in numeral.digits}
    separators = [sign for sign in ",.'\u2019" if sign in written] + ([" "] if written & set(BLANKS) else [])
    choices = [("", "."), ("", ","), *((thousands, decimal) for thousands in separators for decimal in ".,")]
    readings: dict[tuple[str, str], tuple[float, ...]] = {}
    for thousands, decimal in choices:
        values = [numeral.value(thousands, decimal) for numeral in numerals] if thousands != decimal else [None]
        known = tuple(value for value in values if value is not None)
        if len(known) == len(values):
            readings[thousands, decimal] = known
    # The simplest signs of each different reading, the one with the largest numbers first.
    different = {values: signs for signs, values in reversed(readings.items())}
    ordered = sorted(different.items(), key=lambda item: -sum(map(abs, item[0])))
    for other in ordered[1:]:
        signs = _plausible(numerals, ordered[0], other)
        if signs != ordered[0][1]:
            return signs if len(ordered) == 2 else None
    return ordered[0][1] if ordered else None


Reading = tuple[tuple[float, ...], tuple[str, str]]


def _plausible(numerals: Sequence[Numeral], larger: Reading, smaller: Reading) -> tuple[str, str] | None:
    """Choose between thousands and three decimals: by the numbers that read alike, leading zeros, money and round ones.

    Returns None where a person would have to ask.
    """
    (of_larger, thousands), (of_smaller, decimals) = larger, smaller
    differs = [a != b for a, b in zip(of_larger, of_smaller, strict=True)]
    doubtful = [numeral for numeral, is_doubtful in zip(numerals, differs, strict=True) if is_doubtful]
    if any(re.match(r"0\d*[.,]", numeral.digits) for numeral in doubtful):
        return decimals
    units = Counter(numeral.after for numeral in doubtful)
    certain = [
        (abs(value), numeral.after)
        for value, numeral, is_doubtful in zip(of_larger, numerals, differs, strict=True)
        if not is_doubtful
    ]
    # Numbers of the same unit are the ones to compare with.
    unit = max(units, key=lambda after: (units[after], after))
    alike = [value for value, after in certain if after == unit] or [value for value, _ in certain]
    if alike:
        if max(alike) < 1000 and all(value == int(value) for value in alike):
            # Whole numbers below 1,000 without a separator, and all larger ones with it.
            return thousands if len(doubtful) >= 3 and len(alike) >= 2 else None
        apart = [
            _orders_apart([value for value, is_doubtful in zip(values, differs, strict=True) if is_doubtful], alike)
            for values in (of_larger, of_smaller)
        ]
        return None if abs(apart[0] - apart[1]) <= 1.0 else thousands if apart[0] < apart[1] else decimals
    parts = [re.split("[.,]", numeral.digits) for numeral in doubtful]
    are_round = sum(part[-1].endswith("0") for part in parts) >= 0.5 * len(parts)
    are_money = all(currencies_of(numeral) for numeral in numerals)
    return thousands if len(parts) >= 3 and (are_round or are_money) else None


def _orders_apart(left: Sequence[float], right: Sequence[float]) -> float:
    """Return by how many orders of magnitude the medians of two lists differ."""
    left_size, right_size = (max(statistics.median(map(abs, values)), 1e-300) for values in (left, right))
    return abs(math.log10(left_size) - math.log10(right_size))
