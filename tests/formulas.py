"""Made formulas and rows, and what Python's own arithmetic makes of them."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from estimator.config.formula import Expression, parse_formula
from estimator.data.schema import Column, Schema

CITIES, KINDS = ("Kiel", "Bonn", "Köln", "it's"), ("flat", "house", "")
SCHEMA = Schema(
    (
        Column("price", "number", nullable=True),
        Column("Gr Liv Area", "number", nullable=True),
        Column("rooms", "integer", nullable=True),
        Column("garden", "boolean", nullable=True),
        Column("city", "category", nullable=True, categories=dict.fromkeys(CITIES, 1)),
        Column("kind", "category", nullable=True, categories=dict.fromkeys(KINDS[:2], 1)),
        Column("sold", "datetime", nullable=True),
        Column("built", "date", nullable=True),
    ),
    Column("y", "number"),
)
EPOCH = datetime(1970, 1, 1)


def made_rows(n_rows: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return rows of every kind of value; one cell in five is missing."""
    generator = np.random.default_rng(seed)
    numbers = [0.0, -1.0, 1.0, 2.5, -3.25, 7.0, 1e-300, 1e300, -1e308, 1e10, 0.1, 1000.0]

    def value(column: Column) -> Any:
        if generator.random() < 0.2:
            return None
        if column.kind == "number":
            return float(generator.choice(numbers)) if generator.random() < 0.5 else float(generator.normal() * 100)
        if column.kind == "integer":
            return int(generator.integers(-3, 9))
        if column.kind == "boolean":
            return bool(generator.integers(2))
        if column.kind == "category":
            return str(generator.choice([*column.categories, "another"]))
        days = timedelta(days=int(generator.integers(-30000, 40000)))
        seconds = timedelta(seconds=int(generator.integers(86400)) if column.kind == "datetime" else 0)
        return (EPOCH + days + seconds).isoformat()

    return [{column.name: value(column) for column in SCHEMA.columns} for _ in range(n_rows)]


def expected(text: str, row: Mapping[str, Any]) -> Any:
    """Return what a formula is for a row by Python's own arithmetic; None for a missing value."""
    return _value(parse_formula(text), row)


def _value(expression: Expression, row: Mapping[str, Any]) -> Any:
    name, arguments = expression.operation, expression.arguments
    if name == "constant":
        return expression.value
    if name == "column":
        value, column = row[str(expression.value)], SCHEMA.by_name[str(expression.value)]
        return datetime.fromisoformat(value) if value and column.kind in ("date", "datetime") else value
    if name == "if":
        condition = _value(arguments[0], row)
        return None if condition is None else _value(arguments[1 if condition else 2], row)
    values = [_value(argument, row) for argument in arguments]
    if name == "missing":
        return values[0] is None
    if name == "count_missing":
        return float(sum(value is None for value in values))
    if name == "coalesce":
        return next((value for value in values if value is not None), None)
    if any(value is None for value in values):
        return None
    if any(isinstance(value, datetime) for value in values):
        values = [datetime.fromisoformat(value) if isinstance(value, str) else value for value in values]
    try:
        result = _compared(str(expression.value), values) if name == "compare" else OPERATIONS[name](*values)
    except (ValueError, OverflowError, ZeroDivisionError):
        return None
    return None if isinstance(result, float | complex) and not _is_finite(result) else result


def _is_finite(number: float | complex) -> bool:
    return not isinstance(number, complex) and math.isfinite(number)


def _compared(operators: str, values: Sequence[Any]) -> bool:
    pairs = zip(operators.split(), values, values[1:], strict=False)
    return all(COMPARISONS[name](left, right) for name, left, right in pairs)


COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "+": lambda x, y: float(x) + y,
    "-": lambda x, y: float(x) - y,
    "*": lambda x, y: float(x) * y,
    "/": lambda x, y: float(x) / y,
    "//": lambda x, y: float(x) // y,
    "%": lambda x, y: float(x) % y,
    "**": lambda x, y: float(x) ** y,
    "negative": lambda x: -float(x),
    "abs": lambda x: abs(float(x)),
    "floor": lambda x: float(math.floor(x)),
    "round": lambda x: float(round(x)),
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "min": min,
    "max": max,
    "in": lambda x, *choices: x in choices,
    "and": lambda *values: all(values),
    "or": lambda *values: any(values),
    "not": lambda x: not x,
    "year": lambda x: float(x.year),
    "month": lambda x: float(x.month),
    "day": lambda x: float(x.day),
    "weekday": lambda x: float(x.weekday()),
    "hour": lambda x: float(x.hour),
    "days": lambda x, y: (x - y) / timedelta(days=1),
    "hours": lambda x, y: (x - y) / timedelta(hours=1),
    "seconds": lambda x, y: (x - y) / timedelta(seconds=1),
    "join": lambda *values: " | ".join(values),
}


def made_formula(generator: np.random.Generator, kind: str, depth: int = 4) -> str:
    """Return a random formula of a kind: number, boolean, category or datetime."""
    is_leaf = depth == 0 or generator.random() < 0.15
    template = str(generator.choice(LEAVES[kind] if is_leaf else (*TEMPLATES[kind], *SHARED)))
    parts = re.split(r"<(\w+)>", template)
    for index in range(1, len(parts), 2):
        name = kind if parts[index] == "same" else parts[index]
        choices = CHOICES.get(name)
        parts[index] = str(generator.choice(choices)) if choices else made_formula(generator, name, depth - 1)
    return "".join(parts)


LEAVES: Mapping[str, Sequence[str]] = {
    "number": ("price", "`Gr Liv Area`", "rooms", "garden", "price", "rooms"),
    "boolean": ("garden", "(rooms > 2)", "(price <= 1)", "(city == 'Kiel')"),
    "category": ("city", "kind"),
    "datetime": ("sold", "built"),
}
SHARED = ("(<same> if <boolean> else <same>)", "coalesce(<same>, <same>)")
CHOICES: Mapping[str, Sequence[str]] = {
    "arithmetic": ("+", "-", "*", "/", "//", "%"),
    "function": ("abs", "floor", "round", "sqrt", "exp", "log", "-"),
    "exponent": ("2", "-1", "0.5", "3", "-0.5"),
    "extreme": ("min", "max"),
    "part": ("year", "month", "day", "weekday"),
    "unit": ("days", "hours", "seconds"),
    "comparison": ("<", "<=", ">", ">=", "==", "!="),
    "equality": ("==", "!="),
    "membership": ("in", "not in"),
    "logic": ("and", "or"),
}
TEMPLATES: Mapping[str, Sequence[str]] = {
    "number": (
        "(<number> <arithmetic> <number>)",
        "(<number> <arithmetic> <number>)",
        "<function>(<number>)",
        "(<number>) ** <exponent>",
        "<extreme>(<number>, <number>, <number>)",
        "<part>(<datetime>)",
        "<unit>(<datetime>, <datetime>)",
        "count_missing(<number>, <category>, <datetime>)",
        "(<boolean> + <number>)",
    ),
    "boolean": (
        "(<number> <comparison> <number> < <number>)",
        "(<datetime> <comparison> <datetime>)",
        "(<category> <equality> <category>)",
        "(rooms <membership> [1, 2, 3, -1])",
        "(<category> <membership> ['Kiel', 'flat', \"it's\"])",
        "(<boolean> <logic> <boolean>)",
        "(not <boolean>)",
        "missing(<number>)",
        "missing(<category>)",
    ),
    "category": ("join(<category>, <category>)",),
    "datetime": ("<extreme>(<datetime>, <datetime>)",),
}
