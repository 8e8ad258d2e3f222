"""Train a version again from its own config and data: is the result identical, and which rows were held out?"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from estimator.config import Config
from estimator.data.stored_table import in_memory
from estimator.errors import ArtefactError, TrainingError
from estimator.features.matrix import Features
from estimator.models import Model, Progress, WarmStart
from estimator.store.artefact import Artefact
from estimator.training.prepare import PreparedData, prepare
from estimator.training.train import train
from estimator.training.version import installed_libraries


@dataclass(frozen=True, slots=True)
class Reproduction:
    """Whether training again gave the same graph, bit for bit; otherwise the differences, causes before effects.

    `largest_relative` is the largest difference of the predictions for golden rows, relative to their mean size.
    """

    version: str
    is_equal: bool
    differences: tuple[str, ...]
    largest_relative: float

    def to_data(self) -> dict[str, Any]:
        """Return JSON-ready data."""
        return {
            "version": self.version,
            "equal": self.is_equal,
            "differences": list(self.differences),
            "largest_relative": self.largest_relative,
        }


def reproduce(
    artefact: Artefact,
    prepared: PreparedData,
    fingerprint: Mapping[str, str],
    config: Config,
    model: Model,
    *,
    start: WarmStart | None,
    progress: Progress,
    clock: Callable[[], float],
) -> Reproduction:
    """Train again from a version's config and rows, and compare the result with what was stored."""
    if config.training.refit_full:
        prepared = prepared.for_refit(config)
    trained = train(prepared, model, config, progress=progress, start=start, clock=clock)
    golden = artefact.read_json("golden.json")
    actual = trained.predictor.predict_batch(artefact.schema.read_rows(golden["rows"])).raw
    expected = np.asarray(golden["predictions"], np.float64)
    size = max(float(np.abs(expected).mean()), 1e-300)
    same_shape = actual.shape == expected.shape
    largest = float(np.abs(actual - expected).max(initial=0.0)) / size if same_shape else float("inf")
    is_equal = trained.predictor.graph == artefact.read("model.onnx")
    causes = [*_data_differences(artefact, fingerprint, len(prepared.rows)), *_library_differences(artefact, config)]
    effects = [] if is_equal else [f"predictions for the golden rows differ by up to {largest:.2g} relative"]
    return Reproduction(artefact.version, is_equal, (*causes, *effects), largest)


def held_out_rows(
    artefact: Artefact, frame: pl.DataFrame, fingerprint: Mapping[str, str], config: Config
) -> pl.DataFrame:
    """Return the rows of a version's own table that it held out, as they were read.

    Raises
    ------
    ArtefactError: the table is not the one the version was trained on, or it was trained on all rows.
    """
    if config.training.refit_full:
        raise ArtefactError(
            f"{artefact.version}: it was trained on its held-out rows, too (training.refit_full)",
            hint="pass new rows with --input",
        )
    check_unchanged(artefact, fingerprint)
    return in_memory(prepare(frame, config, artefact.schema).test_frame)


def check_unchanged(artefact: Artefact, fingerprint: Mapping[str, str]) -> None:
    """Reject a table that is not the one a version was trained on.

    Raises
    ------
    ArtefactError: the files differ.
    """
    if dict(fingerprint) != dict(artefact.manifest["data"]["files"]):
        raise ArtefactError(
            f"{artefact.version}: the data changed since training, so its held-out rows are unknown",
            hint="pass new rows with --input",
        )


def _data_differences(artefact: Artefact, fingerprint: Mapping[str, str], n_rows: int) -> list[str]:
    data = artefact.manifest["data"]
    if dict(fingerprint) == dict(data["files"]):
        return []
    return [f"the data changed: {n_rows:,} rows now, {data['rows']:,} then"]


def _library_differences(artefact: Artefact, config: Config) -> list[str]:
    before, now = artefact.manifest["libraries"], installed_libraries(config)
    return [
        f"{name}: {now.get(name, 'not installed')} now, {before.get(name, 'not installed')} then"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def warm_start(artefact: Artefact) -> WarmStart:
    """Return what a version hands to the next: its schema, its encoders and its model's state.

    Raises
    ------
    TrainingError: the version has several models, such as an ensemble, so there is no state to continue from.
    """
    state = dict(artefact.state())
    if "features.json" not in state:
        raise TrainingError(
            f"a model of kind {artefact.manifest['model']['kind']!r} cannot continue from version {artefact.version}, "
            "which has several models",
            hint="leave out training.pretrained (--from): train again on all rows",
        )
    features = Features.from_data(artefact.schema, json.loads(state.pop("features.json")))
    return WarmStart(artefact.version, artefact.schema, features, state)
