"""Free text: the weighted counts of its words, drawn together to a few topics.

Words are weighted by how rare they are (Salton and Buckley, 1988, "Term-weighting approaches in automatic text
retrieval"); words that stand together become a topic (Deerwester et al., 1990, "Indexing by latent semantic
analysis"). What a word is, is told by the graph alone, also while words are learned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from estimator.encoders.base import Encoder, Learning
from estimator.encoders.standard import Scale
from estimator.graph import DOUBLE, ML_DOMAIN, RUNTIME_DOMAIN, STRING, Graph, Output, Value
from estimator.session import Session
from estimator.task import Floats

# A word is a run of letters, marks and digits of any script.
WORD = r"[\pL\pM\pN]+"
MOST_READ = 1000
MOST_WORDS, FEWEST_ROWS, LONGEST_WORD = 1000, 5, 50
MOST_TOPICS = 30
ROWS_LEARNED_FROM = 20_000
# What a text's words become beside 1, 2, ... for those that are known.
UNKNOWN, NONE = 0, -1
# Sums that differ in their last digit with the number of rows must not move a tree's threshold.
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
    def fit(cls, learning: Learning) -> Self:
        texts = list(_words_of(learning.values))
        scale = Scale.of(np.log1p([float(len(text)) for text in texts]))
        length = (scale.mean, scale.deviation)
        counts = [Counter(word.lower() for word in text) for text in texts]
        rows = Counter(word for count in counts for word in count)
        often = [(word, n) for word, n in rows.items() if n >= FEWEST_ROWS and len(word) <= LONGEST_WORD]
        words = dict(sorted(often, key=lambda item: (-item[1], item[0]))[:MOST_WORDS])
        if not words:
            return cls((), (), (), (), (), length)
        weights = _short(1.0 + np.log((1.0 + len(texts)) / (1.0 + np.array(list(words.values())))))
        weighted = _weighted(counts, list(words), weights)
        topics, means = _topics(weighted)
        seen = {word for text in texts for word in text if word.lower() in words}
        spellings = sorted(seen - {form for word in words for form in _usual_forms(word)})
        return cls(tuple(words), tuple(spellings), tuple(weights), topics, means, length)

    def names(self, column: str) -> tuple[str, ...]:
        return (f"{column}=words", *(f"{column}=topic {place}" for place in range(1, len(self.means) + 1)))

    @classmethod
    def nodes(cls, graph: Graph, fitted: Mapping[str, Self]) -> str:
        blocks = [part for column, encoder in fitted.items() for part in encoder._write(graph, column)]
        one_more = graph("Concat", *blocks, axis=1)
        return graph("Slice", one_more, graph.constant([0], np.int64), graph.constant([-1], np.int64))

    def _write(self, graph: Graph, column: str) -> Iterator[str]:
        """Write the length, of shape (rows + 1, 1), and the topics, of shape (rows + 1, topics)."""
        places = self._places(graph, column)
        is_word = graph("GreaterOrEqual", places, graph.constant(UNKNOWN, np.int64))
        n_words = graph("ReduceSum", graph("Cast", is_word, to=DOUBLE), graph.constant([1], np.int64), keepdims=1)
        mean, deviation = self.length
        yield (((Value(graph, n_words) + 1.0).op("Log") - mean) / deviation).name
        if self.words:
            yield self._write_topics(graph, _counts(graph, places, len(self.words))).name

    def _write_topics(self, graph: Graph, counts: Value) -> Value:
        weighted = _dampened(counts) * Value(graph, graph.constant([self.weights], np.float64))
        norm = Value(graph, graph("ReduceL2", weighted.name, graph.constant([1], np.int64), keepdims=1))
        share = weighted / norm.op("Max", 1.0)
        found = share.op("MatMul", Value(graph, graph.constant(self.topics, np.float64)))
        return (found * STEPS).op("Round") / STEPS - Value(graph, graph.constant([self.means], np.float64))

    def _places(self, graph: Graph, column: str) -> str:
        """Write the place of each word, 1, 2, ..., of shape (rows + 1, words)."""
        known = {word: place for place, word in enumerate(self.words, start=1)}
        forms = {form: place for word, place in known.items() for form in _usual_forms(word)}
        forms |= {form: known[form.lower()] for form in self.spellings}
        return graph(
            "LabelEncoder",
            _split(graph, column),
            domain=ML_DOMAIN,
            keys_strings=[*forms, ""],
            values_int64s=[*forms.values(), NONE],
            default_int64=UNKNOWN,
        )


def _split(graph: Graph, column: str) -> str:
    """Write the first words of each text, and "" after its last one, of shape (rows + 1, words).

    Without a row, or a word in any of them, the operators would give other shapes: there is one text more.
    """
    texts = graph("Reshape", column, graph.constant([-1], np.int64))
    one_more = graph("Concat", texts, graph.constant(np.array(["word"], dtype=object)), axis=0)
    words = graph(
        "Tokenizer", one_more, domain=RUNTIME_DOMAIN, tokenexp=WORD, mincharnum=1, mark=0, pad_value=""
    )  # fmt: skip
    first, last = graph.constant([0], np.int64), graph.constant([MOST_READ], np.int64)
    return graph("Slice", words, first, last, graph.constant([1], np.int64))


def _counts(graph: Graph, places: str, n_words: int) -> Value:
    """Write how often each word occurs, of shape (rows + 1, words)."""
    found = graph(
        "TfIdfVectorizer",
        places,
        mode="TF",
        min_gram_length=1,
        max_gram_length=1,
        max_skip_count=0,
        ngram_counts=[0],
        ngram_indexes=range(n_words),
        pool_int64s=range(1, n_words + 1),
    )
    return Value(graph, graph("Cast", found, to=DOUBLE))


def _dampened(counts: Value) -> Value:
    """Return 1 + log(count), and 0 for none."""
    return counts.op("Max", 1.0).op("Log") + counts.op("Min", 1.0)


def _words_of(texts: npt.NDArray[Any]) -> Iterator[list[str]]:
    """Yield the words of texts, as the graph splits them; of many texts a part is taken, evenly spread."""
    graph = Graph()
    graph.input("text", STRING)
    session = Session(graph.finish([Output("words", _split(graph, "text"), STRING, rank=2)]))
    step = max(1, len(texts) // ROWS_LEARNED_FROM)
    for (words,) in session.each({"text": texts[::step].reshape(-1, 1)}):
        yield from ([word for word in row if word] for row in words[:-1].tolist())


def _weighted(counts: Sequence[Counter[str]], words: Sequence[str], weights: Sequence[float]) -> Any:
    """Return texts as unit vectors of weighted words: a sparse matrix of shape (texts, words)."""
    from scipy.sparse import csr_array

    place = {word: number for number, word in enumerate(words)}
    rows, columns, values = [0], list[int](), list[float]()
    for count in counts:
        known = {place[word]: (1.0 + np.log(n)) * weights[place[word]] for word, n in count.items() if word in place}
        norm = np.linalg.norm(list(known.values()))
        columns += known
        values += [weight / norm for weight in known.values()]
        rows.append(len(columns))
    return csr_array((values, columns, rows), shape=(len(counts), len(words)))


def _topics(weighted: Any) -> tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]:
    """Return the directions in which texts differ most, of shape (words, topics), and the texts' means along them."""
    from sklearn.utils.extmath import randomized_svd

    _, strengths, directions = randomized_svd(weighted, min(MOST_TOPICS, weighted.shape[1]), random_state=0)
    found = directions[strengths > 1e-6 * strengths[0]].T
    scale = 1.0 / max(float((weighted @ found).std(axis=0).max()), 1e-12)
    topics = [_short(row) for row in found * scale]
    return tuple(map(tuple, topics)), tuple((weighted @ np.array(topics)).mean(axis=0).tolist())


def _short(values: Floats) -> list[float]:
    """Return numbers with the decimals that are kept of them."""
    found: list[float] = values.round(5).tolist()
    return found


def _usual_forms(word: str) -> list[str]:
    """Return a word in lower case, upper case and with a capital, where these are the same word."""
    return [form for form in dict.fromkeys((word, word.upper(), word.capitalize())) if form.lower() == word]
