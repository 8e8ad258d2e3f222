"""Trained + Report -> the files and the manifest of a version."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np

from estimator.config import Config
from estimator.config.sections import model_data
from estimator.core.clock import Moment
from estimator.data.schema.file import to_data
from estimator.drift import losses_of, refer
from estimator.exploration import profile_table
from estimator.store.artefact import write_artefact
from estimator.store.store import Store
from estimator.training.card import model_card
from estimator.training.report import Report
from estimator.training.report_page import report_page
from estimator.training.train import Trained

LIBRARIES = (
    "estimator-lifepath",
    "polars",
    "numpy",
    "onnx",
    "onnxruntime",
    "lightgbm",
    "catboost",
    "xgboost-cpu",
    "jax",
    "scikit-learn",
)
GOLDEN_ROWS = 20
RESIDUAL_QUANTILES = 201


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a version was made from: the config and its file, overrides, name -> sha256 of the rows, its parent."""

    config: Config
    kind: str
    conf: Path
    overrides: Sequence[str]
    fingerprint: Mapping[str, str]
    parent: str | None = None


def keep(store: Store, trained: Trained, report: Report, recipe: Recipe, *, moment: Moment) -> tuple[Path, str]:
    """Write a version into the store; return its folder and the alias that points at it.

    A model's first version is live at once, a later one is the candidate.
    """
    folder = write_version(store, trained, report, recipe, moment=moment)
    move = store.announce(str(recipe.config.name), folder.name, reason="a new version was trained", moment=moment)
    return folder, move.alias


def write_version(
    store: Store, trained: Trained, report: Report, recipe: Recipe, *, moment: Moment,
    more: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Write a version that no alias points at yet; `more` is what else its manifest says. Return its folder."""
    name, version = str(recipe.config.name), moment.version
    files, described = version_files(trained, report, recipe), manifest(trained, report, recipe, moment)
    resolved = json.loads(files["config.resolved.json"])
    told = {**described, "version": version}
    files["report.html"] = report_page(trained, report, told, resolved)
    files["card.md"] = model_card(trained.predictor.schema, report, told, resolved)
    return write_artefact(store.root / name, version, {**described, **(more or {})}, files)


def version_files(trained: Trained, report: Report, recipe: Recipe) -> dict[str, bytes]:
    """Return every file of a version but the manifest and the report page."""
    files = {
        "model.onnx": trained.predictor.graph,
        "schema.json": _json(to_data(trained.predictor.schema)),
        f"config{recipe.conf.suffix}": recipe.conf.read_bytes(),
        "config.resolved.json": _json(model_data(recipe.config, recipe.kind)),
        "learning_curves.json": _json([_finite(entry) for entry in trained.learned.curves]),
        "golden.json": _json(golden(trained)),
        "profile.json": _json(_profile(trained, report, recipe.config.training.seed)),
    }
    if report.explanation is not None:
        files["explanation.json"] = _json(report.explanation.to_data())
    if trained.conformal is not None:
        files["conformal.json"] = _json({**trained.conformal.to_data(), "residuals": _residuals(trained, report)})
    files |= {f"state/{name}": content for name, content in trained.learned.state().items()}
    return files


def manifest(trained: Trained, report: Report, recipe: Recipe, moment: Moment) -> dict[str, Any]:
    """Return what a version says of itself."""
    prepared = trained.prepared
    return {
        "name": recipe.config.name,
        "created": moment.iso,
        "parent": recipe.parent,
        "task": {"kind": prepared.task.kind, "classes": list(prepared.task.classes)},
        "target": prepared.schema.target.name,
        "model": {"kind": recipe.kind, **trained.learned.summary},
        "data": {
            "files": dict(recipe.fingerprint),
            "rows": prepared.batch.n_rows,
            "rows_held_out": int(prepared.test.sum()),
            "rows_without_truth": prepared.n_unlabelled,
        },
        "overrides": list(recipe.overrides),
        "metrics": {name: score.to_data() for name, score in report.metrics.items()},
        "folds": None if report.folds is None else {name: score.to_data() for name, score in report.folds.items()},
        "coverage": None if report.coverage is None else report.coverage.to_data(),
        "baseline": {name: score.to_data() for name, score in report.baseline.items()},
        "parity": trained.certificate.to_data(),
        "libraries": libraries(),
    }


def _profile(trained: Trained, report: Report, seed: int) -> dict[str, Any]:
    """Return what the rows of training held, with the reference that later rows are compared with."""
    schema = trained.predictor.schema
    losses = losses_of(report.task, report.answers, report.truth)
    reference = refer(schema, trained.prepared.batch, report.answers, losses, seed=seed)
    return {**profile_table(schema, [trained.prepared.learned]).to_data(), "reference": reference.to_data()}


def _residuals(trained: Trained, report: Report) -> dict[str, list[float]]:
    """Return quantiles of the errors of rows that were not learned from: numbers' errors, or levels' log losses.

    They are what live errors are later compared with.
    """
    found = {"held_out": report.task.losses(report.answers.raw, report.truth)}
    if trained.unseen is not None:
        found["folds"] = report.task.losses(trained.unseen, trained.table.rows.target)
    places = np.linspace(0.0, 1.0, RESIDUAL_QUANTILES)
    return {name: np.quantile(errors[~np.isnan(errors)], places).tolist() for name, errors in found.items()}


def golden(trained: Trained) -> dict[str, Any]:
    """Return rows as they could be sent, spread over the table, and the answers they must get."""
    schema = trained.predictor.schema
    known = trained.prepared.batch
    picked = sorted({round(place * (known.n_rows - 1) / max(GOLDEN_ROWS - 1, 1)) for place in range(GOLDEN_ROWS)})
    rows = [schema.to_json_row(known, place) for place in picked]
    answers = trained.predictor.predict_batch(schema.read_rows(rows))
    return {"rows": rows, "predictions": answers.raw.tolist()}


def _finite(entry: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in entry.items()}


def _json(data: object) -> bytes:
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False).encode()


def libraries() -> dict[str, str]:
    """Return the versions of the libraries that have a part in a graph."""
    return {name: found for name in LIBRARIES if (found := _installed(name))}


def _installed(name: str) -> str | None:
    try:
        return installed(name)
    except PackageNotFoundError:
        return None
