"""The training of a dense net: batches on the device, and a compiled epoch over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from estimator.models.dataset import EncodedRows
from estimator.models.nets import optimizers
from estimator.models.nets.dense.network import (
    Architecture,
    TargetScaling,
    Weights,
    compiled_epoch,
    prediction_weights,
    trainable,
)
from estimator.models.nets.device import padded, padded_table
from estimator.models.nets.keras_object import KerasObject
from estimator.models.nets.loop import NetTrainer


class DenseTrainer(NetTrainer[Weights]):
    """A dense net in training; targets have shape (rows, outputs), and losses are in the target's units."""

    def __init__(
        self,
        architecture: Architecture,
        weights: Weights,
        rows: EncodedRows,
        target: np.ndarray[Any, Any],
        scaling: TargetScaling,
        *,
        eval_rows: tuple[EncodedRows, np.ndarray[Any, Any]] | None,
        batch_size: int,
        seed: int,
    ) -> None:
        self._epoch = compiled_epoch(architecture.program)
        self._generator, self._seed = np.random.default_rng([seed, 1]), seed
        self._batches = Batches.of(rows, target, batch_size)
        self._scaling = np.array([scaling.shift, scaling.scale, scaling.baseline], np.float32)
        self._state = start_state(architecture, weights)
        self._eval_table = None if eval_rows is None else padded_table(*eval_rows)

    def run_epoch(self, epoch: int, learning_rate: float) -> Mapping[str, float]:
        order, present = self._batches.shuffled(self._generator)
        seed = np.uint32(self._seed * 100_003 + epoch)
        schedule = (order, present, np.float32(learning_rate), self._scaling, seed)
        self._state, loss, eval_loss = self._epoch(self._state, self._batches.arrays, schedule, self._eval_table)
        return {"loss": float(loss)} | ({} if eval_loss is None else {"val_loss": float(eval_loss)})

    def weights(self) -> Weights:
        weights: Weights = jax.device_get(prediction_weights(self._state))
        return weights


def start_state(architecture: Architecture, weights: Weights) -> tuple[Weights, dict[str, Any]]:
    """Return weights and a new optimizer state on the device; made by numpy, which compiles nothing."""
    layers = [{name: np.asarray(array, np.float32) for name, array in layer.items()} for layer in weights]
    arrays = [layers[index][name] for index, name in trainable(layers)]
    state: tuple[Weights, dict[str, Any]] = jax.device_put((layers, optimizers.start(architecture.optimizer, arrays)))
    return state


def start_learning_rate(optimizer: KerasObject) -> float:
    """Return the learning rate of the first epoch; 0 with a schedule, which the optimizer follows by itself."""
    rate = optimizer["learning_rate"]
    return 0.0 if isinstance(rate, KerasObject) else float(rate)


@dataclass(frozen=True, slots=True)
class Batches:
    """Rows on the device, padded to whole batches; padding has weight 0 and is in no batch as a row."""

    arrays: tuple[Any, Any, Any]
    n_rows: int
    batch_size: int

    @classmethod
    def of(cls, rows: EncodedRows, target: np.ndarray[Any, Any], batch_size: int) -> Batches:
        """Copy rows to the device as float32."""
        size = -(-len(rows) // batch_size) * batch_size
        arrays = tuple(padded(np.asarray(array), size) for array in (rows.matrix, target, rows.weights))
        return cls(jax.device_put(arrays), len(rows), batch_size)

    def shuffled(self, generator: np.random.Generator) -> tuple[Any, Any]:
        """Return the rows of each batch and which of them are present, both (batches, batch size)."""
        return self.ordered(generator.permutation(self.n_rows))

    def ordered(self, positions: np.ndarray[Any, Any]) -> tuple[Any, Any]:
        """Return the same for rows in a given order."""
        n_batches = -(-self.n_rows // self.batch_size)
        order = np.zeros(n_batches * self.batch_size, np.int32)
        order[: self.n_rows] = positions
        present = np.zeros(n_batches * self.batch_size, np.float32)
        present[: self.n_rows] = 1.0
        return order.reshape(n_batches, -1), present.reshape(n_batches, -1)
