"""Our competitors of the quality benchmark: configs that `estimator train` gets as any user's, none tuned per table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl
from processes import measured
from quality_tables import PART_COLUMN, SplitTable

SOFTWARE = f"estimator=={metadata.version('estimator-lifepath')}"
SAME = 1e-4


@dataclass(frozen=True)
class Ours:
    """A kind of model, and what its config has besides table, seed and split; sections are merged."""

    kind: str
    config: Mapping[str, Any] = field(default_factory=dict)


# A variant is a line, such as "ensemble-once": Ours("ensemble", {"validation": {"repeats": 1}}).
OURS = {
    "ensemble": Ours("ensemble"),
    "ensemble-quick": Ours("ensemble", {"training": {"effort": "quick"}}),
    "ensemble-high": Ours("ensemble", {"training": {"effort": "high"}}),
    "boosting": Ours("boosting"),
    "linear": Ours("linear"),
    "constant": Ours("constant"),
    "xgboost": Ours("xgboost"),
    "our-catboost": Ours("catboost"),
    "dense": Ours("dense"),
    "tabm": Ours("tabm"),
}
SHOWN = ("ensemble", "ensemble-quick", "ensemble-high", "boosting", "linear", "constant")


def config_of(ours: Ours, split_table: SplitTable) -> dict[str, Any]:
    """Return the config for a split table: it holds out the table's rows, and validates by the same kind of split."""
    table = split_table.table
    config: dict[str, Any] = {
        "data": {"path": str(split_table.path), "target": table.target, "task": table.task},
        "model": {"kind": ours.kind},
        "training": table.training(split_table.seed),
    }
    if table.split != "random":
        config["data"]["drop"] = [PART_COLUMN]
    for section, keys in ours.config.items():
        config[section] = {**config.get(section, {}), **keys}
    return config


def predict_by_ours(
    ours: Ours, split_table: SplitTable, folder: Path, python: Path, *, environment: Mapping[str, str], limit: float
) -> tuple[Any, dict[str, float]]:
    """Train a version; return its predictions for the held-out rows, and the cost, which includes the report on them.

    Making the predictions once more is not counted. SystemExit: other rows were held out than the peers' are.
    """
    conf, predictions = folder / "config.json", folder / "predictions.parquet"
    conf.write_text(json.dumps(config_of(ours, split_table)))
    command = [str(python), "-m", "estimator"]
    train = [*command, "train", "--conf", str(conf), "--store", str(folder / "store"), "--json"]
    version, cost = measured(train, environment, limit_seconds=limit)
    files = ["--input", str(split_table.path), "--output", str(predictions)]
    measured([*command, "predict", "--model", version["folder"], *files, "--json"], environment)
    frame = pl.read_parquet(predictions).filter(pl.Series(split_table.held_out))
    names = [f"probability_{class_name}" for class_name in split_table.classes] or ["prediction"]
    names += [name for name in ("prediction_low", "prediction_high") if name in frame.columns]
    values = frame.select(names).to_numpy().squeeze()
    if version["rows_held_out"] != len(values):
        raise SystemExit(f"{version['rows_held_out']} rows held out, not {len(values)}")
    return values, cost | {"parity": version["parity"]["largest_relative"], "reported": reported_error(version)}


def reported_error(version: Mapping[str, Any]) -> float:
    """Return the error that the report states for the held-out rows, which proves that they are the same."""
    metrics = version["metrics"]
    return float(metrics.get("log_loss", metrics.get("rmse"))["value"])
