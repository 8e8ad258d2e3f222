"""What every competitor of the serving benchmark serves: the tutorial's net, with rows and their predictions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from estimator import verbs
from estimator.store.artefact import Artefact

BOSTON = Path(__file__).resolve().parent.parent / "examples" / "boston"


@dataclass(frozen=True)
class Served:
    """A trained version, a folder with what peers need of it, and the rows of requests with the expected predictions.

    The folder holds `model.onnx`, `columns.json` (the inputs, in order) and `model.keras`, the same net by Keras.
    """

    version: Path
    folder: Path
    rows: list[dict[str, Any]]
    expected: list[float]

    def response(self, n_rows: int) -> bytes:
        """Return the response to the first rows in the tutorial's format."""
        predictions = [{f"Prediction price {index}": value} for index, value in enumerate(self.expected[:n_rows])]
        content = {"inputData": self.rows[:n_rows], "predictions": predictions}
        return json.dumps(content, separators=(",", ":")).encode()


def train(folder: Path, n_rows: int) -> Served:
    """Train the tutorial's config into the folder, and write there what peers serve."""
    store = folder / "store"
    command = [sys.executable, "-m", "estimator", "train", "--conf", str(BOSTON / "config.json"), "--store", str(store)]
    version = json.loads(subprocess.check_output([*command, "--json"], stderr=subprocess.DEVNULL))
    artefact = verbs.Context().version(version["folder"])
    columns = [column.name for column in artefact.predictor.schema.features]
    rows = pl.read_csv(BOSTON / "boston.csv").select(columns).head(n_rows).to_dicts()
    expected = artefact.predictor.predict(rows).tolist()
    shutil.copy(artefact.folder / "model.onnx", folder)
    (folder / "columns.json").write_text(json.dumps(columns))
    write_keras(artefact, folder / "model.keras", np.array([list(row.values()) for row in rows]), np.array(expected))
    return Served(artefact.folder, folder, rows, expected)


def write_keras(artefact: Artefact, path: Path, rows: Any, expected: Any) -> None:
    """Write the version's net, from raw columns to predictions, in Keras's file format; `rows` (n, columns)."""
    os.environ["KERAS_BACKEND"] = "numpy"
    import keras
    from safetensors.numpy import load

    weights = load(artefact.read("state/weights.safetensors"))
    encoders = [item["fitted"] for item in json.loads(artefact.read("state/features.json"))]
    means, deviations = (np.array([encoder[name] for encoder in encoders]) for name in ("mean", "deviation"))
    scaled = keras.layers.Normalization(mean=means, variance=deviations**2)
    pairs = [(weights[f"{index}.kernel"], weights[f"{index}.bias"]) for index in range(len(weights) // 2)]
    hidden = [keras.layers.Dense(len(bias), activation="relu") for _, bias in pairs[:-1]]
    layers = [*hidden, keras.layers.Dense(len(pairs[-1][1]))]
    net = keras.Sequential([keras.Input((rows.shape[1],)), scaled, *layers])
    for layer, pair in zip(layers, pairs, strict=True):
        layer.set_weights(pair)
    # The net predicts the standardized target; the scale is recovered from the graph's predictions.
    scale, offset = np.polyfit(net.predict(rows, verbose=0)[:, 0], expected, 1)
    net.add(keras.layers.Rescaling(float(scale), float(offset)))
    net.save(path)
