"""What formulas are made of: every operator and function, with what it takes and gives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# What arguments must be: a boolean counts as the number 0 or 1, and a text next to a time is read as a time.
Group = Literal["number", "boolean", "category", "time", "datetime", "ordered", "any"]


@dataclass(frozen=True, slots=True)
class Signature:
    """What an operator or function takes and gives; with `gives` "same", what its arguments are.

    `counts` are the smallest and largest number of arguments. If they `agree`, all must be of one group.
    """

    takes: Group
    counts: tuple[int, float]
    gives: Literal["number", "boolean", "category", "same"]
    meaning: str = ""
    agree: bool = False


_MANY = math.inf
OPERATORS: Mapping[str, Signature] = {
    "+": Signature("number", (2, 2), "number"),
    "-": Signature("number", (2, 2), "number"),
    "*": Signature("number", (2, 2), "number"),
    "/": Signature("number", (2, 2), "number"),
    "//": Signature("number", (2, 2), "number"),
    "%": Signature("number", (2, 2), "number"),
    "**": Signature("number", (2, 2), "number"),
    "negative": Signature("number", (1, 1), "number"),
    "compare": Signature("any", (2, _MANY), "boolean", agree=True),
    "in": Signature("any", (2, _MANY), "boolean", agree=True),
    "and": Signature("boolean", (2, _MANY), "boolean"),
    "or": Signature("boolean", (2, _MANY), "boolean"),
    "not": Signature("boolean", (1, 1), "boolean"),
    # The condition is checked by itself.
    "if": Signature("any", (2, 2), "same", agree=True),
}
FUNCTIONS: Mapping[str, Signature] = {
    "abs": Signature("number", (1, 1), "number", "size without the sign"),
    "floor": Signature("number", (1, 1), "number", "largest whole number that is not above"),
    "round": Signature("number", (1, 1), "number", "nearest whole number; of two, the even one"),
    "sqrt": Signature("number", (1, 1), "number", "square root"),
    "exp": Signature("number", (1, 1), "number", "e to this power"),
    "log": Signature("number", (1, 1), "number", "natural logarithm"),
    "min": Signature("ordered", (2, _MANY), "same", "smallest, or earliest", agree=True),
    "max": Signature("ordered", (2, _MANY), "same", "largest, or latest", agree=True),
    "missing": Signature("any", (1, 1), "boolean", "whether it is missing; never missing itself"),
    "count_missing": Signature("any", (1, _MANY), "number", "how many are missing; never missing itself"),
    "coalesce": Signature("any", (2, _MANY), "same", "the first that is not missing", agree=True),
    "year": Signature("time", (1, 1), "number", "year"),
    "month": Signature("time", (1, 1), "number", "month, 1 to 12"),
    "day": Signature("time", (1, 1), "number", "day of the month, 1 to 31"),
    "weekday": Signature("time", (1, 1), "number", "day of the week, from 0 for Monday to 6"),
    "hour": Signature("datetime", (1, 1), "number", "hour, 0 to 23"),
    "days": Signature("time", (2, 2), "number", "first less second, in days"),
    "hours": Signature("time", (2, 2), "number", "first less second, in hours"),
    "seconds": Signature("time", (2, 2), "number", "first less second, in seconds"),
    "join": Signature("category", (2, _MANY), "category", "the categories as one, such as 'Kiel | flat'"),
}
SIGNATURES: Mapping[str, Signature] = {**OPERATORS, **FUNCTIONS}
