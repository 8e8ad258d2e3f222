"""A version -> one offline HTML file that answers by itself: the graph's own bytes, and a script that works it out.

The script is written for the operators that our graphs have. onnxruntime-web would be 4.9 MB of a page, this is 0.1 MB.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from estimator.core.text import format_bytes, format_number, join_names
from estimator.data.schema.file import to_data
from estimator.errors import PageError
from estimator.pages.render import render_page, resource
from estimator.store.artefact import Artefact

# In the order in which they lean on each other.
SCRIPTS = (
    "onnx", "tensors", "operators", "algebra", "trees", "words", "runtime", "times", "contract", "model", "csv",
    "drawing", "fields", "answers", "batch", "main",
)  # fmt: skip
FOLDER = "estimator.serving.model_page"
# What the script defines them by.
DEFINERS = {"operator": "operator|plain|byValue|byPair|reducing|softmax", "directive": "directive|byName"}
# What can still be sent by mail.
MAX_BYTES = 20_000_000
# What Python's regular expressions have and a browser's have not, or have otherwise.
FOREIGN_PATTERN = re.compile(r"\\[AZ]|\(\?(?!:|=|!|<=|<!)|[*+?}]\+")


@dataclass(frozen=True, slots=True)
class ModelPage:
    """A page and what it is made of: bytes of the graph as it is, and packed into the page."""

    content: bytes
    graph_bytes: int
    packed_bytes: int
    operators: tuple[str, ...]


def build_model_page(artefact: Artefact) -> ModelPage:
    """Return the page of a version; its golden rows, which are rows of training, are in it.

    Raises
    ------
    PageError: the version uses what the script does not know, or is too large.
    """
    graph = artefact.read("model.onnx")
    operators = _operators(artefact)
    _refuse(artefact, operators)
    packed = base64.b64encode(gzip.compress(graph, 9, mtime=0)).decode()
    ranked = _ranked(artefact)
    order = "The columns that tell most come first." if ranked else "The columns as the table has them."
    content = render_page(
        f"{FOLDER}:page.html.j2",
        script=_script(),
        name=artefact.name,
        target=artefact.schema.target.name,
        summary=_summary(artefact),
        order=order,
        model=_inline(_told(artefact, ranked or [column.name for column in artefact.schema.features])),
        graph=packed,
    )
    found = ModelPage(content, len(graph), len(packed), operators)
    if len(found.content) > MAX_BYTES:
        raise PageError(
            f"{artefact.name} {artefact.version}: expected a page of at most {format_bytes(MAX_BYTES)}, got one of "
            f"{format_bytes(len(found.content))}; its graph alone is {format_bytes(found.packed_bytes)} when packed",
            hint="train a smaller model, or serve this one with `estimator serve`",
        )
    return found


def _operators(artefact: Artefact) -> tuple[str, ...]:
    if "operators" not in artefact.manifest:
        raise PageError(
            f"{artefact.name} {artefact.version}: its manifest.json does not list the operators of its graph",
            hint="train the version again with this release of estimator",
        )
    return tuple(artefact.manifest["operators"])


def _refuse(artefact: Artefact, operators: tuple[str, ...]) -> None:
    place = f"{artefact.name} {artefact.version}"
    unknown = [name for name in operators if name not in _known("operator")]
    if unknown:
        raise PageError(
            f"{place}: a page cannot work out {join_names(unknown)}, which its graph uses",
            hint="serve this version with `estimator serve`",
        )
    for column in artefact.schema.features:
        for form in column.date_formats:
            letters = [letter for letter in re.findall("%(.?)", form) if letter not in {"%", *_known("directive")}]
            if letters:
                raise PageError(f"{place}: column {column.name!r}: a page cannot read %{letters[0]} of {form!r}")
        if column.pattern is not None and FOREIGN_PATTERN.search(column.pattern):
            raise PageError(
                f"{place}: column {column.name!r}: a browser reads the pattern {column.pattern!r} otherwise",
                hint="write it without \\A, \\Z, possessive repeats and (?...) other than (?:...), (?=...) and (?!...)",
            )


@cache
def _known(kind: str) -> frozenset[str]:
    """Return the names of the operators or directives that the script defines."""
    return frozenset(re.findall(rf'^(?:{DEFINERS[kind]})\("([^"]+)"', _script(), flags=re.MULTILINE))


@cache
def _script() -> str:
    return "".join(resource(f"{name}.js", FOLDER) for name in SCRIPTS)


def _told(artefact: Artefact, order: list[str]) -> dict[str, Any]:
    """Return all that the script needs beside the graph."""
    schema, task = artefact.schema, artefact.predictor.task
    data = to_data(schema)
    sentences = {
        column.name: {"expectation": column.expectation, "training_summary": column.training_summary}
        for column in schema.features
    }
    columns = {name: content | sentences.get(name, {}) for name, content in data["columns"].items()}
    target = schema.target
    return {
        "task": {"kind": task.kind, "levels": list(task.classes)},
        "level": artefact.config["validation"]["coverage"],
        "target": {
            "name": target.name,
            "unit": target.unit,
            "training_range": target.training_range if task.is_regression else None,
        },
        "schema": {**data, "features": [column.name for column in schema.features], "columns": columns},
        "order": order,
        "golden": artefact.read_json("golden.json"),
        "facts": dict(_facts(artefact)),
    }


def _ranked(artefact: Artefact) -> list[str]:
    """Return the features, those first without which the answers get worse most; empty when nobody looked."""
    if "explanation.json" not in artefact.manifest["files"]:
        return []
    losses = {item["column"]: item["importance"] for item in artefact.read_json("explanation.json")["importance"] or ()}
    names = [column.name for column in artefact.schema.features]
    return sorted(names, key=lambda name: -losses.get(name, 0.0)) if losses else []


def _summary(artefact: Artefact) -> str:
    manifest = artefact.manifest
    kind = f"{manifest['model']['kind']} · " if "model" in manifest else ""
    return f"version {artefact.version} · {kind}{manifest['task']['kind']} of {artefact.schema.target.name}"


def _facts(artefact: Artefact) -> Iterator[tuple[str, str]]:
    manifest = artefact.manifest
    for name, score in manifest.get("metrics", {}).items():
        yield (
            f"{name}, held-out rows",
            f"{format_number(score['value'])} ({format_number(score['low'])} to {format_number(score['high'])})",
        )
    if "data" in manifest:
        yield "rows", f"{manifest['data']['rows']:,}, of these {manifest['data']['rows_held_out']:,} held out"
    yield "columns", str(len(artefact.schema.features))
    yield "made", str(manifest.get("created", "unknown"))
    yield "sha256 of the graph", manifest["files"]["model.onnx"][:16]


def _inline(data: object) -> str:
    """Return JSON that cannot end the element it stands in."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
