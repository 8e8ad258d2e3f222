"""Activations twice: by jax, with Keras's formulas and gradients, and as nodes of the graph."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import nn

from estimator.graph.builder import Value
from estimator.models.nets import Array


@dataclass(frozen=True, slots=True)
class Activation:
    """`apply` works on jax arrays (rows, units), `write` on values of the graph; both take the settings."""

    apply: Callable[..., Array]
    write: Callable[..., Value]


def _relu(x: Array, *, negative_slope: float, max_value: float | None, threshold: float) -> Array:
    clipped = nn.relu(x) if threshold == 0.0 else jnp.where(x > threshold, x, 0.0)
    clipped = clipped if max_value is None else jnp.clip(clipped, 0.0, max_value)
    return clipped - negative_slope * nn.relu(threshold - x) if negative_slope else clipped


def _write_relu(x: Value, *, negative_slope: float, max_value: float | None, threshold: float) -> Value:
    clipped = x.op("Relu") if threshold == 0.0 else x.where(x > threshold, 0.0)
    clipped = clipped if max_value is None else clipped.op("Min", max_value)
    return clipped - (threshold - x).op("Relu") * negative_slope if negative_slope else clipped


def _sparsemax(x: Array) -> Array:
    """Martins and Astudillo (2016), "From softmax to sparsemax"."""
    ordered = -jnp.sort(-x, axis=-1)
    sums = jnp.cumsum(ordered, axis=-1)
    ranks = jnp.arange(1, x.shape[-1] + 1)
    support = ordered - (sums - 1) / ranks > 0
    count = jnp.sum(support, axis=-1, keepdims=True)
    threshold = (jnp.sum(jnp.where(support, ordered, 0.0), axis=-1, keepdims=True) - 1) / count
    return jnp.maximum(x - threshold, 0.0)


def _write_sparsemax(x: Value) -> Value:
    graph = x.graph
    last = graph.constant([-1], np.int64)
    width = graph("Gather", graph("Shape", x.name), graph.constant([1], np.int64), axis=0)
    indexes = f"{x.name}_order"
    ordered = Value(graph, _top_k(graph, x.name, width, indexes), x.dtype)
    sums = ordered.op("CumSum", Value(graph, graph.constant(1, np.int64)))
    ranks = ordered.op("Sign").op("Abs") * 0.0 + 1.0
    ranks = ranks.op("CumSum", Value(graph, graph.constant(1, np.int64)))
    support = Value(graph, (ordered - (sums - 1.0) / ranks > 0.0).op("Cast", to=1).name, x.dtype)
    axes = Value(graph, last)
    count = support.op("ReduceSum", axes, keepdims=1)
    threshold = ((ordered * support).op("ReduceSum", axes, keepdims=1) - 1.0) / count
    return (x - threshold).op("Relu")


def _top_k(graph: Any, name: str, width: str, indexes: str) -> str:
    from onnx import helper

    output = f"{name}_sorted"
    graph.nodes.append(helper.make_node("TopK", [name, width], [output, indexes], axis=-1))
    return output


def _write_glu(x: Value) -> Value:
    from onnx import helper

    halves = [f"{x.name}_left", f"{x.name}_right"]
    x.graph.nodes.append(helper.make_node("Split", [x.name], halves, axis=-1, num_outputs=2))
    left, right = (Value(x.graph, half, x.dtype) for half in halves)
    return left * right.op("Sigmoid")


def _write_gelu(x: Value, *, approximate: bool) -> Value:
    if approximate:
        inner = (x + x * x * x * 0.044715) * math.sqrt(2 / math.pi)
        return x * 0.5 * (inner.op("Tanh") + 1.0)
    return x * 0.5 * ((x * (1 / math.sqrt(2))).op("Erf") + 1.0)


def _clip(x: Value, low: float, high: float) -> Value:
    return x.op("Max", low).op("Min", high)


def _write_sparse_plus(x: Value) -> Value:
    middle = (x + 1.0) * (x + 1.0) * 0.25
    return x.where(x > 1.0, middle.where(x > -1.0, 0.0))


def _write_mish(x: Value) -> Value:
    return x * x.op("Softplus").op("Tanh")


ACTIVATIONS: Mapping[str, Activation] = {
    "linear": Activation(lambda x: x, lambda x: x),
    "relu": Activation(_relu, _write_relu),
    "relu6": Activation(nn.relu6, lambda x: _clip(x, 0.0, 6.0)),
    "leaky_relu": Activation(nn.leaky_relu, lambda x, negative_slope: x.op("LeakyRelu", alpha=float(negative_slope))),
    "elu": Activation(nn.elu, lambda x, alpha: x.where(x > 0.0, (x.op("Min", 0.0).op("Exp") - 1.0) * alpha)),
    "selu": Activation(nn.selu, lambda x: x.op("Selu")),
    "celu": Activation(
        nn.celu, lambda x, alpha: x.op("Max", 0.0) + ((x / alpha).op("Min", 0.0).op("Exp") - 1.0) * alpha
    ),
    "gelu": Activation(nn.gelu, _write_gelu),
    "silu": Activation(nn.silu, lambda x: x * x.op("Sigmoid")),
    "mish": Activation(nn.mish, _write_mish),
    "sigmoid": Activation(nn.sigmoid, lambda x: x.op("Sigmoid")),
    "hard_sigmoid": Activation(nn.hard_sigmoid, lambda x: _clip(x + 3.0, 0.0, 6.0) / 6.0),
    "hard_silu": Activation(nn.hard_silu, lambda x: x * (_clip(x + 3.0, 0.0, 6.0) / 6.0)),
    "log_sigmoid": Activation(nn.log_sigmoid, lambda x: -((-x).op("Softplus"))),
    "tanh": Activation(jnp.tanh, lambda x: x.op("Tanh")),
    "hard_tanh": Activation(nn.hard_tanh, lambda x: _clip(x, -1.0, 1.0)),
    "tanh_shrink": Activation(lambda x: x - jnp.tanh(x), lambda x: x - x.op("Tanh")),
    "softplus": Activation(nn.softplus, lambda x: x.op("Softplus")),
    "softsign": Activation(nn.soft_sign, lambda x: x.op("Softsign")),
    "exponential": Activation(jnp.exp, lambda x: x.op("Exp")),
    "squareplus": Activation(nn.squareplus, lambda x, b: (x + (x * x + b).op("Sqrt")) * 0.5),
    "sparse_plus": Activation(nn.sparse_plus, _write_sparse_plus),
    "sparse_sigmoid": Activation(nn.sparse_sigmoid, lambda x: _clip((x + 1.0) * 0.5, 0.0, 1.0)),
    "soft_shrink": Activation(
        lambda x, threshold: jnp.where(x > threshold, x - threshold, jnp.where(x < -threshold, x + threshold, 0.0)),
        lambda x, threshold: x.op("Shrink", bias=float(threshold), lambd=float(threshold)),
    ),
    "hard_shrink": Activation(
        lambda x, threshold: jnp.where(jnp.abs(x) > threshold, x, 0.0),
        lambda x, threshold: x.op("Shrink", bias=0.0, lambd=float(threshold)),
    ),
    "threshold": Activation(
        lambda x, threshold, default_value: jnp.where(x > threshold, x, default_value),
        lambda x, threshold, default_value: x.where(x > threshold, default_value),
    ),
    "softmax": Activation(nn.softmax, lambda x: x.op("Softmax", axis=-1)),
    "log_softmax": Activation(nn.log_softmax, lambda x: x.op("LogSoftmax", axis=-1)),
    "sparsemax": Activation(_sparsemax, _write_sparsemax),
    "glu": Activation(jax.nn.glu, _write_glu),
}
