"""The loop over epochs: shuffle, run the compiled epoch, look at the validation rows, ask the callbacks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from estimator.errors import TrainingError
from estimator.models.dataset import EncodedRows
from estimator.models.nets.dense import optimizers
from estimator.models.nets.dense.callbacks import Course, Follower
from estimator.models.nets.dense.network import Architecture, Units, Weights, epoch_of, settled, trainable
from estimator.models.nets.dense.words import Word
from estimator.models.nets.device import padded, padded_table
from estimator.models.progress import Progress, TrainingStep


@dataclass(frozen=True, slots=True)
class Run:
    """How long and in what portions a net is trained."""

    epochs: int
    batch_size: int
    seed: int
    followers: tuple[Follower, ...] = ()


@dataclass(frozen=True, slots=True)
class Trained:
    """The weights a run ended with, and what each epoch measured."""

    weights: Weights
    curves: tuple[Mapping[str, float], ...]
    best_epoch: int


def fit_weights(
    architecture: Architecture,
    weights: Weights,
    rows: EncodedRows,
    truth: np.ndarray[Any, Any],
    run: Run,
    units: Units,
    *,
    watched: tuple[EncodedRows, np.ndarray[Any, Any]] | None,
    progress: Progress,
) -> Trained:
    """Train weights on rows; `truth` has shape (rows, outputs); losses are told for the watched rows too.

    Raises
    ------
    TrainingError: the loss is no longer finite.
    """
    epoch, generator = epoch_of(architecture.program), np.random.default_rng([run.seed, 1])
    batches = Batches.of(rows, truth, run.batch_size)
    scales = np.array([units.shift, units.scale, units.baseline], np.float32)
    state, beside = start(architecture, weights), None if watched is None else padded_table(*watched)
    followers, course = run.followers, Course(_first_rate(architecture.optimizer))
    curves: list[Mapping[str, float]] = []
    best, best_epoch = None, 0
    for number in range(run.epochs):
        order, here = batches.shuffled(generator)
        plan = (order, here, np.float32(course.rate), scales, np.uint32(run.seed * 100_003 + number))
        state, loss, seen = epoch(state, batches.arrays, plan, beside)
        values = {"loss": float(loss)} | ({} if seen is None else {"val_loss": float(seen)})
        curves.append(values)
        progress(TrainingStep(number + 1, run.epochs, values))
        followers, course = _followed(followers, number, values, replace(course, is_best=False))
        if course.is_best and any(follower.restores for follower in followers):
            best, best_epoch = jax.device_get(settled(state)), number
        if course.stop:
            break
    final = best if best is not None else jax.device_get(settled(state))
    if not np.isfinite(curves[best_epoch if best is not None else -1]["loss"]):
        raise TrainingError("the loss is no longer finite", hint="lower the learning rate, or set clipnorm: 1.0")
    return Trained(final, tuple(curves), best_epoch if best is not None else len(curves) - 1)


def start(architecture: Architecture, weights: Weights) -> tuple[Weights, dict[str, Any]]:
    """Return weights and a fresh optimiser state on the device; numpy makes them, which compiles nothing."""
    own = [{name: np.asarray(array, np.float32) for name, array in layer.items()} for layer in weights]
    arrays = [own[place][name] for place, name in trainable(own)]
    placed: tuple[Weights, dict[str, Any]] = jax.device_put((own, optimizers.start(architecture.optimizer, arrays)))
    return placed


def _first_rate(optimizer: Word) -> float:
    rate = optimizer["learning_rate"]
    return 0.0 if isinstance(rate, Word) else float(rate)


def _followed(
    followers: Sequence[Follower], epoch: int, values: Mapping[str, float], course: Course
) -> tuple[tuple[Follower, ...], Course]:
    after = []
    for follower in followers:
        changed, course = follower.after(epoch, values, course)
        after.append(changed)
    return tuple(after), course


@dataclass(frozen=True, slots=True)
class Batches:
    """Rows padded to whole batches and kept on the device; padding has weight 0 and is never picked as a row."""

    arrays: tuple[Any, Any, Any]
    n_rows: int
    batch_size: int

    @classmethod
    def of(cls, rows: EncodedRows, truth: np.ndarray[Any, Any], batch_size: int) -> Batches:
        """Copy rows to the device as float32."""
        size = -(-len(rows) // batch_size) * batch_size
        arrays = tuple(padded(np.asarray(array), size) for array in (rows.matrix, truth, rows.weights))
        return cls(jax.device_put(arrays), len(rows), batch_size)

    def shuffled(self, generator: np.random.Generator) -> tuple[Any, Any]:
        """Return the rows of each batch and which of them are here, (batches, batch size) each."""
        return self.ordered(generator.permutation(self.n_rows))

    def ordered(self, positions: np.ndarray[Any, Any]) -> tuple[Any, Any]:
        """Return the same for rows in a given order."""
        n_batches = -(-self.n_rows // self.batch_size)
        order = np.zeros(n_batches * self.batch_size, np.int32)
        order[: self.n_rows] = positions
        here = np.zeros(n_batches * self.batch_size, np.float32)
        here[: self.n_rows] = 1.0
        return order.reshape(n_batches, -1), here.reshape(n_batches, -1)
