"""Which encoding a text has that is not UTF-8: by its letters, and refused where two readings are as likely."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

from charset_normalizer import from_bytes

# Letters beyond ASCII of languages that a code page was made for.
WESTERN = ("äöüß", "àâçéèêëîïôùûüœ", "áéíóúüñ", "áâãàçéêíóôõúü", "àèéìíòóùú", "åäöé", "æøåé", "éëïöüèáíóú",
           "áéíóúýþæöð", "àçèéíïòóúü", "äöüõ")  # fmt: skip
CENTRAL = ("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "čćđšž", "ăâîşţ")
TURKISH, BALTIC = ("çğıöşüâîû",), ("ąčęėįšųūž", "āčēģīķļņšūž", "äöüõšž")
# In order of preference where several give the same text.
LATIN: Mapping[str, tuple[str, ...]] = {
    "cp1252": WESTERN, "cp1250": CENTRAL, "cp1254": TURKISH, "cp1257": BALTIC, "iso8859_2": CENTRAL,
    "iso8859_15": WESTERN, "cp850": WESTERN, "cp437": WESTERN, "cp852": CENTRAL, "mac_roman": WESTERN,
}  # fmt: skip
DOUBLE_BYTE = ("cp932", "euc_jp", "gb18030", "big5", "cp949")
OTHER_SCRIPTS = (
    *DOUBLE_BYTE, "cp1251", "koi8_r", "cp866", "iso8859_5", "cp1253", "iso8859_7", "cp1255", "cp1256", "cp874",
)  # fmt: skip
# Characters that occur next to letters in any language.
MARKS = frozenset("€£¥§©®°±²³µ·¼½¾×÷«»¿¡‘’“”„‚–—…•™ºª´\xa0\xad")
INSIDE_WORDS = frozenset("’‘´·–—-\xad\xa0")
MIXED = "".join(WESTERN[:-2]).translate(dict.fromkeys(map(ord, "ðþý")))
# Fractions of characters that a language does not use: of a likely encoding, of one that is as good, of a rival.
MAX_COST, TOLERANCE, MIN_COST_LEAD = 0.1, 0.02, 0.1
# What charset-normalizer calls mess and coherence.
MAX_MESS, MIN_COHERENCE, MIN_LEAD = 0.1, 0.2, 0.03
# With fewer different characters, each reading that is not a mess is as likely.
ENOUGH_CHARACTERS = 12
# The fraction of common characters in a text of an East Asian language.
MOSTLY = 0.8
THREE_LETTERS = re.compile("[\xc0-\u024f]{3}")
NAMES: Mapping[str, str] = {"cp1252": "Windows-1252", "cp1250": "Windows-1250", "cp1251": "Windows-1251",
                            "cp1253": "Windows-1253", "cp1254": "Windows-1254", "cp1255": "Windows-1255",
                            "cp1256": "Windows-1256", "cp1257": "Windows-1257", "cp932": "Shift-JIS"}  # fmt: skip


def encoding_name(codec: str) -> str:
    """Return the usual name of an encoding, which `data.encoding` takes as well.

    >>> encoding_name("cp1252"), encoding_name("koi8_r")
    ('Windows-1252', 'koi8-r')
    """
    return NAMES.get(codec, codec.replace("_", "-"))


def detect(sample: bytes) -> tuple[str, ...]:
    """Return the encoding of lines that are not UTF-8; several if their letters do not decide, () if none is known.

    >>> detect("id,Größe\\n1,Müller\\n".encode("cp1252"))
    ('cp1252',)
    """
    if b"\x1b$" in sample:
        return ("iso2022_jp",)
    latin = _decoded(sample, LATIN)
    costs = {codec: _cost(text, LATIN[codec]) for codec, text in latin.items()}
    other = _other_script(sample)
    if other and _has_only_pairs(sample) and other[0] in DOUBLE_BYTE:
        return other
    order = sorted(costs, key=costs.__getitem__)
    lowest = costs[order[0]] if order else 1.0
    if lowest <= MAX_COST:
        # Most text that is neither UTF-8 nor ASCII has the first of these encodings.
        likely = [codec for codec in costs if costs[codec] <= lowest + TOLERANCE]
        rivals = [codec for codec in costs if costs[codec] <= lowest + MIN_COST_LEAD]
        if likely[0] == "cp1252":
            return ("cp1252",)
        readings = _distinct([*likely, *rivals], latin)
        return readings if len(readings) == 1 else (*readings[:2], *other[:1])
    if other:
        return other
    # Names of several countries in one table.
    western = latin.get("cp1252", "")
    if western and _cost(western, (MIXED,)) <= TOLERANCE and not THREE_LETTERS.search(western):
        return ("cp1252",)
    return _distinct(order[:3], latin)


def _decoded(sample: bytes, codecs: Iterable[str]) -> dict[str, str]:
    texts = {}
    for codec in codecs:
        try:
            texts[codec] = sample.decode(codec)
        except UnicodeDecodeError:
            continue
    return texts


def _distinct(codecs: Iterable[str], texts: Mapping[str, str]) -> tuple[str, ...]:
    """Return the first codec of each different text."""
    first: dict[str, str] = {}
    for codec in codecs:
        first.setdefault(texts[codec], codec)
    return tuple(first.values())


def _cost(text: str, languages: Iterable[str]) -> float:
    """Return the fraction of characters beyond ASCII that the best of the languages does not use as they are here."""
    padded = f" {text} "
    found = [(padded[i - 1], char, padded[i + 1]) for i, char in enumerate(padded) if char > "\x7f"]
    letters = [char.lower()[0] for _, char, _ in found if char not in MARKS]
    n_unusual = sum(_is_unusual(*three) for three in found)
    n_foreign = min(sum(letter > "\x7f" and letter not in language for letter in letters) for language in languages)
    return (n_foreign + n_unusual) / max(1, len(found))


def _is_unusual(before: str, char: str, after: str) -> bool:
    """Whether a character stands where no language has it: a sign inside a word, or a capital after a small letter."""
    if char in MARKS:
        if char in "²³¼½¾ºª" and after.isalpha():
            return True
        return before.isalpha() and after.isalpha() and char not in INSIDE_WORDS
    return char.isupper() and before.islower()


def _has_only_pairs(sample: bytes) -> bool:
    """Whether bytes beyond ASCII never stand alone, as letters with accents mostly do."""
    is_high = [False, *(byte > 0x7F for byte in sample), False]
    return not any(
        high and not before and not after
        for before, high, after in zip(is_high, is_high[1:], is_high[2:], strict=False)
    )


def _is_usual(codec: str, text: str, coherence: float) -> bool:
    """Whether a text that is not in Latin letters consists of what its language mostly uses."""
    beyond_ascii = [char for char in text if char > "\x7f"]
    letters = [char for char in beyond_ascii if unicodedata.category(char)[0] in "LM"]
    if codec not in DOUBLE_BYTE:
        return coherence >= MIN_COHERENCE and len(letters) >= 0.9 * len(beyond_ascii)

    def fraction(first: str, last: str) -> float:
        return sum(first <= char <= last for char in letters) / max(1, len(letters))

    if codec == "cp949":
        return fraction("\uac00", "\ud7a3") >= MOSTLY
    if codec in ("cp932", "euc_jp"):
        kana, half_width = fraction("\u3040", "\u30ff"), fraction("\uff61", "\uff9f")
        return half_width <= 1 - MOSTLY and (kana > 0 or codec == "cp932")
    common = "".join(letters).encode("gb2312" if codec == "gb18030" else "big5", errors="ignore")
    return len(common) >= 2 * MOSTLY * len(letters)


def _other_script(sample: bytes) -> tuple[str, ...]:
    """Return the encoding of a text that is not in Latin letters; several if they are as likely, () if none is."""
    matches = [
        match
        for match in from_bytes(sample, cp_isolation=list(OTHER_SCRIPTS))
        if match.chaos <= MAX_MESS and _is_usual(match.encoding, str(match), match.coherence)
    ]
    if not matches:
        return ()
    best, text = matches[0], str(matches[0])
    lead = MIN_LEAD if len({char for char in text if char > "\x7f"}) >= ENOUGH_CHARACTERS else MAX_MESS
    rivals = [
        match.encoding
        for match in matches[1:]
        if match.chaos <= best.chaos + lead and match.coherence >= best.coherence and str(match) != text
    ]
    return (best.encoding, *rivals)
