"""A formula as it is written -> its tree: Python's syntax, of which a short list is allowed, and never evaluated.

A column whose name is no identifier stands between backticks.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from estimator.config.formula_language import FUNCTIONS
from estimator.core.names import nfc
from estimator.core.text import did_you_mean, join_names

MAX_LENGTH, MAX_DEPTH, MAX_NUMBER, MAX_EXPONENT = 2000, 100, 1e300, 100.0
# Characters of a formula that an error shows on each side of the place.
SHOWN_AROUND = 60


@dataclass(frozen=True, slots=True)
class Expression:
    """A part of a formula: an operation on arguments, or a "column" or "constant" with its value.

    A chain of comparisons is one "compare", whose value are its operators. `start` and `end` are a place in the text.
    """

    operation: str
    start: int
    end: int
    arguments: tuple[Expression, ...] = ()
    value: float | str | bool | None = None

    @property
    def columns(self) -> Iterator[Expression]:
        """The columns that it names, each as often as it names them."""
        if self.operation == "column":
            yield self
        for argument in self.arguments:
            yield from argument.columns


class FormulaError(ValueError):
    """A formula that is none; `message` shows the place below the first line, `hint` says what to do."""

    def __init__(self, message: str, text: str, start: int, end: int, hint: str | None = None) -> None:
        self.message, self.hint = f"{message}\n{_marked(text, start, end)}", hint or None
        super().__init__(self.message)


@lru_cache(maxsize=4096)
def parse_formula(text: str) -> Expression:
    """Return the tree of a formula.

    >>> tree = parse_formula("log(`Gr Liv Area` / 2)")
    >>> tree.operation, [column.value for column in tree.columns]
    ('log', ['Gr Liv Area'])

    Raises
    ------
    FormulaError: it cannot be read, uses what is not allowed, or is too long or too deep.
    """
    if len(text) > MAX_LENGTH:
        raise FormulaError(f"expected at most {MAX_LENGTH:,} characters, got {len(text):,}", text, 0, 1)
    if not text.strip():
        raise FormulaError("expected a formula, got nothing", "", 0, 0, "for example price / area")
    if unusual := _UNUSUAL.search(text):
        raise FormulaError("a character that no text may have", text, *unusual.span())
    source, quoted = _without_backticks(text)
    tree = _Reader(text, source, quoted).read()
    if next(tree.columns, None) is None:
        raise FormulaError("expected a formula of at least one column", text, 0, len(text))
    return tree


def evaluation_order(formulas: Mapping[str, str]) -> list[str]:
    """Return the names of formulas, each after those that it uses.

    Raises
    ------
    FormulaError: formulas use each other in a circle, or one cannot be read.
    """
    order, open_names = list[str](), list[str]()
    for first in formulas:
        # A stack instead of recursion, as a chain of formulas may be long.
        stack = [(first, _used(formulas, first))]
        open_names = [first]
        while stack and first not in order:
            name, uses = stack[-1]
            column = next(uses, None)
            if column is None:
                stack.pop()
                open_names.pop()
                order.append(name)
            elif (used := str(column.value)) in open_names:
                circle = " -> ".join([*open_names[open_names.index(used) :], used])
                raise FormulaError(f"formulas use each other: {circle}", formulas[name], column.start, column.end)
            elif used not in order:
                stack.append((used, _used(formulas, used)))
                open_names.append(used)
    return order


def _used(formulas: Mapping[str, str], name: str) -> Iterator[Expression]:
    return iter([column for column in parse_formula(formulas[name]).columns if column.value in formulas])


def _marked(text: str, start: int, end: int) -> str:
    """Return the formula with carets below a place; of a long one, what is around it."""
    first, last = max(0, start - SHOWN_AROUND), min(len(text), start + SHOWN_AROUND)
    before, after = "..." if first else "", "..." if last < len(text) else ""
    shown = "".join(letter if letter.isprintable() else " " for letter in text[first:last])
    width = max(1, min(end, last) - start)
    return f"    {before}{shown}{after}\n    {' ' * (len(before) + start - first)}{'^' * width}"


# What a graph cannot hold.
_UNUSUAL = re.compile("[\0\ud800-\udfff]")
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?:[^`]|``)+`|[`'"#]""", re.DOTALL)


def _without_backticks(text: str) -> tuple[str, dict[tuple[int, int], str]]:
    """Return a formula for Python, of the same length, and the names that stood between backticks, by place."""
    quoted: dict[tuple[int, int], str] = {}

    def replaced(match: re.Match[str]) -> str:
        part, place = match.group(), match.span()
        if len(part) == 1:
            message = "# starts no comment here" if part == "#" else f"{part} opens a name or text that does not end"
            raise FormulaError(message, text, *place)
        if part[0] != "`":
            return part
        quoted[place] = nfc(part[1:-1].replace("``", "`"))
        return "x" * len(part)

    return re.sub(r"[\r\n\f\t]", " ", _QUOTED.sub(replaced, text)), quoted


_BINARY: dict[type[ast.AST], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.In: "in",
    ast.NotIn: "in",
    ast.And: "and",
    ast.Or: "or",
}
_INSTEAD: dict[type[ast.AST], str] = {
    ast.BitXor: "a power is written **",
    ast.BitAnd: "write and",
    ast.BitOr: "write or",
    ast.Invert: "write not",
    ast.Is: "write ==, or missing(...)",
    ast.IsNot: "write !=, or not missing(...)",
}
# A node that is none of these is not part of the language.
_NODES: dict[type[ast.AST], Callable[[_Reader, ast.AST, int], Expression]] = {}


class _Reader:
    """Turns Python's tree of one formula into ours."""

    def __init__(self, text: str, source: str, quoted: Mapping[tuple[int, int], str]) -> None:
        self.text, self.quoted = text, quoted
        self._source = source.lstrip(" ")
        self._skipped = len(source) - len(self._source)
        self._bytes = self._source.encode()

    def read(self) -> Expression:
        try:
            with warnings.catch_warnings():
                # Such as one of an escape that Python does not know.
                warnings.simplefilter("ignore")
                tree = ast.parse(self._source, mode="eval")
        except SyntaxError as error:
            at = self._skipped + min(max((error.offset or 1) - 1, 0), len(self._source) - 1)
            message = str(error.msg).partition(" (")[0]
            hint = (
                "equality is written ==" if self._source[at - self._skipped : at - self._skipped + 1] == "=" else None
            )
            raise FormulaError(f"cannot be read: {message}", self.text, at, at + 1, hint) from None
        except (ValueError, MemoryError, RecursionError, OverflowError):
            raise FormulaError("cannot be read: it is nested too deeply", self.text, 0, 1) from None
        return self.node(tree.body, 0)

    def node(self, node: ast.AST, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise self.error(f"expected at most {MAX_DEPTH} operations inside each other", node)
        if (read := _NODES.get(type(node))) is None:
            raise self.error(f"{_noun(node)} is not part of a formula", node, _functions_hint())
        return read(self, node, depth + 1)

    def place(self, node: ast.AST) -> tuple[int, int]:
        """Return where a node is; Python counts bytes."""
        ends = (getattr(node, "col_offset", 0), getattr(node, "end_col_offset", None) or len(self._bytes))
        start, end = (self._skipped + len(self._bytes[:at].decode(errors="ignore")) for at in ends)
        return start, end

    def error(self, message: str, node: ast.AST, hint: str | None = None) -> FormulaError:
        return FormulaError(message, self.text, *self.place(node), hint)

    def apply(self, operation: str, node: ast.AST, *arguments: Expression) -> Expression:
        return Expression(operation, *self.place(node), arguments)

    def constant(self, node: ast.Constant, depth: int) -> Expression:
        value = node.value
        if isinstance(value, str):
            if not value or _UNUSUAL.search(value):
                raise self.error("expected a text that a category may be", node, "missing(...) is for a missing value")
            return Expression("constant", *self.place(node), value=value)
        if isinstance(value, bool):
            return Expression("constant", *self.place(node), value=value)
        if isinstance(value, int | float):
            # An integer may have too many digits for a double.
            if not abs(value) <= MAX_NUMBER:
                raise self.error(f"expected a number of at most {MAX_NUMBER:.0e}", node)
            return Expression("constant", *self.place(node), value=float(value))
        hint = "missing(...) is for missing values" if value is None else None
        raise self.error(f"expected a number, a text, True or False, got {self._written(node)}", node, hint)

    def name(self, node: ast.Name, depth: int) -> Expression:
        return Expression(
            "column", *self.place(node), value=self.quoted.get(self.place(node), nfc(self._written(node)))
        )

    def _written(self, node: ast.AST) -> str:
        start, end = self.place(node)
        return self.text[start:end]

    def unary(self, node: ast.UnaryOp, depth: int) -> Expression:
        operand = self.node(node.operand, depth)
        if isinstance(node.op, ast.UAdd):
            return operand
        if isinstance(node.op, ast.Not):
            return self.apply("not", node, operand)
        if not isinstance(node.op, ast.USub):
            raise self._no_operator(node, node.op)
        if operand.operation == "constant" and isinstance(operand.value, float):
            return Expression("constant", *self.place(node), value=-operand.value)
        return self.apply("negative", node, operand)

    def binary(self, node: ast.BinOp, depth: int) -> Expression:
        if type(node.op) not in _BINARY:
            raise self._no_operator(node, node.op)
        operation, left, right = _BINARY[type(node.op)], self.node(node.left, depth), self.node(node.right, depth)
        if operation == "**":
            self._check_power(node, left, right)
        if operation in ("/", "//", "%") and right.operation == "constant" and right.value == 0.0:
            raise self.error("a division by zero is always missing", node.right)
        return self.apply(operation, node, left, right)

    def _check_power(self, node: ast.BinOp, left: Expression, right: Expression) -> None:
        exponent = right.value if right.operation == "constant" and not isinstance(right.value, str) else None
        if exponent is None or not 0.0 < abs(exponent) <= MAX_EXPONENT:
            expected = (
                f"expected an exponent that is a number from -{MAX_EXPONENT:.0f} to {MAX_EXPONENT:.0f}, and not 0"
            )
            raise self.error(expected, node.right, "for another one: exp(exponent * log(base))")
        if next(left.columns, None) is None:
            raise self.error("expected a power of a column", node, "write the number itself")

    def _no_operator(self, node: ast.AST, operator: ast.AST) -> FormulaError:
        hint = _INSTEAD.get(
            type(operator), "operators: +, -, *, /, //, %, **, <, <=, >, >=, ==, !=, and, or, not, in, if ... else"
        )
        return self.error("an operator that formulas do not have", node, hint)

    def logical(self, node: ast.BoolOp, depth: int) -> Expression:
        return self.apply(_BINARY[type(node.op)], node, *(self.node(value, depth) for value in node.values))

    def compare(self, node: ast.Compare, depth: int) -> Expression:
        for operator in node.ops:
            if type(operator) not in _BINARY:
                raise self._no_operator(node, operator)
        operators = [_BINARY[type(operator)] for operator in node.ops]
        if "in" in operators:
            return self._member(node, depth)
        operands = [self.node(operand, depth) for operand in (node.left, *node.comparators)]
        for left, right in pairwise(operands):
            if left.operation == right.operation == "constant":
                raise self.error("expected a comparison with a column", node)
        return Expression("compare", *self.place(node), tuple(operands), " ".join(operators))

    def _member(self, node: ast.Compare, depth: int) -> Expression:
        listed = node.comparators[0]
        if len(node.ops) > 1:
            raise self.error("expected one comparison with in", node, "join several with and")
        if not isinstance(listed, ast.List | ast.Tuple | ast.Set) or not listed.elts:
            raise self.error("expected a list of constants after in", listed, "for example city in ['Kiel', 'Bonn']")
        first, *choices = (self.node(item, depth) for item in (node.left, *listed.elts))
        for item in (first, *choices):
            if (item.operation == "constant") == (item is first):
                what = "a column before in" if item is first else "constants in the list"
                raise FormulaError(f"expected {what}", self.text, item.start, item.end)
        member = self.apply("in", node, first, *choices)
        return self.apply("not", node, member) if isinstance(node.ops[0], ast.NotIn) else member

    def choice(self, node: ast.IfExp, depth: int) -> Expression:
        return self.apply("if", node, *(self.node(part, depth) for part in (node.test, node.body, node.orelse)))

    def call(self, node: ast.Call, depth: int) -> Expression:
        name = self._written(node.func)
        if not isinstance(node.func, ast.Name) or name not in FUNCTIONS:
            raise self.error(f"no function called {name:.60}", node.func, did_you_mean(name, FUNCTIONS))
        if node.keywords:
            raise self.error(f"{name}() takes its arguments without names", node)
        low, high = FUNCTIONS[name].counts
        if not low <= len(node.args) <= high:
            expected = f"{low}" if low == high else f"at least {low}"
            noun = "argument" if low == 1 else "arguments"
            message = f"{name}() takes {expected} {noun}, got {len(node.args)}"
            raise self.error(message, node, f"{name}: {FUNCTIONS[name].meaning}")
        return self.apply(name, node, *(self.node(argument, depth) for argument in node.args))


_NODES |= {
    ast.Constant: _Reader.constant,  # type: ignore[dict-item] # each takes the node of its key
    ast.Name: _Reader.name,  # type: ignore[dict-item]
    ast.UnaryOp: _Reader.unary,  # type: ignore[dict-item]
    ast.BinOp: _Reader.binary,  # type: ignore[dict-item]
    ast.BoolOp: _Reader.logical,  # type: ignore[dict-item]
    ast.Compare: _Reader.compare,  # type: ignore[dict-item]
    ast.IfExp: _Reader.choice,  # type: ignore[dict-item]
    ast.Call: _Reader.call,  # type: ignore[dict-item]
}


def _noun(node: ast.AST) -> str:
    """Return what a kind of node is called."""
    nouns = {"Attribute": "a dot", "JoinedStr": "an f-string", "Lambda": "lambda", "NamedExpr": ":=", "Subscript": "[]"}
    return nouns.get(type(node).__name__, f"{type(node).__name__.lower()}")


def _functions_hint() -> str:
    return f"functions: {join_names(FUNCTIONS)}"
