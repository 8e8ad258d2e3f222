"""A fitted dense net: its predictions, its nodes of the graph, and its state on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from estimator.core.arrays import Floats
from estimator.graph.builder import DOUBLE, FLOAT, Graph, Value
from estimator.models.matrix import FittedMatrixModel
from estimator.models.nets.keras_object import KerasObject
from estimator.models.probabilities import softmax, write_binary_probabilities

if TYPE_CHECKING:
    from estimator.models.nets.dense.network import TargetScaling, Weights

STATE_FILE = "weights.safetensors"


@dataclass(frozen=True)
class FittedDense(FittedMatrixModel):
    """Weights as numpy arrays, layer by layer."""

    # Far outside the training range, calibration amplifies the rounding of large single-precision sums.
    tolerance: ClassVar[float] = 2e-5
    architecture: Any = None
    weights: Any = None
    scaling: Any = None

    def predict(self, matrix: Floats) -> Floats:
        from estimator.models.nets.dense.network import forward_in_blocks

        with np.errstate(over="ignore"):
            singles = matrix.astype(np.float32)
        output: Floats = forward_in_blocks(self._layers, self.weights, singles).astype(np.float64)
        if self._outputs_log_odds:
            odds = output if output.shape[1] > 1 else np.column_stack([np.zeros(len(output)), output])
            return softmax(odds)
        if self.task.is_regression:
            numbers: Floats = output[:, 0] * self.scaling.scale + self.scaling.shift
            return numbers
        if output.shape[1] > 1:
            return output
        positive = self._positive(output)
        return np.column_stack([1.0 - positive, positive])

    def _positive(self, output: Floats) -> Floats:
        """Return one output unit as the probability of the positive class; hinge scores go from -1 to 1."""
        return np.clip((output + 1.0) * 0.5, 0.0, 1.0) if self._is_signed else output

    @property
    def _outputs_log_odds(self) -> bool:
        """Whether the last layer's sums are log odds, which become probabilities in double precision.

        In single precision, extreme probabilities would round to 0 or 1, and calibration could not distinguish them.
        """
        last = self.architecture.layers[-1]
        default = "sigmoid" if last.outputs == 1 else "softmax"
        return not self.task.is_regression and not self._is_signed and last.activation == KerasObject(name=default)

    @property
    def _layers(self) -> tuple[Any, ...]:
        """The layers, which compute in single precision."""
        *first, last = self.architecture.layers
        return (
            (*first, replace(last, activation=KerasObject(name="linear"))) if self._outputs_log_odds else (*first, last)
        )

    @property
    def _is_signed(self) -> bool:
        return self.architecture.loss.name in ("hinge", "squared_hinge")

    def write(self, graph: Graph, matrix: str) -> str:
        value = Value(graph, graph("Cast", matrix, to=FLOAT), np.float32)
        for layer, layer_weights in zip(self._layers, self.weights, strict=True):
            value = _write_layer(value, layer, layer_weights)
        output = Value(graph, graph("Cast", value.name, to=DOUBLE))
        if self._outputs_log_odds:
            one = self.architecture.layers[-1].outputs == 1
            odds = graph("Concat", (output * 0.0).name, output.name, axis=1) if one else output.name
            return graph("Softmax", odds, axis=1)
        if self.task.is_regression:
            numbers: Value = output * self.scaling.scale + self.scaling.shift
            return numbers.name
        if self.architecture.layers[-1].outputs > 1:
            return output.name
        if self._is_signed:
            output = ((output + 1.0) * 0.5).op("Max", 0.0).op("Min", 1.0)
        return write_binary_probabilities(graph, output.name)

    def state(self) -> Mapping[str, bytes]:
        return {STATE_FILE: write_state(self.weights, self.scaling)}


def _write_layer(value: Value, layer: Any, weights: Mapping[str, Any]) -> Value:
    from estimator.models.nets.dense.activations import ACTIVATIONS
    from estimator.models.nets.dense.network import NORM_EPSILON

    graph = value.graph
    kernel, bias = weights["kernel"], weights.get("bias")
    if layer.batch_normalization:
        # With moving moments, normalization is a scale and a shift, which are merged into kernel and bias.
        scale = weights["gamma"] / np.sqrt(weights["moving_variance"] + NORM_EPSILON)
        bias = weights["beta"] + ((0.0 if bias is None else bias) - weights["moving_mean"]) * scale
        kernel = kernel * scale
    inputs = [value.name, graph.constant(kernel, np.float32)]
    inputs += [] if bias is None else [graph.constant(bias, np.float32)]
    summed = Value(graph, graph("Gemm", *inputs), np.float32)
    return ACTIVATIONS[layer.activation.name].write(summed, **layer.activation.options)


def write_state(weights: Weights, scaling: TargetScaling) -> bytes:
    """Return weights as safetensors, named "<layer>.<array>", with the target's scaling as metadata."""
    from safetensors.numpy import save

    arrays = {
        f"{index}.{name}": np.ascontiguousarray(array)
        for index, layer in enumerate(weights)
        for name, array in layer.items()
    }
    metadata = {"target_scaling": json.dumps([scaling.shift, scaling.scale, scaling.baseline])}
    content: bytes = save(arrays, metadata=metadata)
    return content


def read_state(content: bytes) -> tuple[Weights, TargetScaling]:
    """Read what `write_state` wrote."""
    from safetensors.numpy import load

    from estimator.models.nets.dense.network import TargetScaling

    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    weights: Weights = []
    for name, array in sorted(load(content).items(), key=lambda item: int(item[0].split(".")[0])):
        layer, array_name = name.split(".")
        weights.extend({} for _ in range(int(layer) + 1 - len(weights)))
        weights[int(layer)][array_name] = array
    return weights, TargetScaling(*json.loads(header["__metadata__"]["target_scaling"]))
