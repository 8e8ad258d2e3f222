"""Free text: read like a category, tokenized by the graph, and used by every model."""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from itertools import groupby

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.checks.encoders import encode
from estimator.core.task import Task
from estimator.data.schema import Column, Schema
from estimator.data.schema.candidates import ColumnOverride
from estimator.data.schema.cells import CellError, read_cell
from estimator.data.schema.file import from_data, to_data
from estimator.data.schema.frames import read_frame, read_series
from estimator.data.schema.inference import infer_column
from estimator.errors import RowError
from estimator.features.encoders import EncoderInput
from estimator.features.encoders.tfidf import MAX_TOPICS, Tfidf
from estimator.features.encoders.tokens import MAX_WORDS_READ
from estimator.features.encoders.word_presence import WordPresence
from estimator.training.reproduction import warm_start
from estimator.verbs.explore import TableReference
from tests.clients import Client, gateway

NOTE = Column("note", "text", nullable=True, na_values=("NA",), example="a sunny flat")
ODD_TEXTS = [
    "", "   ", "!?", "one", "Großes HAUS, großes\tHaus\nhaus", "I ❤️ 😀 flats", "Квартира у РЕКИ", "हिन्दी ไทย 公寓",
    "peugeot_807_160-navi/on·board", "e\u0301te\u0301", "a\x01b\x7f\u200b\u2028c", "haus " * 50_000, "x" * 300_000,
]  # fmt: skip


@pytest.fixture(scope="module")
def listings(tables) -> pl.DataFrame:
    frame = pl.read_csv(tables / "airbnb_munich" / "listings.csv.gz", infer_schema=False)
    price = pl.col("price").str.replace_all(r"[$,]", "").cast(pl.Float64)
    words = {"name": "title", "neighborhood_overview": "overview"}
    return (
        frame.select(*(pl.col(old).alias(new) for old, new in words.items()), "accommodates", price)
        .drop_nulls("price")
        .head(1500)
    )


def fitted(texts: list[str]) -> Tfidf:
    values = np.array(texts, dtype=object)
    return Tfidf.fit(EncoderInput(values, np.zeros(len(values)), Task("regression")))


def encoded(encoder: Tfidf, texts: list[str]) -> np.ndarray:
    return encode(Tfidf, {"note": (encoder, np.array(texts, dtype=object))})


def words_of(text: str) -> list[str]:
    runs = groupby(text, lambda letter: unicodedata.category(letter)[0] in "LMN")
    return ["".join(letters) for is_word, letters in runs if is_word][:MAX_WORDS_READ]


def reference(encoder: Tfidf, text: str) -> list[float]:
    """Return the features of a text, in plain Python."""
    words, weighted = words_of(text), [0.0] * len(encoder.words)
    for word, count in Counter(word.lower() for word in words).items():
        if word in encoder.words:
            index = encoder.words.index(word)
            weighted[index] = (1.0 + math.log(count)) * encoder.weights[index]
    norm = math.sqrt(sum(weight * weight for weight in weighted)) or 1.0
    columns = zip(*encoder.topics, strict=True)
    projections = [
        sum(weight * loading for weight, loading in zip(weighted, topic, strict=True)) / norm for topic in columns
    ]
    mean, deviation = encoder.length
    length = (math.log1p(len(words)) - mean) / deviation
    return [length, *(value - middle for value, middle in zip(projections, encoder.means, strict=True))]


def test_tfidf_matches_a_reference_on_real_text(listings):
    texts = listings["overview"].fill_null("").to_list()
    encoder = fitted(texts)
    assert len(encoder.means) == MAX_TOPICS
    assert encoded(encoder, texts[:300]) == pytest.approx(
        np.array([reference(encoder, text) for text in texts[:300]]), abs=2e-6
    )


@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
def test_tfidf_matches_a_reference_on_odd_text(text):
    encoder = fitted([*ODD_TEXTS, "grosses Haus am Fluss", "Großes Haus", "ete\u0301"] * 5)
    in_batch = encoded(encoder, ["some other", text, "much longer than the others are, and then some"])
    assert encoded(encoder, [text])[0] == pytest.approx(reference(encoder, text), abs=2e-6)
    assert np.array_equal(encoded(encoder, [text])[0], in_batch[1])


def test_predictive_words_are_found_in_real_text(listings):
    texts = listings["title"].to_list()
    encoder = WordPresence.fit(
        EncoderInput(np.array(texts, dtype=object), listings["price"].to_numpy(), Task("regression"))
    )
    matrix = encode(WordPresence, {"title": (encoder, np.array(texts[:200], dtype=object))})
    word_sets = [{word.lower() for word in words_of(text)} for text in texts[:200]]
    assert {"shared", "bedrooms"} <= set(encoder.words)
    assert np.array_equal(matrix[:, 1:], [[float(word in words) for word in encoder.words] for words in word_sets])


def test_unrelated_words_are_left_out():
    texts = np.array(["a b", "c d"] * 200, dtype=object)
    unrelated, related = np.tile([0.0, 0.0, 1.0, 1.0], 100), np.tile([0.0, 1.0], 200)
    assert WordPresence.fit(EncoderInput(texts, unrelated, Task("binary", ("no", "yes")))).words == ()
    words = WordPresence.fit(EncoderInput(texts, related, Task("regression"))).words
    assert words == ("a", "b", "c", "d")


def test_case_and_punctuation_are_ignored():
    encoder = fitted(["Quiet street", "quiet park", "noisy bar", "Noisy street"] * 5)
    assert np.array_equal(encoded(encoder, ["quiet street"]), encoded(encoder, ["(QUIET)--Street!"]))


def test_words_used_together_form_a_topic():
    parks, bars = (
        ["quiet green park", "green park bench", "quiet bench"],
        ["loud bar", "bar music", "loud street music"],
    )
    encoder = fitted([*parks, *bars, "green park"] * 5)
    quiet, green, loud = encoded(encoder, ["quiet", "a green park", "loud"])[:, 1:3]
    assert np.linalg.norm(quiet - green) < np.linalg.norm(quiet - loud)


def test_one_endless_text_among_many_takes_little_memory():
    encoder = fitted(["quiet green park"] * 5)
    assert encoded(encoder, ["park"] * 9000 + ["park " * 200_000]).shape[0] == 9001


@pytest.mark.parametrize(
    ("value", "read"),
    [("  a Flat ", "  a Flat "), ("NA", ""), (None, ""), (7.0, "7"), (True, "true"), ("new\n", "new\n")],
)
def test_a_text_is_read_as_it_stands(value, read):
    assert read_cell(NOTE, value) == read


@pytest.mark.parametrize("value", [None, "", "a\x00b", ["a"]])
def test_a_gap_that_is_refused_and_no_text_are_noted(value):
    with pytest.raises(CellError, match=r"expected text.* got"):
        read_cell(Column("note", "text", example="a flat"), value)


@pytest.mark.parametrize("contract", [NOTE, Column("note", "text", unknown="error", example="a flat")])
def test_a_file_and_a_request_get_the_same_text(contract):
    cells = [*ODD_TEXTS, "NA", " NA\x1c", "a\x00b"]
    values, faults = read_series(contract, pl.Series("note", cells))
    messages = {fault.row - 1: fault.message for fault in faults}
    for place, cell in enumerate(cells):
        try:
            assert values[place, 0] == read_cell(contract, cell)
            assert place not in messages
        except CellError as error:
            assert messages[place] == str(error)


def test_a_text_column_survives_its_file_and_is_never_outside():
    schema = Schema((NOTE,), Column("y", "number"))
    assert from_data(to_data(schema), source="file") == schema
    assert schema.out_of_range(schema.read_rows([{"note": "never seen"}, {"note": None}])) == [[], []]


def test_a_settled_text_has_no_levels():
    found = infer_column(pl.Series("note", ["red", "blue", None] * 9), ColumnOverride(kind="text"))
    assert (found.kind, found.categories, found.nullable) == ("text", {}, True)


def test_names_of_rows_stay_out():
    codes = infer_column(pl.Series("code", [f"A {number}" for number in range(60)]))
    assert (codes.kind, codes.is_feature) == ("identifier", False)


@pytest.fixture(scope="module")
def made(listings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    listings.write_csv(folder / "listings.csv")
    (folder / "c.yml").write_text(
        "name: flats\ndata: {path: listings.csv, target: price}\nmodel: {kind: boosting, n_estimators: 40}\n"
        "schema: {columns: {title: {kind: category}}}\nfeatures: {columns: {title: {encoder: tfidf}}}\n"
    )
    return verbs.train.train(folder / "c.yml", verbs.Context(store_path=str(folder / "models")))


def test_text_and_a_category_of_words_reach_the_model(made):
    assert made.trained.fitted.features.kinds == {"title": "tfidf", "overview": "words", "accommodates": "raw"}
    assert made.trained.parity.largest_relative <= 1e-12
    assert {item.column for item in made.report.explanation.importance} == {"title", "overview", "accommodates"}


def test_a_file_and_requests_with_text_get_the_same_answers(made, listings):
    predictor = made.artefact.predictor
    rows = listings.drop("price").head(50)
    answers = predictor.predict(rows)
    one_by_one = [predictor.predict(row)[0] for row in rows.to_dicts()]
    assert np.array_equal(answers, one_by_one)


def test_text_is_answered_over_http(made, listings):
    client = Client(gateway(made.artefact))
    row = {"title": "Flat · 1 bed", "overview": "Großer Park\t😀\n" * 900, "accommodates": 2}
    answer = client.post("/v1/predict", [row, {**row, "overview": None}])
    assert answer.status_code == 200
    assert "overview" in client("GET", "/openapi.json").text
    refused = client.post("/v1/predict", [{**row, "overview": "a\x00b"}])
    assert (refused.status_code, refused.json()["detail"][0]["column"]) == (422, "overview")


def test_no_rows_get_no_answers(made, listings):
    predictor = made.artefact.predictor
    assert predictor.predict_batch(read_frame(predictor.schema, listings.drop("price").head(0))).values.shape == (0,)


def test_a_warm_start_keeps_its_words(made, tmp_path):
    start = warm_start(made.artefact)
    assert start.features.encoders == made.trained.fitted.features.encoders
    assert len(made.artefact.read("state/features.json")) < 1_500_000


def test_only_a_text_that_may_be_missing_may_be_left_out(made):
    predictor, row = made.artefact.predictor, {"title": "Flat", "overview": None, "accommodates": 2}
    assert [column.name for column in predictor.schema.features if not column.nullable] == ["title", "accommodates"]
    assert predictor.predict({"title": "Flat", "accommodates": 2}) == predictor.predict(row)
    with pytest.raises(RowError, match="title"):
        predictor.predict({"overview": "A flat", "accommodates": 2})


def test_texts_are_no_leak_when_explored(listings, tmp_path):
    listings.write_csv(tmp_path / "listings.csv")
    table = TableReference(str(tmp_path / "listings.csv"), "price")
    findings = verbs.explore.explore(table, verbs.Context(), page=tmp_path / "p.html").findings
    assert not [item for item in findings if "overview" in item.columns and item.severity in ("high", "medium")]
