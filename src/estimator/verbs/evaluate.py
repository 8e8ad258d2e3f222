"""evaluate: score a version on a table that holds the target."""

from __future__ import annotations

from dataclasses import dataclass

from estimator.core.text import counted
from estimator.errors import SchemaError
from estimator.evaluation import metrics
from estimator.evaluation.confusion import Confusion
from estimator.evaluation.scores import Scores, recorded_metrics, score
from estimator.models import Progress, silent, stage
from estimator.store.artefact import Artefact, missing_packages_named
from estimator.store.batch_prediction import LabeledRows, labeled_rows
from estimator.store.learned_rows import MAX_ROWS, learned_rows, recognized
from estimator.store.partial_output import BatchSummary
from estimator.verbs.context import Context, data_like


@dataclass(frozen=True, slots=True)
class TableScores:
    """The scores of a version on the labeled rows of a table; `confusion` is None for a regression."""

    rows: int
    metrics: Scores
    confusion: Confusion | None


def evaluate(
    artefact: Artefact,
    table: str,
    *,
    query: str | None = None,
    include_learned: bool = False,
    context: Context | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> TableScores:
    """Score a version on a table that holds the target.

    Rows that the version has learned from are left out, with a note, unless `include_learned`.

    Raises
    ------
    ConfigError: an override is not of `data`.
    SchemaError: the version has learned from all of the rows.
    RowError: a row breaks the schema, has a label that is no value of the target, or has no finite prediction.
    """
    settings, context = artefact.config["evaluation"], context or Context()
    context.reject_overrides(except_section="data")
    progress(stage("reading the table"))
    with context.rows(data_like(artefact, context, table, query)) as source:
        frame = source.frame()
        rows = labeled_rows(artefact, frame)
    scored = rows if include_learned else _without_learned(artefact, rows, table, context)
    context.notes.add(BatchSummary.of(artefact.schema, frame, rows.batch).notes(table))
    weight_column = artefact.config["data"].get("sample_weight")
    if weight_column is not None and weight_column not in frame.columns:
        context.notes.add([f"{table}: there is no column {weight_column!r} of weights: every row counts once"])
    if n_unlabeled := frame.height - len(rows.numbers):
        target = artefact.schema.target.name
        context.notes.add([f"{table}: rows without a value in {target!r} are left out: {n_unlabeled:,}"])
    with missing_packages_named(artefact):
        chosen = recorded_metrics(settings, artefact.predictor.task)
    progress(stage(f"predicting {scored.batch.n_rows:,} rows"))
    predictions = artefact.predictor.predict_finite(scored.batch, scored.numbers)
    progress(stage("scores and their intervals"))
    scores = score(
        scored.labels,
        predictions,
        chosen,
        sample_weights=scored.sample_weights,
        bootstrap_samples=settings["bootstrap_samples"],
        confidence=settings["confidence"],
        seed=seed,
    )
    return TableScores(scored.batch.n_rows, scores, Confusion.of(scored.labels, predictions))


def is_higher_better(metric: str) -> bool:
    """Whether a larger value of a metric is better, as of a score; smaller is better for an error."""
    return metrics.SHELF.load(metric).higher_is_better


def _without_learned(artefact: Artefact, rows: LabeledRows, table: str, context: Context) -> LabeledRows:
    """Return the rows without those that the version has learned from, and note how many they are."""
    learned = learned_rows(artefact)
    if learned is None:
        unknown = f"whether {artefact.version} has learned from some of these rows is unknown"
        context.notes.add([f"{table}: {unknown}: it has more than {MAX_ROWS:,} training rows"])
        return rows
    is_learned = learned.contains(rows.batch, rows.labels, artefact.predictor.task)
    holder = f"{artefact.version} has learned from"
    is_left_out, notes = recognized(is_learned, learned, name=table, holder=holder, use="scores")
    if is_left_out.all():
        raise SchemaError(
            f"{table}: nothing to score: {artefact.version} has learned from all {counted(len(is_left_out), 'row')}",
            hint="give new rows, or --include-learned to score these",
        )
    context.notes.add(notes)
    return rows.take(~is_left_out)
