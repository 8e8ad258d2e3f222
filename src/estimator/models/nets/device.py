"""What every net shares: compiled programs kept on disk, and rows on the device in few different shapes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from estimator.models.dataset import EncodedRows

# Chatty start-up lines of the XLA runtime are not for our users.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

BLOCK_ROWS, LEAST_ROWS = 4_096, 512


def keep_compilations() -> None:
    """Let jax keep compiled programs on disk, whatever their size."""
    jax.config.update("jax_compilation_cache_dir", str(_cache_folder() / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def padded_table(rows: EncodedRows, truth: np.ndarray[Any, Any], *, least: int = 1) -> tuple[Any, Any]:
    """Return ((rows, truth, row weights), here) on the device, padded to few different numbers of rows."""
    size = max(least, 1 << (len(rows) - 1).bit_length())
    table = tuple(padded(array, size) for array in (rows.matrix, truth, rows.weights))
    placed: tuple[Any, Any] = jax.device_put((table, padded(np.ones(len(rows)), size)))
    return placed


def padded(array: np.ndarray[Any, Any], size: int) -> np.ndarray[Any, Any]:
    """Return an array as float32 with zeros after its rows."""
    found = np.zeros((size, *array.shape[1:]), np.float32)
    found[: len(array)] = array
    return found


def in_blocks(run: Callable[[Any], Any], rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return what a compiled function says of many rows, in blocks padded to few different shapes."""
    blocks = []
    for begin in range(0, max(1, len(rows)), BLOCK_ROWS):
        block = rows[begin : begin + BLOCK_ROWS]
        size = min(BLOCK_ROWS, max(LEAST_ROWS, 1 << (len(block) - 1).bit_length()))
        blocks.append(np.asarray(run(padded(block, size)))[: len(block)])
    return np.concatenate(blocks)


def _cache_folder() -> Path:
    """Return the folder for compiled programs: ESTIMATOR_CACHE, else the user's cache folder."""
    named = os.environ.get("ESTIMATOR_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "estimator"
