"""evaluate: score a version on a table that holds the target."""

from __future__ import annotations

from estimator.evaluation.scores import Score, score, select_metrics
from estimator.store.artefact import Artefact, missing_packages_named
from estimator.store.batch_prediction import labeled_rows
from estimator.store.partial_output import BatchSummary
from estimator.verbs.context import Context, data_like


def evaluate(
    artefact: Artefact, table: str, *, query: str | None = None, context: Context | None = None, seed: int = 0
) -> tuple[int, dict[str, Score]]:
    """Score a version on a table that holds the target; return the number of rows and the metrics.

    Raises
    ------
    RowError: a row breaks the schema, has a label that is no value of the target, or has no finite prediction.
    """
    settings, context = artefact.config["evaluation"], context or Context()
    context.reject_overrides(except_section="data")
    with context.rows(data_like(artefact, context, table, query)) as source:
        frame = source.frame()
        batch, actual, numbers = labeled_rows(artefact, frame)
    context.notes.add(BatchSummary.of(artefact.schema, frame, batch).notes(table))
    if n_unlabeled := frame.height - len(numbers):
        target = artefact.schema.target.name
        context.notes.add([f"{table}: rows without a value in {target!r} are left out: {n_unlabeled:,}"])
    with missing_packages_named(artefact):
        metrics = select_metrics(settings["metrics"], artefact.predictor.task)
    predictions = artefact.predictor.predict_finite(batch, numbers)
    scores = score(
        actual,
        predictions,
        metrics,
        bootstrap_samples=settings["bootstrap_samples"],
        confidence=settings["confidence"],
        seed=seed,
    )
    return batch.n_rows, scores
