"""The training loop of every net: run an epoch, report its losses, apply the callbacks, keep the best weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from estimator.models.nets.callbacks import CallbackState, LoopControl
from estimator.models.progress import Progress, TrainingStep

W = TypeVar("W")


class NetTrainer(ABC, Generic[W]):
    """A net with its rows on the device. It is mutable: each epoch replaces the weights."""

    @abstractmethod
    def run_epoch(self, epoch: int, learning_rate: float) -> Mapping[str, float]:
        """Train one epoch, counted from 0; return `loss` and, with evaluation rows, `val_loss`."""

    @abstractmethod
    def weights(self) -> W:
        """Return a copy of the weights to predict with."""


@dataclass(frozen=True, slots=True)
class LoopResult(Generic[W]):
    """The weights a loop ended with, the losses of each epoch, and the epoch of the weights, counted from 0."""

    weights: W
    curves: tuple[Mapping[str, float], ...]
    best_epoch: int

    @property
    def summary(self) -> Mapping[str, float]:
        """The number of epochs, and which was the best, counted from 1."""
        return {"epochs": len(self.curves), "best_epoch": self.best_epoch + 1}


def run_epochs(
    trainer: NetTrainer[W],
    *,
    epochs: int,
    learning_rate: float,
    callbacks: Sequence[CallbackState],
    progress: Progress,
    measure: Callable[[W], Mapping[str, float]] | None = None,
) -> LoopResult[W]:
    """Train until the last epoch or until a callback stops; return the best weights where a callback restores them.

    `measure` returns metrics of weights, by name, after each epoch.
    """
    states, control = tuple(callbacks), LoopControl(learning_rate)
    curves: list[Mapping[str, float]] = []
    best, best_epoch = None, 0
    for epoch in range(epochs):
        losses = trainer.run_epoch(epoch, control.learning_rate)
        if measure is not None:
            losses = {**losses, **measure(trainer.weights())}
        curves.append(losses)
        progress(TrainingStep(epoch + 1, epochs, losses, "epochs"))
        states, control = _after_epoch(states, epoch, losses, replace(control, is_best=False))
        if control.is_best and any(state.restores_best for state in states):
            best, best_epoch = trainer.weights(), epoch
        if control.stop:
            break
    if best is None:
        return LoopResult(trainer.weights(), tuple(curves), len(curves) - 1)
    return LoopResult(best, tuple(curves), best_epoch)


def _after_epoch(
    states: Sequence[CallbackState], epoch: int, losses: Mapping[str, float], control: LoopControl
) -> tuple[tuple[CallbackState, ...], LoopControl]:
    changed = []
    for state in states:
        after, control = state.after_epoch(epoch, losses, control)
        changed.append(after)
    return tuple(changed), control
