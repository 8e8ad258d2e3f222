"""Keras's callbacks as frozen values: after each epoch, what was seen -> what to do next."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from estimator.errors import TrainingError
from estimator.models.nets.dense.words import Word


@dataclass(frozen=True, slots=True)
class Course:
    """How the run goes on: the learning rate, whether to stop, and whether these weights are the best so far."""

    rate: float
    stop: bool = False
    is_best: bool = False


@dataclass(frozen=True, slots=True)
class Follower:
    """A callback and what it remembers."""

    word: Word
    best: float | None = None
    waited: int = 0
    resting: int = 0

    @property
    def decides_on_validation(self) -> bool:
        """Whether it looks at validation rows, which then must not be trained on."""
        return str(self.word.options.get("monitor", "")).startswith("val_")

    @property
    def restores(self) -> bool:
        """Whether the best weights are wanted at the end."""
        return self.word.name == "model_checkpoint" or bool(self.word.options.get("restore_best_weights"))

    def after(self, epoch: int, values: Mapping[str, float], course: Course) -> tuple[Follower, Course]:
        """Return the follower and the course after an epoch, counted from 0."""
        if self.word.name == "terminate_on_nan":
            return self, replace(course, stop=course.stop or not math.isfinite(values["loss"]))
        settings = self.word.options
        if settings["monitor"] not in values:
            raise TrainingError(
                f"callback {self.word.name!r} monitors {settings['monitor']!r}, which is not measured",
                hint=f"measured: {', '.join(values)}",
            )
        follow = {"early_stopping": self._stopping, "reduce_lr_on_plateau": self._reducing}.get(
            self.word.name, self._best
        )
        return follow(epoch, values[settings["monitor"]], settings, course)

    def _is_better(self, value: float, settings: Mapping[str, Any], than: float | None) -> bool:
        if than is None or math.isnan(value):
            return not math.isnan(value)
        margin = float(settings.get("min_delta", 0.0))
        return value > than + margin if settings["mode"] == "max" else value < than - margin

    def _best(self, epoch: int, value: float, settings: Mapping[str, Any], course: Course) -> tuple[Follower, Course]:
        if self._is_better(value, settings, self.best):
            return replace(self, best=value), replace(course, is_best=True)
        return self, course

    def _stopping(
        self, epoch: int, value: float, settings: Mapping[str, Any], course: Course
    ) -> tuple[Follower, Course]:
        if epoch < settings["start_from_epoch"]:
            return self, course
        waited = self.waited + 1
        if self._is_better(value, settings, self.best):
            after = replace(self, best=value, waited=waited)
            beats = settings["baseline"] is None or self._is_better(value, settings, settings["baseline"])
            return (replace(after, waited=0) if beats else after), replace(course, is_best=True)
        patient = waited < max(settings["patience"], 1) or epoch == 0
        return replace(self, waited=waited), replace(course, stop=course.stop or not patient)

    def _reducing(
        self, epoch: int, value: float, settings: Mapping[str, Any], course: Course
    ) -> tuple[Follower, Course]:
        resting = max(self.resting - 1, 0)
        waited = 0 if resting or self.resting else self.waited
        if self._is_better(value, settings, self.best):
            return replace(self, best=value, waited=0, resting=resting), course
        if resting:
            return replace(self, waited=0, resting=resting), course
        waited += 1
        if waited < settings["patience"] or course.rate <= settings["min_lr"]:
            return replace(self, waited=waited, resting=0), course
        rate = max(course.rate * settings["factor"], settings["min_lr"])
        return replace(self, waited=0, resting=int(settings["cooldown"])), replace(course, rate=rate)
