"""Keras's callbacks as frozen values: losses of an epoch -> whether to stop, and the next learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from estimator.errors import TrainingError
from estimator.models.nets.keras_object import KerasObject


@dataclass(frozen=True, slots=True)
class LoopControl:
    """How the loop goes on: the learning rate, whether to stop, and whether these weights are the best so far."""

    learning_rate: float
    stop: bool = False
    is_best: bool = False


@dataclass(frozen=True, slots=True)
class CallbackState:
    """A callback, the best value so far, epochs without improvement, and epochs of cooldown left."""

    callback: KerasObject
    best: float | None = None
    waited: int = 0
    cooldown: int = 0

    @property
    def monitors_validation(self) -> bool:
        """Whether it monitors validation rows, which then must not be trained on."""
        return str(self.callback.options.get("monitor", "")).startswith("val_")

    @property
    def restores_best(self) -> bool:
        """Whether training ends with the best weights in place of the last."""
        return self.callback.name == "model_checkpoint" or bool(self.callback.options.get("restore_best_weights"))

    def after_epoch(
        self, epoch: int, losses: Mapping[str, float], control: LoopControl
    ) -> tuple[CallbackState, LoopControl]:
        """Return the state and the control after an epoch, counted from 0.

        Raises
        ------
        TrainingError: the monitored loss is not measured.
        """
        if self.callback.name == "terminate_on_nan":
            return self, replace(control, stop=control.stop or not math.isfinite(losses["loss"]))
        settings = self.callback.options
        if settings["monitor"] not in losses:
            raise TrainingError(
                f"callback {self.callback.name!r} monitors {settings['monitor']!r}, which is not measured",
                hint=f"monitor one of: {', '.join(losses)}",
            )
        rule = {"early_stopping": self._early_stopping, "reduce_lr_on_plateau": self._reduce_learning_rate}.get(
            self.callback.name, self._checkpoint
        )
        return rule(epoch, losses[settings["monitor"]], settings, control)

    def _is_better(self, value: float, settings: Mapping[str, Any], than: float | None) -> bool:
        if than is None or math.isnan(value):
            return not math.isnan(value)
        margin = float(settings.get("min_delta", 0.0))
        return value > than + margin if settings["mode"] == "max" else value < than - margin

    def _checkpoint(
        self, epoch: int, value: float, settings: Mapping[str, Any], control: LoopControl
    ) -> tuple[CallbackState, LoopControl]:
        if self._is_better(value, settings, self.best):
            return replace(self, best=value), replace(control, is_best=True)
        return self, control

    def _early_stopping(
        self, epoch: int, value: float, settings: Mapping[str, Any], control: LoopControl
    ) -> tuple[CallbackState, LoopControl]:
        if epoch < settings["start_from_epoch"]:
            return self, control
        waited = self.waited + 1
        if self._is_better(value, settings, self.best):
            after = replace(self, best=value, waited=waited)
            beats = settings["baseline"] is None or self._is_better(value, settings, settings["baseline"])
            return (replace(after, waited=0) if beats else after), replace(control, is_best=True)
        has_patience = waited < max(settings["patience"], 1) or epoch == 0
        return replace(self, waited=waited), replace(control, stop=control.stop or not has_patience)

    def _reduce_learning_rate(
        self, epoch: int, value: float, settings: Mapping[str, Any], control: LoopControl
    ) -> tuple[CallbackState, LoopControl]:
        cooldown = max(self.cooldown - 1, 0)
        waited = 0 if cooldown or self.cooldown else self.waited
        if self._is_better(value, settings, self.best):
            return replace(self, best=value, waited=0, cooldown=cooldown), control
        if cooldown:
            return replace(self, waited=0, cooldown=cooldown), control
        waited += 1
        if waited < settings["patience"] or control.learning_rate <= settings["min_lr"]:
            return replace(self, waited=waited, cooldown=0), control
        learning_rate = max(control.learning_rate * settings["factor"], settings["min_lr"])
        after = replace(self, waited=0, cooldown=int(settings["cooldown"]))
        return after, replace(control, learning_rate=learning_rate)
