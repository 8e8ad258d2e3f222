"""Formulas as nodes of the graph; what several of them have in common is computed once.

The result is missing wherever an argument is missing or the result is not finite. An infinite number stays infinite, or
becomes NaN, in sums, products and the like, so it is made a missing value only before it would get lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from estimator.data.schema import Column
from estimator.features.encoders.calendar import CalendarDate
from estimator.features.encoders.categories import write_codes
from estimator.features.formulas.types import Term
from estimator.graph.builder import DOUBLE, ML_DOMAIN, Graph, Value

# Between the categories that `join` makes one of.
SEPARATOR = " | "
SECONDS_IN = {"days": 86400.0, "hours": 3600.0, "seconds": 1.0}
_ARITHMETIC = {"+": "Add", "-": "Sub", "*": "Mul", "/": "Div", "**": "Pow"}
_UNARY = {
    "negative": "Neg",
    "abs": "Abs",
    "floor": "Floor",
    "round": "Round",
    "sqrt": "Sqrt",
    "log": "Log",
    "exp": "Exp",
}
_COMPARISONS = {"<": "Less", "<=": "LessOrEqual", ">": "Greater", ">=": "GreaterOrEqual"}


class FormulaWriter:
    """Writes terms into a graph.

    It is mutable: it remembers what it has written, and which numbers may be infinite. `values` are those of the graph
    by the names of columns and formulas.
    """

    def __init__(self, graph: Graph, values: Mapping[str, str], columns: Mapping[str, Column]) -> None:
        self.values = dict(values)
        self._graph, self._columns = graph, columns
        self._written: dict[object, str] = {}
        self._infinite: set[str] = set()
        self._dates: dict[str, CalendarDate[Value]] = {}

    def write(self, term: Term) -> str:
        """Write a term and return its value, of shape (rows, 1), without infinite numbers."""
        return self._finite(self._term(term))

    def _term(self, term: Term) -> str:
        if term.operation == "constant":
            return self._constant(term.value)
        if term.operation == "column":
            return self._column(str(term.value))
        arguments = ["" if _is_attribute(term, argument) else self._term(argument) for argument in term.arguments]
        if term.operation in _ARITHMETIC:
            return self._arithmetic(term.operation, *arguments)
        if term.operation in _UNARY:
            return self._unary(term.operation, *arguments)
        if term.operation == "if":
            return self._choice(term, *arguments)
        # Whatever follows takes finite numbers.
        finite = [self._finite(argument) for argument in arguments]
        return self._others[term.operation](self, term, finite)

    def _emit(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, or return the value of the same node that was added before."""
        key = (operator, inputs, repr(sorted(attributes.items())))
        if key not in self._written:
            self._written[key] = self._graph(operator, *inputs, **attributes)
        return self._written[key]

    def _constant(self, value: float | str) -> str:
        return self._graph.constant(value, object if isinstance(value, str) else np.float64)

    def _column(self, name: str) -> str:
        column, value = self._columns.get(name), self.values[name]
        if column is None or column.kind != "category" or column.unknown != "missing":
            return value
        if (name, "known") not in self._written:
            codes = write_codes(self._graph, value, tuple(column.categories), missing=-1, unknown=-1)
            is_unknown = self._emit("Less", codes, self._graph.constant(0, np.int64))
            self._written[name, "known"] = self._emit("Where", is_unknown, self._constant(""), value)
        return self._written[name, "known"]

    def _finite(self, value: str) -> str:
        """Return a value with NaN in place of infinite numbers."""
        if value not in self._infinite:
            return value
        return self._emit("Where", self._emit("IsInf", value), self._constant(np.nan), value)

    def _maybe_infinite(self, value: str) -> str:
        self._infinite.add(value)
        return value

    def _arithmetic(self, operation: str, left: str, right: str) -> str:
        # Of an infinite divisor or base, the result may be finite.
        left = self._finite(left) if operation == "**" else left
        right = self._finite(right) if operation == "/" else right
        return self._maybe_infinite(self._emit(_ARITHMETIC[operation], left, right))

    def _unary(self, operation: str, argument: str) -> str:
        argument = self._finite(argument) if operation == "exp" else argument
        value = self._emit(_UNARY[operation], argument)
        return self._maybe_infinite(value) if operation in ("exp", "log") or argument in self._infinite else value

    def _choice(self, term: Term, condition: str, yes: str, no: str) -> str:
        chosen = self._emit("Where", self._is_true(condition), yes, no)
        if {yes, no} & self._infinite:
            self._infinite.add(chosen)
        missing = self._constant("" if term.is_string else np.nan)
        result = self._emit("Where", self._emit("IsNaN", condition), missing, chosen)
        return self._maybe_infinite(result) if chosen in self._infinite else result

    def _is_true(self, boolean: str) -> str:
        return self._emit("Greater", boolean, self._constant(0.0))

    def _as_double(self, is_so: str) -> str:
        return self._emit("Cast", is_so, to=DOUBLE)

    def _is_missing(self, term: Term, value: str) -> str:
        return self._emit("Equal", value, self._constant("")) if term.is_string else self._emit("IsNaN", value)

    def _remainder(self, term: Term, values: Sequence[str]) -> str:
        """Write the remainder as Python has it: the operator's own has the sign of the dividend."""
        left, right = values
        remainder = self._emit("Mod", left, right, fmod=1)
        other_sign = self._emit("Mul", remainder, self._emit("Sign", right))
        is_other = self._emit("Less", other_sign, self._constant(0.0))
        return self._emit("Where", is_other, self._emit("Add", remainder, right), remainder)

    def _floor_division(self, term: Term, values: Sequence[str]) -> str:
        left, right = values
        multiple = self._emit("Sub", left, self._remainder(term, values))
        return self._maybe_infinite(self._emit("Round", self._emit("Div", multiple, right)))

    def _comparison(self, term: Term, values: Sequence[str]) -> str:
        operators = str(term.value).split()
        parts = zip(operators, pairwise(term.arguments), pairwise(values), strict=True)
        return self._product([self._pair(operator, terms, *pair) for operator, terms, pair in parts])

    def _pair(self, operator: str, terms: tuple[Term, Term], left: str, right: str) -> str:
        if operator == "!=":
            return self._opposite(self._pair("==", terms, left, right))
        if terms[0].is_string:
            return self._same_category(terms, left, right)
        result = self._as_double(self._emit(_COMPARISONS.get(operator, "Equal"), left, right))
        # A difference of finite numbers is NaN where one of them is missing.
        is_missing = self._emit("IsNaN", self._emit("Sub", left, right))
        return self._emit("Where", is_missing, self._constant(np.nan), result)

    def _same_category(self, terms: tuple[Term, Term], left: str, right: str) -> str:
        for constant, value in ((terms[0], right), (terms[1], left)):
            if constant.is_constant:
                return self._is_one_of(value, [str(constant.value)])
        result = self._as_double(self._emit("Equal", left, right))
        return self._emit("Where", self._is_any_empty([left, right]), self._constant(np.nan), result)

    def _is_any_empty(self, texts: Sequence[str]) -> str:
        first, *others = (self._emit("Equal", text, self._constant("")) for text in texts)
        for other in others:
            first = self._emit("Or", first, other)
        return first

    def _is_one_of(self, text: str, choices: Sequence[str]) -> str:
        keys = list(dict.fromkeys(choices))
        found = self._emit(
            "LabelEncoder",
            text,
            domain=ML_DOMAIN,
            keys_strings=[*keys, ""],
            values_floats=[*(1.0 for _ in keys), float("nan")],
            default_float=0.0,
        )
        return self._as_double(found)

    def _member(self, term: Term, values: Sequence[str]) -> str:
        subject, *choices = term.arguments
        if subject.is_string:
            return self._is_one_of(values[0], [str(choice.value) for choice in choices])
        numbers = sorted({float(choice.value) for choice in choices})
        equal = self._as_double(self._emit("Equal", values[0], self._graph.constant([numbers], np.float64)))
        count = self._emit("ReduceSum", equal, self._graph.constant([1], np.int64), keepdims=1)
        return self._emit("Where", self._emit("IsNaN", values[0]), self._constant(np.nan), count)

    def _product(self, values: Sequence[str]) -> str:
        """Write whether all booleans are true: missing if one is."""
        first, *others = values
        for other in others:
            first = self._emit("Mul", first, other)
        return first

    def _opposite(self, boolean: str) -> str:
        return self._emit("Sub", self._constant(1.0), boolean)

    def _all(self, term: Term, values: Sequence[str]) -> str:
        return self._product(values)

    def _one(self, term: Term, values: Sequence[str]) -> str:
        return self._opposite(self._product([self._opposite(value) for value in values]))

    def _not(self, term: Term, values: Sequence[str]) -> str:
        return self._opposite(values[0])

    def _extreme(self, term: Term, values: Sequence[str]) -> str:
        operator = "Less" if term.operation == "min" else "Greater"
        first, *others = values
        for other in others:
            stays = self._emit("Or", self._emit(operator, first, other), self._emit("IsNaN", first))
            first = self._emit("Where", stays, first, other)
        return first

    def _missing(self, term: Term, values: Sequence[str]) -> str:
        return self._as_double(self._is_missing(term.arguments[0], values[0]))

    def _count_missing(self, term: Term, values: Sequence[str]) -> str:
        first, *others = map(self._as_double, map(self._is_missing, term.arguments, values))
        for other in others:
            first = self._emit("Add", first, other)
        return first

    def _first_present(self, term: Term, values: Sequence[str]) -> str:
        *others, last = values
        for argument, other in zip(reversed(term.arguments[:-1]), reversed(others), strict=True):
            last = self._emit("Where", self._is_missing(argument, other), last, other)
        return last

    def _join(self, term: Term, values: Sequence[str]) -> str:
        first, *others = values
        for other in others:
            first = self._emit("StringConcat", self._emit("StringConcat", first, self._constant(SEPARATOR)), other)
        return self._emit("Where", self._is_any_empty(values), self._constant(""), first)

    def _date_part(self, term: Term, values: Sequence[str]) -> str:
        date = self._dates.setdefault(values[0], CalendarDate(Value(self._graph, values[0])))
        part: Value = getattr(date, term.operation)
        return part.name

    def _elapsed(self, term: Term, values: Sequence[str]) -> str:
        return self._emit("Div", self._emit("Sub", *values), self._constant(SECONDS_IN[term.operation]))

    _others: Mapping[str, Callable[[FormulaWriter, Term, Sequence[str]], str]] = {
        "%": _remainder,
        "//": _floor_division,
        "compare": _comparison,
        "in": _member,
        "and": _all,
        "or": _one,
        "not": _not,
        "min": _extreme,
        "max": _extreme,
        "missing": _missing,
        "count_missing": _count_missing,
        "coalesce": _first_present,
        "join": _join,
        **dict.fromkeys(("year", "month", "day", "weekday", "hour"), _date_part),
        **dict.fromkeys(SECONDS_IN, _elapsed),
    }


def _is_attribute(term: Term, argument: Term) -> bool:
    """Whether an argument is written as an attribute or in a list, not as a value of its own."""
    return argument.is_constant and (term.operation == "in" or (term.operation == "compare" and argument.is_string))
