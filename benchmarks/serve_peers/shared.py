"""What the peers' servers share: the columns, the graph behind onnxruntime, and the tutorial's format of a response."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(os.environ["SERVED_MODEL"])
COLUMNS: list[str] = json.loads((FOLDER / "columns.json").read_text())


def loaded_graph(path: Path = FOLDER / "model.onnx") -> Callable[[Any], list[float]]:
    """Return what predicts a matrix (rows, columns): the graph, with one thread that never spins."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def predict(rows: Any) -> list[float]:
        matrix = np.asarray(rows, dtype=np.float64)
        feed = {name: matrix[:, [index]] for index, name in enumerate(COLUMNS)}
        values: list[float] = session.run(["prediction"], feed)[0].tolist()
        return values

    return predict


def house_model() -> Any:
    """Return pydantic's model of a row: a float per column."""
    from pydantic import create_model

    fields: dict[str, Any] = dict.fromkeys(COLUMNS, (float, ...))
    return create_model("House", **fields)


def cells_of(houses: Sequence[Any]) -> list[list[float]]:
    """Return the cells of pydantic's rows, shape (rows, columns)."""
    return [[getattr(house, name) for name in COLUMNS] for house in houses]


def tutorial_response(rows: Any, values: Sequence[float]) -> dict[str, Any]:
    """Return the response of the tutorial's service."""
    return {
        "inputData": rows,
        "predictions": [{f"Prediction price {index}": value} for index, value in enumerate(values)],
    }
