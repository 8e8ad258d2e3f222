"""Free text for trees: whether it holds each of the words that predict the target best.

A tree splits by one column at a time, which suits single words better than topics. Words are chosen by the correlation
of their presence with the target's ranks (Forman, 2003, "An extensive empirical study of feature selection metrics for
text classification", compares such measures).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from estimator.core.arrays import Floats
from estimator.features.encoders.base import EncoderInput
from estimator.features.encoders.target_mean import target_columns
from estimator.features.encoders.tokens import (
    TextEncoder,
    common_words,
    length_scale,
    mixed_case_spellings,
    sample,
    tokenize,
    word_counts,
)
from estimator.graph.builder import Graph, Value

MAX_CANDIDATES, MIN_ROWS = 2000, 20
MAX_WORDS = 500
# Among thousands of unrelated words, about one table in ten has one word beyond 4 standard errors.
MIN_STANDARD_ERRORS = 4.0


@dataclass(frozen=True, slots=True)
class WordPresence(TextEncoder):
    """Whether a text holds each of the most predictive words, after its length."""

    accepts: ClassVar[frozenset[str]] = frozenset({"text", "category"})
    words: tuple[str, ...]
    spellings: tuple[str, ...]
    length: tuple[float, float]

    @classmethod
    def fit(cls, training: EncoderInput) -> Self:
        training = sample(training)
        texts = tokenize(training.values)
        candidates = common_words(texts, min_rows=MIN_ROWS, max_words=MAX_CANDIDATES)
        errors = _standard_errors(word_counts(texts, candidates), target_columns(training))
        strength = dict(zip(candidates, errors.tolist(), strict=True))
        predictive = [word for word, error in strength.items() if error >= MIN_STANDARD_ERRORS]
        words = tuple(sorted(predictive, key=lambda word: (-strength[word], word))[:MAX_WORDS])
        return cls(words, mixed_case_spellings(texts, words), length_scale(texts))

    def names(self, column: str) -> tuple[str, ...]:
        return (f"{column}=length", *(f"{column} has {word}" for word in self.words))

    def write_features(self, graph: Graph, counts: Value) -> Value:
        return counts.op("Min", 1.0)


def _standard_errors(counts: Any, target: Floats) -> Floats:
    """Return how many standard errors the correlation of each word with the target's ranks is from 0."""
    from scipy.stats import rankdata

    ranks = rankdata(target, axis=0)
    ranks = (ranks - ranks.mean(axis=0)) / np.maximum(ranks.std(axis=0), 1e-12)
    frequency = (counts > 0).sum(axis=0) / len(target)
    covariance = np.abs((counts > 0).astype(np.float64).T @ ranks).max(axis=1)
    errors: Floats = covariance / np.sqrt(np.maximum(frequency * (1.0 - frequency), 1e-12) * len(target))
    return errors
