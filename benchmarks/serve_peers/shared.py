"""What the peers' servers share: the columns, the graph behind onnxruntime, and the tutorial's form of an answer."""

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
    """Give what predicts a matrix (rows, columns): the graph, with one thread that never spins."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def predict(rows: Any) -> list[float]:
        matrix = np.asarray(rows, dtype=np.float64)
        feed = {name: matrix[:, [place]] for place, name in enumerate(COLUMNS)}
        values: list[float] = session.run(["prediction"], feed)[0].tolist()
        return values

    return predict


def house_model() -> Any:
    """Give pydantic's model of a row: a float per column."""
    from pydantic import create_model

    fields: dict[str, Any] = dict.fromkeys(COLUMNS, (float, ...))
    return create_model("House", **fields)


def cells_of(houses: Sequence[Any]) -> list[list[float]]:
    """Give the cells of pydantic's rows, shape (rows, columns)."""
    return [[getattr(house, name) for name in COLUMNS] for house in houses]


def told(rows: Any, values: Sequence[float]) -> dict[str, Any]:
    """Answer as the tutorial's service does."""
    return {
        "inputData": rows,
        "predictions": [{f"Prediction price {place}": each} for place, each in enumerate(values)],
    }
