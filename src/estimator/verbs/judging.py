"""Versions and configs, looked at again: on new rows, against each other, against themselves."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

from estimator.config import resolve
from estimator.errors import ArtefactError, ConfigError, needs_extra
from estimator.models import Progress, silent
from estimator.store.artefact import Artefact
from estimator.verbs.context import (
    VOCABULARY,
    Order,
    held_out_of,
    like_training,
    load,
    model_of,
    open_store,
    opened,
    prepared_by,
    start_from,
)

if TYPE_CHECKING:
    from estimator.evaluation.scores import Score
    from estimator.training.comparison import Comparison
    from estimator.training.reproduction import Reproduced


def evaluate(
    artefact: Artefact, table: str, *, query: str | None = None, order: Order | None = None, seed: int = 0
) -> tuple[int, dict[str, Score]]:
    """Score a version on a table whose truth is known; return the number of rows and the metrics."""
    with needs_extra("batch", "reading a table"):
        from estimator.store.batch_prediction import labelled_rows
    from estimator.evaluation.scores import chosen_metrics, score

    choices = artefact.config["evaluation"]
    with opened(like_training(artefact, table, query), order or Order()) as source:
        batch, truth = labelled_rows(artefact, source.frame())
    found = chosen_metrics(choices["metrics"], artefact.predictor.task)
    answers = artefact.predictor.predict_batch(batch)
    scores = score(
        truth, answers, found, bootstrap_samples=choices["bootstrap_samples"], level=choices["confidence"], seed=seed
    )
    return batch.n_rows, scores


def compare(
    first: str,
    second: str,
    order: Order,
    *,
    table: tuple[str, str | None] | None = None,
    folder: Path = Path(),
    progress: Progress = silent,
) -> list[Comparison]:
    """Tell whether the second of two versions, or of two configs, is really better; the first metric decides.

    Versions are compared on the rows of a table and query, or on those that both held out; configs on the same folds.
    """
    with needs_extra("train", "comparing"):
        from estimator.training.comparison import Setting, compare_settings, compare_versions, refuse_known_rows
    configs = [Path(name) for name in (first, second) if Path(name).is_file()]
    if len(configs) == 2:
        settings = [Setting(*prepared_by(conf, order)) for conf in configs]
        return compare_settings(settings[0], settings[1], progress=progress)
    if configs:
        raise ConfigError(f"{configs[0]} is a config and the other is none", hint="give two versions, or two configs")
    left, right = (load(name, open_store(None, order)) for name in (first, second))
    if table is None:
        frames = [held_out_of(artefact, order, folder) for artefact in (left, right)]
        if not frames[0].equals(frames[1]):
            raise ArtefactError("the two versions did not hold out the same rows", hint="give new rows with --input")
        return compare_versions(left, right, frames[0])
    with opened(like_training(left, *table), order) as source:
        refuse_known_rows((left, right), source.fingerprint())
        return compare_versions(left, right, source.frame())


def verify(reference: str, order: Order, *, folder: Path = Path(), progress: Progress = silent) -> Reproduced:
    """Train a version again from its own config and data, whose paths start in `folder`, and compare."""
    with needs_extra("train", "training again"):
        from estimator.training.reproduction import reproduced
    store = open_store(None, order)
    artefact = load(reference, store)
    config = resolve(artefact.config, VOCABULARY)
    parent = artefact.manifest["parent"]
    start = start_from(store, f"{artefact.name}/{parent}") if parent else None
    with opened(config.data, order, folder) as source:
        frame, fingerprint = source.frame(), source.fingerprint()
    return reproduced(
        artefact, frame, fingerprint, config, model_of(config), start=start, progress=progress, clock=perf_counter
    )
