"""Make features of numbers and dates: ratios, products, sums and differences that explain what boosting does not.

Candidates are formulas. They are ranked by how well they go with the target, and with the residuals of a quick model
(Spearman, 1904), compared with the columns that they are made of, and are kept only if they lower its out-of-fold loss.
"""

from __future__ import annotations

import keyword
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, zip_longest

import numpy as np

from estimator.config import Config, Training
from estimator.config.formula_language import FUNCTIONS
from estimator.core.arrays import Floats, Ints, Mask
from estimator.data.schema import Column
from estimator.data.schema.column import TIME_KINDS
from estimator.features.formulas import Formulas
from estimator.models import FitData, Progress, WarmStart, stage
from estimator.models.boosting import Boosting, FittedBoosting
from estimator.models.matrix import RescaledModel, SingleModel
from estimator.training.prepare import PreparedData

MIN_ROWS, MAX_ROWS = 500, 20_000
# The columns that the quick model uses most, and the most features that are made of them.
MAX_COLUMNS, MAX_MADE = 12, 20
# A candidate with fewer values, or one that another says as well, is left out.
MIN_PRESENT, MAX_ALIKE = 0.5, 0.98
# Chance alone gives a correlation of so many standard errors in one of three hundred candidates.
MIN_ERRORS = 3.0
# The loss must fall by this fraction, and by two standard errors.
MIN_GAIN = 0.005
N_FOLDS = 3
QUICK = Boosting(n_estimators=100, learning_rate=0.1, num_leaves=16, early_stopping_rounds=0)


@dataclass(frozen=True, slots=True)
class _Screen:
    """What the quick model leaves unexplained: residuals (rows, outputs), losses (rows,), and gains by feature."""

    residuals: Floats
    losses: Floats
    gains: Mapping[str, float]


def make_features(
    prepared: PreparedData, config: Config, start: WarmStart | None = None, *, progress: Progress
) -> tuple[PreparedData, Config, tuple[str, ...]]:
    """Return the rows and the config with the formulas of the features that were made, and a note on them.

    The held-out rows are not looked at. With `features.made: none`, or fewer than 500 training rows, nothing is made.
    Training that continues from an earlier version has the formulas of that version.
    """
    features = config.features
    n_rows = prepared.n_training
    if features.made == "none":
        return prepared, config, ()
    if start is None and n_rows < MIN_ROWS:
        return prepared, config, (f"features.made: none, as {n_rows:,} training rows are fewer than {MIN_ROWS}",)
    progress(stage("making features"))
    if start is None:
        private = {prepared.schema.resolve(name) for name in config.serving.private_columns}
        made = made_formulas(prepared.fit_data(config), config.training, left_out=private)
    else:
        made = {formula.name: formula.text for formula in start.features.formulas}
    formulas = {**features.formulas, **made}
    # What the resolved config says is all: it makes no others.
    chosen = features.model_copy(update={"formulas": formulas, "made": "none"})
    prepared = replace(prepared, formulas=Formulas.compile(prepared.schema, formulas))
    names = ", ".join(made) or "none lowers the loss of the training rows"
    names = names if start is None else f"those of version {start.version}"
    return prepared, config.model_copy(update={"features": chosen}), (f"features.made: {names}",)


def made_formulas(data: FitData, training: Training, *, left_out: Collection[str | None] = ()) -> dict[str, str]:
    """Return the formulas to add, by name; none where they do not lower the out-of-fold loss of a quick model.

    The columns `left_out`, such as private ones, are not used.
    """
    data, folds = _sampled(data, training.seed)
    before = _screened(data, folds, training)
    usable = [column for column in data.schema.encoded if column.name not in left_out]
    candidates = dict(_candidates(usable, before.gains))
    ranked = _ranked(data, candidates, before.residuals)
    for n_made in (MAX_MADE, MAX_MADE // 4):
        made = {name: candidates[name] for name in ranked[:n_made]}
        if not made:
            break
        formulas = {**data.features.formulas, **made}
        with_made = replace(data, features=data.features.model_copy(update={"formulas": formulas}))
        if _is_better(before.losses, _screened(with_made, folds, training).losses):
            return made
    return {}


def _is_better(before: Floats, after: Floats) -> bool:
    """Whether the mean loss falls by more than noise; no, if it is too large for a double."""
    with np.errstate(over="ignore", invalid="ignore"):
        gains = before - after
        needed = max(MIN_GAIN * float(before.mean()), 2.0 * float(gains.std()) / np.sqrt(len(gains)))
        return bool(float(gains.mean()) > needed)


def _sampled(data: FitData, seed: int) -> tuple[FitData, Ints]:
    """Return at most 20,000 rows with a fold for each: one of `validation`, if it has three or more, or at random."""
    rows = np.arange(len(data.rows))
    if len(rows) > MAX_ROWS:
        rows = np.sort(np.random.default_rng([seed, 80]).choice(rows, MAX_ROWS, replace=False))
    mask: Mask = np.isin(np.arange(len(data.rows)), rows)
    if data.n_folds >= N_FOLDS:
        return data.take(mask), data.folds[0][mask] % N_FOLDS
    return data.take(mask), np.random.default_rng([seed, 81]).permutation(len(rows)) % N_FOLDS


def _screened(data: FitData, folds: Ints, training: Training) -> _Screen:
    task, target = data.task, data.rows.target
    residuals = np.zeros((len(target), 1 if task.is_regression else task.n_outputs))
    losses, gains = np.zeros(len(target)), dict[str, float]()
    for fold in range(N_FOLDS):
        inside = folds == fold
        fitted = QUICK.fit(data.take(~inside), training)
        predictions, actual = fitted.predict_all(data.rows.batch.rows(inside)), target[inside]
        losses[inside] = task.losses(predictions, actual)
        if task.is_regression:
            residuals[inside, 0] = actual - predictions
            with np.errstate(over="ignore"):
                losses[inside] = np.square(losses[inside])
        else:
            residuals[inside] = _outputs(data)[inside] - predictions
        for name, gain in _gains(fitted).items():
            gains[name] = gains.get(name, 0.0) + gain
    return _Screen(residuals, losses, gains)


def _gains(fitted: SingleModel) -> dict[str, float]:
    """Return how much each feature, over its matrix columns, lowered the loss of the rows that were fitted."""
    model = fitted.model.inner if isinstance(fitted.model, RescaledModel) else fitted.model
    if not isinstance(model, FittedBoosting):
        return {}
    of_columns = model.gains @ fitted.features.membership
    return {column.name: float(gain) for column, gain in zip(fitted.features.columns, of_columns, strict=True)}


def _candidates(columns: Sequence[Column], gains: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Yield (name, formula) of pairs of the columns that the quick model uses most."""
    used = sorted(columns, key=lambda column: -gains.get(column.name, 0.0))
    numbers = [column for column in used if column.kind in ("number", "integer")]
    times = [column for column in used if column.kind in TIME_KINDS]
    for left, right in combinations(numbers[:MAX_COLUMNS], 2):
        for first, operator, second in (
            (left, "/", right),
            (right, "/", left),
            (left, "*", right),
            (left, "-", right),
            (left, "+", right),
        ):
            yield f"{first.name} {operator} {second.name}", f"{_quoted(first)} {operator} {_quoted(second)}"
    for left, right in combinations(times[:MAX_COLUMNS], 2):
        yield f"days from {right.name} to {left.name}", f"days({_quoted(left)}, {_quoted(right)})"


def _quoted(column: Column) -> str:
    name = column.name
    is_plain = name.isidentifier() and name.isascii() and not keyword.iskeyword(name) and name not in FUNCTIONS
    return name if is_plain else "`" + name.replace("`", "``") + "`"


def _ranked(data: FitData, candidates: Mapping[str, str], residuals: Floats) -> list[str]:
    """Return the candidates that go with target or residuals better than their columns do, the best first."""
    taken = {column.name for column in data.schema.columns} | set(data.features.formulas)
    texts = {name: text for name, text in candidates.items() if name not in taken}
    if not texts:
        return []
    formulas = Formulas.compile(data.schema, texts)
    ranks = {
        name: _ranks(column[:, 0])
        for name, column in formulas.values(data.rows.batch.feed).items()
        if np.isfinite(column).mean() >= MIN_PRESENT
    }
    ranks_of_columns = {name: _ranks(data.rows.batch.feed[name][:, 0]) for name in formulas.columns}
    least = MIN_ERRORS / np.sqrt(len(data.rows))
    by_purpose = []
    for explained in (_outputs(data), residuals):
        others = np.column_stack([_ranks(column) for column in explained.T])
        own = {name: _correlation(column, others) for name, column in ranks_of_columns.items()}
        scored = []
        for name, column in ranks.items():
            correlation = _correlation(column, others)
            gain = correlation - max(own[used] for used in formulas[name].columns)
            if gain > 0 and correlation > least:
                scored.append((gain, name))
        by_purpose.append([name for _, name in sorted(scored, reverse=True)])
    in_turns = [name for pair in zip_longest(*by_purpose) for name in pair if name is not None]
    return _distinct({name: ranks[name] for name in in_turns})


def _outputs(data: FitData) -> Floats:
    """Return the target as columns: itself, or an indicator of each class."""
    if data.task.is_regression:
        return data.rows.target[:, None]
    indicators: Floats = np.eye(data.task.n_outputs)[data.rows.target.astype(np.int64)]
    return indicators


def _distinct(ranks: Mapping[str, Floats]) -> list[str]:
    """Return the first names whose ranks no earlier one has as well."""
    kept: list[str] = []
    for name, column in ranks.items():
        if len(kept) < MAX_MADE and all(_correlation(column, ranks[other][:, None]) < MAX_ALIKE for other in kept):
            kept.append(name)
    return kept


def _ranks(column: Floats) -> Floats:
    """Return ranks of mean 0 and length 1, ties sharing theirs; a missing value has the rank of the median."""
    from scipy.stats import rankdata

    present = np.where(np.isfinite(column), column, np.nan)
    ranks = rankdata(present, nan_policy="omit")
    ranks = np.where(np.isnan(ranks), np.nanmean(ranks) if np.isfinite(present).any() else 0.0, ranks)
    centered = ranks - ranks.mean()
    length = float(np.sqrt(np.square(centered).sum()))
    scaled: Floats = centered / length if length > 0 else centered
    return scaled


def _correlation(ranks: Floats, others: Floats) -> float:
    """Return the largest absolute correlation of ranks with any of the columns of `others`."""
    return float(np.abs(ranks @ others).max())
