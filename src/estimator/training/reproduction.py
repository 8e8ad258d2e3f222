"""A version's own config and data again -> the rows it was judged on, and whether training gives the same version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from estimator.config import Config
from estimator.errors import ArtefactError
from estimator.models import Model, Progress, Start
from estimator.store.artefact import Artefact
from estimator.training.train import prepare, train
from estimator.training.version import libraries


@dataclass(frozen=True, slots=True)
class Reproduced:
    """Whether training gave the same graph, bit for bit; else what differs, from causes to effects.

    `largest` is the largest difference of answers to the golden rows, relative to their size.
    """

    version: str
    is_equal: bool
    differences: tuple[str, ...]
    largest: float

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {
            "version": self.version,
            "equal": self.is_equal,
            "differences": list(self.differences),
            "largest_relative": self.largest,
        }


def reproduced(
    artefact: Artefact, frame: pl.DataFrame, fingerprint: Mapping[str, str], config: Config, model: Model, *,
    start: Start | None, progress: Progress, clock: Any,
) -> Reproduced:  # fmt: skip
    """Train again from a version's config and rows, and compare what comes out with what was stored."""
    prepared = prepare(frame, config, artefact.schema)
    again = train(prepared, model, config, progress=progress, start=start, clock=clock)
    golden = artefact.read_json("golden.json")
    answers = again.predictor.predict_batch(artefact.schema.read_rows(golden["rows"]))
    found = answers.raw
    expected = np.asarray(golden["predictions"], np.float64)
    same_shape = found.shape == expected.shape
    size = max(float(np.abs(expected).mean()), 1e-300)
    largest = float(np.abs(found - expected).max(initial=0.0)) / size if same_shape else float("inf")
    is_equal = again.predictor.graph == artefact.read("model.onnx")
    causes = [*_other_data(artefact, fingerprint, prepared.batch.n_rows), *_other_libraries(artefact)]
    effects = [] if is_equal else [f"answers to the golden rows differ by up to {largest:.2g} of their size"]
    return Reproduced(artefact.version, is_equal, (*causes, *effects), largest)


def held_out_rows(
    artefact: Artefact, frame: pl.DataFrame, fingerprint: Mapping[str, str], config: Config
) -> pl.DataFrame:
    """Return the rows that a version did not learn from, as they are in its table.

    Raises
    ------
    ArtefactError: the table is not the one it learned from.
    """
    if dict(fingerprint) != dict(artefact.manifest["data"]["files"]):
        raise ArtefactError(
            f"{artefact.version}: the data are not those it learned from, so nobody can say which rows it has not seen",
            hint="give rows that are new to it with --input",
        )
    return prepare(frame, config, artefact.schema).tested


def _other_data(artefact: Artefact, fingerprint: Mapping[str, str], n_rows: int) -> list[str]:
    known = artefact.manifest["data"]
    if dict(fingerprint) == dict(known["files"]):
        return []
    return [f"the data are not the same: {n_rows:,} rows now, {known['rows']:,} then"]


def _other_libraries(artefact: Artefact) -> list[str]:
    before, now = artefact.manifest["libraries"], libraries()
    return [
        f"{name} is {now.get(name, 'absent')}, was {before.get(name, 'absent')}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
