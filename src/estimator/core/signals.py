"""Signals that wait until a block has ended, so that what it begins is never left half begun."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def deferred_signals(*numbers: int) -> Iterator[None]:
    """Defer signals until the block ends; only the main thread may change a signal's handler."""
    handlers = {number: signal.getsignal(number) for number in numbers}
    if None in handlers.values() or threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    for number in numbers:
        signal.signal(number, lambda number, _: received.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    for number in dict.fromkeys(received):
        signal.raise_signal(number)
