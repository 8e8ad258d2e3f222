"""The result of a search: its best settings, and an unbiased estimate of how much they improve."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from estimator.config import Config
from estimator.core.task import Predictions
from estimator.core.text import counted
from estimator.engine import Engine
from estimator.errors import TrainingError
from estimator.evaluation.metrics import Metric
from estimator.evaluation.scores import Score, score, select_metrics
from estimator.models import Progress, model_of
from estimator.training.comparison import Comparison, compare, compare_folds
from estimator.training.prepare import PreparedData
from estimator.training.train import TrainedModel, train
from estimator.tuning.search import Search, SearchProgress, best_of, score_of, search_progress


@dataclass(frozen=True)
class SearchResult:
    """The best trial and its score, estimated in three ways.

    `search_score` is its score on the folds that selected it, which is optimistic. `held_out` is its score on rows that
    the search never used, `untuned` that of the current config. `on_folds` and `comparisons` compare it with the
    current config, on the folds and, by every metric, on the held-out rows; without an improvement they are empty.
    """

    metric: str
    progress: SearchProgress
    trials: Sequence[FrozenTrial]
    best: FrozenTrial
    search_score: float
    held_out: Score
    untuned: Score
    on_folds: Comparison | None
    comparisons: Sequence[Comparison]
    limits: Mapping[str, float | str]
    importance: Mapping[str, float]

    @property
    def edits(self) -> dict[str, Any]:
        """The best settings, key -> value."""
        return dict(self.best.user_attrs["edits"])

    @property
    def counts(self) -> str:
        """The number of trials by outcome, as a sentence."""
        progress = self.progress
        retried = f", {progress.retried} interrupted and retried" if progress.retried else ""
        return (
            f"{counted(progress.done, 'trial')}: {progress.pruned} pruned, {progress.over_limit} over a limit{retried}"
        )

    @property
    def verdict(self) -> str:
        """A sentence: whether the best settings are better than the current config.

        The held-out rows decide: on the folds, the best of many trials looks better than it is.
        """
        if not self.comparisons:
            return "no settings better than the current config were found"
        return f"the best settings compared with the current config, on held-out rows: {self.comparisons[0].sentence}"

    def to_data(self) -> dict[str, Any]:
        """Return JSON-ready data."""
        return {
            "metric": self.metric,
            "trials": self.progress.to_data(),
            "best": {
                "trial": self.best.number,
                "settings": self.edits,
                "search_score": self.search_score,
                **self.best.user_attrs["result"]["measures"],
            },
            "held_out": {
                "tuned": self.held_out.to_data(),
                "untuned": self.untuned.to_data(),
                "comparisons": [comparison.to_data() for comparison in self.comparisons],
            },
            "folds": None if self.on_folds is None else self.on_folds.to_data(),
            "verdict": self.verdict,
        }


def evaluate_search(study: optuna.Study, search: Search, *, progress: Progress) -> SearchResult:
    """Train the best settings and the current config, and compare the two.

    Raises
    ------
    TrainingError: no trial finished within the limits.
    """
    trials = study.get_trials(deepcopy=False)
    state = search_progress(study, search.n_trials)
    best = _best_or_error(trials, state)
    current, tuned = search.space.varied({}), search.space.varied(best.user_attrs["edits"])
    rows = search.rows.current
    engine = search.rows.engine
    untuned = _trained(rows, current, engine, progress)
    winner = untuned if tuned == current else _trained(search.rows.prepared(tuned), tuned, engine, progress)
    name, metric = search.objective.deciding
    actual = rows.test_rows.target
    predictions = [trained.predictor.predict_batch(rows.test_rows.batch) for trained in (untuned, winner)]
    evaluation = current.evaluation
    settings = {
        "sample_weights": rows.test_rows.sample_weights,
        "bootstrap_samples": evaluation.bootstrap_samples,
        "confidence": evaluation.confidence,
        "seed": current.training.seed,
    }
    scores = [score(actual, item, {name: metric}, **settings)[name] for item in predictions]  # type: ignore[arg-type] # numbers by name
    metrics = select_metrics([name, *evaluation.metrics], rows.task, evaluation.costs)
    is_same = winner is untuned
    return SearchResult(
        metric=name,
        progress=state,
        trials=trials,
        best=best,
        search_score=score_of(best),
        held_out=scores[1],
        untuned=scores[0],
        on_folds=None if is_same else _fold_comparison(name, metric, untuned, winner, evaluation.confidence),
        comparisons=[]
        if is_same
        else [compare(one, kind, actual, *predictions, **settings) for one, kind in metrics.items()],  # type: ignore[arg-type] # the same
        limits=search.space.config.tuning.limits,
        importance=_importance(study),
    )


def _best_or_error(trials: Sequence[FrozenTrial], state: SearchProgress) -> FrozenTrial:
    best = best_of(trials)
    if best is None:
        reasons = {trial.user_attrs["result"]["reason"] for trial in trials if "result" in trial.user_attrs}
        shown = "; ".join(sorted(reason for reason in reasons if reason)[:3])
        raise TrainingError(
            f"none of {state.done} trials finished within the limits: {shown}",
            hint="loosen tuning.limits, or search another space",
        )
    return best


def _fold_comparison(
    name: str, metric: Metric, untuned: TrainedModel, winner: TrainedModel, confidence: float
) -> Comparison:
    first, second = (_out_of_fold_predictions(trained) for trained in (untuned, winner))
    return compare_folds(name, metric, untuned.fit_data, first, second, confidence=confidence)


def _out_of_fold_predictions(trained: TrainedModel) -> Predictions:
    """Return the classes that the graph would predict, with probabilities before calibration."""
    assert trained.out_of_fold is not None  # there are folds
    predictions = trained.prepared.task.predictions(trained.out_of_fold)
    if trained.threshold is None or trained.calibrated is None:
        return predictions
    return replace(predictions, values=trained.predictor.task.predictions(trained.calibrated).values)


def _importance(study: optuna.Study) -> dict[str, float]:
    """Return the importance of each setting, a fraction of the variance; empty when too few trials finished."""
    with warnings.catch_warnings():
        # Optuna warns of settings that few trials have; their small importance says the same.
        warnings.simplefilter("ignore", UserWarning)
        try:
            importance = optuna.importance.get_param_importances(study)
        except (RuntimeError, ValueError):
            return {}
    return {name: value for name, value in importance.items() if np.isfinite(value)}


def _trained(rows: PreparedData, config: Config, engine: Engine, progress: Progress) -> TrainedModel:
    return train(rows, model_of(config), config, progress=progress, clock=perf_counter, engine=engine)
