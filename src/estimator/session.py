"""An ONNX graph -> a callable on numpy columns, with onnxruntime's telemetry off and one thread."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

# Read by onnxruntime when it is imported: without it the wheel writes a device id and calls home.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

Feed = Mapping[str, npt.NDArray[Any]]
# A graph is given at most so many rows at once, and fewer when their texts are long: memory must not grow with them.
BATCH_ROWS, BATCH_CHARACTERS = 4096, 2_000_000


class Session:
    """A loaded graph. Stateless after loading, safe to call from several threads."""

    def __init__(self, content: bytes, *, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.outputs = [value.name for value in self._session.get_outputs()]

    def run(self, feed: Feed, outputs: Sequence[str] | None = None) -> list[npt.NDArray[Any]]:
        """Run all rows of `feed` (arrays of shape (rows, 1)) and return the outputs, in blocks when large."""
        blocks = list(self.each(feed, outputs))
        return blocks[0] if len(blocks) == 1 else [np.concatenate(parts) for parts in zip(*blocks, strict=True)]

    def each(self, feed: Feed, outputs: Sequence[str] | None = None) -> Iterator[list[npt.NDArray[Any]]]:
        """Yield the outputs block by block; there is one block at least."""
        names = list(outputs or self.outputs)
        columns = {name: feed[name] for name in self.inputs}
        n_rows = len(next(iter(columns.values()))) if columns else 0
        size = max(1, min(BATCH_ROWS, BATCH_CHARACTERS // _longest(columns)))
        for start in range(0, max(n_rows, 1), size):
            yield self._session.run(names, {name: values[start : start + size] for name, values in columns.items()})


def _longest(columns: Feed) -> int:
    """Return the length of the longest text in characters, at least 1."""
    texts = [values.ravel().tolist() for values in columns.values() if values.dtype == object]
    return max((len(text) for column in texts for text in column), default=1) or 1
