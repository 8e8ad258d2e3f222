"""A JSON body -> the graph's columns, with a decoder made from the schema: what `Schema.read_rows` returns, or None.

Rows are decoded into a class with one field per column, which checks names, types, ranges and categories while it
reads. Two such classes are tried: the first takes only values inside the training range, so that nothing has to be
checked again; the second takes all values that need no explanation. What neither takes is left to `Schema.read_rows`,
which names what is wrong.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from estimator.core.arrays import Floats
from estimator.data.schema import Batch, Column, Schema
from estimator.data.schema.cells import LARGEST_EXACT_INTEGER, CellError, na_numbers, read_cell
from estimator.data.schema.column import NUMERIC_KINDS
from estimator.data.schema.schema import as_array
from estimator.graph.session import Feed

Scalar = bool | int | float | str | None
Row = msgspec.Struct


@dataclass(frozen=True)
class DecodedBody:
    """The rows of a valid body, and whether the decoder has found all its values inside the training range."""

    rows: Sequence[Row]
    in_range: bool


class BodyDecoder:
    """Decodes the bodies of one schema.

    Raises
    ------
    ValueError: a column's name cannot be written in JSON as it is.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._ignores_unknown = schema.unknown_columns == "ignore"
        fields = {column.name: f"column_{index}" for index, column in enumerate((*schema.columns, schema.target))}
        self._in_range, self._valid = (
            msgspec.json.Decoder(list[_row_class(schema, fields, in_range=in_range)])  # type: ignore[misc] # made here
            for in_range in (True, False)
        )
        plain = [column for column in schema.features if _is_plain_number(column)]
        self.numbers = [column.name for column in plain]
        self._numbers_of = _getter([fields[name] for name in self.numbers])
        # A value that is imputed has to be reported, which `Service` does.
        others = [replace(column, on_missing=None) for column in schema.features if column not in plain]
        self._others = [(column, attrgetter(fields[column.name]), _plain_categories(column)) for column in others]
        self._n_features = len(schema.features)
        self._optional = [attrgetter(field) for name, field in fields.items() if not _is_required(schema, name)]
        self._unchecked = [column for column, _, plain in self._others if not plain and column.kind != "text"]

    def decode(self, body: bytes) -> DecodedBody | None:
        """Return the rows of a body; None when `Schema.read_rows` has to look at them."""
        try:
            if self._ignores_unknown or b"\\u" in body:
                # Unknown columns must be valid JSON too, and a lone surrogate cannot be sent back.
                msgspec.json.encode(msgspec.json.decode(body))
            try:
                decoded = DecodedBody(self._in_range.decode(body), in_range=True)
            except msgspec.ValidationError:
                decoded = DecodedBody(self._valid.decode(body), in_range=False)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
        return decoded if self._has_no_duplicate_keys(body, decoded.rows) else None

    def _has_no_duplicate_keys(self, body: bytes, rows: Sequence[Row]) -> bool:
        """Whether the body has two quotes per key and text and no escaped ones, so that no key is there twice."""
        if b'\\"' in body:
            return False
        n_strings = self._n_features * len(rows)
        for _, value_of, _ in self._others:
            n_strings += sum([isinstance(value, str) for value in map(value_of, rows)])
        n_quotes = body.count(b'"')
        if n_quotes > 2 * n_strings:
            for value_of in self._optional:
                values = [value for value in map(value_of, rows) if value is not msgspec.UNSET]
                n_strings += len(values) + sum([isinstance(value, str) for value in values])
        return n_quotes == 2 * n_strings

    def fill(self, rows: Sequence[Row], numbers: Floats, cells: Feed) -> bool:
        """Write rows into memory, `numbers` of shape (columns, rows); False when a cell is invalid."""
        try:
            for column, value_of, categories in self._others:
                cell = cells[column.name]
                for index, value in enumerate(map(value_of, rows)):
                    cell[index, 0] = categories.get(value) or read_cell(column, value)
        except CellError:
            return False
        for index, row in enumerate(rows):
            numbers[:, index] = self._numbers_of(row)
        return True

    def feed(self, rows: Sequence[Row]) -> dict[str, npt.NDArray[Any]] | None:
        """Return rows as one array of shape (rows, 1) per feature; None when a cell is invalid."""
        table = np.array([self._numbers_of(row) for row in rows], dtype=np.float64)
        columns = np.ascontiguousarray(table.T)[:, :, None]
        feed: dict[str, npt.NDArray[Any]] = dict(zip(self.numbers, columns, strict=True))
        try:
            for column, value_of, categories in self._others:
                values = [categories.get(value) or read_cell(column, value) for value in map(value_of, rows)]
                feed[column.name] = as_array(column, values)
        except CellError:
            return None
        return feed

    def out_of_range(self, n_rows: int, feed: Mapping[str, npt.NDArray[Any]], *, in_range: bool) -> list[list[str]]:
        """Return, per row, the columns whose value lies outside the training range."""
        columns = self._unchecked if in_range else None
        if columns == []:
            return [[] for _ in range(n_rows)]
        return self._schema.out_of_range(Batch({name: cells[:n_rows] for name, cells in feed.items()}, n_rows), columns)


def echo(body: bytes, rows: Sequence[Row]) -> bytes:
    """Return the rows of a body in its own order, as msgspec writes them.

    When encoding the decoded rows gives the body again, apart from blanks, decoding has lost nothing: checking that
    takes a third of the time of a second decoding.
    """
    encoded = msgspec.json.encode(rows)
    if encoded == body or encoded == body.replace(b", ", b",").replace(b": ", b":"):
        return encoded
    return msgspec.json.encode(msgspec.json.decode(body))


def _row_class(schema: Schema, fields: Mapping[str, str], *, in_range: bool) -> type[Row]:
    types = {column.name: _cell_type(column, in_range=in_range) for column in schema.features}
    required = [(fields[name], kind) for name, kind in types.items()]
    optional = [(field, Any, msgspec.UNSET) for name, field in fields.items() if not _is_required(schema, name)]
    column_names = {field: name for name, field in fields.items()}
    # An alias is not a field, so it is unknown here, and `Schema.read_rows` has to resolve it.
    forbids_unknown = schema.unknown_columns == "error" or any(column.aliases for column in schema.columns)
    order = {field: index for index, field in enumerate(column_names)}
    ordered: list[Any] = sorted([*required, *optional], key=lambda field: order[str(field[0])])
    return msgspec.defstruct(
        "Row", ordered, rename=column_names, kw_only=True, forbid_unknown_fields=forbids_unknown, gc=False
    )


def _is_required(schema: Schema, name: str) -> bool:
    return name != schema.target.name and schema.by_name[name].is_feature


def _cell_type(column: Column, *, in_range: bool) -> Any:
    """Return the type of a column's JSON values; `Scalar` where each value has to be read by `read_cell`."""
    if column.kind == "boolean" and _is_plain_number(column):
        kind: Any = bool | Annotated[int, Meta(ge=0, le=1)]
    elif _is_plain_number(column):
        kind = _number_type(column, in_range=in_range)
    elif in_range and (categories := _plain_categories(column)):
        kind = Literal[tuple(categories)]
    else:
        return Scalar
    return kind | None if column.nullable else kind


def _number_type(column: Column, *, in_range: bool) -> Any:
    is_integer = column.kind == "integer"
    largest = float(LARGEST_EXACT_INTEGER) if is_integer else sys.float_info.max
    ranges = [column.range, column.training_range if in_range else None]
    low = max([-largest, *(float(ends[0]) for ends in ranges if ends is not None and ends[0] is not None)])
    high = min([largest, *(float(ends[1]) for ends in ranges if ends is not None and ends[1] is not None)])
    lowest, highest = max(low, -LARGEST_EXACT_INTEGER), min(high, LARGEST_EXACT_INTEGER)
    integer = Annotated[int, Meta(ge=math.ceil(lowest), le=math.floor(highest))]
    return integer | Annotated[float, Meta(ge=low, le=high, multiple_of=1.0 if is_integer else None)]


def _is_plain_number(column: Column) -> bool:
    """Whether the column's values are JSON numbers, or true and false, with nothing to strip, parse or replace."""
    if column.kind == "boolean":
        return column.range is None and column.training_range == (0.0, 1.0)
    is_text = column.strip or column.units or column.thousands or column.decimal != "." or column.replace
    return column.kind in NUMERIC_KINDS and not is_text and column.pattern is None and not na_numbers(column)


def _plain_categories(column: Column) -> dict[Scalar, str]:
    """Return the categories that `read_cell` leaves as they are written."""
    return {
        category: category
        for category in column.categories
        if column.kind == "category" and _is_unchanged(column, category)
    }


def _is_unchanged(column: Column, category: str) -> bool:
    try:
        return read_cell(column, category) == category
    except CellError:
        return False


def _getter(fields: Sequence[str]) -> Callable[[Row], tuple[Any, ...]]:
    """Return a function that takes these fields of a row as a tuple."""
    if len(fields) < 2:
        return lambda row: tuple(getattr(row, field) for field in fields)
    return attrgetter(*fields)
