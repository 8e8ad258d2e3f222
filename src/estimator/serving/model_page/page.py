"""A version -> one offline HTML file that predicts in the browser: the ONNX graph, and a script that evaluates it.

The script implements the operators of our graphs only: 0.1 MB, where onnxruntime-web would add 4.9 MB to each page.
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

from estimator.core.date_formats import ISO_8601, REFUSALS, compile_format
from estimator.core.text import format_bytes, join_names
from estimator.data.schema import Column, Schema
from estimator.data.schema.column import TIME_KINDS
from estimator.data.schema.file import to_data
from estimator.errors import PageError
from estimator.evaluation.scores import Score
from estimator.evaluation.threshold import recorded_threshold
from estimator.pages.render import render_page, resource
from estimator.store.artefact import Artefact

FOLDER = "estimator.serving.model_page"
# In the order in which they depend on each other.
SCRIPTS = (
    *("onnx", "tensors", "operators", "algebra", "trees", "text", "runtime"),
    *("times", "schema", "model", "csv", "drawing", "fields", "predictions", "batch", "main"),
)
# The script's functions that define an ONNX operator.
DEFINERS = "operator|plain|byValue|byPair|reducing|softmax"
# Mail servers reject larger attachments.
MAX_BYTES = 20_000_000
# Parts of regular expressions that JavaScript lacks, or reads differently from Python.
PYTHON_ONLY_PATTERN = re.compile(r"\\[AZ]|\(\?(?!:|=|!|<=|<!)|[*+?}]\+")


@dataclass(frozen=True, slots=True)
class ModelPage:
    """A page, the size of its graph before and after compression, and the graph's operators."""

    content: bytes
    graph_bytes: int
    compressed_bytes: int
    operators: tuple[str, ...]


def build_model_page(artefact: Artefact) -> ModelPage:
    """Return the page of a version; it contains the version's golden rows, which are training rows.

    Raises
    ------
    PageError: the version needs what the script does not support, or the page is too large.
    """
    graph = artefact.read("model.onnx")
    operators = _operators(artefact)
    _check_support(artefact, operators)
    compressed = base64.b64encode(gzip.compress(graph, 9, mtime=0)).decode()
    ranked = _columns_by_importance(artefact)
    content = render_page(
        f"{FOLDER}:page.html.j2",
        script=_script(),
        name=artefact.name,
        target=artefact.schema.target.name,
        summary=_summary(artefact),
        order="Columns are sorted by importance." if ranked else "Columns are in the order of the table.",
        model=_inline(_page_data(artefact, ranked or [column.name for column in artefact.schema.features])),
        graph=compressed,
    )
    if len(content) > MAX_BYTES:
        raise PageError(
            f"{artefact.name} {artefact.version}: expected a page of at most {format_bytes(MAX_BYTES)}, got "
            f"{format_bytes(len(content))}, of which the compressed graph is {format_bytes(len(compressed))}",
            hint="train a smaller model, or serve this one with `estimator serve`",
        )
    return ModelPage(content, len(graph), len(compressed), operators)


def _operators(artefact: Artefact) -> tuple[str, ...]:
    if "operators" not in artefact.manifest:
        raise PageError(
            f"{artefact.name} {artefact.version}: its manifest.json does not list the operators of its graph",
            hint="train the version again with this release of estimator",
        )
    return tuple(artefact.manifest["operators"])


def _check_support(artefact: Artefact, operators: tuple[str, ...]) -> None:
    where = f"{artefact.name} {artefact.version}"
    unknown = [name for name in operators if name not in _defined_operators()]
    if unknown:
        raise PageError(
            f"{where}: the page does not support the operators {join_names(unknown)} of the graph",
            hint="serve this version with `estimator serve`",
        )
    for column in artefact.schema.features:
        if column.pattern is not None and PYTHON_ONLY_PATTERN.search(column.pattern):
            raise PageError(
                f"{where}: column {column.name!r}: JavaScript does not read the pattern {column.pattern!r} "
                "as Python does",
                hint="write it without \\A, \\Z, possessive repeats and (?...) other than (?:...), (?=...) and (?!...)",
            )


@cache
def _defined_operators() -> frozenset[str]:
    return frozenset(re.findall(rf'^(?:{DEFINERS})\("([^"]+)"', _script(), flags=re.MULTILINE))


@cache
def _script() -> str:
    return "".join(resource(f"{name}.js", FOLDER) for name in SCRIPTS)


def column_data(column: Column) -> dict[str, Any]:
    """Return what the script needs to read a column's values: the schema's settings, sentences and expressions."""
    data: dict[str, Any] = to_data(Schema((), column))["columns"][column.name]
    data |= {"expectation": column.expectation, "training_summary": column.training_summary}
    if column.kind in TIME_KINDS:
        formats = [*map(compile_format, column.date_formats), ISO_8601]
        data["times"] = [{"pattern": item.pattern, "letters": list(item.letters)} for item in formats]
        data["refusals"] = list(REFUSALS.items())
    return data


def _page_data(artefact: Artefact, column_order: list[str]) -> dict[str, Any]:
    """Return what the script needs besides the graph, as JSON-ready data."""
    schema, task = artefact.schema, artefact.predictor.task
    data = to_data(schema)
    columns = data["columns"] | {column.name: column_data(column) for column in schema.features}
    target = schema.target
    return {
        "task": {"kind": task.kind, "classes": list(task.classes)},
        "threshold": artefact.manifest.get("threshold"),
        "coverage": artefact.config["validation"]["coverage"],
        "target": {
            "name": target.name,
            "unit": target.unit,
            "training_range": target.training_range if task.is_regression else None,
        },
        "schema": {**data, "features": [column.name for column in schema.features], "columns": columns},
        "column_order": column_order,
        "golden": artefact.read_json("golden.json"),
        "facts": dict(_facts(artefact)),
    }


def _columns_by_importance(artefact: Artefact) -> list[str]:
    """Return the features, most important first; empty when their importance was not computed."""
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
        yield f"{name}, held-out rows", str(Score.from_data(score))
    if (threshold := recorded_threshold(manifest)) is not None:
        yield "threshold", f"{threshold.value:.4g} for {threshold.positive_class!r}: {threshold.reason}"
    if "data" in manifest:
        yield "rows", f"{manifest['data']['rows']:,}, {manifest['data']['rows_held_out']:,} of them held out"
    yield "columns", str(len(artefact.schema.features))
    yield "created", str(manifest.get("created", "unknown"))
    yield "sha256 of the graph", manifest["files"]["model.onnx"][:16]


def _inline(data: object) -> str:
    """Return JSON that cannot end the script element that contains it."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
