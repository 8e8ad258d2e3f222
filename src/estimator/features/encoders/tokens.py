"""Free text as words: one tokenizer, which is part of the graph and also splits the training texts."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from sys import intern
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from estimator.features.encoders.base import Encoder, EncoderInput
from estimator.features.encoders.standard import Scale
from estimator.graph.builder import DOUBLE, ML_DOMAIN, RUNTIME_DOMAIN, STRING, Graph, Output, Value
from estimator.graph.session import Session

# A word is a run of letters, marks and digits of any script.
WORD_PATTERN = r"[\pL\pM\pN]+"
MAX_WORDS_READ, MAX_WORD_LENGTH = 1000, 50
MAX_TRAINING_TEXTS = 20_000
# The number of a word of the vocabulary is 1, 2, ...
UNKNOWN_WORD, NO_WORD = 0, -1

TokenizedTexts = Sequence[Sequence[str]]


class TextEncoder(Encoder):
    """An encoder of a vocabulary: features from the counts of its words, after the length of the text.

    `words` are in lower case; `spellings` are the mixed-case forms of them in the training texts; `length` is the mean
    and deviation of log(1 + number of words).
    """

    words: tuple[str, ...]
    spellings: tuple[str, ...]
    length: tuple[float, float]

    @abstractmethod
    def write_features(self, graph: Graph, counts: Value) -> Value:
        """Write the features of word counts, both of shape (rows + 1, ...)."""

    @classmethod
    def nodes(cls, graph: Graph, fitted: Mapping[str, Self]) -> str:
        blocks = [block for column, encoder in fitted.items() for block in encoder._blocks(graph, column)]
        padded = graph("Concat", *(block.name for block in blocks), axis=1)
        # The last row is the one that `_write_tokens` adds.
        return graph("Slice", padded, graph.constant([0], np.int64), graph.constant([-1], np.int64))

    def _blocks(self, graph: Graph, column: str) -> Iterator[Value]:
        numbers = _write_word_numbers(graph, column, self.words, self.spellings)
        yield _write_length(graph, numbers, self.length)
        if self.words:
            yield self.write_features(graph, _write_counts(graph, numbers, len(self.words)))


def sample(training: EncoderInput) -> EncoderInput:
    """Return evenly spaced rows, so that no more than about 20,000 texts are learned from."""
    step = max(1, len(training.values) // MAX_TRAINING_TEXTS)
    return replace(training, values=training.values[::step], target=training.target[::step])


def tokenize(values: npt.NDArray[Any]) -> TokenizedTexts:
    """Return the words of each text, as the graph splits them."""
    graph = Graph()
    graph.input("text", STRING)
    session = Session(graph.finish([Output("words", _write_tokens(graph, "text"), STRING, rank=2)]))
    blocks = (words[:-1].tolist() for (words,) in session.each({"text": values.reshape(-1, 1)}))
    return [[intern(word) for word in row if word] for block in blocks for row in block]


def common_words(texts: TokenizedTexts, *, min_rows: int, max_words: int) -> dict[str, int]:
    """Return word -> the number of texts that hold it, most frequent first; words are in lower case."""
    rows = Counter(word for text in texts for word in set(map(str.lower, text)))
    frequent = [(word, n) for word, n in rows.items() if n >= min_rows and len(word) <= MAX_WORD_LENGTH]
    return dict(sorted(frequent, key=lambda item: (-item[1], item[0]))[:max_words])


def word_counts(texts: TokenizedTexts, words: Iterable[str]) -> Any:
    """Return how often each word occurs in each text, a sparse matrix of shape (texts, words)."""
    from scipy.sparse import csr_array

    index_of = {word: index for index, word in enumerate(words)}
    starts, columns, counts = [0], list[int](), list[float]()
    for text in texts:
        count_of = Counter(index_of[word] for word in map(str.lower, text) if word in index_of)
        columns += count_of.keys()
        counts += map(float, count_of.values())
        starts.append(len(columns))
    return csr_array((counts, columns, starts), shape=(len(texts), len(index_of)))


def mixed_case_spellings(texts: TokenizedTexts, words: Iterable[str]) -> tuple[str, ...]:
    """Return the forms in which words occur, other than lower case, upper case and capitalized."""
    vocabulary = set(words)
    forms = {word for text in texts for word in text if word.lower() in vocabulary}
    return tuple(sorted(forms - {form for word in vocabulary for form in _case_forms(word)}))


def length_scale(texts: TokenizedTexts) -> tuple[float, float]:
    """Return the mean and deviation of log(1 + number of words)."""
    scale = Scale.of(np.log1p([float(len(text)) for text in texts]))
    return scale.mean, scale.deviation


def _write_length(graph: Graph, numbers: str, scale: tuple[float, float]) -> Value:
    """Write the standardized log(1 + number of words), of shape (rows + 1, 1)."""
    is_word = graph("Cast", graph("Greater", numbers, graph.constant(NO_WORD, np.int64)), to=DOUBLE)
    n_words = Value(graph, graph("ReduceSum", is_word, graph.constant([1], np.int64), keepdims=1))
    mean, deviation = scale
    return ((n_words + 1.0).op("Log") - mean) / deviation


def _write_word_numbers(graph: Graph, column: str, words: Sequence[str], spellings: Sequence[str]) -> str:
    """Write the number in the vocabulary of each word of a text, from 1, of shape (rows + 1, words)."""
    number_of = {word: number for number, word in enumerate(words, start=1)}
    forms = {form: number for word, number in number_of.items() for form in _case_forms(word)}
    forms |= {form: number_of[form.lower()] for form in spellings}
    return graph(
        "LabelEncoder",
        _write_tokens(graph, column),
        domain=ML_DOMAIN,
        keys_strings=[*forms, ""],
        values_int64s=[*forms.values(), NO_WORD],
        default_int64=UNKNOWN_WORD,
    )


def _write_counts(graph: Graph, numbers: str, n_words: int) -> Value:
    """Write how often each word of a vocabulary that is not empty occurs, of shape (rows + 1, words)."""
    counts = graph(
        "TfIdfVectorizer",
        numbers,
        mode="TF",
        min_gram_length=1,
        max_gram_length=1,
        max_skip_count=0,
        ngram_counts=[0],
        ngram_indexes=range(n_words),
        pool_int64s=range(1, n_words + 1),
    )
    return Value(graph, graph("Cast", counts, to=DOUBLE))


def _write_tokens(graph: Graph, column: str) -> str:
    """Write the first words of each text, padded with "", of shape (rows + 1, words).

    One text is added at the end: without a row, or a word in any row, the operators would return other shapes.
    """
    texts = graph("Reshape", column, graph.constant([-1], np.int64))
    padded = graph("Concat", texts, graph.constant(np.array(["word"], dtype=object)), axis=0)
    words = graph("Tokenizer", padded, domain=RUNTIME_DOMAIN, tokenexp=WORD_PATTERN, mincharnum=1, mark=0, pad_value="")
    first, last = graph.constant([0], np.int64), graph.constant([MAX_WORDS_READ], np.int64)
    return graph("Slice", words, first, last, graph.constant([1], np.int64))


def _case_forms(word: str) -> list[str]:
    """Return a word in lower case, upper case and capitalized, as far as they are the same word in lower case."""
    return [form for form in dict.fromkeys((word, word.upper(), word.capitalize())) if form.lower() == word]
