"""The loop over epochs: shuffle, run the compiled epoch, keep the weights that were best for the watched rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from estimator.errors import TrainingError
from estimator.models.dataset import EncodedRows
from estimator.models.nets.dense import optimizers
from estimator.models.nets.device import padded_table
from estimator.models.nets.tabm.network import MASK_PLACES, VALIDATION_BLOCK, Bins, Net, Weights, epoch_of
from estimator.models.progress import Progress, TrainingStep

# Share of all steps in which the learning rate rises to its peak.
WARM_UP = 0.05


@dataclass(frozen=True, slots=True)
class Run:
    """How long, in what portions and how fast a net is trained; `patience` 0 never stops.

    Rows come as the net's inputs with the truth the net learns; `loss_unit` turns its losses into those told.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    patience: int
    seed: int
    loss_unit: float


@dataclass(frozen=True, slots=True)
class Trained:
    """The weights that were kept, and what each epoch measured."""

    weights: Mapping[str, np.ndarray[Any, Any]]
    curves: tuple[Mapping[str, float], ...]
    best_epoch: int


def fit_weights(
    net: Net,
    weights: Weights,
    bins: Bins,
    rows: EncodedRows,
    run: Run,
    *,
    watched: EncodedRows | None,
    decides: bool,
    progress: Progress,
) -> Trained:
    """Train weights on rows; the watched rows choose the epoch when they decide, and are only looked at otherwise.

    Raises
    ------
    TrainingError: the loss is no longer finite.
    """
    epoch, generator = epoch_of(net), np.random.default_rng([run.seed, 1])
    table, _ = padded_table(rows, rows.target)
    looked_at = _nothing(rows) if watched is None else watched
    beside, _ = padded_table(looked_at, looked_at.target, least=VALIDATION_BLOCK)
    n_blocks = np.int32(0 if watched is None else -(-len(watched) // VALIDATION_BLOCK))
    masks = jax.device_put(_masks(net, run.batch_size, generator))
    state = jax.device_put(
        (dict(weights), optimizers.start(net.optimizer, [weights[name] for name in sorted(weights)]))
    )
    curves: list[Mapping[str, float]] = []
    best, best_epoch, least = None, 0, np.inf
    for number in range(run.epochs):
        plan = _plan(run, len(rows), number, net.depth, generator)
        state, loss, seen = epoch(state, bins, table, (*plan[:3], masks, plan[3]), (beside, n_blocks))
        values = {"loss": float(loss) / len(rows) * run.loss_unit}
        if watched is not None:
            values["val_loss"] = float(seen) / max(float(watched.weights.sum()), 1e-12) * run.loss_unit
        curves.append(values)
        progress(TrainingStep(number + 1, run.epochs, values))
        if not np.isfinite(values["loss"]):
            raise TrainingError("the loss is no longer finite", hint="lower model.learning_rate")
        if decides and values["val_loss"] < least:
            best, best_epoch, least = jax.device_get(state[0]), number, values["val_loss"]
        if decides and run.patience and number - best_epoch >= run.patience:
            break
    kept = jax.device_get(state[0]) if best is None else best
    return Trained(kept, tuple(curves), best_epoch if best is not None else len(curves) - 1)


def _nothing(rows: EncodedRows) -> EncodedRows:
    return EncodedRows(rows.matrix[:1], rows.target[:1], np.zeros(1))


def _masks(net: Net, batch_size: int, generator: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return random dropout that every step cuts its own piece from: cheaper than drawing anew for each."""
    size = batch_size * net.members * net.width + MASK_PLACES if net.dropout else 1
    return (generator.random(size) >= net.dropout).astype(np.float32) / np.float32(1.0 - net.dropout)


def _plan(run: Run, n_rows: int, epoch: int, depth: int, generator: np.random.Generator) -> tuple[Any, ...]:
    """Return the number of batches, their rows, rates and places of dropout, padded to few different shapes."""
    n_batches = -(-n_rows // run.batch_size)
    most = -(-(1 << (n_rows - 1).bit_length()) // run.batch_size)
    order = np.full(most * run.batch_size, -1, np.int32)
    order[:n_rows] = generator.permutation(n_rows)
    steps, total = epoch * n_batches + np.arange(most) + 1.0, run.epochs * n_batches
    rates = run.learning_rate * np.minimum(steps / (WARM_UP * total), 1.0)
    # Loshchilov and Hutter (2017), "SGDR: stochastic gradient descent with warm restarts", without restarts.
    rates *= 0.5 * (1.0 + np.cos(np.pi * np.minimum(steps / total, 1.0)))
    places = generator.integers(0, MASK_PLACES, (most, depth), dtype=np.int32)
    return np.int32(n_batches), order.reshape(most, run.batch_size), rates.astype(np.float32), places
