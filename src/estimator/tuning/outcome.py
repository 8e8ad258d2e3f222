"""The best settings -> a config that trains them, and how much of their score is true."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial

from estimator.config import Config
from estimator.errors import TrainingError
from estimator.evaluation.scores import Score, score, select_metrics
from estimator.models import Progress
from estimator.training.comparison import Comparison, compare, compare_folds
from estimator.training.prepare import PreparedData
from estimator.training.train import TrainedModel, train
from estimator.tuning.search import Search, SearchProgress, best_of, score_of, told


@dataclass(frozen=True)
class Outcome:
    """What a search came to, told three ways.

    `search` is the winner's score over the folds it was chosen by, which flatters it. `held_out` is that on rows the
    search never saw. `on_folds` and `compared` set the config's own settings against it, on the folds and, by every
    metric, on those rows; they are None when the winner is the config's own settings.
    """

    metric: str
    progress: SearchProgress
    trials: Sequence[FrozenTrial]
    best: FrozenTrial
    search: float
    held_out: Score
    untuned: Score
    on_folds: Comparison | None
    compared: Sequence[Comparison]
    limits: Mapping[str, float | str]
    importance: Mapping[str, float]

    @property
    def edits(self) -> dict[str, Any]:
        """The winner's settings, key -> value."""
        return dict(self.best.user_attrs["edits"])

    @property
    def counts(self) -> str:
        """Return in a sentence what became of the trials."""
        done = self.progress
        lost = f", {done.lost} lost and tried again" if done.lost else ""
        return f"{done.done} trials: {done.pruned} given up early, {done.beyond} beyond a limit{lost}"

    @property
    def verdict(self) -> str:
        """Return in a sentence whether the search has found anything."""
        if self.on_folds is None:
            return "nothing was found that is better than the config's own settings"
        gain = f"{self.metric} gains {self.on_folds.gain}"
        if self.on_folds.verdict == "better":
            return f"better than the config's own settings on the folds: {gain}"
        return f"NOT proved better than the config's own settings: on the folds, {gain}"

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {
            "metric": self.metric,
            "trials": self.progress.to_data(),
            "best": {"trial": self.best.number, "settings": self.edits, "search_score": self.search,
                     **self.best.user_attrs["told"]["measures"]},
            "held_out": {"tuned": self.held_out.to_data(), "untuned": self.untuned.to_data(),
                         "compared": [one.to_data() for one in self.compared]},
            "folds": None if self.on_folds is None else self.on_folds.to_data(),
            "verdict": self.verdict,
        }  # fmt: skip


def outcome(study: optuna.Study, plan: Search, *, progress: Progress) -> Outcome:
    """Train the winner and the config's own settings, and compare them.

    Raises
    ------
    TrainingError: no trial came to an end within the limits.
    """
    trials = study.get_trials(deepcopy=False)
    best, state = best_of(trials), told(study, plan.n_trials)
    if best is None:
        reasons = {trial.user_attrs["told"]["reason"] for trial in trials if "told" in trial.user_attrs}
        told_ = "; ".join(sorted(reason for reason in reasons if reason)[:3])
        raise TrainingError(
            f"none of {state.done} trials came to an end within the limits: {told_}",
            hint="loosen tuning.limits, or search another space",
        )
    own = plan.space.varied({})
    tuned = plan.space.varied(best.user_attrs["edits"])
    rows = plan.rows.own
    first = _trained(rows, own, progress)
    second = first if tuned == own else _trained(plan.rows.prepared(tuned), tuned, progress)
    name, metric = plan.bench.deciding
    how = {
        "bootstrap_samples": own.evaluation.bootstrap_samples,
        "confidence": own.evaluation.confidence,
        "seed": own.training.seed,
    }
    truth = rows.test_rows.target
    answers = [trained.predictor.predict_batch(rows.test_rows.batch) for trained in (first, second)]
    scores = [score(truth, told_, {name: metric}, **how)[name] for told_ in answers]  # type: ignore[arg-type] # three numbers by name
    same = second is first
    named = select_metrics([name, *own.evaluation.metrics], rows.task)
    return Outcome(
        metric=name, progress=state, trials=trials, best=best, search=score_of(best), held_out=scores[1],
        untuned=scores[0],
        on_folds=None if same else compare_folds(
            name, metric, first.fit_data, first.out_of_fold, second.out_of_fold, confidence=own.evaluation.confidence,  # type: ignore[arg-type] # there are folds
        ),
        compared=[] if same else [
            compare(one, kind, truth, *answers, **how) for one, kind in named.items()  # type: ignore[arg-type] # the same
        ],
        limits=plan.space.config.tuning.limits, importance=_importance(study),
    )  # fmt: skip


def _importance(study: optuna.Study) -> dict[str, float]:
    """Return what share of the score each setting has a part in; none when too few trials came to their end."""
    with warnings.catch_warnings():
        # A setting that few trials have is told so by its small share.
        warnings.simplefilter("ignore", UserWarning)
        try:
            found = optuna.importance.get_param_importances(study)
        except (RuntimeError, ValueError):
            return {}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _trained(rows: PreparedData, config: Config, progress: Progress) -> TrainedModel:
    return train(rows, config.model, config, progress=progress, clock=perf_counter)  # type: ignore[arg-type] # a kind of the shelf
