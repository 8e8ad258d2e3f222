"""The training of TabM: rows and dropout masks on the device, and a compiled epoch over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from estimator.models.dataset import EncodedRows
from estimator.models.nets import optimizers
from estimator.models.nets.device import padded_table
from estimator.models.nets.loop import NetTrainer
from estimator.models.nets.tabm.network import EVAL_BLOCK_ROWS, MASK_OFFSETS, Bins, TabMNetwork, Weights, compiled_epoch

# Fraction of all steps in which the learning rate rises to its peak.
WARM_UP_FRACTION = 0.05


@dataclass(frozen=True, slots=True)
class TrainingSchedule:
    """Number of epochs, batch size and peak learning rate; `loss_scale` turns losses into the target's units."""

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int
    loss_scale: float


class TabMTrainer(NetTrainer[Mapping[str, np.ndarray[Any, Any]]]):
    """TabM in training, on rows as the net's inputs with the scaled target."""

    def __init__(
        self,
        network: TabMNetwork,
        weights: Weights,
        bins: Bins,
        rows: EncodedRows,
        schedule: TrainingSchedule,
        *,
        eval_rows: EncodedRows | None,
    ) -> None:
        self._epoch, self._generator = compiled_epoch(network), np.random.default_rng([schedule.seed, 1])
        self._network, self._bins, self._schedule, self._n_rows = network, bins, schedule, len(rows)
        self._table, _ = padded_table(rows, rows.target)
        self._eval_rows = eval_rows
        evaluated = _empty_rows(rows) if eval_rows is None else eval_rows
        eval_table, _ = padded_table(evaluated, evaluated.target, min_rows=EVAL_BLOCK_ROWS)
        n_blocks = np.int32(0 if eval_rows is None else -(-len(eval_rows) // EVAL_BLOCK_ROWS))
        self._evaluation = (eval_table, n_blocks)
        self._masks = jax.device_put(_dropout_masks(network, schedule.batch_size, self._generator))
        arrays = [weights[name] for name in sorted(weights)]
        self._state = jax.device_put((dict(weights), optimizers.start(network.optimizer, arrays)))

    def run_epoch(self, epoch: int, learning_rate: float) -> Mapping[str, float]:
        batches, order, rates, offsets = self._batches(epoch)
        plan = (batches, order, rates, self._masks, offsets)
        self._state, loss, eval_loss = self._epoch(self._state, self._bins, self._table, plan, self._evaluation)
        losses = {"loss": float(loss) / self._n_rows * self._schedule.loss_scale}
        if self._eval_rows is not None:
            total_weight = max(float(self._eval_rows.weights.sum()), 1e-12)
            losses["val_loss"] = float(eval_loss) / total_weight * self._schedule.loss_scale
        return losses

    def weights(self) -> Mapping[str, np.ndarray[Any, Any]]:
        weights: Mapping[str, np.ndarray[Any, Any]] = jax.device_get(self._state[0])
        return weights

    def _batches(self, epoch: int) -> tuple[Any, Any, Any, Any]:
        """Return the number of batches, their rows, learning rates and offsets of dropout, in few different shapes."""
        batch_size, epochs, n_rows = self._schedule.batch_size, self._schedule.epochs, self._n_rows
        n_batches = -(-n_rows // batch_size)
        max_batches = -(-(1 << (n_rows - 1).bit_length()) // batch_size)
        order = np.full(max_batches * batch_size, -1, np.int32)
        order[:n_rows] = self._generator.permutation(n_rows)
        steps, total = epoch * n_batches + np.arange(max_batches) + 1.0, epochs * n_batches
        rates = self._schedule.learning_rate * np.minimum(steps / (WARM_UP_FRACTION * total), 1.0)
        # Loshchilov and Hutter (2017), "SGDR: stochastic gradient descent with warm restarts", without restarts.
        rates *= 0.5 * (1.0 + np.cos(np.pi * np.minimum(steps / total, 1.0)))
        offsets = self._generator.integers(0, MASK_OFFSETS, (max_batches, self._network.depth), dtype=np.int32)
        return np.int32(n_batches), order.reshape(max_batches, batch_size), rates.astype(np.float32), offsets


def _empty_rows(rows: EncodedRows) -> EncodedRows:
    return EncodedRows(rows.matrix[:1], rows.target[:1], np.zeros(1))


def _dropout_masks(network: TabMNetwork, batch_size: int, generator: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return random numbers that every step takes its dropout from: cheaper than new ones for each step."""
    size = batch_size * network.members * network.width + MASK_OFFSETS if network.dropout else 1
    keep = (generator.random(size) >= network.dropout).astype(np.float32)
    masks: np.ndarray[Any, Any] = keep / np.float32(1.0 - network.dropout)
    return masks
