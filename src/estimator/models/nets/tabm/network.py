"""TabM as pure functions of its weights: forward pass, losses, and an epoch as one compiled loop.

Members share kernels and differ in a scale of each input and a bias of each unit: Gorishniy et al. (2025), "TabM:
advancing tabular deep learning with parameter-efficient ensembling", in its form "mini". Numbers are encoded by bins:
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

from estimator.models.nets import Array, optimizers
from estimator.models.nets.keras_object import KerasObject
from estimator.models.nets.tabm.inputs import Inputs

Weights = Mapping[str, Array]
# lower, slope: the bins of the numbers
Bins = tuple[Array, Array]
EVAL_BLOCK_ROWS = 256
# Number of different offsets that a dropout mask can start at.
MASK_OFFSETS = 65_536
MIN_PROBABILITY = 1e-7


@dataclass(frozen=True, slots=True)
class TabMNetwork:
    """All that a compiled epoch depends on besides the arrays' shapes."""

    task: Literal["regression", "binary", "multiclass"]
    members: int
    width: int
    depth: int
    embedding: int
    dropout: float
    optimizer: KerasObject


def start_weights(network: TabMNetwork, inputs: Inputs, *, n_outputs: int, seed: int) -> dict[str, Array]:
    """Return random start weights; bins start at 0, and each member has random signs for the inputs."""
    generator = np.random.default_rng([seed, 0])
    numbers, bins = inputs.lower.shape
    n_inputs = numbers * network.embedding + len(inputs.columns) - numbers
    spread = generator.uniform(-1.0, 1.0, (numbers, 1, network.embedding))
    weights = {
        "coding": np.concatenate([np.zeros((numbers, bins, network.embedding)), spread], axis=1),
        "signs": generator.choice([-1.0, 1.0], (network.members, n_inputs)),
    }
    for layer in range(network.depth):
        limit = n_inputs**-0.5
        weights[f"kernel{layer}"] = generator.uniform(-limit, limit, (n_inputs, network.width))
        weights[f"bias{layer}"] = generator.uniform(-limit, limit, (network.members, network.width))
        n_inputs = network.width
    limit = n_inputs**-0.5
    weights["head"] = generator.uniform(-limit, limit, (network.members, n_inputs, n_outputs))
    weights["offset"] = np.zeros((network.members, n_outputs))
    return {name: array.astype(np.float32) for name, array in weights.items()}


def forward(
    network: TabMNetwork, weights: Weights, bins: Bins, rows: Array, mask: Callable[[int, Any], Array] | None = None
) -> Array:
    """Return every member's output (rows, members, outputs); `mask` returns a layer's dropout mask of a shape."""
    lower, slope = bins
    numbers, indicators = rows[:, : len(lower)], rows[:, len(lower) :]
    parts = jnp.clip((numbers[:, :, None] - lower) * slope, 0.0, 1.0)
    soft = numbers / jnp.sqrt(1.0 + jnp.square(numbers / 3.0))
    coded = jnp.einsum("rnb,nbe->rne", jnp.concatenate([parts, soft[:, :, None]], axis=2), weights["coding"])
    inputs = jnp.concatenate([coded.reshape(len(rows), -1), indicators], axis=1)
    values = inputs[:, None, :] * weights["signs"]
    for layer in range(network.depth):
        if mask is not None and layer:
            values = values * mask(layer, values.shape)
        values = values.reshape(-1, values.shape[-1]) @ weights[f"kernel{layer}"]
        values = jax.nn.relu(values.reshape(len(rows), network.members, -1) + weights[f"bias{layer}"])
    if mask is not None:
        values = values * mask(0, values.shape)
    return jnp.einsum("rmw,mwo->rmo", values, weights["head"]) + weights["offset"]


def mean_predictions(network: TabMNetwork, output: Array) -> Array:
    """Return the mean prediction of the members: numbers (rows, 1), or probabilities (rows, classes)."""
    if network.task == "binary":
        # 1 - p would lose all digits where p is near 1.
        output = jax.nn.sigmoid(jnp.concatenate([-output, output], axis=2))
    elif network.task == "multiclass":
        output = jax.nn.softmax(output, axis=2)
    return jnp.mean(output, axis=1)


def _member_losses(network: TabMNetwork, output: Array, target: Array) -> Array:
    """Return each row's loss, the mean over the members."""
    if network.task == "regression":
        losses = jnp.square(output[:, :, 0] - target[:, None])
    elif network.task == "binary":
        losses = jax.nn.softplus(output[:, :, 0]) - output[:, :, 0] * target[:, None]
    else:
        log_probabilities = jax.nn.log_softmax(output, axis=2)
        losses = -jnp.take_along_axis(log_probabilities, target.astype(jnp.int32)[:, None, None], axis=2)[:, :, 0]
    return jnp.mean(losses, axis=1)


def _mean_prediction_losses(network: TabMNetwork, predictions: Array, target: Array) -> Array:
    """Return each row's loss of the members' mean prediction."""
    if network.task == "regression":
        return jnp.square(predictions[:, 0] - target)
    of_target = jnp.take_along_axis(predictions, target.astype(jnp.int32)[:, None], axis=1)[:, 0]
    return -jnp.log(jnp.maximum(of_target, MIN_PROBABILITY))


@lru_cache(maxsize=64)
def compiled_epoch(network: TabMNetwork) -> Callable[..., Any]:
    """Return the compiled epoch: (state, bins, table, plan, evaluation) -> (state, loss, evaluation loss).

    `state` is (weights, optimizer state). `table` is (rows, target, row weights) on the device. `plan` is (batches,
    order, rates, masks, offsets): the number of batches, the rows of each (-1 for padding), its learning rate, and
    where in `masks` its dropout starts. `evaluation` is (table, blocks). Losses are sums over rows.
    """

    def objective(weights: Weights, bins: Bins, batch: Any, mask: Any) -> Array:
        rows, target, row_weights, present = batch
        losses = _member_losses(network, forward(network, weights, bins, rows, mask), target)
        return jnp.sum(losses * row_weights * present) / jnp.sum(present)

    def run(state: Any, bins: Bins, table: Any, plan: Any, evaluation: Any) -> Any:
        n_batches, order, rates, masks, offsets = plan

        def step(number: Array, carried: Any) -> Any:
            (weights, optimizer_state), total = carried
            present = order[number] >= 0
            batch = (*(array[jnp.maximum(order[number], 0)] for array in table), present)
            cut = lambda layer, shape: _cut(masks, offsets[number, layer], shape)  # noqa: E731 # needs the batch
            value, gradients = jax.value_and_grad(objective)(weights, bins, batch, cut if network.dropout else None)
            names = sorted(weights)
            moved, optimizer_state = optimizers.step(
                network.optimizer,
                [gradients[name] for name in names],
                [weights[name] for name in names],
                optimizer_state,
                rates[number],
            )
            return (dict(zip(names, moved, strict=True)), optimizer_state), total + value * jnp.sum(present)

        state, total = jax.lax.fori_loop(0, n_batches, step, (state, jnp.zeros(())))
        return state, total, _evaluation_loss(network, state[0], bins, *evaluation)

    return jax.jit(run, donate_argnums=0)


def _cut(masks: Array, offset: Array, shape: tuple[int, ...]) -> Array:
    return jax.lax.dynamic_slice_in_dim(masks, offset, int(np.prod(shape))).reshape(shape)


def _evaluation_loss(network: TabMNetwork, weights: Weights, bins: Bins, table: Any, n_blocks: Array) -> Array:
    """Return the sum of the losses of the members' mean predictions."""

    def add(number: Array, total: Array) -> Array:
        begin = number * EVAL_BLOCK_ROWS
        rows, target, row_weights = (jax.lax.dynamic_slice_in_dim(array, begin, EVAL_BLOCK_ROWS) for array in table)
        predictions = mean_predictions(network, forward(network, weights, bins, rows))
        return total + jnp.sum(_mean_prediction_losses(network, predictions, target) * row_weights)

    return jax.lax.fori_loop(0, n_blocks, add, jnp.zeros(()))


@lru_cache(maxsize=64)
def compiled_predictions(network: TabMNetwork) -> Callable[[Weights, Bins, Array], Array]:
    """Return the compiled mean predictions of the members."""
    return jax.jit(lambda weights, bins, rows: mean_predictions(network, forward(network, weights, bins, rows)))
