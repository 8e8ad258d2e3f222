"""The net as pure functions of its weights: forward pass, loss, and an epoch as one compiled scan.

An architecture is hashable and its functions are cached, so runs of one shape share one compilation; the
number of rows is padded to whole batches, so that folds which differ by a row share it too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from estimator.models.nets.dense import optimizers
from estimator.models.nets.dense.activations import ACTIVATIONS
from estimator.models.nets.dense.losses import batch_loss
from estimator.models.nets.dense.words import Word
from estimator.models.nets.device import in_blocks

Array = Any
Weights = list[dict[str, Array]]
NORM_MOMENTUM, NORM_EPSILON = 0.99, 1e-3


@dataclass(frozen=True, slots=True)
class Layer:
    """Dense, then batch normalisation, activation and dropout where they are asked for."""

    units: int
    activation: Word
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
    """Layers, loss and optimiser: all that a compiled epoch depends on beside the shapes."""

    layers: tuple[Layer, ...]
    loss: Word
    optimizer: Word

    @property
    def program(self) -> Architecture:
        """The same without the learning rate, which a compiled epoch is handed unless it follows a schedule."""
        settings = tuple(
            (name, 0.0 if name == "learning_rate" and not isinstance(value, Word) else value)
            for name, value in self.optimizer.settings
        )
        return replace(self, optimizer=Word(name=self.optimizer.name, settings=settings))


@dataclass(frozen=True, slots=True)
class Units:
    """How a net's output becomes the target's units: shift + scale * output; `baseline` is the loss to beat."""

    shift: float = 0.0
    scale: float = 1.0
    baseline: float = 1.0


def forward(
    layers: Sequence[Layer], weights: Weights, rows: Array, *, here: Array | None = None, key: Array | None = None
) -> tuple[Array, Weights]:
    """Return the output (rows, units) and the weights with updated running moments.

    With `here` (rows,), 0 for padding, batch moments are used and dropout, drawn from `key`, is on.
    """
    values, after = rows, []
    for place, (layer, own) in enumerate(zip(layers, weights, strict=True)):
        values = values @ own["kernel"]
        values = values + own["bias"] if layer.use_bias else values
        kept = own
        if layer.batch_normalization:
            values, kept = _normalise(values, own, here)
        values = ACTIVATIONS[layer.activation.name].apply(values, **layer.activation.options)
        if layer.dropout and key is not None:
            stays = jax.random.bernoulli(jax.random.fold_in(key, place), 1.0 - layer.dropout, values.shape)
            values = jnp.where(stays, values / (1.0 - layer.dropout), 0.0)
        after.append(kept)
    return values, after


def _normalise(values: Array, own: dict[str, Array], here: Array | None) -> tuple[Array, dict[str, Array]]:
    """Ioffe and Szegedy (2015), "Batch normalization", over the rows that are here."""
    mean, variance, kept = own["moving_mean"], own["moving_variance"], own
    if here is not None:
        count = jnp.sum(here)
        mean = jnp.sum(values * here[:, None], axis=0) / count
        variance = jnp.sum(jnp.square(values - mean) * here[:, None], axis=0) / count
        moments = {"moving_mean": mean, "moving_variance": variance}
        kept = own | {name: own[name] * NORM_MOMENTUM + new * (1.0 - NORM_MOMENTUM) for name, new in moments.items()}
    scaled = (values - mean) * jax.lax.rsqrt(variance + NORM_EPSILON)
    return scaled * own["gamma"] + own["beta"], kept


MOVING = ("moving_mean", "moving_variance")


def trainable(weights: Weights) -> list[tuple[int, str]]:
    """Return (layer, name) of every trained array, sorted by name as jax sorts them in a tree."""
    return [(place, name) for place, own in enumerate(weights) for name in sorted(own) if name not in MOVING]


def _with(weights: Weights, places: Sequence[tuple[int, str]], arrays: Sequence[Array]) -> Weights:
    changed = [dict(own) for own in weights]
    for (place, name), array in zip(places, arrays, strict=True):
        changed[place][name] = array
    return changed


def penalty(layers: Sequence[Layer], weights: Weights) -> Array:
    """Return the l1 and l2 penalties of the kernels."""
    total = jnp.zeros(())
    for layer, own in zip(layers, weights, strict=True):
        total += layer.l1 * jnp.sum(jnp.abs(own["kernel"])) if layer.l1 else 0.0
        total += layer.l2 * jnp.sum(jnp.square(own["kernel"])) if layer.l2 else 0.0
    return total


Epoch = Callable[..., tuple[tuple[Weights, dict[str, Any]], Array, Array | None]]


@lru_cache(maxsize=64)
def epoch_of(architecture: Architecture) -> Epoch:
    """Return the compiled epoch: (tree, table, plan, watched) -> (tree, loss, loss of the watched rows).

    `table` is (rows, truth, row weights) on the device; `plan` is (order, here, rate, units, seed), the first
    two of shape (batches, batch size); `watched` is None or (table, here). Losses are means over rows in the
    target's units.
    """
    layers, loss, optimizer = architecture.layers, architecture.loss, architecture.optimizer
    draws = any(layer.dropout for layer in layers)

    def batch_objective(arrays: Array, weights: Weights, batch: Any, units: Array, key: Array | None) -> Any:
        rows, truth, row_weights, here = batch
        full = _with(weights, trainable(weights), arrays)
        output, moved = forward(layers, full, rows, here=here, key=key)
        answer = units[0] + units[1] * output
        value = batch_loss(loss.name, loss.options, truth, answer, row_weights, here)
        return value / units[2] + penalty(layers, full), (value + penalty(layers, full) * units[2], moved)

    def run(tree: Any, table: Any, plan: Any, watched: Any) -> Any:
        order, present, rate, units, seed = plan
        objective = jax.value_and_grad(batch_objective, has_aux=True)

        def one(state: Any, item: Any) -> Any:
            (weights, optimizer_state), (picked, here, number) = state, item
            places = trainable(weights)
            arrays = [weights[place][name] for place, name in places]
            batch = (*(array[picked] for array in table), here)
            key = jax.random.fold_in(jax.random.key(seed), number) if draws else None
            (_, (value, moved)), gradients = objective(arrays, weights, batch, units, key)
            arrays, optimizer_state = optimizers.step(optimizer, gradients, arrays, optimizer_state, rate)
            return (_with(moved, places, arrays), optimizer_state), value * jnp.sum(here)

        tree, sums = jax.lax.scan(one, tree, (order, present, jnp.arange(order.shape[0])))
        seen = None if watched is None else loss_of(architecture, settled(tree), watched[0], watched[1], units)
        return tree, jnp.sum(sums) / jnp.sum(present), seen

    return jax.jit(run, donate_argnums=0)


@lru_cache(maxsize=64)
def answers_of(layers: tuple[Layer, ...]) -> Callable[[Weights, Array], Array]:
    """Return the compiled forward pass without dropout, with running moments."""
    return jax.jit(lambda weights, rows: forward(layers, weights, rows)[0])


def loss_of(architecture: Architecture, weights: Weights, table: Any, here: Array, units: Array) -> Array:
    """Return the loss of a table (rows, truth, row weights) that is not trained on; `here` is 0 for padding."""
    rows, truth, row_weights = table
    answer = units[0] + units[1] * forward(architecture.layers, weights, rows)[0]
    value = batch_loss(architecture.loss.name, architecture.loss.options, truth, answer, row_weights, here)
    return value + penalty(architecture.layers, weights) * units[2]


def settled(tree: Any) -> Weights:
    """Return the weights to answer with: the running averages where the optimiser keeps them."""
    weights: Weights = tree[0]
    return _with(weights, trainable(weights), tree[1]["ema"]) if "ema" in tree[1] else weights


def answer(layers: tuple[Layer, ...], weights: Weights, rows: Array) -> np.ndarray[Any, Any]:
    """Return the output for many rows."""
    return in_blocks(partial(answers_of(layers), weights), rows)
