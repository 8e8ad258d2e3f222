"""Keras's initializers, drawn by numpy from a seeded generator."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.models.nets.keras_object import KerasObject

Shape = tuple[int, ...]
StartWeights = npt.NDArray[np.float32]
# Standard deviation of a unit normal truncated at two deviations.
TRUNCATED_DEVIATION = 0.87962566103423978


def draw(initializer: KerasObject, shape: Shape, generator: np.random.Generator) -> StartWeights:
    """Return start weights of a shape, (inputs, units) or (units,)."""
    return np.asarray(INITIALIZERS[initializer.name](shape, generator, **initializer.options), np.float32)


def _truncated_normal(shape: Shape, generator: np.random.Generator, mean: float = 0.0, stddev: float = 1.0) -> Any:
    values = generator.standard_normal(shape)
    while (is_cut := np.abs(values) > 2.0).any():
        values[is_cut] = generator.standard_normal(int(is_cut.sum()))
    return mean + stddev * values


def _scaled(shape: Shape, generator: np.random.Generator, scale: float, mode: str, distribution: str) -> Any:
    """Glorot and Bengio (2010), He et al. (2015): variance by the number of inputs, outputs or both."""
    fan_in, fan_out = (shape[0], shape[1]) if len(shape) == 2 else (shape[0], shape[0])
    fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2.0}[mode]
    variance = scale / max(1.0, fan)
    if distribution == "uniform":
        limit = math.sqrt(3.0 * variance)
        return generator.uniform(-limit, limit, shape)
    if distribution == "untruncated_normal":
        return generator.normal(0.0, math.sqrt(variance), shape)
    return _truncated_normal(shape, generator, stddev=math.sqrt(variance) / TRUNCATED_DEVIATION)


def _fixed(scale: float, mode: str, distribution: str) -> Callable[..., Any]:
    return lambda shape, generator: _scaled(shape, generator, scale, mode, distribution)


def _orthogonal(shape: Shape, generator: np.random.Generator, gain: float) -> Any:
    """Saxe et al. (2014), "Exact solutions to the nonlinear dynamics of learning"."""
    if len(shape) < 2:
        return generator.standard_normal(shape) * gain
    tall = (max(shape), min(shape))
    q, r = np.linalg.qr(generator.standard_normal(tall))
    q = q * np.sign(np.diag(r))
    return gain * (q if shape[0] >= shape[1] else q.T)


INITIALIZERS: Mapping[str, Callable[..., Any]] = {
    "glorot_uniform": _fixed(1.0, "fan_avg", "uniform"),
    "glorot_normal": _fixed(1.0, "fan_avg", "truncated_normal"),
    "he_uniform": _fixed(2.0, "fan_in", "uniform"),
    "he_normal": _fixed(2.0, "fan_in", "truncated_normal"),
    "lecun_uniform": _fixed(1.0, "fan_in", "uniform"),
    "lecun_normal": _fixed(1.0, "fan_in", "truncated_normal"),
    "random_uniform": lambda shape, generator, minval, maxval: generator.uniform(minval, maxval, shape),
    "random_normal": lambda shape, generator, mean, stddev: generator.normal(mean, stddev, shape),
    "truncated_normal": _truncated_normal,
    "variance_scaling": _scaled,
    "orthogonal": _orthogonal,
    "identity": lambda shape, generator, gain: gain * np.eye(*shape),
    "constant": lambda shape, generator, value: np.full(shape, value),
    "zeros": lambda shape, generator: np.zeros(shape),
    "ones": lambda shape, generator: np.ones(shape),
}
