"""Progress of a fit, and a map over items on several threads that reports it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


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


def parallel_map(
    function: Callable[[Item], Result], items: Sequence[Item], *, n_jobs: int = 0, progress: Progress = silent
) -> list[Result]:
    """Return the function's result for every item, `n_jobs` at a time, 0 for one per processor.

    The function must release the GIL to gain from it, as fits do; BLAS is held to one thread meanwhile.
    """
    from threadpoolctl import threadpool_limits

    n_done, lock = 0, Lock()

    def run(item: Item) -> Result:
        nonlocal n_done
        result = function(item)
        with lock:
            n_done += 1
            progress(TrainingStep(n_done, len(items), {}, "cross-validation fits"))
        return result

    pool = ThreadPoolExecutor(n_jobs or os.cpu_count())
    try:
        with threadpool_limits(1, user_api="blas"):
            return list(pool.map(run, items))
    finally:
        # After an error the remaining items are dropped.
        pool.shutdown(wait=False, cancel_futures=True)
