"""A JSON body -> the graph's columns, by a decoder made from the schema: exactly what schema.read_rows says, or None.

Rows are decoded into a class with a field per column, which checks names, types, ranges and levels while it reads. Two
such classes are tried: one that only takes what training saw, so that nothing needs a second look, and one that takes
all that has no need of explanation. Whatever neither takes is for the slower reader, which names what is wrong.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from estimator.core.arrays import Floats
from estimator.data.schema import Batch, Column, Schema
from estimator.data.schema.cells import LARGEST_EXACT_INTEGER, CellError, read_cell
from estimator.data.schema.column import NUMERIC_KINDS
from estimator.data.schema.schema import as_array
from estimator.graph.session import Feed

Scalar = bool | int | float | str | None
Row = msgspec.Struct
Numbers = Floats


@dataclass(frozen=True)
class Read:
    """Rows that passed: `rows` as decoded, and whether all that the decoder checks was seen in training."""

    rows: Sequence[Row]
    all_seen: bool


class Reader:
    """Reads the bodies of one schema."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._ignores, self._n_needed = schema.unknown_columns == "ignore", len(schema.features)
        fields = {column.name: f"column_{place}" for place, column in enumerate((*schema.columns, schema.target))}
        self._seen, self._valid = (
            msgspec.json.Decoder(list[_row_class(schema, fields, only_seen=only_seen)])  # type: ignore[misc] # made here
            for only_seen in (True, False)
        )
        plain = [column for column in schema.features if _is_plain_number(column)]
        self.numbers = [column.name for column in plain]
        self._numbers_of = _getter([fields[name] for name in self.numbers])
        others = [column for column in schema.features if column not in plain]
        self._others = [(column, attrgetter(fields[column.name]), _levels(column)) for column in others]
        self._spare = [attrgetter(field) for name, field in fields.items() if not _is_needed(schema, name)]
        self._unchecked = [column for column, _, levels in self._others if not levels and column.kind != "text"]

    def decode(self, body: bytes) -> Read | None:
        """Return the rows of a body; None when they need the slower reader."""
        try:
            if self._ignores or b"\\u" in body:
                # Columns nobody asks for are to be sound too, and half a character cannot be sent back.
                msgspec.json.encode(msgspec.json.decode(body))
            try:
                found = Read(self._seen.decode(body), all_seen=True)
            except msgspec.ValidationError:
                found = Read(self._valid.decode(body), all_seen=False)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
        return found if self._says_nothing_twice(body, found.rows) else None

    def _says_nothing_twice(self, body: bytes, rows: Sequence[Row]) -> bool:
        """Whether the body has no quotes but those of each column once and of the texts, none of them escaped."""
        if b'\\"' in body:
            return False
        told = self._n_needed * len(rows)
        for _, value_of, _ in self._others:
            told += sum([isinstance(value, str) for value in map(value_of, rows)])
        n_quotes = body.count(b'"')
        if n_quotes > 2 * told:
            for value_of in self._spare:
                values = [value for value in map(value_of, rows) if value is not msgspec.UNSET]
                told += len(values) + sum([isinstance(value, str) for value in values])
        return n_quotes == 2 * told

    def fill(self, rows: Sequence[Row], numbers: Numbers, cells: Feed) -> bool:
        """Write rows into memory, `numbers` of shape (columns, rows); return whether all of them could be read."""
        try:
            for column, value_of, levels in self._others:
                cell = cells[column.name]
                for place, value in enumerate(map(value_of, rows)):
                    cell[place, 0] = levels.get(value) or read_cell(column, value)
        except CellError:
            return False
        for place, row in enumerate(rows):
            numbers[:, place] = self._numbers_of(row)
        return True

    def feed(self, rows: Sequence[Row]) -> dict[str, npt.NDArray[Any]] | None:
        """Return rows as one array of shape (rows, 1) per feature; None when not all of it could be read."""
        table = np.array([self._numbers_of(row) for row in rows], dtype=np.float64)
        columns = np.ascontiguousarray(table.T)[:, :, None]
        feed: dict[str, npt.NDArray[Any]] = dict(zip(self.numbers, columns, strict=True))
        try:
            for column, value_of, levels in self._others:
                values = [levels.get(value) or read_cell(column, value) for value in map(value_of, rows)]
                feed[column.name] = as_array(column, values)
        except CellError:
            return None
        return feed

    def outside(self, n_rows: int, feed: Mapping[str, npt.NDArray[Any]], *, all_seen: bool) -> list[list[str]]:
        """Return, per row, the columns whose value lies outside what training saw."""
        columns = self._unchecked if all_seen else None
        if columns == []:
            return [[] for _ in range(n_rows)]
        return self._schema.out_of_range(Batch({name: cells[:n_rows] for name, cells in feed.items()}, n_rows), columns)


def echo(body: bytes, rows: Sequence[Row]) -> bytes:
    """Return the rows as they are sent back: those of the body, in its order, as msgspec writes them.

    When the rows decoded are written just as they came, but for blanks between them, nothing has been lost by
    decoding: that takes a third of the time of a second decoding.
    """
    written = msgspec.json.encode(rows)
    if written == body or written == body.replace(b", ", b",").replace(b": ", b":"):
        return written
    return msgspec.json.encode(msgspec.json.decode(body))


def _row_class(schema: Schema, fields: Mapping[str, str], *, only_seen: bool) -> type[Row]:
    """Return a class of rows.

    Raises
    ------
    ValueError: a column's name cannot be written in JSON as it is.
    """
    types = {column.name: _cell_type(column, only_seen=only_seen) for column in schema.features}
    needed = [(fields[name], kind) for name, kind in types.items()]
    optional = [(field, Any, msgspec.UNSET) for name, field in fields.items() if not _is_needed(schema, name)]
    named = {field: name for name, field in fields.items()}
    # An alias that is not told as an unknown column must be.
    forbids = schema.unknown_columns == "error" or any(column.aliases for column in schema.columns)
    order = {field: place for place, field in enumerate(named)}
    listed: list[Any] = sorted([*needed, *optional], key=lambda field: order[str(field[0])])
    return msgspec.defstruct("Row", listed, rename=named, kw_only=True, forbid_unknown_fields=forbids, gc=False)


def _is_needed(schema: Schema, name: str) -> bool:
    return name != schema.target.name and schema.by_name[name].is_feature


def _cell_type(column: Column, *, only_seen: bool) -> Any:
    """Return the type of a column's JSON values; all of its values are judged one by one where it is `Scalar`."""
    if column.kind == "boolean" and _is_plain_number(column):
        kind: Any = bool | Annotated[int, Meta(ge=0, le=1)]
    elif _is_plain_number(column):
        kind = _number_type(column, only_seen=only_seen)
    elif only_seen and (levels := _levels(column)):
        kind = Literal[tuple(levels)]
    else:
        return Scalar
    return kind | None if column.nullable else kind


def _number_type(column: Column, *, only_seen: bool) -> Any:
    whole = column.kind == "integer"
    largest = float(LARGEST_EXACT_INTEGER) if whole else sys.float_info.max
    ranges = [column.range, column.training_range if only_seen else None]
    low = max([-largest, *(float(ends[0]) for ends in ranges if ends is not None and ends[0] is not None)])
    high = min([largest, *(float(ends[1]) for ends in ranges if ends is not None and ends[1] is not None)])
    lowest, highest = max(low, -LARGEST_EXACT_INTEGER), min(high, LARGEST_EXACT_INTEGER)
    integer = Annotated[int, Meta(ge=math.ceil(lowest), le=math.floor(highest))]
    return integer | Annotated[float, Meta(ge=low, le=high, multiple_of=1.0 if whole else None)]


def _is_plain_number(column: Column) -> bool:
    """Whether JSON's numbers, or true and false, are what a column is sent as."""
    if column.kind == "boolean":
        return column.range is None and column.training_range == (0.0, 1.0)
    written = column.strip or column.units or column.thousands or column.decimal != "." or column.replace
    return column.kind in NUMERIC_KINDS and not written and column.pattern is None


def _levels(column: Column) -> dict[Scalar, str]:
    """Return the levels that are written just as they are meant."""
    return {level: level for level in column.categories if column.kind == "category" and _is_meant(column, level)}


def _is_meant(column: Column, level: str) -> bool:
    try:
        return read_cell(column, level) == level
    except CellError:
        return False


def _getter(fields: Sequence[str]) -> Callable[[Row], tuple[Any, ...]]:
    """Return what takes these fields of a row as a tuple."""
    if len(fields) < 2:
        return lambda row: tuple(getattr(row, field) for field in fields)
    return attrgetter(*fields)
