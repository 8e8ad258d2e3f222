"""Train and score a model, and then, if the config says so, train it once more on the held-out rows, too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from estimator.config import Config
from estimator.engine import LOCAL, Engine
from estimator.models import Model, Progress, WarmStart, silent, stage
from estimator.store.predictor import Predictor
from estimator.training.prepare import PreparedData
from estimator.training.report import Report, evaluate_training
from estimator.training.train import TrainedModel, train


def train_and_score(
    prepared: PreparedData,
    model: Model,
    config: Config,
    live: Predictor | None = None,
    *,
    progress: Progress = silent,
    start: WarmStart | None = None,
    clock: Callable[[], float],
    engine: Engine = LOCAL,
) -> tuple[TrainedModel, Report]:
    """Train on the training rows and score on the held-out ones, next to the live version.

    Fits of folds run on the `engine`. With `training.refit_full`, the model that is returned is then trained on all
    rows, and the report is that of the first one, as no row is left that the second was not trained on.

    Raises
    ------
    TrainingError, ParityError: as for `train`.
    """
    trained = train(prepared, model, config, progress=progress, start=start, clock=clock, engine=engine)
    report = evaluate_training(trained, config, live, progress=progress)
    if not config.training.refit_full:
        return trained, report
    progress(stage("refit on all rows"))
    everything = prepared.for_refit(config)
    refitted = train(everything, model, config, progress=progress, start=start, clock=clock, engine=engine)
    note = (
        f"training.refit_full: the scores are those of a model of {prepared.n_training:,} rows; with the same "
        f"settings, this version was then trained on all {len(prepared.rows):,}, held-out ones included"
    )
    if trained.threshold != refitted.threshold and trained.threshold is not None and refitted.threshold is not None:
        note += f", and its threshold is {refitted.threshold.value:.4g}, not {trained.threshold.value:.4g}"
    return refitted, replace(report, notes=(*report.notes, note))
