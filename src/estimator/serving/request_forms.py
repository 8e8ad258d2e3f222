"""The forms in which JSON rows come -> a list of rows: our own two, and those of other model servers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from estimator.core.text import join_names
from estimator.errors import RequestError

# Keys under which TensorFlow Serving, Vertex AI and MLflow take rows.
ROWS_KEYS = ("inputs", "instances", "dataframe_records")
SPLIT_KEY = "dataframe_split"
ACCEPTED = (
    'a list of rows [{"column": value}], an object with a list per column {"column": [values]}, '
    f'or one of these under {", ".join(ROWS_KEYS)} or {SPLIT_KEY} {{"columns": [names], "data": [rows]}}'
)
# What the Open Inference Protocol says of each tensor.
TENSOR_KEYS = {"name", "shape", "datatype"}


def rows_of(content: Any) -> list[Any]:
    """Return the rows of a decoded JSON body; a row itself may still be anything.

    >>> rows_of({"instances": [{"rooms": 3}]})
    [{'rooms': 3}]
    >>> rows_of({"dataframe_split": {"columns": ["rooms", "city"], "data": [[3, "Oslo"]]}})
    [{'rooms': 3, 'city': 'Oslo'}]
    >>> rows_of({"rooms": [3, 4]})
    [{'rooms': 3}, {'rooms': 4}]

    Raises
    ------
    RequestError: the body has another form.
    """
    if isinstance(content, list):
        return content
    if not isinstance(content, dict):
        raise RequestError(422, f"expected {ACCEPTED}, got {_shown(content)}")
    key = _wrapper(content)
    if key is None:
        return _rows_of_columns(content)
    if len(content) > 1:
        others = join_names([repr(name) for name in content if name != key], limit=5)
        raise RequestError(422, f"expected nothing but {key!r}, got {others} next to it")
    value = content[key]
    if key == SPLIT_KEY:
        return _rows_of_split(value)
    return _rows_of_columns(value) if isinstance(value, dict) else _rows_of_list(key, value)


def tables_in(content: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a body that are not rows: the body itself, and the table that it wraps."""
    if isinstance(content, dict):
        yield content
        key = _wrapper(content)
        if key is not None and isinstance(content[key], dict):
            yield content[key]


def _wrapper(content: Mapping[str, Any]) -> str | None:
    """Return the key that holds all rows; None for an object with a list of values per column."""
    if SPLIT_KEY in content:
        return SPLIT_KEY
    for key in ROWS_KEYS:
        value = content.get(key)
        if isinstance(value, dict) or (isinstance(value, list) and (not value or isinstance(value[0], dict | list))):
            return key
    return None


def _rows_of_list(key: str, rows: list[Any]) -> list[Any]:
    if rows and isinstance(rows[0], dict) and rows[0].keys() >= TENSOR_KEYS:
        raise RequestError(
            422, f"{key}: tensors with name, shape and datatype (the Open Inference Protocol) are not read; "
            f"expected {ACCEPTED}"
        )  # fmt: skip
    if rows and isinstance(rows[0], list):
        raise RequestError(
            422,
            f"{key}: expected a value per column name in each row, got values without names: {_shown(rows[0])}; "
            f"name the columns, or send {SPLIT_KEY}",
        )
    return rows


def _rows_of_columns(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not columns or not all(map(_is_column, columns.values())):
        raise RequestError(422, f"expected {ACCEPTED}, got {_shown(columns)}; put one row in [ ]")
    lengths = {name: len(values) for name, values in columns.items()}
    shortest, longest = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
    if lengths[shortest] != lengths[longest]:
        raise RequestError(
            422,
            f"expected columns of the same length, got {lengths[shortest]:,} values in {shortest!r} "
            f"and {lengths[longest]:,} in {longest!r}",
        )
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _rows_of_split(table: Any) -> list[dict[str, Any]]:
    names, rows = _split_parts(table)
    if not names:
        raise RequestError(422, f'{SPLIT_KEY}: expected {{"columns": [names], "data": [rows]}}, got {_shown(table)}')
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise RequestError(422, f"{SPLIT_KEY}: columns names {repeated[0]!r} twice")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, list) or len(row) != len(names):
            found = f"{len(row):,} values" if isinstance(row, list) else _shown(row)
            raise RequestError(422, f"{SPLIT_KEY}: row {number}: expected {len(names):,} values, got {found}")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _is_column(values: object) -> bool:
    return isinstance(values, list) and not (values and isinstance(values[0], dict))


def _split_parts(table: Any) -> tuple[list[str], list[Any]]:
    """Return the names and the rows of a table; no names where it has another form."""
    if isinstance(table, dict) and {"columns", "data"} <= table.keys() <= {"columns", "data", "index"}:
        names, rows = table["columns"], table["data"]
        is_list = isinstance(names, list) and isinstance(rows, list)
        if is_list and all(isinstance(name, str) for name in names):
            return names, rows
    return [], []


def _shown(content: Any) -> str:
    text = json.dumps(content, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
