"""Progress of a fit, and of several fits that run at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """One epoch, boosting round or fit is done: `number` of `total`, with losses by name, in the target's units.

    `label` says what is counted, or what begins now where the total is 0; see `stage`.
    """

    number: int
    total: int
    values: Mapping[str, float]
    label: str = ""


Progress = Callable[[TrainingStep], None]


def stage(name: str) -> TrainingStep:
    """Return the step that says which part of the work begins, such as parity, whose steps are not counted."""
    return TrainingStep(0, 0, {}, name)


def silent(step: TrainingStep) -> None:
    """Report nothing."""


def fit_counter(
    progress: Progress, fits: Sequence[Item], name_of: Callable[[Item], str] | None = None
) -> Callable[[Item, object], None]:
    """Return what reports, as each of some fits ends, how many have, and with `name_of` the name of the latest."""
    n_done = 0

    def count(fit: Item, result: object) -> None:
        nonlocal n_done
        n_done += 1
        latest = "" if name_of is None else f", latest {name_of(fit)}"
        progress(TrainingStep(n_done, len(fits), {}, f"cross-validation fits{latest}"))

    return count
