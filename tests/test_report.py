"""What a report says of a version: the same in the terminal, on its page and in its card."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from estimator import verbs
from estimator.cli import train
from estimator.core.task import Predictions
from estimator.evaluation.confusion import Confusion
from estimator.evaluation.metrics import SHELF
from estimator.evaluation.scores import Score, score
from estimator.pages import charts
from estimator.pages.axes import WIDTH
from estimator.training.report_page import _calibration
from tests.conftest import read_example

TREES = {"kind": "boosting", "n_estimators": 30}
MEMBERS = [{"kind": "linear"}, TREES, {**TREES, "learning_rate": 1e-6}]


def confusion_of(actual: list[int], predicted: list[int], classes: str) -> Confusion:
    probabilities = np.eye(len(classes))[predicted]
    predictions = Predictions(np.array(list(classes))[predicted], probabilities, tuple(classes))
    confusion = Confusion.of(np.array(actual, np.float64), predictions)
    assert confusion is not None
    return confusion


def test_recall_and_precision_are_those_of_the_counts():
    confusion = confusion_of([0, 0, 0, 1, 1], [0, 0, 1, 1, 1], "ab")
    assert confusion.counts.tolist() == [[2, 1], [0, 2]]
    assert [round(item.recall.value, 3) for item in confusion.by_class] == [0.667, 1.0]
    assert [round(item.precision, 3) for item in confusion.by_class] == [1.0, 0.667]


def test_a_class_without_rows_or_predictions_is_undefined():
    table = confusion_of([0, 0, 1], [0, 0, 0], "abc").table
    assert table[2][2:4] == ("0 (0 to 0.7935)", "never predicted")
    assert table[3][:3] == ("c", "0", "undefined")


def test_many_classes_name_the_one_they_are_taken_for():
    confusion = confusion_of([*range(8), 0, 0], [*range(8), 3, 3], "abcdefgh")
    assert confusion.table[0][-1] == "most often taken for"
    assert confusion.table[1][-1] == "d (2)"
    assert confusion.table[2][-1] == ""


def test_a_regression_has_no_confusion():
    assert Confusion.of(np.zeros(3), Predictions(np.zeros(3))) is None


def test_a_score_that_no_sample_changes_has_no_interval():
    right = Predictions(np.array(["a", "b"] * 10), np.tile(np.eye(2), (10, 1)), ("a", "b"))
    metrics = {name: SHELF.load(name)() for name in ("accuracy", "auc")}
    scores = score(np.tile([0.0, 1.0], 10), right, metrics, bootstrap_samples=50, confidence=0.95, seed=0)
    assert [str(item) for item in scores.values()] == ["1", "1"]


def test_a_score_without_an_interval_is_read_as_it_was_written():
    assert str(Score.from_data(Score(0.5, float("nan"), float("nan")).to_data())) == "0.5"


@pytest.fixture(scope="module")
def penguins(tmp_path_factory):
    """An ensemble of species, its output in the terminal, page and card."""
    folder = tmp_path_factory.mktemp("penguins")
    read_example("penguins").write_csv(folder / "penguins.csv")
    sections = {
        "data": {"path": str(folder / "penguins.csv"), "target": "species"},
        "model": {"kind": "ensemble", "members": MEMBERS},
        "validation": {"folds": 3},
        "evaluation": {"bootstrap_samples": 100, "importance_repeats": 1},
    }
    new = verbs.train.train(sections, verbs.Context(store_path=str(folder / "models")))
    artefact = new.artefact
    return new, train._text(new), artefact.read("report.html").decode(), artefact.read("card.md").decode()


def test_members_weights_and_losses_are_everywhere(penguins):
    new, text, page, card = penguins
    model = new.artefact.manifest["model"]
    assert new.report.leaderboard[0] == ("model", "weight", "out-of-fold log loss")
    assert {row[0] for row in new.report.leaderboard[1:]} == {"ensemble", "linear", "boosting 1", "boosting 2"}
    assert ("boosting 2", "0") in {row[:2] for row in new.report.leaderboard}
    loss = f"{model['loss of linear']:.4g}"
    assert f"  {loss}\n" in text
    assert f"<td>{loss}</td>" in page
    assert f"| {loss} |" in card


def test_recall_by_class_is_everywhere(penguins):
    new, text, page, card = penguins
    rows = new.report.confusion.table
    assert [row[0] for row in rows] == ["actual class", "Adelie", "Chinstrap", "Gentoo"]
    recall = rows[2][2]
    assert "actual class  rows  recall" in text
    assert f"<td>{recall}</td>" in page
    assert f"| Chinstrap | {rows[2][1]} | {recall} |" in card
    by_class = train._data(new)["confusion"]["by_class"]
    assert by_class["Chinstrap"]["recall"]["value"] == pytest.approx(float(recall.split()[0]), abs=1e-4)


def test_the_baseline_is_next_to_the_score_of_the_same_rows(penguins):
    _, text, page, card = penguins
    assert text.splitlines()[2].split() == ["metric", "held-out", "rows", "baseline", "3", "folds"]
    headings = [page.index(f'<th scope="col">{name}<') for name in ("this version", "baseline", "cross-validation")]
    assert headings == sorted(headings)
    assert "| metric | held-out rows | baseline | cross-validation |" in card


def test_intervals_over_folds_are_not_cut(penguins):
    folds = penguins[0].report.folds
    assert all(item.high - item.value == pytest.approx(item.value - item.low) for item in folds.values())


def outside(svg: str, *, left: float = 0, right: float = WIDTH) -> list[str]:
    """Return the marks of a chart that are not between two positions, with texts at 7 units per character."""
    marks = []
    for element in ElementTree.fromstring(svg).iter():
        tag, x = element.tag, float(element.get("x", element.get("x1", "nan")))
        if tag == "text" and element.get("transform") is None:
            size = 7 * len("".join(element.itertext()).removeprefix(element.findtext("title") or ""))
            start = x - {"end": size, "middle": size / 2}.get(element.get("text-anchor", ""), 0)
            marks += [str(element.attrib)] if start < 0 or start + size > WIDTH else []
        elif tag in ("rect", "line"):
            end = float(element.get("x2", x + float(element.get("width", 0))))
            marks += [str(element.attrib)] if min(x, end) < left - 0.1 or max(x, end) > right + 0.1 else []
    return marks


def test_calibration_has_an_interval_of_each_group():
    actual, probabilities = np.tile([0.0, 0.0, 0.0, 1.0], 100), np.linspace(0.05, 0.45, 400)
    svg = _calibration(actual, probabilities)
    assert (svg.count('class="dot"'), svg.count('class="whisker"')) == (10, 10)
    assert outside(svg) == []


def test_whiskers_stay_right_of_the_names():
    svg = charts.bars(["yes", "no"], [0.9, 0.1], [0.2, -0.4], [1.0, 0.3], title="importance")
    assert outside(svg, left=190) == []


def test_a_confusion_matrix_of_many_classes_fits_its_picture():
    names = [f"a long name of class {number}" for number in range(12)]
    assert outside(charts.matrix(np.full((12, 12), 123456), names, title="confusion")) == []
    assert outside(charts.matrix(np.full((2, 2), 123456), names[:2], title="confusion")) == []


def test_charts_of_a_class_problem_stay_inside(penguins):
    pictures = re.findall(r'<svg viewBox="0 0 480 .*?</svg>', penguins[2], re.DOTALL)
    assert pictures
    assert [outside(svg) for svg in pictures] == [[]] * len(pictures)
