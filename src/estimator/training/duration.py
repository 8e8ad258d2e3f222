"""Estimate how long a training run takes, from what its parts cost, the speed of the machine now, and a short trial."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from estimator.config import Config
from estimator.models import FitData, MatrixModel, Model
from estimator.models.boosted import BoostedTrees
from estimator.models.cost import FitCost, FitShape, LibraryCost
from estimator.models.ensemble import Ensemble
from estimator.training.prepare import PreparedData

# Seconds of `_work` on the machine that the costs were measured on.
REFERENCE_SECONDS = 0.0042
N_MEASUREMENTS, MEASURED_FRACTION, MAX_MEASURED_SECONDS = 3, 0.01, 1.0
# Seconds of what every run loads after its rows are prepared.
START_SECONDS = 0.35
# A trial shows how many rounds trees need. It takes at most this fraction of the estimate, with the library's import.
TRIAL_FRACTION, MIN_TRIAL_ROWS, MIN_TRIAL_ROUNDS = 0.06, 300, 100
# More rows need more rounds: about their fourth root.
ROUNDS_EXPONENT = 0.25
MAX_SHUFFLED_ROWS, MIN_SHUFFLED_ROWS, MAX_SHUFFLED = 2000, 200, 60_000


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a run: rows to fit and held out, features, texts, classes (1 for a number), and fits of a model.

    `n_fold_rows` are those that the model of a fold learns from.
    """

    n_rows: int
    n_fold_rows: int
    n_test: int
    n_columns: int
    n_texts: int
    n_outputs: int
    n_folds: int

    @classmethod
    def of(cls, data: FitData) -> Size:
        """Return the size of what a model is given to fit."""
        features = data.schema.features
        n_out = (data.folds >= 0).sum() / max(data.n_folds * len(data.folds), 1) if data.n_folds else 0
        return cls(
            len(data.rows),
            len(data.rows) - int(n_out),
            0 if data.held_out is None else len(data.held_out),
            len(features),
            sum(column.kind == "text" for column in features),
            data.task.n_outputs,
            data.n_folds * max(len(data.folds), 1),
        )


def estimate_seconds(prepared: PreparedData, model: Model, widths: Sequence[int], config: Config) -> float:
    """Return the seconds of a run after its rows have been prepared, at ordinary speed; `widths` are of the members."""
    data = prepared.fit_data(config)
    size, members = Size.of(data), members_of(model)
    seconds = _seconds(size, model, members, widths, [None] * len(members), config)
    budget = TRIAL_FRACTION * seconds
    rounds: list[int | None] = []
    for member, width in zip(members, widths, strict=True):
        rounds.append(trial_rounds(data, member, width, config, budget / len(members)))
    return _seconds(size, model, members, widths, rounds, config) if any(rounds) else seconds


def trial_rounds(data: FitData, model: Model, width: int, config: Config, budget_seconds: float) -> int | None:
    """Return how many rounds trees need on all rows, by a fit to some of them; None where there is no time for it."""
    if not isinstance(model, BoostedTrees) or not model.early_stopping_rounds:
        return None
    left = budget_seconds - model.library_cost.seconds
    n_rows = min(max(len(data.rows) // 5, MIN_TRIAL_ROWS), len(data.rows))
    n_trees = data.task.n_outputs if data.task.n_outputs > 2 else 1
    shape = FitShape(n_rows, width, len(data.schema.features), data.task.n_outputs)
    max_rounds = int(left / (n_trees * model.seconds_per_tree(shape)))
    if max_rounds < MIN_TRIAL_ROUNDS:
        return None
    order = np.random.default_rng([config.training.seed, 70]).permutation(len(data.rows))
    sample = data.take(np.isin(np.arange(len(data.rows)), order[:n_rows]))
    short = model.model_copy(update={"n_estimators": min(max_rounds, model.n_estimators), "refit": False})
    best = int(short.fit(sample, config.training).summary["n_estimators"])
    if best > max_rounds - model.early_stopping_rounds:
        # It would have gone on.
        best = 2 * max_rounds
    return int(best * (len(data.rows) / n_rows) ** ROUNDS_EXPONENT)


def slowness(run_seconds: float, clock: Callable[[], float]) -> float:
    """Return how much longer the machine takes now than the one that the costs were measured on.

    It is measured for a small part of the run, as other programs come and go.
    """
    # The first one also loads code.
    _work()
    durations, start_seconds = list[float](), clock()
    limit_seconds = min(MEASURED_FRACTION * run_seconds, MAX_MEASURED_SECONDS)
    while len(durations) < N_MEASUREMENTS or clock() - start_seconds < limit_seconds:
        began = clock()
        _work()
        durations.append(clock() - began)
    return max(float(np.mean(durations)) / REFERENCE_SECONDS, 0.1)


def members_of(model: Model) -> list[Model]:
    """Return the families that are fitted."""
    return list(model.members) if isinstance(model, Ensemble) else [model]


def library_cost(members: Sequence[Model]) -> LibraryCost:
    """Return what the libraries of all families take together."""
    kinds = {type(member): member.library_cost for member in members if isinstance(member, MatrixModel)}
    return LibraryCost.together(kinds.values())


def _work() -> None:
    """Do a little of what training does: products, sorting, and Python."""
    matrix = np.random.default_rng(0).standard_normal((120, 120))
    for _ in range(4):
        matrix = np.sort(matrix @ matrix, axis=0) / 1e3
    sum(hash((number, "row")) % 7 for number in range(15_000))


def _seconds(
    size: Size,
    model: Model,
    members: Sequence[Model],
    widths: Sequence[int],
    rounds: Sequence[int | None],
    config: Config,
) -> float:
    is_ensemble = isinstance(model, Ensemble)
    n_jobs = min(os.cpu_count() or 1, max(size.n_folds * len(members), 1))
    total, row_seconds, n_trees, n_models = library_cost(members).seconds, 0.0, 0, size.n_folds if is_ensemble else 1
    for member, width, n_rounds in zip(members, widths, rounds, strict=True):
        if not isinstance(member, MatrixModel):
            continue
        most = member.max_rows or size.n_rows
        shape = FitShape(min(size.n_fold_rows, most), width, size.n_columns, size.n_outputs, not is_ensemble, n_rounds)
        of_fold = member.fit_cost(shape, config.training)
        whole = member.fit_cost(replace(shape, n_rows=min(size.n_rows, most), refits=True), config.training)
        encoding = _encoding_seconds(size, width)
        total += size.n_folds * (of_fold.seconds + encoding * (not is_ensemble)) / n_jobs
        if not is_ensemble or (isinstance(model, Ensemble) and model.refit):
            total += whole.seconds
        total += encoding
        cost = FitCost(0.0, n_models * whole.row_seconds, n_models * whole.n_trees)
        row_seconds, n_trees = row_seconds + cost.row_seconds, n_trees + cost.n_trees
    if config.training.refit_full:
        # The fits again, on all rows, and their parity.
        total += (total - library_cost(members).seconds) * (size.n_rows + size.n_test) / size.n_rows
    return total + _after_seconds(size, row_seconds, n_trees, max(widths), config)


def _encoding_seconds(size: Size, width: int) -> float:
    return 0.005 + size.n_rows * (6.5e-8 * width + 5e-5 * size.n_texts)


def _after_seconds(size: Size, row_seconds: float, n_trees: int, width: int, config: Config) -> float:
    """Return the seconds of parity, scores, importance, report and version, all on one processor."""
    evaluation, k = config.evaluation, size.n_columns
    n_all, row_seconds = size.n_rows + size.n_test, row_seconds + 1e-7 * width + 6e-5 * size.n_texts
    parity = 1.4 * row_seconds * size.n_rows
    per_test_row = 5e-5 if size.n_outputs == 1 else 7e-5 * size.n_outputs
    scores = 0.1 + per_test_row * size.n_test * evaluation.bootstrap_samples / 1000
    explanation = 3.5e-7 * n_all * k
    if evaluation.importance_repeats:
        shuffled = MAX_SHUFFLED // max(k * evaluation.importance_repeats, 1)
        n_shuffled = min(size.n_test, max(min(shuffled, MAX_SHUFFLED_ROWS), MIN_SHUFFLED_ROWS))
        n_predictions = evaluation.importance_repeats * k * n_shuffled + 3000 * min(k, 6)
        explanation += row_seconds * n_predictions + 3e-3 * k + 1.2e-5 * k * k
    version = START_SECONDS + 0.25 + 0.013 * k + 3.5e-5 * k * k + 3.5e-7 * n_all * k + 1.6e-3 * n_trees
    return parity + scores + explanation + version
