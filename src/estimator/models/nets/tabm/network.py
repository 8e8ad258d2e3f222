"""The net as pure functions of its weights: forward pass, losses, and an epoch as one compiled loop.

Members share kernels and differ in what they do with each input and each unit: Gorishniy et al. (2025), "TabM:
advancing tabular deep learning with parameter-efficient ensembling", in its form "mini". Numbers are coded by bins:
Gorishniy, Rubachev and Babenko (2022), "On embeddings for numerical features in tabular deep learning".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from estimator.models.nets.dense import optimizers
from estimator.models.nets.dense.words import Word
from estimator.models.nets.tabm.inputs import Inputs

Array = Any
Weights = Mapping[str, Array]
# lower, slope: the bins of the numbers
Bins = tuple[Array, Array]
VALIDATION_BLOCK = 256
# How many different places a dropout mask can be cut from.
MASK_PLACES = 65_536
LEAST_SHARE = 1e-7


@dataclass(frozen=True, slots=True)
class Net:
    """All that a compiled epoch depends on beside the arrays' shapes."""

    task: Literal["regression", "binary", "multiclass"]
    members: int
    width: int
    depth: int
    embedding: int
    dropout: float
    optimizer: Word


def start_weights(net: Net, inputs: Inputs, *, n_outputs: int, seed: int) -> dict[str, Array]:
    """Return start weights; the bins count for nothing at first, and each member sees inputs by signs of its own."""
    generator = np.random.default_rng([seed, 0])
    numbers, bins = inputs.lower.shape
    n_inputs = numbers * net.embedding + len(inputs.places) - numbers
    spread = generator.uniform(-1.0, 1.0, (numbers, 1, net.embedding))
    weights = {
        "coding": np.concatenate([np.zeros((numbers, bins, net.embedding)), spread], axis=1),
        "signs": generator.choice([-1.0, 1.0], (net.members, n_inputs)),
    }
    for layer in range(net.depth):
        limit = n_inputs**-0.5
        weights[f"kernel{layer}"] = generator.uniform(-limit, limit, (n_inputs, net.width))
        weights[f"bias{layer}"] = generator.uniform(-limit, limit, (net.members, net.width))
        n_inputs = net.width
    limit = n_inputs**-0.5
    weights["head"] = generator.uniform(-limit, limit, (net.members, n_inputs, n_outputs))
    weights["offset"] = np.zeros((net.members, n_outputs))
    return {name: array.astype(np.float32) for name, array in weights.items()}


def forward(
    net: Net, weights: Weights, bins: Bins, rows: Array, mask: Callable[[int, Any], Array] | None = None
) -> Array:
    """Return every member's output (rows, members, outputs); `mask` gives a layer's dropout for a shape."""
    lower, slope = bins
    numbers, indicators = rows[:, : len(lower)], rows[:, len(lower) :]
    parts = jnp.clip((numbers[:, :, None] - lower) * slope, 0.0, 1.0)
    soft = numbers / jnp.sqrt(1.0 + jnp.square(numbers / 3.0))
    coded = jnp.einsum("rnb,nbe->rne", jnp.concatenate([parts, soft[:, :, None]], axis=2), weights["coding"])
    inputs = jnp.concatenate([coded.reshape(len(rows), -1), indicators], axis=1)
    values = inputs[:, None, :] * weights["signs"]
    for layer in range(net.depth):
        if mask is not None and layer:
            values = values * mask(layer, values.shape)
        values = values.reshape(-1, values.shape[-1]) @ weights[f"kernel{layer}"]
        values = jax.nn.relu(values.reshape(len(rows), net.members, -1) + weights[f"bias{layer}"])
    if mask is not None:
        values = values * mask(0, values.shape)
    return jnp.einsum("rmw,mwo->rmo", values, weights["head"]) + weights["offset"]


def blended(net: Net, output: Array) -> Array:
    """Return the mean answer of the members: numbers (rows, 1), or probabilities of all levels (rows, levels)."""
    if net.task == "binary":
        # Not 1 - p, which has no digits left where p is near 1.
        output = jax.nn.sigmoid(jnp.concatenate([-output, output], axis=2))
    elif net.task == "multiclass":
        output = jax.nn.softmax(output, axis=2)
    return jnp.mean(output, axis=1)


def _member_losses(net: Net, output: Array, truth: Array) -> Array:
    """Return each row's loss, the mean of its members' own."""
    if net.task == "regression":
        losses = jnp.square(output[:, :, 0] - truth[:, None])
    elif net.task == "binary":
        losses = jax.nn.softplus(output[:, :, 0]) - output[:, :, 0] * truth[:, None]
    else:
        shares = jax.nn.log_softmax(output, axis=2)
        losses = -jnp.take_along_axis(shares, truth.astype(jnp.int32)[:, None, None], axis=2)[:, :, 0]
    return jnp.mean(losses, axis=1)


def _blend_losses(net: Net, answers: Array, truth: Array) -> Array:
    """Return each row's loss of the members' mean answer."""
    if net.task == "regression":
        return jnp.square(answers[:, 0] - truth)
    share = jnp.take_along_axis(answers, truth.astype(jnp.int32)[:, None], axis=1)[:, 0]
    return -jnp.log(jnp.maximum(share, LEAST_SHARE))


@lru_cache(maxsize=64)
def epoch_of(net: Net) -> Callable[..., Any]:
    """Return the compiled epoch: (state, bins, table, training, watched) -> (state, loss, loss of the watched rows).

    `state` is (weights, optimiser state). `table` is (rows, truth, row weights) on the device. `plan` is (batches,
    order, rates, masks, places): how many batches there are, each one's rows (-1 for none), its learning rate, and
    where in `masks` its dropout is cut from. `watched` is (table, blocks). Losses are sums over rows.
    """

    def objective(weights: Weights, bins: Bins, batch: Any, mask: Any) -> Array:
        rows, truth, row_weights, here = batch
        losses = _member_losses(net, forward(net, weights, bins, rows, mask), truth)
        return jnp.sum(losses * row_weights * here) / jnp.sum(here)

    def run(state: Any, bins: Bins, table: Any, plan: Any, watched: Any) -> Any:
        n_batches, order, rates, masks, places = plan

        def one(number: Array, carried: Any) -> Any:
            (weights, optimizer_state), total = carried
            here = order[number] >= 0
            batch = (*(array[jnp.maximum(order[number], 0)] for array in table), here)
            cut = lambda layer, shape: _cut(masks, places[number, layer], shape)  # noqa: E731 # needs the batch
            value, gradients = jax.value_and_grad(objective)(weights, bins, batch, cut if net.dropout else None)
            names = sorted(weights)
            moved, optimizer_state = optimizers.step(
                net.optimizer, [gradients[name] for name in names], [weights[name] for name in names],
                optimizer_state, rates[number],
            )  # fmt: skip
            return (dict(zip(names, moved, strict=True)), optimizer_state), total + value * jnp.sum(here)

        state, total = jax.lax.fori_loop(0, n_batches, one, (state, jnp.zeros(())))
        return state, total, _watched_loss(net, state[0], bins, *watched)

    return jax.jit(run, donate_argnums=0)


def _cut(masks: Array, place: Array, shape: tuple[int, ...]) -> Array:
    return jax.lax.dynamic_slice_in_dim(masks, place, int(np.prod(shape))).reshape(shape)


def _watched_loss(net: Net, weights: Weights, bins: Bins, table: Any, n_blocks: Array) -> Array:
    """Return the sum of the losses of the members' mean answers."""

    def add(number: Array, total: Array) -> Array:
        begin = number * VALIDATION_BLOCK
        rows, truth, row_weights = (jax.lax.dynamic_slice_in_dim(array, begin, VALIDATION_BLOCK) for array in table)
        answers = blended(net, forward(net, weights, bins, rows))
        return total + jnp.sum(_blend_losses(net, answers, truth) * row_weights)

    return jax.lax.fori_loop(0, n_blocks, add, jnp.zeros(()))


@lru_cache(maxsize=64)
def answers_of(net: Net) -> Callable[[Weights, Bins, Array], Array]:
    """Return the compiled mean answers of the members."""
    return jax.jit(lambda weights, bins, rows: blended(net, forward(net, weights, bins, rows)))
