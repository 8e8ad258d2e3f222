"""The schema -> JSON Schema: the request of the API's docs, with ranges, levels and a real example row."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from estimator.data.schema import Column, Schema

_TYPES = {
    "number": "number",
    "integer": "integer",
    "boolean": "boolean",
    "category": "string",
    "text": "string",
    "date": "string",
    "datetime": "string",
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"description": "A key is asked for and was not given, or has ended"},
    403: {"description": "The key may not do this"},
    429: {"description": "More requests than the key's rate"},
    503: {"description": "More requests at once than the server takes, or the prediction log cannot be used"},
}
BODY_REFUSALS: dict[int | str, dict[str, Any]] = {
    408: {"description": "The body did not come in time"},
    413: {"description": "The body or the number of rows is too large"},
    415: {"description": "The body is packed, written or typed in a way that is not known"},
    422: {"description": "The body is no list of rows, or a row breaks the contract: row, column and value are named"},
}


def value_document(column: Column, *, is_private: bool) -> dict[str, Any]:
    """Return the JSON Schema of one value, with one of training's unless it is private."""
    kind = _TYPES[column.kind]
    document: dict[str, Any] = {
        "type": [kind, "null"] if column.nullable else kind,
        "description": _description(column),
    }
    if column.kind in ("date", "datetime"):
        document["format"] = "date" if column.kind == "date" else "date-time"
    low, high = column.range or (None, None)
    document |= {"minimum": low} if low is not None else {}
    document |= {"maximum": high} if high is not None else {}
    if column.unknown == "error" and column.categories:
        document["enum"] = [*column.categories, *([None] if column.nullable else [])]
    if column.example is not None and not is_private:
        document["examples"] = [column.example]
    return document


def _description(column: Column) -> str:
    parts = [column.training_summary[0].upper() + column.training_summary[1:]]
    if column.unit:
        parts.append(f"unit: {column.unit}")
    parts.append("a gap is given as null" if column.nullable else "no gaps")
    if column.aliases:
        parts.append(f"also known as {', '.join(column.aliases)}")
    return "; ".join(parts) + "."


def body_document(
    schema: Schema, example: Sequence[Mapping[str, Any]] | None, tables: Sequence[str], private: Collection[str]
) -> dict[str, Any]:
    """Return the `requestBody` of a predict route, which may also take tables of some media types."""
    values = {column.name: value_document(column, is_private=column.name in private) for column in schema.features}
    row = {"type": "object", "title": "Row", "properties": values, "required": list(values)}
    columns = {
        "type": "object",
        "description": "The same by column, as many values in each.",
        "properties": {name: {"type": "array", "items": document} for name, document in values.items()},
        "required": list(values),
    }
    told: dict[str, Any] = {"schema": {"oneOf": [{"type": "array", "minItems": 1, "items": row}, columns]}}
    if example is not None:
        told["example"] = example
    content = {"application/json": told, **_binary(tables)}
    return {"requestBody": {"required": True, "content": content}}


def answer_document(example: Mapping[str, Any] | None, tables: Sequence[str]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a predict route, with a real answer, also as tables of some media types."""
    content = {"application/json": {} if example is None else {"example": example}, **_binary(tables)}
    return {200: {"description": "An answer per row, in order", "content": content}, **BODY_REFUSALS}


def _binary(kinds: Sequence[str]) -> dict[str, Any]:
    return {kind: {"schema": {"type": "string", "format": "binary"}} for kind in kinds}


LABELS_DOCUMENT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "properties": {
                            "id": {"type": "string", "description": "Of an answer: its id, or X-Request-Id-ROW."},
                            "label": {"type": ["number", "string"]},
                        },
                        "required": ["id", "label"],
                    },
                },
                "example": [{"id": "0a1b2c3d4e5f60718293a4b5c6d7e8f9-0", "label": 21.5}],
            }
        },
    }
}
