"""Texts -> words: what a word is, is told by the graph alone, also while words are learned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from sys import intern
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.features.encoders.base import EncoderInput
from estimator.features.encoders.standard import Scale
from estimator.graph.builder import DOUBLE, ML_DOMAIN, RUNTIME_DOMAIN, STRING, Graph, Output, Value
from estimator.graph.session import Session

# A word is a run of letters, marks and digits of any script.
WORD = r"[\pL\pM\pN]+"
MOST_READ, LONGEST_WORD = 1000, 50
ROWS_LEARNED_FROM = 20_000
# What a text's words become beside 1, 2, ... for those that are known.
UNKNOWN, NONE = 0, -1

Texts = Sequence[Sequence[str]]


def sample(learning: EncoderInput) -> EncoderInput:
    """Return what is learned from: of many texts a part, evenly spread."""
    step = max(1, len(learning.values) // ROWS_LEARNED_FROM)
    return replace(learning, values=learning.values[::step], target=learning.target[::step])


def split(values: npt.NDArray[Any]) -> Texts:
    """Return the words of texts, as the graph splits them."""
    graph = Graph()
    graph.input("text", STRING)
    session = Session(graph.finish([Output("words", _write_split(graph, "text"), STRING, rank=2)]))
    blocks = (words[:-1].tolist() for (words,) in session.each({"text": values.reshape(-1, 1)}))
    return [[intern(word) for word in row if word] for block in blocks for row in block]


def common_words(texts: Texts, *, fewest_rows: int, most: int) -> dict[str, int]:
    """Return word -> the number of texts that hold it, the commonest first; words are in lower case."""
    rows = Counter(word for text in texts for word in set(map(str.lower, text)))
    often = [(word, n) for word, n in rows.items() if n >= fewest_rows and len(word) <= LONGEST_WORD]
    return dict(sorted(often, key=lambda item: (-item[1], item[0]))[:most])


def word_counts(texts: Texts, words: Iterable[str]) -> Any:
    """Return how often each word occurs in each text: a sparse matrix of shape (texts, words)."""
    from scipy.sparse import csr_array

    place = {word: number for number, word in enumerate(words)}
    starts, columns, counts = [0], list[int](), list[float]()
    for text in texts:
        known = Counter(place[word] for word in map(str.lower, text) if word in place)
        columns += known.keys()
        counts += map(float, known.values())
        starts.append(len(columns))
    return csr_array((counts, columns, starts), shape=(len(texts), len(place)))


def unusual_spellings(texts: Texts, words: Iterable[str]) -> tuple[str, ...]:
    """Return the forms in which words occur, but for the usual ones."""
    known = set(words)
    seen = {word for text in texts for word in text if word.lower() in known}
    return tuple(sorted(seen - {form for word in known for form in _usual_forms(word)}))


def length_scale(texts: Texts) -> tuple[float, float]:
    """Return mean and deviation of log(1 + number of words)."""
    scale = Scale.of(np.log1p([float(len(text)) for text in texts]))
    return scale.mean, scale.deviation


def write_length(graph: Graph, places: str, scale: tuple[float, float]) -> Value:
    """Write the standardised log(1 + number of words), of shape (rows + 1, 1)."""
    is_word = graph("Cast", graph("Greater", places, graph.constant(NONE, np.int64)), to=DOUBLE)
    n_words = Value(graph, graph("ReduceSum", is_word, graph.constant([1], np.int64), keepdims=1))
    mean, deviation = scale
    return ((n_words + 1.0).op("Log") - mean) / deviation


def write_places(graph: Graph, column: str, words: Sequence[str], spellings: Sequence[str]) -> str:
    """Write the place of each word of a text, 1, 2, ..., of shape (rows + 1, words)."""
    known = {word: place for place, word in enumerate(words, start=1)}
    forms = {form: place for word, place in known.items() for form in _usual_forms(word)}
    forms |= {form: known[form.lower()] for form in spellings}
    return graph(
        "LabelEncoder",
        _write_split(graph, column),
        domain=ML_DOMAIN,
        keys_strings=[*forms, ""],
        values_int64s=[*forms.values(), NONE],
        default_int64=UNKNOWN,
    )


def write_counts(graph: Graph, places: str, n_words: int) -> Value:
    """Write how often each of the known words, at least one, occurs, of shape (rows + 1, words)."""
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


def write_block(graph: Graph, parts: Iterable[Value]) -> str:
    """Write values of all columns side by side, without the row that was added, of shape (rows, width)."""
    one_more = graph("Concat", *(part.name for part in parts), axis=1)
    return graph("Slice", one_more, graph.constant([0], np.int64), graph.constant([-1], np.int64))


def _write_split(graph: Graph, column: str) -> str:
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


def _usual_forms(word: str) -> list[str]:
    """Return a word in lower case, upper case and with a capital, where these are the same word."""
    return [form for form in dict.fromkeys((word, word.upper(), word.capitalize())) if form.lower() == word]
