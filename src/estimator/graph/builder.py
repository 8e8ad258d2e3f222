"""A small builder on top of `onnx.helper`: name a node's inputs, get the name of its output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from estimator.errors import needs_extra

if TYPE_CHECKING:
    import onnx

OPSET, ML_OPSET, IR_VERSION = 21, 5, 10
ML_DOMAIN = "ai.onnx.ml"
# onnxruntime's own operators; a graph names the domain only when it uses one.
RUNTIME_DOMAIN = "com.microsoft"
# Element types of the ONNX standard (TensorProto.DataType).
FLOAT, INT64, STRING, BOOL, DOUBLE = 1, 7, 8, 9, 11


@dataclass(frozen=True, slots=True)
class Output:
    """A public output of a graph: its name, the value it shows, its element type and its rank."""

    name: str
    value: str
    kind: int
    rank: int


@dataclass
class Graph:
    """A graph under construction: inputs are raw columns of shape (rows, 1), values are referred to by name.

    It is mutable, because encoders and models write into it in turn.
    """

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    inputs: dict[str, int] = field(default_factory=dict)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    _constant_names: dict[bytes, str] = field(default_factory=dict)

    def input(self, name: str, element_type: int) -> str:
        """Declare a raw column as an input of shape (rows, 1)."""
        self.inputs[name] = element_type
        return name

    def __call__(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output and return the output's name.

        Attributes are those of the operator in the ONNX standard, hence of any type.
        """
        from onnx import helper

        output = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], domain=domain, **attributes))
        return output

    def constant(self, values: object, dtype: type | np.dtype[Any] | None = None) -> str:
        """Add an array to the graph and return its name; equal arrays are stored once."""
        from onnx import numpy_helper

        tensor = numpy_helper.from_array(np.asarray(values, dtype=dtype))
        content = tensor.SerializeToString(deterministic=True)
        if content not in self._constant_names:
            tensor.name = self._constant_names[content] = f"constant_{len(self.constants)}"
            self.constants.append(tensor)
        return self._constant_names[content]

    def finish(self, outputs: Sequence[Output]) -> bytes:
        """Return the serialized model, checked by onnx."""
        with needs_extra("train", "writing a graph"):
            import onnx
            from onnx import helper
        closing = [helper.make_node("Identity", [output.value], [output.name]) for output in outputs]
        graph = helper.make_graph(
            [*self.nodes, *closing],
            "estimator",
            [helper.make_tensor_value_info(name, kind, [None, 1]) for name, kind in self.inputs.items()],
            [helper.make_tensor_value_info(item.name, item.kind, [None] * item.rank) for item in outputs],
            self.constants,
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(ML_DOMAIN, ML_OPSET)]
        if any(node.domain == RUNTIME_DOMAIN for node in self.nodes):
            opsets.append(helper.make_opsetid(RUNTIME_DOMAIN, 1))
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="estimator")
        onnx.checker.check_model(model)
        content: bytes = model.SerializeToString(deterministic=True)
        return content


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A value of the graph, to be used in formulas: `(x + 1.0) * y`, `np.floor(x / 7.0)`.

    Numbers become constants of `dtype`. The numpy functions in `_UFUNCS` accept it, so that one formula serves numpy
    arrays and the graph.
    """

    graph: Graph
    name: str
    dtype: type = np.float64

    def op(self, operator: str, *others: Value | float, **attributes: Any) -> Value:
        """Apply an ONNX operator to this value and others."""
        return Value(self.graph, self.graph(operator, self.name, *map(self._operand, others), **attributes), self.dtype)

    def where(self, condition: Value, other: Value | float) -> Value:
        """Return this value where a condition holds, and the other elsewhere."""
        return condition.op("Where", self, other)._as(self.dtype)

    def _as(self, dtype: type) -> Value:
        return Value(self.graph, self.name, dtype)

    def _operand(self, other: Value | float) -> str:
        return other.name if isinstance(other, Value) else self.graph.constant(other, self.dtype)

    def _lifted(self, other: Value | float) -> Value:
        return other if isinstance(other, Value) else Value(self.graph, self._operand(other), self.dtype)

    def __add__(self, other: Value | float) -> Value:
        return self.op("Add", other)

    def __radd__(self, other: float) -> Value:
        return self._lifted(other) + self

    def __sub__(self, other: Value | float) -> Value:
        return self.op("Sub", other)

    def __rsub__(self, other: float) -> Value:
        return self._lifted(other) - self

    def __mul__(self, other: Value | float) -> Value:
        return self.op("Mul", other)

    def __rmul__(self, other: float) -> Value:
        return self._lifted(other) * self

    def __truediv__(self, other: Value | float) -> Value:
        return self.op("Div", other)

    def __neg__(self) -> Value:
        return self.op("Neg")

    def __gt__(self, other: Value | float) -> Value:
        return self.op("Greater", other)

    def __lt__(self, other: Value | float) -> Value:
        return self.op("Less", other)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **_: Any) -> Value:
        first, *others = inputs
        return self._lifted(first).op(_UFUNCS[ufunc.__name__], *others)


def logistic(value: Value) -> Value:
    """Write 1 / (1 + exp(-x)).

    onnxruntime's Sigmoid is 0 below -18 (-36 in double precision), and calibration would amplify that error.
    """
    return ((-value).op("Exp") + 1.0).op("Reciprocal")


def graph_operators(content: bytes) -> list[str]:
    """Return the distinct operators of a serialized model in order, those of other domains as "domain:operator"."""
    import onnx

    nodes = onnx.load_from_string(content).graph.node
    return sorted({f"{node.domain}:{node.op_type}" if node.domain else node.op_type for node in nodes})


_UFUNCS = {
    "floor": "Floor",
    "exp": "Exp",
    "log": "Log",
    "tanh": "Tanh",
    "absolute": "Abs",
    "sqrt": "Sqrt",
    "maximum": "Max",
    "minimum": "Min",
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
}
