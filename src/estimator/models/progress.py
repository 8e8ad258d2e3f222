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
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    n_jobs: int = 0,
    progress: Progress = silent,
    name_of: Callable[[Item], str] | None = None,
) -> list[Result]:
    """Return the function's result for every item, `n_jobs` at a time, 0 for one per processor.

    Progress says how many are done, and with `name_of` the name of the latest.

    The function must release the GIL to gain from it, as fits do; BLAS is held to one thread meanwhile.
    """
    from threadpoolctl import threadpool_limits

    n_done, lock = 0, Lock()

    def run(item: Item) -> Result:
        nonlocal n_done
        result = function(item)
        with lock:
            n_done += 1
            latest = "" if name_of is None else f", latest {name_of(item)}"
            progress(TrainingStep(n_done, len(items), {}, f"cross-validation fits{latest}"))
        return result

    pool = ThreadPoolExecutor(n_jobs or os.cpu_count())
    try:
        with threadpool_limits(1, user_api="blas"):
            return list(pool.map(run, items))
    finally:
        # After an error the remaining items are dropped.
        pool.shutdown(wait=False, cancel_futures=True)
