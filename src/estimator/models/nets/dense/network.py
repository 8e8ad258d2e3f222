"""A dense net as pure functions of its weights: forward pass, loss, and an epoch as one compiled scan.

An architecture is hashable and its functions are cached, so fits of one shape share one compilation. The number of
rows is padded to whole batches, so that folds which differ by a row share it too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from estimator.models.nets import Array, optimizers
from estimator.models.nets.dense.activations import ACTIVATIONS
from estimator.models.nets.dense.losses import batch_loss
from estimator.models.nets.device import in_blocks
from estimator.models.nets.keras_object import KerasObject

Weights = list[dict[str, Array]]
NORM_MOMENTUM, NORM_EPSILON = 0.99, 1e-3


@dataclass(frozen=True, slots=True)
class Layer:
    """A dense layer, then batch normalization, activation and dropout as configured."""

    units: int
    activation: KerasObject
    use_bias: bool = True
    batch_normalization: bool = False
    dropout: float = 0.0
    l1: float = 0.0
    l2: float = 0.0

    @property
    def outputs(self) -> int:
        """Values per row after the activation."""
        return self.units // 2 if self.activation.name == "glu" else self.units


@dataclass(frozen=True, slots=True)
class Architecture:
    """Layers, loss and optimizer: all that a compiled epoch depends on besides shapes."""

    layers: tuple[Layer, ...]
    loss: KerasObject
    optimizer: KerasObject

    @property
    def program(self) -> Architecture:
        """The same without the learning rate, which is an argument of the epoch unless it follows a schedule."""
        settings = tuple(
            (name, 0.0 if name == "learning_rate" and not isinstance(value, KerasObject) else value)
            for name, value in self.optimizer.settings
        )
        return replace(self, optimizer=KerasObject(name=self.optimizer.name, settings=settings))


@dataclass(frozen=True, slots=True)
class TargetScaling:
    """The target is shift + scale * output; `baseline` is the loss of always predicting the mean."""

    shift: float = 0.0
    scale: float = 1.0
    baseline: float = 1.0


def forward(
    layers: Sequence[Layer], weights: Weights, rows: Array, *, present: Array | None = None, key: Array | None = None
) -> tuple[Array, Weights]:
    """Return the output (rows, scaling) and the weights with updated running moments.

    With `present` (rows,), 0 for padding, batch moments are used and dropout, drawn from `key`, is on.
    """
    values, after = rows, []
    for index, (layer, layer_weights) in enumerate(zip(layers, weights, strict=True)):
        values = values @ layer_weights["kernel"]
        values = values + layer_weights["bias"] if layer.use_bias else values
        updated = layer_weights
        if layer.batch_normalization:
            values, updated = _normalize(values, layer_weights, present)
        values = ACTIVATIONS[layer.activation.name].apply(values, **layer.activation.options)
        if layer.dropout and key is not None:
            keep = jax.random.bernoulli(jax.random.fold_in(key, index), 1.0 - layer.dropout, values.shape)
            values = jnp.where(keep, values / (1.0 - layer.dropout), 0.0)
        after.append(updated)
    return values, after


def _normalize(values: Array, weights: dict[str, Array], present: Array | None) -> tuple[Array, dict[str, Array]]:
    """Ioffe and Szegedy (2015), "Batch normalization", over the rows that are present."""
    mean, variance, updated = weights["moving_mean"], weights["moving_variance"], weights
    if present is not None:
        count = jnp.sum(present)
        mean = jnp.sum(values * present[:, None], axis=0) / count
        variance = jnp.sum(jnp.square(values - mean) * present[:, None], axis=0) / count
        moments = {"moving_mean": mean, "moving_variance": variance}
        updated = weights | {
            name: weights[name] * NORM_MOMENTUM + new * (1.0 - NORM_MOMENTUM) for name, new in moments.items()
        }
    scaled = (values - mean) * jax.lax.rsqrt(variance + NORM_EPSILON)
    return scaled * weights["gamma"] + weights["beta"], updated


MOVING = ("moving_mean", "moving_variance")


def trainable(weights: Weights) -> list[tuple[int, str]]:
    """Return (layer, name) of every trained array, sorted by name as jax sorts them in a tree."""
    return [(index, name) for index, layer in enumerate(weights) for name in sorted(layer) if name not in MOVING]


def _with_arrays(weights: Weights, keys: Sequence[tuple[int, str]], arrays: Sequence[Array]) -> Weights:
    changed = [dict(layer) for layer in weights]
    for (index, name), array in zip(keys, arrays, strict=True):
        changed[index][name] = array
    return changed


def penalty(layers: Sequence[Layer], weights: Weights) -> Array:
    """Return the l1 and l2 penalties of the kernels."""
    total = jnp.zeros(())
    for layer, layer_weights in zip(layers, weights, strict=True):
        total += layer.l1 * jnp.sum(jnp.abs(layer_weights["kernel"])) if layer.l1 else 0.0
        total += layer.l2 * jnp.sum(jnp.square(layer_weights["kernel"])) if layer.l2 else 0.0
    return total


Epoch = Callable[..., tuple[tuple[Weights, dict[str, Any]], Array, Array | None]]


@lru_cache(maxsize=64)
def compiled_epoch(architecture: Architecture) -> Epoch:
    """Return the compiled epoch: (state, table, plan, evaluation) -> (state, loss, evaluation loss).

    `table` is (rows, target, row weights) on the device; `plan` is (order, present, learning rate, scaling, seed), the
    first two of shape (batches, batch size); `evaluation` is None or (table, present). Losses are means over rows in
    the target's units.
    """
    layers, loss, optimizer = architecture.layers, architecture.loss, architecture.optimizer
    has_dropout = any(layer.dropout for layer in layers)

    def batch_objective(arrays: Array, weights: Weights, batch: Any, scaling: Array, key: Array | None) -> Any:
        rows, target, row_weights, present = batch
        full = _with_arrays(weights, trainable(weights), arrays)
        output, moved = forward(layers, full, rows, present=present, key=key)
        prediction = scaling[0] + scaling[1] * output
        value = batch_loss(loss.name, loss.options, target, prediction, row_weights, present)
        return value / scaling[2] + penalty(layers, full), (value + penalty(layers, full) * scaling[2], moved)

    def run(state: Any, table: Any, plan: Any, evaluation: Any) -> Any:
        order, present, rate, scaling, seed = plan
        objective = jax.value_and_grad(batch_objective, has_aux=True)

        def step(carried: Any, item: Any) -> Any:
            (weights, optimizer_state), (picked, present_rows, number) = carried, item
            keys = trainable(weights)
            arrays = [weights[index][name] for index, name in keys]
            batch = (*(array[picked] for array in table), present_rows)
            key = jax.random.fold_in(jax.random.key(seed), number) if has_dropout else None
            (_, (value, moved)), gradients = objective(arrays, weights, batch, scaling, key)
            arrays, optimizer_state = optimizers.step(optimizer, gradients, arrays, optimizer_state, rate)
            return (_with_arrays(moved, keys, arrays), optimizer_state), value * jnp.sum(present_rows)

        state, sums = jax.lax.scan(step, state, (order, present, jnp.arange(order.shape[0])))
        loss_sum, n_rows = jnp.sum(sums), jnp.sum(present)
        if evaluation is None:
            return state, loss_sum / n_rows, None
        eval_table, eval_present = evaluation
        eval_loss = table_loss(architecture, prediction_weights(state), eval_table, eval_present, scaling)
        return state, loss_sum / n_rows, eval_loss

    return jax.jit(run, donate_argnums=0)


@lru_cache(maxsize=64)
def compiled_forward(layers: tuple[Layer, ...]) -> Callable[[Weights, Array], Array]:
    """Return the compiled forward pass without dropout, with running moments."""
    return jax.jit(lambda weights, rows: forward(layers, weights, rows)[0])


def table_loss(architecture: Architecture, weights: Weights, table: Any, present: Array, scaling: Array) -> Array:
    """Return the loss of a table (rows, target, row weights) that is not trained on; `present` is 0 for padding."""
    rows, target, row_weights = table
    prediction = scaling[0] + scaling[1] * forward(architecture.layers, weights, rows)[0]
    value = batch_loss(architecture.loss.name, architecture.loss.options, target, prediction, row_weights, present)
    return value + penalty(architecture.layers, weights) * scaling[2]


def prediction_weights(state: Any) -> Weights:
    """Return the weights to predict with: the moving averages, where the optimizer has them."""
    weights: Weights = state[0]
    return _with_arrays(weights, trainable(weights), state[1]["ema"]) if "ema" in state[1] else weights


def forward_in_blocks(layers: tuple[Layer, ...], weights: Weights, rows: Array) -> np.ndarray[Any, Any]:
    """Return the output for many rows."""
    return in_blocks(partial(compiled_forward(layers), weights), rows)
