"""Personal data, recognized by the values of a column: names, addresses, phone, account and card numbers."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from contextlib import suppress

import polars as pl

from estimator.data.schema.text_parsing import strip_blanks
from estimator.exploration.findings.finding import Finding, Findings, RuleInput, drop_edit

MAX_TEXTS = 100
MIN_TEXTS = 10
# Of a column of personal data, nearly all values have its form; of names, about half begin with a common one.
MOST, NAMED = 0.8, 0.3
EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+")
PHONE = re.compile(
    r"(?:\+|00)?\d{1,4}[ ./-]?(?:\(0?\d{1,5}\)|\d{2,5})(?:[ ./-]?\d{2,5}){1,4}(?: ?(?:x|ext\.?) ?\d{1,5})?"
)
LOCAL_PHONE = re.compile(r"\(\d{2,5}\) ?\d{2,4}(?:[ .-]?\d{2,5}){1,3}")
CARD = re.compile(r"\d{4}(?:[ -]?\d{3,7}){2,4}")
ACCOUNT = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}")
SOCIAL_SECURITY = re.compile(r"(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}")
STREET = re.compile(
    r"(?i)\b(?:street|avenue|road|boulevard|lane|drive|court|square|highway|rue|via|viale|piazza|calle|avenida|plaza|rua|"
    r"ulica|ul|prospekt|st|ave|rd|blvd|ln|dr|ct|hwy|pl|way|terrace|close|crescent)\b\.?"
    r"|(?:straße|strasse|str\.|gasse|weg|platz|allee|ring|straat|laan|gatan|vägen|gate|vej)\b"
)
TITLE = re.compile(r"\b(?:Mr|Mrs|Ms|Miss|Master|Dr|Prof|Herr|Frau|Sr|Sra|Mme|Monsieur|Madame|Rev|Sir|Lady)\b\.?")
WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|['’.-])*")
_GIVEN_NAMES = """
aaron abdul abdullah adam adrian agnes ahmed aisha alan alejandro aleksander alex alexander alexandra alfred ali alice
alicia alison amanda amelia amy ana anders andre andrea andreas andrew andrzej angela anita ann anna anne annie
anthony antonio arjun arthur ashley barbara beatriz ben benjamin bernard beth betty bianca bill birgit bjorn brandon
brenda brian bruno camille carl carla carlos carmen carol caroline catherine cecilia charles charlotte chen chloe
chris christian christina christine christopher claire clara claudia colin cynthia daniel daniela david deborah debra
denise dennis diana diego dmitri dominik donald donna dorothy douglas edith eduardo edward elena elisabeth elizabeth
ella ellen emily emma enrique eric erik erika ernst esther eva evelyn fatima felix fernando florian frances francesca
francesco francis francisco frank franz fred friedrich gabriel gary george georg gerald gerard gerhard giovanni giulia
gloria grace graham greg gregory guillaume gustav hannah hans harold harry hassan heather heidi heinz helen helena
helmut henri henrik henry herbert hiroshi holly hugo ian ibrahim igor ines ingrid irene irina isabel isabella ivan
jack jacob jacqueline james jan jane janet janice jason javier jean jeffrey jennifer jens jeremy jerry jesse jessica
jesus jim joan joao joe johan johann johannes john jonathan jorge jose joseph joshua joyce juan judith judy julia
julian julie jun jurgen justin karen karin karl katarzyna kate katherine kathleen kathryn keith kelly kenneth kenji
kevin khalid kim klaus krzysztof kumar kyle lars laura lauren lea leon leonardo li liam lina linda lisa logan lorenzo
louis louise lucas lucia luis luisa lukas luke lynn magdalena manuel marc marco marcus margaret maria marie marina
mario marion marta martha martin martina mary mateusz matteo matthew matthias max maximilian megan mehmet mei melissa
michael michal michel michele miguel mikhail milan mohamed mohammed monica monika muhammad mustafa nancy natalia
natalie nathan nicholas nicolas nicole nikolai nina noah nora oleg oliver olivia omar oscar otto pablo pamela paolo
pascal patricia patrick paul paula paulo pavel pedro peter petra philip philippe pierre piotr priya rachel rafael
rahul raj ralph raymond rebecca renate ricardo richard rita robert roberto roger roland ronald rosa rose roy ruth ryan
samantha samuel sandra sanjay sara sarah scott sean sebastian sergei sergio sharon shirley silvia simon sofia sonia
sophia sophie stefan stefano stella stephan stephanie stephen steven susan susanne svetlana sven tamara tanja tatiana
teresa theodor theresa thomas tim timothy tobias tom tomasz tony tyler ursula valentina vanessa vera veronica victor
victoria viktor vincent virginia vladimir walter wang wayne wei werner wilhelm william wolfgang xavier yan yuki yusuf
yvonne zhang zoe
"""
GIVEN_NAMES = frozenset(_GIVEN_NAMES.split())


def personal_data(inputs: RuleInput) -> Findings:
    """Columns whose values are personal data, whatever their name, with the fraction that has the form."""
    for column in inputs.columns:
        is_measured = inputs.schema.by_name[column.name].kind in ("number", "boolean", "date", "datetime")
        if is_measured or inputs.rows[column.name].dtype != pl.String or column.distinct < MIN_TEXTS:
            continue
        first = inputs.rows[column.name].drop_nulls().head(20 * MAX_TEXTS)
        texts = strip_blanks(first.unique(maintain_order=True).head(MAX_TEXTS))
        known = [text for text in texts.to_list() if text not in ("", *inputs.schema.by_name[column.name].na_values)]
        what, fraction = kind_of_person_data(known)
        if what:
            sentence = (
                f"{column.name} holds {what} ({fraction:.0%} of its values): personal data that a model rarely needs"
            )
            plural, detail = "personal data, which a model rarely needs: {names}", f"{what}, {fraction:.0%}"
            evidence = {"what": what, "fraction": round(fraction, 3)}
            yield Finding(
                "personal data", "medium", (column.name,), sentence, evidence, drop_edit(column.name),
                plural=plural, detail=detail,
            )  # fmt: skip


def kind_of_person_data(texts: list[str]) -> tuple[str, float]:
    """Return what personal data the texts are, and the fraction of them that are; an empty text for other texts.

    >>> kind_of_person_data(["ann@x.org", "bob@y.com"] * 5)
    ('mail addresses', 1.0)
    """
    if len(texts) < MIN_TEXTS:
        return "", 0.0
    for what, has_form in FORMS.items():
        fraction = sum(map(has_form, texts)) / len(texts)
        if fraction >= MOST:
            return what, fraction
    shaped = [text for text in texts if _is_name_shaped(text)]
    common = sum(_has_given_name(text) for text in shaped)
    if len(shaped) >= MOST * len(texts) and common >= NAMED * len(texts):
        return "names of persons", len(shaped) / len(texts)
    return "", 0.0


def passes_luhn(digits: str) -> bool:
    """Whether the last digit of a card number is its check digit.

    >>> passes_luhn("4111111111111111"), passes_luhn("4111111111111112")
    (True, False)
    """
    doubled = [int(digit) * (2 if index % 2 else 1) for index, digit in enumerate(reversed(digits))]
    return sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0


def _is_card(text: str) -> bool:
    digits = re.sub(r"[ -]", "", text)
    return CARD.fullmatch(text) is not None and 13 <= len(digits) <= 19 and len(set(digits)) > 1 and passes_luhn(digits)


def _is_account(text: str) -> bool:
    """Whether a text is an IBAN, whose remainder by 97 is 1."""
    compact = text.replace(" ", "").upper()
    if ACCOUNT.fullmatch(compact) is None:
        return False
    return int("".join(str(int(letter, 36)) for letter in compact[4:] + compact[:4])) % 97 == 1


def _is_network_address(text: str) -> bool:
    if text.count(".") != 3 and text.count(":") < 2:
        return False
    with suppress(ValueError):
        ipaddress.ip_address(text)
        return True
    return False


def _is_phone(text: str) -> bool:
    digits = sum(letter.isdecimal() for letter in text)
    is_marked = text.startswith(("+", "(", "0")) or bool(re.fullmatch(r"\d{3}[-. ]\d{3}[-. ]\d{4}", text))
    is_separated = text.startswith("+") or any(letter in " -./(" for letter in text)
    has_form = PHONE.fullmatch(text) or LOCAL_PHONE.fullmatch(text)
    is_date = re.fullmatch(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}(?: .*)?", text) is not None
    return bool(has_form) and is_marked and is_separated and not is_date and 7 <= digits <= 15


def _is_address(text: str) -> bool:
    return 6 <= len(text) <= 120 and any(letter.isdecimal() for letter in text) and STREET.search(text) is not None


def _is_name_shaped(text: str) -> bool:
    words = WORD.findall(text)
    is_plain = not any(letter.isdecimal() for letter in text) and len(text) <= 80
    return is_plain and 2 <= len(words) <= 8 and sum(word[0].isupper() for word in words) >= 2


def _has_given_name(text: str) -> bool:
    words = [word.strip(".'’-").lower() for word in WORD.findall(text)]
    return TITLE.search(text) is not None or any(word in GIVEN_NAMES for word in words)


FORMS: Mapping[str, Callable[[str], bool]] = {
    "mail addresses": lambda text: EMAIL.fullmatch(text) is not None,
    "network addresses": _is_network_address,
    "bank accounts (IBAN)": _is_account,
    "card numbers": _is_card,
    "social security numbers": lambda text: SOCIAL_SECURITY.fullmatch(text) is not None,
    "phone numbers": _is_phone,
    "postal addresses": _is_address,
}
