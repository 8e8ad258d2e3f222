"""An ONNX graph -> a callable on numpy columns, with onnxruntime's telemetry off and one thread."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.errors import ArtefactError

# Read by onnxruntime when it is imported: without it the wheel writes a device id and sends usage data.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

Feed = Mapping[str, npt.NDArray[Any]]
# Rows per run, and fewer when their texts are long, so that memory does not grow with the number of rows.
BATCH_ROWS, BATCH_CHARACTERS = 4096, 2_000_000


class Session:
    """A loaded graph. It is stateless after loading and safe to call from several threads.

    Raises
    ------
    ArtefactError: this onnxruntime cannot run the graph.
    """

    def __init__(self, content: bytes, *, threads: int = 1) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # Its exceptions have no common class.
            reason = str(error).strip().splitlines()[0]
            raise ArtefactError(
                f"onnxruntime {onnxruntime.__version__} cannot run the graph: {reason:.300}",
                hint="install the onnxruntime that trained the version, which manifest.json names, or a newer one",
            ) from error
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.outputs = [value.name for value in self._session.get_outputs()]

    def run(self, feed: Feed, outputs: Sequence[str] | None = None) -> list[npt.NDArray[Any]]:
        """Run all rows of `feed` (arrays of shape (rows, 1)) and return the outputs, in blocks when large."""
        blocks = list(self.each(feed, outputs))
        return blocks[0] if len(blocks) == 1 else [np.concatenate(parts) for parts in zip(*blocks, strict=True)]

    def each(self, feed: Feed, outputs: Sequence[str] | None = None) -> Iterator[list[npt.NDArray[Any]]]:
        """Yield the outputs block by block, at least one."""
        names = list(outputs or self.outputs)
        columns = {name: feed[name] for name in self.inputs}
        n_rows = len(next(iter(columns.values()))) if columns else 0
        size = max(1, min(BATCH_ROWS, BATCH_CHARACTERS // _longest(columns)))
        for start in range(0, max(n_rows, 1), size):
            yield self._session.run(names, {name: values[start : start + size] for name, values in columns.items()})


class Block:
    """A graph with memory of its own for some rows, at half the cost of passing arrays. For one thread.

    Values are written into `cells`, of shape (size, 1), by the input's name, or into `numbers`, of shape
    (inputs, size), which holds the cells of the inputs named, in order.
    """

    def __init__(self, session: Session, numbers: Sequence[str], size: int) -> None:
        self._session, self._outputs = session._session, session.outputs
        self.numbers, self.size = np.zeros((len(numbers), size)), size
        sides = {name: self.numbers[index][:, None] for index, name in enumerate(numbers)}
        inputs = {value.name: value.type for value in self._session.get_inputs()}
        others = {name: np.zeros((size, 1), dtype=_DTYPES[kind]) for name, kind in inputs.items()}
        self.cells: dict[str, npt.NDArray[Any]] = others | sides
        self._fed = {name: self.cells[name] for name in inputs}
        self._results = {value.name: _space(value, size) for value in self._session.get_outputs()}
        # onnxruntime cannot bind our memory for strings.
        self._has_strings = any(cell.dtype == object for cell in self._fed.values())
        self._bound: dict[int, Any] = {}

    def run(self, n_rows: int) -> list[npt.NDArray[Any]]:
        """Return the outputs for the first rows of the cells; the next run overwrites them."""
        if self._has_strings:
            fed = {name: cell[:n_rows] for name, cell in self._fed.items()}
            outputs: list[npt.NDArray[Any]] = self._session.run(self._outputs, fed)
            return outputs
        if (bound := self._bound.get(n_rows)) is None:
            bound = self._bound[n_rows] = self._binding(n_rows)
        self._session.run_with_iobinding(bound)
        memory = enumerate(self._results.values())
        return [bound.get_outputs()[index].numpy() if space is None else space[:n_rows] for index, space in memory]

    def _binding(self, n_rows: int) -> Any:
        bound = self._session.io_binding()
        for name, cell in self._fed.items():
            bound.bind_input(name, "cpu", 0, cell.dtype, (n_rows, 1), cell.ctypes.data)
        for name, space in self._results.items():
            if space is None:
                bound.bind_output(name)
            else:
                bound.bind_output(name, "cpu", 0, space.dtype, (n_rows, *space.shape[1:]), space.ctypes.data)
        return bound


_DTYPES: dict[str, Any] = {"tensor(double)": np.float64, "tensor(bool)": np.bool_, "tensor(string)": object}


def _space(output: Any, size: int) -> npt.NDArray[Any] | None:
    """Return memory for some rows of an output; None for strings, and where the graph does not say how wide it is."""
    dtype, width = _DTYPES[output.type], output.shape[1:]
    if dtype is object or not all(isinstance(length, int) for length in width):
        return None
    return np.zeros([size, *width], dtype=dtype)


def _longest(columns: Feed) -> int:
    """Return the length of the longest text in characters, at least 1."""
    texts = [values.ravel().tolist() for values in columns.values() if values.dtype == object]
    return max((max(map(len, column), default=1) for column in texts), default=1) or 1
