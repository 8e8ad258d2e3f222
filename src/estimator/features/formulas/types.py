"""The kind of every part of a formula, checked against the schema: number, boolean, category, date or datetime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from estimator.config.formula import Expression, FormulaError
from estimator.config.formula_language import SIGNATURES
from estimator.core.text import did_you_mean
from estimator.data.schema import IGNORED_KINDS, Column, Schema
from estimator.data.schema.cells import CellError, read_cell
from estimator.data.schema.column import STRING_KINDS, TIME_KINDS, Kind

_NUMBERS = frozenset({"number", "boolean"})
_ACCEPTED: Mapping[str, frozenset[str]] = {
    "number": _NUMBERS,
    "boolean": frozenset({"boolean"}),
    "category": frozenset({"category"}),
    "time": TIME_KINDS,
    "datetime": frozenset({"datetime"}),
    "ordered": _NUMBERS | TIME_KINDS,
    "any": _NUMBERS | TIME_KINDS | {"category"},
}
_EXPECTED: Mapping[str, str] = {
    "number": "a number",
    "boolean": "a boolean, such as a comparison",
    "category": "a category",
    "time": "a date or datetime",
    "datetime": "a datetime: a date has no time of day",
    "ordered": "a number, date or datetime",
}


@dataclass(frozen=True, slots=True)
class Term:
    """A part of a formula that is known to be of a kind; `value` is a column's name or a constant.

    A category is a string of the graph, "" for a missing value; every other kind is a double, NaN for a missing value.
    """

    kind: Kind
    operation: str
    arguments: tuple[Term, ...] = ()
    value: float | str = ""

    @property
    def is_string(self) -> bool:
        """Whether the graph has it as a string."""
        return self.kind == "category"

    @property
    def is_constant(self) -> bool:
        """Whether it is the same for every row by its form."""
        return self.operation == "constant"


@dataclass(frozen=True, slots=True)
class Names:
    """What a formula may name: the columns of a schema, and formulas with their kinds."""

    schema: Schema
    formulas: Mapping[str, Kind]

    def column(self, name: str) -> Column | None:
        """Return the column of a name or alias, None where there is none."""
        resolved = self.schema.resolve(name)
        return None if resolved is None else self.schema.by_name[resolved]


def typed(expression: Expression, text: str, names: Names) -> Term:
    """Return a formula with the kind of each of its parts.

    Raises
    ------
    FormulaError: a column is unknown or is no feature, or an operation does not take what it is given.
    """
    if expression.operation == "column":
        return _column(expression, text, names)
    if expression.operation == "constant":
        return _constant(expression)
    arguments = [typed(argument, text, names) for argument in expression.arguments]
    condition = _condition(expression, arguments, text)
    values = _times_read(expression, arguments[len(condition) :], text)
    _check(expression, values, text)
    kind = SIGNATURES[expression.operation].gives
    value = str(expression.value or "")
    return Term(_common(values) if kind == "same" else kind, expression.operation, (*condition, *values), value)


def _column(expression: Expression, text: str, names: Names) -> Term:
    name = str(expression.value)
    if (kind := names.formulas.get(name)) is not None:
        return Term(kind, "column", value=name)

    def error(message: str, hint: str | None = None) -> FormulaError:
        return FormulaError(message, text, expression.start, expression.end, hint)

    column = names.column(name)
    if column is None:
        known = [*(column.name for column in names.schema.features), *names.formulas]
        raise error(f"no column or formula called {name!r}", did_you_mean(name, known))
    if column.name == names.schema.target.name:
        raise error(f"{name!r} is the target, which is not known when predicting")
    if column.kind in IGNORED_KINDS:
        key = f"schema.columns.{column.name}.kind"
        raise error(f"{name!r} is of kind {column.kind}, which is not a feature", f"if it should be one, set {key}")
    if not column.used:
        raise error(f"{name!r} is not used, so it may not be known when predicting")
    if column.kind in STRING_KINDS:
        return Term("category", "column", value=column.name)
    return Term("number" if column.kind == "integer" else column.kind, "column", value=column.name)


def _constant(expression: Expression) -> Term:
    value = expression.value
    if isinstance(value, bool):
        return Term("boolean", "constant", value=float(value))
    return Term(
        "category" if isinstance(value, str) else "number", "constant", value=value if value is not None else ""
    )


def _condition(expression: Expression, arguments: Sequence[Term], text: str) -> Sequence[Term]:
    """Return the condition of an if, checked; of another operation nothing."""
    if expression.operation != "if":
        return ()
    _check_kind(expression.arguments[0], arguments[0], "boolean", "if", text)
    return arguments[:1]


def _times_read(expression: Expression, values: Sequence[Term], text: str) -> list[Term]:
    """Return arguments, of which a text next to a time is the time that it stands for."""
    signature, places = SIGNATURES[expression.operation], expression.arguments[-len(values) :]
    is_time = signature.takes == "time" or (signature.agree and any(value.kind in TIME_KINDS for value in values))
    if not is_time:
        return list(values)
    return [
        _time(value, place, text) if value.is_constant and value.is_string else value
        for value, place in zip(values, places, strict=True)
    ]


def _time(constant: Term, place: Expression, text: str) -> Term:
    try:
        seconds = read_cell(Column("constant", "datetime"), constant.value)
    except CellError as error:
        raise FormulaError(
            str(error).partition(";")[0], text, place.start, place.end, "for example '2024-12-31'"
        ) from None
    return replace(constant, kind="datetime" if float(seconds) % 86400.0 else "date", value=float(seconds))


def _check(expression: Expression, values: Sequence[Term], text: str) -> None:
    """Check the kinds of all arguments, but the condition of an if."""
    operation, signature = expression.operation, SIGNATURES[expression.operation]
    is_ordered = operation == "compare" and set(str(expression.value).split()) - {"==", "!="}
    takes = "ordered" if is_ordered else signature.takes
    places = expression.arguments[-len(values) :]
    for place, value in zip(places, values, strict=True):
        _check_kind(place, value, takes, operation, text)
        if signature.agree and _group(value.kind) != _group(values[0].kind):
            first = text[places[0].start : places[0].end]
            message = f"{_described(place, value, text)}, but {first:.40} is {_article(values[0].kind)}"
            hint = "days(a, b) is the difference of two dates" if value.kind in TIME_KINDS else None
            raise FormulaError(message, text, place.start, place.end, hint)


def _check_kind(place: Expression, value: Term, takes: str, operation: str, text: str) -> None:
    if value.kind in _ACCEPTED[takes]:
        return
    noun = {"compare": "the comparison", "negative": "-"}.get(operation, operation)
    message = f"{_described(place, value, text)}, and {noun} takes {_EXPECTED[takes]}"
    raise FormulaError(message, text, place.start, place.end, _conversion(value.kind, takes, operation))


def _conversion(kind: Kind, takes: str, operation: str) -> str | None:
    """Return how a value could be made what is expected."""
    if kind in TIME_KINDS and takes == "number":
        return (
            "days(a, b) is the difference of two dates" if operation == "-" else "for example year(...) or month(...)"
        )
    if kind == "number" and takes == "boolean":
        return "compare it with a number, for example with != 0"
    if kind == "number" and takes == "category":
        return "for example 'low' if ... < 10 else 'high'"
    return "compare it with a text: ... == 'Kiel'" if kind == "category" and takes in ("number", "boolean") else None


def _described(place: Expression, value: Term, text: str) -> str:
    noun = {"column": "column ", "constant": "the constant "}.get(place.operation, "")
    return f"{noun}{text[place.start : place.end]:.40} is {_article(value.kind)}"


def _article(kind: str) -> str:
    return f"a {kind}"


def _group(kind: Kind) -> str:
    return "number" if kind in _NUMBERS else "time" if kind in TIME_KINDS else kind


def _common(values: Sequence[Term]) -> Kind:
    """Return the kind of a value that is one of several of the same group."""
    kinds = {value.kind for value in values}
    return values[0].kind if len(kinds) == 1 else "datetime" if kinds <= TIME_KINDS else "number"
