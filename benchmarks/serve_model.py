"""What every contestant of the serving benchmark serves: the tutorial's net, rows to ask it, and its true answers."""

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
    """A trained version, a folder with what peers need of it, and the rows that are asked with their true answers.

    The folder holds `model.onnx`, `columns.json` (the inputs, in order) and `model.keras`, the same net by Keras.
    """

    version: Path
    folder: Path
    rows: list[dict[str, Any]]
    truths: list[float]

    def answer(self, n_rows: int) -> bytes:
        """Give the tutorial's answer to the first rows."""
        predictions = [{f"Prediction price {place}": value} for place, value in enumerate(self.truths[:n_rows])]
        told = {"inputData": self.rows[:n_rows], "predictions": predictions}
        return json.dumps(told, separators=(",", ":")).encode()


def train(folder: Path, n_rows: int) -> Served:
    """Train the tutorial's config into the folder, and write there what peers serve."""
    store = folder / "store"
    command = [sys.executable, "-m", "estimator", "train", "--conf", str(BOSTON / "config.json"), "--store", str(store)]
    made = json.loads(subprocess.check_output([*command, "--json"], stderr=subprocess.DEVNULL))
    artefact = verbs.Context().version(made["folder"])
    columns = [column.name for column in artefact.predictor.schema.features]
    rows = pl.read_csv(BOSTON / "boston.csv").select(columns).head(n_rows).to_dicts()
    truths = artefact.predictor.predict(rows).tolist()
    shutil.copy(artefact.folder / "model.onnx", folder)
    (folder / "columns.json").write_text(json.dumps(columns))
    write_keras(artefact, folder / "model.keras", np.array([list(row.values()) for row in rows]), np.array(truths))
    return Served(artefact.folder, folder, rows, truths)


def write_keras(artefact: Artefact, path: Path, rows: Any, truths: Any) -> None:
    """Write the version's net, from raw columns to answers, as Keras keeps models; `rows` (n, columns)."""
    os.environ["KERAS_BACKEND"] = "numpy"
    import keras
    from safetensors.numpy import load

    weights = load(artefact.read("state/weights.safetensors"))
    encoders = [each["fitted"] for each in json.loads(artefact.read("state/features.json"))]
    means, deviations = (np.array([each[name] for each in encoders]) for name in ("mean", "deviation"))
    scaled = keras.layers.Normalization(mean=means, variance=deviations**2)
    pairs = [(weights[f"{place}.kernel"], weights[f"{place}.bias"]) for place in range(len(weights) // 2)]
    hidden = [keras.layers.Dense(len(bias), activation="relu") for _, bias in pairs[:-1]]
    layers = [*hidden, keras.layers.Dense(len(pairs[-1][1]))]
    net = keras.Sequential([keras.Input((rows.shape[1],)), scaled, *layers])
    for layer, pair in zip(layers, pairs, strict=True):
        layer.set_weights(pair)
    # The net learns the target standardised, and only the graph knows by what.
    scale, offset = np.polyfit(net.predict(rows, verbose=0)[:, 0], truths, 1)
    net.add(keras.layers.Rescaling(float(scale), float(offset)))
    net.save(path)
