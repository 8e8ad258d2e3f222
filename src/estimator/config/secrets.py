"""Credentials in a config, and in the files made of it: refused, unless `secrets.allow` names them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

from estimator.config.document import Document, KeyPath
from estimator.config.faults import ConfigFault
from estimator.config.section import Section, Text
from estimator.core.credentials import (
    SECRET_NAME,
    Credential,
    find_credentials,
    find_random,
    is_reference,
    is_same,
    may_hold_credential,
)

# Where a name such as `token` is that of a column, of a category or of a secret kept elsewhere.
_NOT_BY_NAME = (
    ("data",),
    ("schema",),
    ("features",),
    ("tuning",),
    ("deployment", "secrets"),
    ("deployment", "pull_secret"),
)
# Where a long random text is none either: names, and what people read.
_NOT_RANDOM = (*_NOT_BY_NAME, ("name",), ("purpose",), ("secrets",))
LOOKS_LIKE = "looks like"
# Files that hold a config's own words, where `password=` is one.
_CONFIG_FILES = re.compile(r"(?:.*/)?(?:config\.\w+|config\.resolved\.json|manifest\.json|Dockerfile)")
_TEXT_FILES = (".json", ".yml", ".yaml", ".toml", ".html", ".md", ".txt", "Dockerfile")
# Compressed files of packages, which no user writes.
_PACKAGES = (".whl",)
# What a binary file holds of texts, such as the categories in a graph.
_TEXT_IN_BINARY = re.compile(rb"[\t\n\r\x20-\x7e]{16,}")


class Secrets(Section):
    """What looks like a credential and is none."""

    allow: list[Text] = Field(
        [],
        description="keys, such as deployment.environment.DEMO_TOKEN, and fingerprints, as errors show them, of values "
        "that may be in the config and in all that is made of it",
    )


def secret_faults(
    values: Mapping[str, Any], document: Document | None = None, overrides: Sequence[str] = ()
) -> list[ConfigFault]:
    """Return a fault for each credential in the values of a config, in the text of its document and in overrides.

    `values` are those of the document with the overrides applied.
    """
    allowed, found = allowed_fingerprints(values), list(_credentials_in(values, ()))
    faults = [_fault(path, item) for path, item in found if item.fingerprint not in allowed]
    known = {item.value for _, item in found}
    text = "" if document is None else document.content.decode(errors="replace")
    for place, written in (("", text), *((override.partition("=")[0], override) for override in overrides)):
        for item in find_credentials(written):
            if item.fingerprint in allowed or any(is_same(item.value, value) for value in known):
                continue
            known.add(item.value)
            line = None if place else written.count("\n", 0, item.start) + 1
            faults.append(_fault((place,) if place else (), item, line=line))
    return faults


def allowed_fingerprints(values: Mapping[str, Any]) -> set[str]:
    """Return the fingerprints that `secrets.allow` lists, and those of the values whose keys it lists."""
    section = values.get("secrets")
    listed = section.get("allow") if isinstance(section, Mapping) else None
    allowed = {str(item) for item in listed} if isinstance(listed, list) else set()
    at_keys = (item for path, item in _credentials_in(values, ()) if ".".join(map(str, path)) in allowed)
    return allowed | {item.fingerprint for item in at_keys}


def credentials_in_files(files: Mapping[str, bytes], config: Mapping[str, Any]) -> list[str]:
    """Return a sentence, with file, line and key, for each credential in the files of a version or an image.

    `config` are the values of the config that may allow it.
    """
    allowed, sentences = allowed_fingerprints(config), dict[str, str]()
    for name, content in files.items():
        is_text = name.endswith(_TEXT_FILES)
        text = content.decode(errors="replace") if is_text else _texts_in(name, content)
        for item in find_credentials(text, assignments=_CONFIG_FILES.fullmatch(name) is not None):
            # In a binary file, what follows a text may look like its last letters.
            variants = [item] if is_text else [replace(item, value=item.value[:end]) for end in (None, -1, -2)]
            if not any(variant.fingerprint in allowed for variant in variants):
                place = f"{name}:{text.count(chr(10), 0, item.start) + 1}" if is_text else name
                key = f"{key}: " if is_text and (key := _key_before(text, item.start)) else ""
                sentence = f"{place}: {key}{LOOKS_LIKE} {item.rule}, fingerprint {item.fingerprint}"
                # One value may be in many files: the first tells where it comes from.
                sentences.setdefault(item.value, sentence)
    return list(sentences.values())


def _texts_in(name: str, content: bytes) -> str:
    if name.endswith(_PACKAGES) or not may_hold_credential(content):
        return ""
    return "\0".join(text.decode() for text in _TEXT_IN_BINARY.findall(content))


def _credentials_in(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Credential]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _credentials_in(item, (*path, str(key)))
    elif isinstance(value, list):
        for position, item in enumerate(value):
            yield from _credentials_in(item, (*path, position))
    elif isinstance(value, str) and path[:1] != ("secrets",):
        found = list(find_credentials(value))
        if not found and _is_named_secret(path) and value and not is_reference(value):
            found = [Credential("a secret, by its name", 0, value)]
        if not found and not _is_below(path, _NOT_RANDOM):
            found = list(find_random(value))
        yield from ((path, item) for item in found)


def _is_named_secret(path: KeyPath) -> bool:
    if _is_below(path, _NOT_BY_NAME):
        return False
    return isinstance(path[-1], str) and SECRET_NAME.search(path[-1]) is not None


def _is_below(path: KeyPath, prefixes: Sequence[KeyPath]) -> bool:
    return any(path[: len(prefix)] == prefix for prefix in prefixes)


def _fault(path: KeyPath, item: Credential, *, line: int | None = None) -> ConfigFault:
    hint = "write ${NAME} in its place, and set NAME" if path else "leave it out"
    if path[:1] == ("deployment",):
        hint = "name it in deployment.secrets"
    return ConfigFault(path, f"{LOOKS_LIKE} {item.rule}, fingerprint {item.fingerprint}", hint, line)


def _key_before(text: str, position: int) -> str:
    """Return the last JSON key before a position in its line, else "".

    >>> _key_before('{"a": 1, "url": "x"}', 17)
    'url'
    """
    line = text[text.rfind("\n", 0, position) + 1 : position + 1]
    keys = re.findall(r'"((?:[^"\\]|\\.)*)":', line) or re.findall(r"([\w.-]+): ", line)
    return str(json.loads(f'"{keys[-1]}"')) if keys else ""
