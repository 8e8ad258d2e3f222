"""The schema -> OpenAPI: the request bodies of the API's docs, with ranges, categories and an example row.

Descriptions are Markdown, which may hold HTML; names and values of a table are written so that they show as they are.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from fastapi import FastAPI

from estimator.core.text import markdown
from estimator.data.schema import Column, Schema

_JSON_TYPES = {
    "number": "number",
    "integer": "integer",
    "boolean": "boolean",
    "category": "string",
    "text": "string",
    "date": "string",
    "datetime": "string",
}
ACCESS_RESPONSES: dict[int | str, dict[str, Any]] = {
    401: {"description": "The API key is missing, unknown or expired"},
    403: {"description": "The API key lacks the scope"},
    429: {"description": "The rate limit of the API key is exceeded"},
    503: {"description": "There are too many concurrent requests, or the prediction log is not available"},
}
BODY_RESPONSES: dict[int | str, dict[str, Any]] = {
    408: {"description": "The body did not arrive in time"},
    413: {"description": "The body is too large, or has too many rows"},
    415: {"description": "The media type, charset or content encoding is not supported"},
    422: {
        "description": "The body is not a list of rows, or a row violates the schema: row, column and value are named"
    },
}


def value_schema(column: Column, *, is_private: bool) -> dict[str, Any]:
    """Return the JSON Schema of a column's values, with an example from training unless the column is private."""
    json_type = _JSON_TYPES[column.kind]
    document: dict[str, Any] = {
        "type": [json_type, "null"] if column.accepts_missing else json_type,
        "description": markdown(_description(column)),
    }
    if column.kind in ("date", "datetime"):
        document["format"] = "date" if column.kind == "date" else "date-time"
    low, high = column.range or (None, None)
    document |= {"minimum": low} if low is not None else {}
    document |= {"maximum": high} if high is not None else {}
    if column.unknown == "error" and column.categories:
        document["enum"] = [*column.categories, *([None] if column.accepts_missing else [])]
    if column.example is not None and not is_private:
        document["examples"] = [column.example]
    return document


def _description(column: Column) -> str:
    parts = [column.training_summary[0].upper() + column.training_summary[1:]]
    if column.unit:
        parts.append(f"unit: {column.unit}")
    parts.append(_missing_rule(column))
    if column.aliases:
        parts.append(f"also known as {', '.join(column.aliases)}")
    return "; ".join(parts) + "."


def _missing_rule(column: Column) -> str:
    """Return what may be sent where a value is missing."""
    null = "null is imputed" if column.imputes else "null if missing" if column.nullable else "not null"
    if column.is_required:
        return "required" if null == "not null" else null
    return f"{null}; may be left out" + ("" if column.default is None else f": then {column.default!r}")


def rows_body(
    schema: Schema, example: Sequence[Mapping[str, Any]] | None, media_types: Sequence[str], private: Collection[str]
) -> dict[str, Any]:
    """Return the `requestBody` of a predict route, which may also accept tables of some media types."""
    values = {column.name: value_schema(column, is_private=column.name in private) for column in schema.features}
    required = [column.name for column in schema.features if column.is_required]
    row = {"type": "object", "title": "Row", "properties": values, "required": required}
    columns = {
        "type": "object",
        "description": "One list per column, all of the same length.",
        "properties": {name: {"type": "array", "items": document} for name, document in values.items()},
        "required": required,
    }
    json_content: dict[str, Any] = {"schema": {"oneOf": [{"type": "array", "minItems": 1, "items": row}, columns]}}
    if example is not None:
        json_content["example"] = example
    content = {"application/json": json_content, **_binary(media_types)}
    return {"requestBody": {"required": True, "content": content}}


def keep_nulls(app: FastAPI, examples: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Put the example rows of some paths into an app's document as they are: FastAPI leaves out what is null."""
    build = app.openapi

    def openapi() -> dict[str, Any]:
        document = build()
        for path, rows in examples.items():
            if operation := document["paths"].get(path, {}).get("post"):
                operation["requestBody"]["content"]["application/json"]["example"] = rows
        return document

    app.openapi = openapi  # type: ignore[method-assign] # as FastAPI's documentation has it


def prediction_responses(
    example: Mapping[str, Any] | None, media_types: Sequence[str]
) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a predict route, with a real response as the example."""
    content = {"application/json": {} if example is None else {"example": example}, **_binary(media_types)}
    return {200: {"description": "One prediction per row, in order", "content": content}, **BODY_RESPONSES}


def _binary(media_types: Sequence[str]) -> dict[str, Any]:
    return {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in media_types}


LABELS_BODY: dict[str, Any] = {
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
                            "id": {
                                "type": "string",
                                "description": "The id of a prediction: X-Request-Id, a hyphen and the row's index.",
                            },
                            "label": {
                                "type": ["number", "string", "boolean"],
                                "description": "The actual value of the target, in any spelling that training reads.",
                            },
                        },
                        "required": ["id", "label"],
                    },
                },
                "example": [{"id": "0a1b2c3d4e5f60718293a4b5c6d7e8f9-0", "label": 21.5}],
            }
        },
    }
}
