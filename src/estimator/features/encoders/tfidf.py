"""Free text for nets and linear models: the weighted counts of its words, drawn together to a few topics.

Words are weighted by how rare they are (Salton and Buckley, 1988, "Term-weighting approaches in automatic text
retrieval"); words that stand together become a topic (Deerwester et al., 1990, "Indexing by latent semantic
analysis").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from estimator.core.arrays import Floats
from estimator.features.encoders import texts
from estimator.features.encoders.base import Encoder, EncoderInput
from estimator.graph.builder import Graph, Value

MOST_WORDS, FEWEST_ROWS = 1000, 5
MOST_TOPICS = 30
# Sums that differ in their last digit with the number of rows must not differ as features.
STEPS = 2.0**20


@dataclass(frozen=True, slots=True)
class Tfidf(Encoder):
    """Topics of a text, from its weighted words, and the logarithm of its length in words.

    `words` are lower case, `spellings` their further forms in training; `topics` has a row per word.
    """

    accepts: ClassVar[frozenset[str]] = frozenset({"text", "category"})
    words: tuple[str, ...]
    spellings: tuple[str, ...]
    weights: tuple[float, ...]
    topics: tuple[tuple[float, ...], ...]
    means: tuple[float, ...]
    length: tuple[float, float]

    @classmethod
    def fit(cls, learning: EncoderInput) -> Self:
        found = texts.split(texts.sample(learning).values)
        length = texts.length_scale(found)
        words = texts.common_words(found, fewest_rows=FEWEST_ROWS, most=MOST_WORDS)
        if not words:
            return cls((), (), (), (), (), length)
        rarity = np.log((1.0 + len(found)) / (1.0 + np.array(list(words.values()))))
        weights = (1.0 + rarity).round(5)
        topics, means = _topics(_weighted(texts.word_counts(found, words), weights))
        spellings = texts.unusual_spellings(found, words)
        return cls(tuple(words), spellings, tuple(weights.tolist()), topics, means, length)

    def names(self, column: str) -> tuple[str, ...]:
        return (f"{column}=length", *(f"{column}=topic {place}" for place in range(1, len(self.means) + 1)))

    @classmethod
    def nodes(cls, graph: Graph, fitted: Mapping[str, Self]) -> str:
        return texts.write_block(
            graph, (part for column, encoder in fitted.items() for part in encoder._write(graph, column))
        )

    def _write(self, graph: Graph, column: str) -> Iterator[Value]:
        places = texts.write_places(graph, column, self.words, self.spellings)
        yield texts.write_length(graph, places, self.length)
        if self.words:
            yield self._write_topics(graph, texts.write_counts(graph, places, len(self.words)))

    def _write_topics(self, graph: Graph, counts: Value) -> Value:
        """Write the topics of counted words, of shape (rows + 1, topics)."""
        dampened = counts.op("Max", 1.0).op("Log") + counts.op("Min", 1.0)
        weighted = dampened * Value(graph, graph.constant([self.weights], np.float64))
        norm = Value(graph, graph("ReduceL2", weighted.name, graph.constant([1], np.int64), keepdims=1))
        # No word weighs less than 1, so that only a text without any has a smaller norm.
        share = weighted / norm.op("Max", 1.0)
        found = share.op("MatMul", Value(graph, graph.constant(self.topics, np.float64)))
        return (found * STEPS).op("Round") / STEPS - Value(graph, graph.constant([self.means], np.float64))


def _weighted(counts: Any, weights: Floats) -> Any:
    """Return texts as unit vectors of weighted words: a sparse matrix of shape (texts, words)."""
    counts.data = (1.0 + np.log(counts.data)) * weights[counts.indices]
    norms = np.sqrt(counts.power(2).sum(axis=1))
    counts.data /= np.repeat(norms, np.diff(counts.indptr))
    return counts


def _topics(weighted: Any) -> tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]:
    """Return the directions in which texts differ most, of shape (words, topics), and the texts' means along them."""
    from sklearn.utils.extmath import randomized_svd

    _, strengths, directions = randomized_svd(weighted, min(MOST_TOPICS, weighted.shape[1]), random_state=0)
    found = directions[strengths > 1e-6 * strengths[0]].T
    # One scale for all: what is rare must not weigh as much as what is common.
    topics = (found / max(float((weighted @ found).std(axis=0).max()), 1e-12)).round(5)
    return tuple(map(tuple, topics.tolist())), tuple((weighted @ topics).mean(axis=0).tolist())
