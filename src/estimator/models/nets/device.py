"""The device under every net: compiled programs cached on disk, and rows padded to few different shapes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np

from estimator.core.files import user_cache
from estimator.core.signals import deferred_signals
from estimator.models.dataset import EncodedRows

# Silences the start-up lines of the XLA runtime.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("JAX_PLATFORMS", "cpu")


# An interrupt in the middle of importing jaxlib crashes the process.
with deferred_signals(signal.SIGINT):
    import jax

BLOCK_ROWS, MIN_BLOCK_ROWS = 4_096, 512


def cache_compilations() -> None:
    """Let jax cache compiled programs on disk, whatever their size."""
    jax.config.update("jax_compilation_cache_dir", str(user_cache() / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def padded_table(rows: EncodedRows, target: np.ndarray[Any, Any], *, min_rows: int = 1) -> tuple[Any, Any]:
    """Return ((rows, target, row weights), present) on the device, padded to a power of two of rows.

    `present` is 1 for rows and 0 for padding.
    """
    size = max(min_rows, 1 << (len(rows) - 1).bit_length())
    table = tuple(padded(array, size) for array in (rows.matrix, target, rows.weights))
    on_device: tuple[Any, Any] = jax.device_put((table, padded(np.ones(len(rows)), size)))
    return on_device


def padded(array: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """Return an array as float32 with zeros after its rows."""
    result = np.zeros((size, *array.shape[1:]), np.float32)
    result[: len(array)] = array
    return result


def in_blocks(function: Callable[[Any], Any], rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the results of a compiled function for many rows, in blocks padded to few different shapes."""
    blocks = []
    for start in range(0, max(1, len(rows)), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        size = min(BLOCK_ROWS, max(MIN_BLOCK_ROWS, 1 << (len(block) - 1).bit_length()))
        blocks.append(np.asarray(function(padded(block, size)))[: len(block)])
    return np.concatenate(blocks)
