"""Free text for trees: whether it holds the words that tell most of the target.

Trees part rows by one column at a time, to which a word comes nearer than a topic of many. Words are chosen by the
correlation of their presence with the target's ranks (Forman, 2003, "An extensive empirical study of feature selection
metrics for text classification", compares such measures).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from estimator.core.arrays import Floats
from estimator.features.encoders import texts
from estimator.features.encoders.base import Encoder, EncoderInput
from estimator.features.encoders.target_mean import goals
from estimator.graph.builder import Graph, Value

MOST_LOOKED_AT, FEWEST_ROWS = 2000, 20
MOST_WORDS = 100
# Standard errors: among thousands of words that say nothing, about one in ten tables has one beyond it.
FEWEST_ERRORS = 4.0


@dataclass(frozen=True, slots=True)
class Words(Encoder):
    """Whether a text holds a word that tells of the target, word by word, and the logarithm of its length in words.

    `words` are lower case, `spellings` their further forms in training.
    """

    accepts: ClassVar[frozenset[str]] = frozenset({"text", "category"})
    words: tuple[str, ...]
    spellings: tuple[str, ...]
    length: tuple[float, float]

    @classmethod
    def fit(cls, learning: EncoderInput) -> Self:
        learning = texts.sample(learning)
        found = texts.split(learning.values)
        often = texts.common_words(found, fewest_rows=FEWEST_ROWS, most=MOST_LOOKED_AT)
        told = dict(zip(often, _told(texts.word_counts(found, often), goals(learning)).tolist(), strict=True))
        best = sorted((word for word in told if told[word] >= FEWEST_ERRORS), key=lambda word: (-told[word], word))
        words = tuple(best[:MOST_WORDS])
        return cls(words, texts.unusual_spellings(found, words), texts.length_scale(found))

    def names(self, column: str) -> tuple[str, ...]:
        return (f"{column}=length", *(f"{column} has {word}" for word in self.words))

    @classmethod
    def nodes(cls, graph: Graph, fitted: Mapping[str, Self]) -> str:
        return texts.write_block(
            graph, (part for column, encoder in fitted.items() for part in encoder._write(graph, column))
        )

    def _write(self, graph: Graph, column: str) -> Iterator[Value]:
        places = texts.write_places(graph, column, self.words, self.spellings)
        yield texts.write_length(graph, places, self.length)
        if self.words:
            yield texts.write_counts(graph, places, len(self.words)).op("Min", 1.0)


def _told(counts: Any, truth: Floats) -> Floats:
    """Return how far, in standard errors, the presence of each word is from saying nothing of the target's ranks."""
    from scipy.stats import rankdata

    ranks = rankdata(truth, axis=0)
    ranks = (ranks - ranks.mean(axis=0)) / np.maximum(ranks.std(axis=0), 1e-12)
    shares = (counts > 0).sum(axis=0) / len(truth)
    covered = np.abs((counts > 0).astype(np.float64).T @ ranks).max(axis=1)
    found: Floats = covered / np.sqrt(np.maximum(shares * (1.0 - shares), 1e-12) * len(truth))
    return found
