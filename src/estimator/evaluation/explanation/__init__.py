"""What answers rest on and where they are weak: importance, dependence, contributions, weak parts and groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from estimator.core.arrays import Floats
from estimator.data.schema import Batch
from estimator.evaluation.explanation.budget import affordable
from estimator.evaluation.explanation.contributions import Contributions, contributions, told
from estimator.evaluation.explanation.dependence import Dependence, dependence
from estimator.evaluation.explanation.groups import Fairness, Group, fairness, rates_in_words
from estimator.evaluation.explanation.importance import Importance, importance
from estimator.evaluation.explanation.parts import Part, pairs_of, parts_of
from estimator.evaluation.explanation.slices import Weak, Weakness, weakness
from estimator.evaluation.metrics import Metric
from estimator.models import Learned
from estimator.models.fitted import Labelled
from estimator.store.predictor import Predictor

SHOWN_DEPENDENCE = 6
PAIRED_COLUMNS = 8
EXAMPLES, BACKGROUND_ROWS, FEWEST_BACKGROUND = 3, 100, 10
# Predictions that contributions may cost, which settles how many rows an example is compared with.
ANSWERS, SHARE = 12_000, 0.3


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a report says beyond scores; `examples` are held-out rows with what each column adds to their answers."""

    importance: Sequence[Importance]
    dependence: Sequence[Dependence]
    examples: Sequence[Mapping[str, Any]]
    contributions: Contributions | None
    weakness: Weakness
    fairness: Sequence[Fairness]

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data, with null for what is not defined."""
        found: dict[str, Any] = _plain(asdict(self))
        return found


@dataclass(frozen=True, slots=True)
class Known:
    """Rows with their truth and raw answers by models that had not seen them; `groups` are the parts by column."""

    rows: Labelled
    raw: Floats
    groups: Mapping[str, Sequence[Part]]


@dataclass(frozen=True, slots=True)
class Asked:
    """How much is to be explained: shuffles a column, bootstraps, the level of intervals, and the seed."""

    repeats: int
    bootstrap_samples: int
    level: float
    seed: int


def explain(
    predictor: Predictor, learned: Learned, held_out: Labelled, known: Known, metric: tuple[str, Metric], asked: Asked
) -> Explanation:
    """Explain a predictor by rows it has not learned from; with no shuffles, weak parts and groups alone are told."""
    ranked = importance(
        predictor, held_out.batch, held_out.target, metric[1],
        repeats=asked.repeats, level=asked.level, seed=asked.seed,
    )  # fmt: skip
    names = [item.column for item in ranked]
    raw = predictor.predict_batch(held_out.batch).raw
    # Of two levels the second, of several the commonest is told.
    level = 0 if raw.ndim == 1 else 1 if raw.shape[1] == 2 else int(raw.mean(axis=0).argmax())
    picked = _spread(told(raw, np.full(len(raw), level))) if ranked else np.empty(0, np.int64)
    examples = held_out.batch.rows(picked)
    return Explanation(
        importance=ranked,
        dependence=dependence(predictor, held_out.batch, names[:SHOWN_DEPENDENCE], level=level, seed=asked.seed),
        examples=[predictor.schema.to_json_row(examples, place) for place in range(len(picked))],
        contributions=_contributions(predictor, learned, examples, held_out.batch, asked.seed) if ranked else None,
        weakness=_weakness(predictor, known, names, metric[1]),
        fairness=_fairness(predictor, known, metric, asked),
    )


def _spread(answers: Floats) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the places of the lowest, middle and highest answer."""
    order = np.argsort(answers, kind="stable")
    return order[np.unique(np.round(np.linspace(0, len(order) - 1, EXAMPLES)).astype(np.int64))]


def _contributions(predictor: Predictor, learned: Learned, rows: Batch, others: Batch, seed: int) -> Contributions:
    each = affordable(predictor, ANSWERS, share=SHARE) // EXAMPLES
    n_rows = int(np.clip(each // (2 * len(others.feed)), FEWEST_BACKGROUND, BACKGROUND_ROWS))
    drawn = np.sort(np.random.default_rng([seed, 82]).permutation(others.n_rows)[:n_rows])
    return contributions(predictor, rows, others.rows(drawn), learned=learned, seed=seed)


def _weakness(predictor: Predictor, known: Known, ranked: Sequence[str], metric: Metric) -> Weakness:
    parts = {
        column.name: parts_of(column, known.rows.batch.feed[column.name][:, 0]) for column in predictor.schema.features
    }
    paired = {name: parts[name] for name in ranked[:PAIRED_COLUMNS]}
    singles = [part for own in parts.values() for part in own]
    losses = np.abs(predictor.task.losses(known.raw, known.rows.target))
    answers = predictor.task.predictions(known.raw)
    return weakness(singles, pairs_of(paired), losses, known.rows.target, answers, metric)


def _fairness(predictor: Predictor, known: Known, metric: tuple[str, Metric], asked: Asked) -> list[Fairness]:
    answers = predictor.task.predictions(known.raw)
    found = [
        fairness(
            column, parts, predictor.task, known.rows.target, answers, metric,
            bootstrap_samples=asked.bootstrap_samples, level=asked.level, seed=asked.seed,
        )
        for column, parts in known.groups.items()
    ]  # fmt: skip
    return [item for item in found if item is not None]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


__all__ = [
    "Asked", "Contributions", "Dependence", "Explanation", "Fairness", "Group", "Importance", "Known", "Part", "Weak",
    "Weakness", "contributions", "explain", "parts_of", "rates_in_words",
]  # fmt: skip
