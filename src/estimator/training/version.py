"""A trained predictor + its report -> the files and the manifest of a version."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np

from estimator.config import Config
from estimator.config.document import Document
from estimator.config.secrets import allowed_fingerprints, credentials_in_files
from estimator.config.sections import model_data
from estimator.core.arrays import nan_to_none
from estimator.core.clock import Moment
from estimator.data.credentials import CredentialCells, credential_cells, redacted_cells
from estimator.data.schema.file import to_data
from estimator.data.sources.base import BATCH_ROWS
from estimator.drift import DriftReference, absolute_losses, build_reference, signed_errors
from estimator.drift.design_effect import RowOrder
from estimator.drift.held_out_metric import HeldOutMetric
from estimator.drift.reference import monitored_predictions
from estimator.errors import ArtefactError
from estimator.evaluation import metrics
from estimator.evaluation.scores import load_metric
from estimator.evaluation.threshold import Threshold
from estimator.exploration import profile_table
from estimator.features import encoders
from estimator.graph.builder import graph_operators
from estimator.models import Model
from estimator.store.learned_rows import FILE as LEARNED_ROWS
from estimator.store.learned_rows import KEY_BYTES, LearnedRows, hashed_columns
from estimator.store.store import Store
from estimator.training.card import model_card
from estimator.training.prepare import PreparedData
from estimator.training.report import Report
from estimator.training.report_page import report_page
from estimator.training.row_order import row_order, row_order_notes
from estimator.training.train import TrainedModel

# Those that fit a kind of model are named by the kind.
LIBRARIES = ("estimator-lifepath", "polars", "numpy", "onnx", "onnxruntime")
GOLDEN_ROWS = 20
RESIDUAL_QUANTILES = 201
# The part of a credential that a graph holds where a text was split into tokens.
_TOKEN = re.compile(r"[A-Za-z0-9]{12,}")


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a version was made from; `document` is its config as it was written.

    `fingerprint` maps the names of the source files to the sha256 of their content; `parent` is the version it was
    warm-started from, `learned_before` the rows that this one has learned from. Later rows are compared with the last
    `n_recent` rows of its table, None for all.
    """

    config: Config
    kind: str
    document: Document
    overrides: Sequence[str]
    fingerprint: Mapping[str, str]
    parent: str | None = None
    learned_before: LearnedRows | None = None
    n_recent: int | None = None


def save_version(
    store: Store, trained: TrainedModel, report: Report, provenance: Provenance, *, moment: Moment
) -> tuple[Path, str]:
    """Write a version into the store; return its folder and the alias that points at it.

    The first version of a model becomes live at once, a later one becomes the candidate.
    """
    folder = write_version(store, trained, report, provenance, moment=moment)
    move = store.announce(str(provenance.config.name), folder.name, reason="a new version was trained", moment=moment)
    return folder, move.alias


def write_version(
    store: Store,
    trained: TrainedModel,
    report: Report,
    provenance: Provenance,
    *,
    moment: Moment,
    more: Mapping[str, Any] | None = None,
) -> Path:
    """Write a version that no alias points at and return its folder; `more` are further entries of its manifest."""
    name, version = str(provenance.config.name), moment.version
    reference = _reference(trained, report, provenance)
    if provenance.config.monitoring.row_order != "random":
        report = replace(report, notes=(*report.notes, *row_order_notes(reference)))
    files = version_files(trained, report, provenance, reference)
    described = manifest(trained, report, provenance, moment)
    resolved = json.loads(files["config.resolved.json"])
    shown = {**described, "version": version}
    files["report.html"] = report_page(trained, report, shown, resolved)
    files["card.md"] = model_card(trained.predictor.schema, report, shown, resolved)
    described = {**described, **(more or {})}
    cells = _credential_cells(trained.prepared, resolved)
    _reject_credentials({**files, "manifest.json": _json(described)}, resolved, cells)
    return store.storage.write(name, version, described, files)


def reject_credentials_in_rows(
    prepared: PreparedData, config: Config, kind: str, cells: Sequence[CredentialCells] | None = None
) -> list[str]:
    """Reject, before it is trained, a version whose schema or golden rows would hold what looks like a credential.

    Return a note on each credential in cells that the version does not keep; `cells` are those of all rows, or of the
    new ones where the rows are joined of several tables.

    Raises
    ------
    ArtefactError: names each one.
    """
    files = {"schema.json": _json(to_data(prepared.schema)), "golden.json": _json(_golden_rows(prepared))}
    resolved = model_data(config, kind)
    cells = _credential_cells(prepared, resolved) if cells is None else cells
    _reject_credentials(files, resolved, cells)
    return [f"{cell}; no file of the version holds it" for cell in cells]


def _credential_cells(prepared: PreparedData, config: Mapping[str, Any]) -> list[CredentialCells]:
    used = [name for name in prepared.frame.columns if name in prepared.schema.by_name]
    return credential_cells((prepared.frame[name] for name in used), allowed_fingerprints(config))


def _reject_credentials(
    files: Mapping[str, bytes], config: Mapping[str, Any], cells: Sequence[CredentialCells]
) -> None:
    """Raise an error that names every credential in the files of a version, by its column where it is in `cells`."""
    sentences = [str(cell) for cell in cells if any(_holds(content, cell) for content in files.values())]
    if sentences := sentences or credentials_in_files(files, config):
        raise ArtefactError(
            "the version would hold credentials, so it was not kept:\n  " + "\n  ".join(sentences),
            hint="leave them out of the table (data.drop) and the config; if one is none, "
            "secrets.allow: [its fingerprint]",
        )


def _holds(content: bytes, cell: CredentialCells) -> bool:
    """Whether a file holds a credential as JSON writes it, or a part of it that a token of a text may be."""
    value, lower = cell.credential.value, content.lower()
    parts = [part.lower().encode() for part in _TOKEN.findall(value)]
    # A short password is a word like any other.
    whole = json.dumps(value, ensure_ascii=False)[1:-1] if parts else f":{value}@"
    return whole.encode() in content or any(part in lower for part in parts)


def version_files(
    trained: TrainedModel, report: Report, provenance: Provenance, reference: DriftReference
) -> dict[str, bytes]:
    """Return every file of a version except the manifest, the report and the model card."""
    files = {
        "model.onnx": trained.predictor.graph,
        "schema.json": _json(to_data(trained.predictor.schema)),
        f"config{provenance.document.suffix}": provenance.document.content,
        "config.resolved.json": _json(model_data(provenance.config, provenance.kind)),
        "learning_curves.json": _json([_finite(entry) for entry in trained.fitted.curves]),
        "golden.json": _json(golden(trained)),
        "profile.json": _json(_profile(trained, provenance, reference)),
    }
    if report.explanation is not None:
        files["explanation.json"] = _json(report.explanation.to_data())
    if trained.conformal is not None:
        files["conformal.json"] = _json({**trained.conformal.to_data(), "residuals": _residuals(trained, report)})
    if (learned := _learned_rows(trained.prepared, provenance)) is not None:
        files[LEARNED_ROWS] = learned.to_bytes()
    files |= {f"state/{name}": content for name, content in trained.fitted.state().items()}
    return files


def manifest(trained: TrainedModel, report: Report, provenance: Provenance, moment: Moment) -> dict[str, Any]:
    """Return the content of manifest.json."""
    prepared = trained.prepared
    return {
        "name": provenance.config.name,
        "created": moment.iso,
        "parent": provenance.parent,
        "task": {"kind": prepared.task.kind, "classes": list(prepared.task.classes)},
        "target": prepared.schema.target.name,
        **({"threshold": _threshold_data(trained.threshold, report)} if trained.threshold else {}),
        "model": {"kind": provenance.kind, **trained.fitted.summary},
        "data": {
            "files": dict(provenance.fingerprint),
            "rows": len(prepared.rows),
            "rows_held_out": int(prepared.test_mask.sum()),
            "rows_without_label": prepared.n_unlabeled,
            "notes": list(report.notes),
        },
        "overrides": list(provenance.overrides),
        "metrics": {name: score.to_data() for name, score in report.metrics.items()},
        "folds": None if report.folds is None else {name: score.to_data() for name, score in report.folds.items()},
        "coverage": None if report.coverage is None else report.coverage.to_data(),
        "baseline": {name: score.to_data() for name, score in report.baseline.items()},
        "parity": trained.parity.to_data(),
        **({"formulas": prepared.formulas.to_data()} if len(prepared.formulas) else {}),
        "operators": graph_operators(trained.predictor.graph),
        "libraries": installed_libraries(provenance.config),
    }


def _threshold_data(threshold: Threshold, report: Report) -> dict[str, Any]:
    """Return the threshold of the graph, and what that of the report changes on the held-out rows."""
    effect = report.threshold_effect
    return {**threshold.to_data(), "metrics": {} if effect is None else effect.metrics_data}


def _learned_rows(prepared: PreparedData, provenance: Provenance) -> LearnedRows | None:
    """Return the training rows and those of the version that a warm start continued; None for too many."""
    rows, before = prepared.training_rows, provenance.learned_before
    columns = hashed_columns(prepared.schema, provenance.config.serving.private_columns)
    if before is not None and before.columns == tuple(columns):
        return before.with_more(rows.batch, rows.target, prepared.task)
    return LearnedRows.of(columns, rows.batch, rows.target, prepared.task, key=secrets.token_bytes(KEY_BYTES))


def _reference(trained: TrainedModel, report: Report, provenance: Provenance) -> DriftReference:
    """Return the reference distributions for drift tests."""
    losses = absolute_losses(report.task, report.predictions, report.actual)
    errors = signed_errors(report.task, report.predictions.raw, report.actual)
    rows = trained.prepared.rows.batch
    if provenance.n_recent is not None:
        rows = rows.rows(np.arange(max(0, rows.n_rows - provenance.n_recent), rows.n_rows))
    order = row_order(trained.prepared, provenance.config, n_recent=provenance.n_recent)
    reference = build_reference(
        trained.predictor.schema,
        rows,
        report.predictions,
        losses,
        errors=errors,
        order=order,
        seed=provenance.config.training.seed,
    )
    return replace(reference, metric=_held_out_metric(reference, report, provenance, order))


def _held_out_metric(
    reference: DriftReference, report: Report, provenance: Provenance, order: RowOrder | None
) -> HeldOutMetric | None:
    """Return the first metric that the config names on held-out rows, None where none is or can be monitored."""
    evaluation, column = provenance.config.evaluation, reference.predictions
    if not evaluation.metrics:
        return None
    return HeldOutMetric.of(
        evaluation.metrics[0],
        load_metric(evaluation.metrics[0], report.task, evaluation.costs),
        report.actual,
        report.predictions,
        codes=column.codes(monitored_predictions(report.predictions)),
        n_bins=len(column.counts),
        places=None if order is None else order.predicted,
    )


def _profile(trained: TrainedModel, provenance: Provenance, reference: DriftReference) -> dict[str, Any]:
    """Return the profile of the training rows, with the reference distributions for drift tests."""
    blocks = trained.prepared.training_frame.iter_slices(BATCH_ROWS)
    shown = (redacted_cells(block, provenance.config.secrets.allow) for block in blocks)
    return {**profile_table(trained.predictor.schema, shown).to_data(), "reference": reference.to_data()}


def _residuals(trained: TrainedModel, report: Report) -> dict[str, list[float]]:
    """Return quantiles of out-of-sample errors (log losses of classes), which live errors are compared with."""
    losses = {"held_out": report.task.losses(report.predictions.raw, report.actual)}
    if trained.out_of_fold is not None:
        losses["folds"] = report.task.losses(trained.out_of_fold, trained.fit_data.rows.target)
    probabilities = np.linspace(0.0, 1.0, RESIDUAL_QUANTILES)
    return {name: np.quantile(errors[~np.isnan(errors)], probabilities).tolist() for name, errors in losses.items()}


def golden(trained: TrainedModel) -> dict[str, Any]:
    """Return the golden rows, spread over the table, as a client would send them, with the expected predictions."""
    schema = trained.predictor.schema
    rows = _golden_rows(trained.prepared)
    predictions = trained.predictor.predict_batch(schema.read_rows(rows))
    return {"rows": rows, "predictions": predictions.raw.tolist()}


def _golden_rows(prepared: PreparedData) -> list[dict[str, Any]]:
    batch = prepared.rows.batch
    picked = sorted({round(index * (batch.n_rows - 1) / max(GOLDEN_ROWS - 1, 1)) for index in range(GOLDEN_ROWS)})
    rows = batch.rows(np.array(picked))
    return [prepared.schema.to_json_row(rows, index) for index in range(rows.n_rows)]


def _finite(entry: Mapping[str, float]) -> dict[str, float | None]:
    return {name: nan_to_none(value) for name, value in entry.items()}


def _json(data: object) -> bytes:
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False).encode()


def installed_libraries(config: Config) -> dict[str, str]:
    """Return the versions of the installed libraries that affect a version: its graph and its metrics."""
    assert isinstance(config.model, Model)
    plugins = [
        *(encoders.SHELF.package_of(choice.encoder) for choice in config.features.columns.values()),
        *(metrics.SHELF.package_of(name) for name in config.evaluation.metrics),
    ]
    versions = {}
    for name in (*LIBRARIES, *config.model.libraries, *filter(None, plugins)):
        with suppress(PackageNotFoundError):
            versions[name] = installed(name)
    return versions
