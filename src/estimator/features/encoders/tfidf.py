"""Free text for nets and linear models: TF-IDF weighted words, reduced to a few topics.

Rare words weigh more (Salton and Buckley, 1988, "Term-weighting approaches in automatic text retrieval"); words that
occur together form a topic (Deerwester et al., 1990, "Indexing by latent semantic analysis").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from estimator.core.arrays import Floats
from estimator.features.encoders.base import EncoderInput
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

MAX_WORDS, MIN_ROWS = 2000, 5
MAX_TOPICS = 30
# Topics are rounded to this grid: sums differ in the last digit with the batch size, features must not.
STEPS_PER_UNIT = 2.0**20


@dataclass(frozen=True, slots=True)
class Tfidf(TextEncoder):
    """The topics of a text, after its length; `topics` has a row per word."""

    accepts: ClassVar[frozenset[str]] = frozenset({"text", "category"})
    words: tuple[str, ...]
    spellings: tuple[str, ...]
    weights: tuple[float, ...]
    topics: tuple[tuple[float, ...], ...]
    means: tuple[float, ...]
    length: tuple[float, float]

    @classmethod
    def fit(cls, training: EncoderInput) -> Self:
        texts = tokenize(sample(training).values)
        length = length_scale(texts)
        words = common_words(texts, min_rows=MIN_ROWS, max_words=MAX_WORDS)
        if not words:
            return cls((), (), (), (), (), length)
        rarity = np.log((1.0 + len(texts)) / (1.0 + np.array(list(words.values()))))
        weights = (1.0 + rarity).round(5)
        topics, means = _fit_topics(_weighted(word_counts(texts, words), weights))
        return cls(tuple(words), mixed_case_spellings(texts, words), tuple(weights.tolist()), topics, means, length)

    def names(self, column: str) -> tuple[str, ...]:
        return (f"{column}=length", *(f"{column}=topic {number}" for number in range(1, len(self.means) + 1)))

    def write_features(self, graph: Graph, counts: Value) -> Value:
        dampened = counts.op("Max", 1.0).op("Log") + counts.op("Min", 1.0)
        weighted = dampened * Value(graph, graph.constant([self.weights], np.float64))
        norm = Value(graph, graph("ReduceL2", weighted.name, graph.constant([1], np.int64), keepdims=1))
        # Every word weighs at least 1, so only a text without any word has a smaller norm.
        unit = weighted / norm.op("Max", 1.0)
        topics = unit.op("MatMul", Value(graph, graph.constant(self.topics, np.float64)))
        rounded = (topics * STEPS_PER_UNIT).op("Round") / STEPS_PER_UNIT
        return rounded - Value(graph, graph.constant([self.means], np.float64))


def _weighted(counts: Any, weights: Floats) -> Any:
    """Return texts as unit vectors of weighted words, a sparse matrix of shape (texts, words)."""
    counts.data = (1.0 + np.log(counts.data)) * weights[counts.indices]
    norms = np.sqrt(counts.power(2).sum(axis=1))
    counts.data /= np.repeat(norms, np.diff(counts.indptr))
    return counts


def _fit_topics(weighted: Any) -> tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]:
    """Return the directions in which texts vary most, of shape (words, topics), and the texts' means along them."""
    from sklearn.utils.extmath import randomized_svd

    _, strengths, directions = randomized_svd(weighted, min(MAX_TOPICS, weighted.shape[1]), random_state=0)
    strong = directions[strengths > 1e-6 * strengths[0]].T
    # One scale for all topics: a rare one must not weigh as much as a common one.
    topics = (strong / max(float((weighted @ strong).std(axis=0).max()), 1e-12)).round(5)
    return tuple(map(tuple, topics.tolist())), tuple((weighted @ topics).mean(axis=0).tolist())
