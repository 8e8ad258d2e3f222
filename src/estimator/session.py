"""An ONNX graph -> a callable on numpy columns, with onnxruntime's telemetry off and one thread."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

# Read by onnxruntime when it is imported: without it the wheel writes a device id and calls home.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

Feed = Mapping[str, npt.NDArray[Any]]
BATCH_ROWS = 65_536


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
        names = list(outputs or self.outputs)
        columns = {name: feed[name] for name in self.inputs}
        n_rows = len(next(iter(columns.values()))) if columns else 0
        if n_rows <= BATCH_ROWS:
            answers: list[npt.NDArray[Any]] = self._session.run(names, columns)
            return answers
        blocks = [
            self._session.run(names, {name: values[start : start + BATCH_ROWS] for name, values in columns.items()})
            for start in range(0, n_rows, BATCH_ROWS)
        ]
        return [np.concatenate(parts) for parts in zip(*blocks, strict=True)]
