"""Independent work on the threads of this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import ClassVar

from estimator.config import EngineChoice
from estimator.engine.base import Engine, Item, Result, Shared, ignored


@dataclass(frozen=True, slots=True)
class LocalEngine(Engine):
    """Threads of this process, at most `workers` at once: a function must release the GIL to gain, as fits do."""

    is_here: ClassVar[bool] = True
    workers: int | None = None

    @classmethod
    @contextmanager
    def open(cls, choice: EngineChoice) -> Iterator[LocalEngine]:
        yield cls(choice.workers)

    def map(
        self,
        function: Callable[[Shared, Item], Result],
        shared: Shared,
        items: Sequence[Item],
        *,
        n_jobs: int = 0,
        threads: int = 1,
        on_end: Callable[[Item, Result], None] = ignored,
    ) -> list[Result]:
        from threadpoolctl import threadpool_limits

        lock = Lock()

        def run(item: Item) -> Result:
            result = function(shared, item)
            with lock:
                on_end(item, result)
            return result

        n_threads = n_jobs or os.cpu_count() or 1
        pool = ThreadPoolExecutor(n_threads if self.workers is None else min(n_threads, self.workers))
        try:
            with threadpool_limits(1, user_api="blas"):
                return list(pool.map(run, items))
        finally:
            # After an error the remaining items are dropped.
            pool.shutdown(wait=False, cancel_futures=True)


LOCAL = LocalEngine()
