"""Decision thresholds: chosen on out-of-fold rows, kept in the graph, and followed by everything that shows a class."""

from __future__ import annotations

import json
import shutil

import numpy as np
import polars as pl
import pytest

from estimator import verbs
from estimator.cli import evaluate, train
from estimator.config import Evaluation
from estimator.core.task import Predictions, Task
from estimator.data.schema import Batch
from estimator.errors import ArtefactError, ConfigError
from estimator.evaluation.metrics import SHELF
from estimator.evaluation.metrics.cost import MisclassificationCost
from estimator.evaluation.threshold import cell_counts, check_threshold, choose_threshold, scores_of_counts
from estimator.graph.session import Session
from estimator.models import Dataset, silent
from estimator.monitoring.performance import live_performance
from estimator.monitoring.records import RecordReader, drift_reference
from estimator.prediction_log import PredictionRecord
from estimator.serving.service import ResponseFormat, Service
from estimator.store.artefact import open_artefact
from estimator.tuning.trial import Objective, run_trial
from tests.clients import Client, gateway
from tests.conftest import read_example

TASK = Task("binary", ("good", "bad"))
COSTS = {"false_negative": 5.0, "false_positive": 1.0}


def drawn(n: int = 400, seed: int = 0) -> tuple[np.ndarray, Dataset]:
    """Return out-of-fold probabilities of rows with a rare class, and the rows, whose sample weights are 1 to 3."""
    generator = np.random.default_rng(seed)
    positive = generator.beta(1.0, 4.0, n).round(3)
    actual = (generator.uniform(size=n) < positive).astype(float)
    weights = generator.integers(1, 4, n).astype(float)
    return np.column_stack([1.0 - positive, positive]), Dataset(Batch({}, n), actual, weights, weights)


def chosen(probabilities, rows, **evaluation):
    threshold = choose_threshold(Evaluation(**evaluation), TASK, probabilities, rows)
    assert threshold is not None
    return threshold


def score_at(value, name, probabilities, rows):
    predictions = Task("binary", TASK.classes, value).predictions(probabilities)
    metric = MisclassificationCost(**COSTS) if name == "cost" else SHELF.load(name)()
    return float(metric.scores(rows.target, predictions, rows.sample_weights[None, :])[0])


@pytest.mark.parametrize("name", ["f1", "balanced_accuracy", "accuracy"])
def test_no_other_threshold_is_better(name):
    probabilities, rows = drawn()
    best = score_at(chosen(probabilities, rows, threshold=name).value, name, probabilities, rows)
    others = [score_at(value, name, probabilities, rows) for value in np.linspace(0.001, 0.999, 500)]
    assert best >= max(others) - 1e-12


def test_scores_of_counts_are_those_of_rows():
    probabilities, rows = drawn()
    values = np.array([0.1, 0.25, 0.7])
    counts = cell_counts(values, probabilities[:, 1], rows.target, rows.sample_weights[None, :])
    for name in ("f1", "recall", "precision", "balanced_accuracy", "accuracy", "cost"):
        metric = MisclassificationCost(**COSTS) if name == "cost" else SHELF.load(name)()
        expected = [score_at(value, name, probabilities, rows) for value in values]
        assert scores_of_counts(metric, TASK, counts)[0].tolist() == pytest.approx(expected)


def test_a_weight_of_three_chooses_as_three_rows():
    probabilities, rows = drawn(120)
    times = rows.weights.astype(int)
    ones = np.ones(times.sum())
    repeated = Dataset(Batch({}, len(ones)), np.repeat(rows.target, times), ones, ones)
    weighted = chosen(probabilities, rows, threshold="f1")
    assert weighted.value == chosen(np.repeat(probabilities, times, axis=0), repeated, threshold="f1").value
    assert weighted.value != chosen(
        probabilities, Dataset(rows.batch, rows.target, *2 * [np.ones(120)]), threshold="f1"
    )


def test_recall_is_reached_at_the_highest_precision():
    probabilities, rows = drawn()
    value = chosen(probabilities, rows, threshold="recall>=0.9").value
    assert score_at(value, "recall", probabilities, rows) >= 0.9
    reaching = [at for at in np.linspace(0.001, 0.9, 500) if score_at(at, "recall", probabilities, rows) >= 0.9]
    best = max(score_at(at, "precision", probabilities, rows) for at in reaching)
    assert score_at(value, "precision", probabilities, rows) >= best - 1e-12


def test_precision_out_of_reach_is_said():
    probabilities, rows = drawn()
    turned = probabilities[:, ::-1].copy()
    threshold = chosen(turned, rows, threshold="precision>=0.99")
    assert threshold.note is not None
    assert threshold.note.startswith("evaluation.threshold: no threshold reaches precision>=0.99 on the out-of-fold")


def test_costs_of_rows_alike_need_no_rows():
    """Elkan (2001): the ratio of the costs alone decides, where probabilities are calibrated."""
    probabilities, rows = drawn()
    alike = Dataset(rows.batch, rows.target, np.ones(400), np.ones(400))
    assert chosen(probabilities, alike, costs=COSTS).value == pytest.approx(1 / 6)
    assert chosen(None, alike, costs=COSTS).rows == 0


def test_costs_of_weighted_rows_are_lowest_out_of_fold():
    """Class weights move probabilities away from frequencies, and the threshold with them."""
    probabilities, rows = drawn()
    odds = 10.0 * probabilities[:, 1] / probabilities[:, 0]
    moved = np.column_stack([1.0 / (1.0 + odds), odds / (1.0 + odds)])
    threshold = chosen(moved, rows, costs=COSTS)
    assert (threshold.rows, threshold.reason) == (400, "the lowest cost on 400 out-of-fold rows")
    assert threshold.value > 0.5
    lowest = score_at(threshold.value, "cost", moved, rows)
    assert lowest <= min(score_at(value, "cost", moved, rows) for value in np.linspace(0.001, 0.999, 500)) + 1e-12


def test_rows_of_one_class_choose_nothing():
    probabilities, rows = drawn()
    alike = Dataset(rows.batch, np.zeros(len(rows)), rows.weights, rows.sample_weights)
    threshold = chosen(probabilities, alike, threshold="f1")
    assert threshold.value == 0.5
    assert "no threshold can be chosen on 400 out-of-fold rows, which are not of both" in str(threshold.note)
    assert chosen(None, rows, threshold="f1").value == 0.5
    assert chosen(None, rows, costs=COSTS).value == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    ("task", "evaluation", "message"),
    [
        (Task("regression"), {"threshold": 0.3}, "the target is a number, and a threshold decides between two classes"),
        (Task("multiclass", ("a", "b", "c")), {"costs": COSTS}, "expected a target of two classes, got 3: a, b, c"),
        (TASK, {"threshold": "auc"}, "auc is the same at every threshold"),
    ],
)
def test_what_has_no_threshold_is_named(task, evaluation, message):
    with pytest.raises(ConfigError, match=message):
        check_threshold(Evaluation(**evaluation), task)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"evaluation": {"threshold": "f1", "costs": COSTS}}, "evaluation.threshold: costs decide already"),
        ({"evaluation": {"threshold": 30}}, "evaluation.threshold: expected a number between 0 and 1 or text, got 30"),
        ({"evaluation": {"threshold": "f2"}}, "evaluation.threshold: no metric called 'f2'"),
        ({"evaluation": {"threshold": "recall"}}, "evaluation.threshold: recall alone is no aim"),
        ({"evaluation": {"threshold": "cost"}}, "evaluation.threshold: the lowest cost needs costs"),
        ({"evaluation": {"threshold": "f1>=0.9"}}, "or recall>= or precision>= and a number, got 'f1>=0.9'"),
        ({"evaluation": {"threshold": "recall<=0.9"}}, "or recall>= or precision>= and a number, got 'recall<=0.9'"),
        ({"evaluation": {"costs": {"false_negative": 0}}}, "evaluation.costs.false_positive: missing"),
        ({"evaluation": {"metrics": ["cost"]}}, "evaluation.metrics.0: no costs of wrong predictions are given"),
        ({"evaluation": {"threshold": "f1"}, "validation": {"folds": 0}}, "chosen on out-of-fold predictions, and"),
        (
            {"evaluation": {"costs": COSTS}, "validation": {"folds": 0}, "training": {"class_weight": "balanced"}},
            "evaluation.costs: with training.class_weight, out-of-fold predictions decide",
        ),
        (
            {"evaluation": {"costs": COSTS}, "validation": {"folds": 0}, "data": {"sample_weight": "w"}},
            "evaluation.costs: with data.sample_weight, out-of-fold predictions decide",
        ),
        ({"evaluation": {"threshold": 0.3}, "data": {"task": "regression"}}, "a number is predicted, not a class"),
    ],
)
def test_config_that_cannot_decide_is_an_error(sections, message):
    data = {"path": "t.csv", "target": "y", **sections.get("data", {})}
    with pytest.raises(ConfigError, match=message):
        verbs.Context().config({**sections, "data": data})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("credit")
    frame = read_example("credit")
    frame.head(3000).write_csv(path / "credit.csv")
    frame.tail(1000).write_csv(path / "new.csv")
    return path


def trained(folder, name="credit", **sections):
    """Return a new version of the credit example by logistic regression, and what `train` returned."""
    evaluation = {"bootstrap_samples": 200, "importance_repeats": 0, **sections.pop("evaluation", {})}
    content = {
        "name": name,
        "data": {"path": "credit.csv", "target": "Status", "positive_class": "bad", **sections.pop("data", {})},
        "model": {"kind": "linear"},
        "validation": {"folds": 3},
        "evaluation": evaluation,
        **sections,
    }
    (folder / f"{name}.json").write_text(json.dumps(content))
    return verbs.train.train(folder / f"{name}.json", verbs.Context(store_path=str(folder / "models")))


@pytest.fixture(scope="module")
def plain(folder):
    return trained(folder, "plain")


@pytest.fixture(scope="module")
def by_f1(folder):
    return trained(folder, "by_f1", evaluation={"threshold": "f1"})


@pytest.fixture(scope="module")
def by_costs(folder):
    return trained(folder, "by_costs", evaluation={"costs": COSTS, "metrics": ["log_loss", "cost"]})


def new_rows(folder):
    return pl.read_csv(folder / "new.csv", infer_schema=False)


def test_class_follows_the_threshold_and_the_rest_stays(folder, plain, by_f1):
    before, after = (new.artefact.predictor.predict_table(new_rows(folder)) for new in (plain, by_f1))
    value = by_f1.artefact.manifest["threshold"]["value"]
    assert 0.15 < value < 0.45
    assert ((after["probability_bad"] >= value) == (after["prediction"] == "bad")).all()
    assert after.drop("prediction").equals(before.drop("prediction"))
    assert (after["prediction"] == "bad").sum() > 1.3 * (before["prediction"] == "bad").sum()


def test_without_a_threshold_nothing_is_added(plain):
    manifest = plain.artefact.manifest
    assert "threshold" not in manifest
    assert "ArgMax" in manifest["operators"]
    assert plain.artefact.predictor.task.threshold is None
    assert "Decision threshold" not in plain.artefact.read("report.html").decode()


def test_held_out_labels_choose_nothing(folder, by_f1):
    frame = pl.read_csv(folder / "credit.csv", infer_schema=False)
    is_test = pl.Series(by_f1.trained.prepared.test_mask)
    split = {"kind": "rows", "test": ",".join(f"{row}-{row}" for row in np.flatnonzero(is_test.to_numpy()) + 1)}
    flipped = frame["Status"].replace({"bad": "good", "good": "bad"})
    thresholds = []
    for labels in (frame["Status"], flipped.zip_with(is_test, frame["Status"])):
        frame.with_columns(Status=labels).write_csv(folder / "labels.csv")
        sections = {"training": {"split": split}, "evaluation": {"threshold": "f1"}}
        new = trained(folder, "labels", data={"path": "labels.csv"}, **sections)
        thresholds.append(new.artefact.manifest["threshold"])
    first, second = thresholds
    assert first["value"] == second["value"]
    assert first["metrics"] != second["metrics"]


def test_scores_at_the_threshold_are_those_of_the_report(by_f1):
    effect, report = by_f1.report.threshold_effect, by_f1.report
    assert effect.at_threshold["f1"].value == pytest.approx(report.metrics["f1"].value, rel=1e-12)
    assert effect.at_threshold["f1"].low == pytest.approx(report.metrics["f1"].low, rel=1e-12)
    assert effect.gains["f1"].low > 0
    counts = report.confusion.counts
    assert 2 * counts[1, 1] / (2 * counts[1, 1] + counts[0, 1] + counts[1, 0]) == pytest.approx(
        report.metrics["f1"].value
    )


def test_baseline_of_the_metric_that_chose_is_the_best_constant(by_f1, by_costs):
    n_bad, n = by_f1.report.actual.sum(), len(by_f1.report.actual)
    assert by_f1.report.baseline["f1"].value == pytest.approx(2 * n_bad / (n + n_bad))
    assert by_f1.report.baseline["accuracy"].value == pytest.approx(1 - n_bad / n)
    assert by_costs.report.baseline["cost"].value == pytest.approx(min(5 * n_bad, n - n_bad) / n)


def test_threshold_is_everywhere(by_f1):
    artefact, value = by_f1.artefact, f"{by_f1.artefact.manifest['threshold']['value']:.4g}"
    sentence = f"predicted from a probability of {value} on: the best f1 on 2,400 out-of-fold rows"
    page, card = artefact.read("report.html").decode(), artefact.read("card.md").decode()
    assert sentence in train._text(by_f1)
    assert sentence in page
    assert f'<th scope="col">at {value}</th><th scope="col">at 0.5</th>' in page
    assert sentence in card
    assert train._data(by_f1)["threshold"] == artefact.manifest["threshold"]
    model = Client(gateway(artefact))("GET", "/v1/models/by_f1").json()
    assert model["threshold"]["value"] == artefact.manifest["threshold"]["value"]


def test_both_paths_of_the_server_follow_it(folder, by_f1):
    rows = [by_f1.artefact.schema.to_json_row(by_f1.trained.prepared.rows.batch, index) for index in range(60)]
    value = by_f1.artefact.manifest["threshold"]["value"]
    slow = Service(by_f1.artefact, verbs.context.config_of(by_f1.artefact).serving)
    body = json.dumps(rows).encode()
    of_slow = json.loads(slow.respond(body, "x", ResponseFormat.FULL).body)["predictions"]
    of_fast = Client(gateway(by_f1.artefact)).post("/v1/predict", rows).json()["predictions"]
    classes = [row["prediction"] for row in of_slow]
    assert classes == [row["prediction"] for row in of_fast]
    assert classes == ["bad" if row["probabilities"]["bad"] >= value else "good" for row in of_slow]
    likeliest = [max(row["probabilities"], key=row["probabilities"].get) for row in of_slow]
    assert classes != likeliest


def test_version_with_a_threshold_is_reproduced(folder, by_f1):
    context = verbs.Context(store_path=str(folder / "models"))
    assert verbs.verify.verify(str(by_f1.artefact.folder), context, folder=folder).is_equal


def test_evaluate_scores_its_classes(folder, by_costs, run):
    words = ["evaluate", "--model", by_costs.artefact.folder, "--input", folder / "new.csv", "--json"]
    code, result, _ = run(*words, "--require", "cost<=0.6")
    assert code == 0
    (_, false_positives), (false_negatives, _) = result["confusion"]["counts"]
    cost = (5 * false_negatives + false_positives) / result["rows"]
    assert result["metrics"]["cost"]["value"] == pytest.approx(cost)
    assert run(*words, "--require", "cost<=0.1")[0] == 3
    code, _, stderr = run(*words, "--require", "cost>=0.1")
    assert (code, "cost is better when lower, so expected cost<=0.1" in stderr) == (2, True)


def test_comparison_follows_each_versions_own_threshold(folder, plain, by_f1):
    context = verbs.Context(store_path=str(folder / "models"))
    names = [str(new.artefact.folder) for new in (plain, by_f1)]
    found = {one.metric: one for one in verbs.compare.compare(*names, context, table=(str(folder / "new.csv"), None))}
    assert found["log_loss"].gain.value == 0.0
    assert found["log_loss"].verdict == "not better"
    scores = [
        verbs.evaluate.evaluate(new.artefact, str(folder / "new.csv")).metrics["f1"].value for new in (plain, by_f1)
    ]
    assert [found["f1"].first, found["f1"].second] == pytest.approx(scores)
    assert found["f1"].gain.value > 0.02


def test_configs_are_compared_at_their_thresholds(folder, plain, by_f1):
    context = verbs.Context(store_path=str(folder / "models"))
    found = {
        one.metric: one
        for one in verbs.compare.compare(str(folder / "plain.json"), str(folder / "by_f1.json"), context)
    }
    assert found["log_loss"].gain.value == 0.0
    assert found["f1"].gain.value > 0.03


def test_trials_of_a_search_are_scored_at_their_thresholds(folder, plain, by_f1):
    scores = []
    for new, name in ((plain, "plain"), (by_f1, "by_f1")):
        config = verbs.Context().config(folder / f"{name}.json")
        objective = Objective({"f1": SHELF.load("f1")()}, [], can_compare_losses=False)
        table = new.trained.prepared.fit_data(config)
        scores.append(run_trial(table, config, objective, sample=None, thresholds={}, progress=silent).scores["f1"])
    assert scores[1] == pytest.approx(by_f1.report.folds["f1"].value, abs=0.02)
    assert scores[1] > scores[0] + 0.03


def test_logged_rows_are_scored_at_the_threshold(folder, by_costs):
    artefact = by_costs.artefact
    table = artefact.predictor.predict_table(new_rows(folder))
    rows = new_rows(folder).rows(named=True)
    records = [
        PredictionRecord(
            id=str(index), at=float(index), model="by_costs", version=artefact.version, inputs=row, label=row["Status"],
            response={"prediction": prediction, "probabilities": {"good": 1.0 - bad, "bad": bad}},
        )
        for index, (row, prediction, bad) in enumerate(
            zip(rows, table["prediction"], table["probability_bad"], strict=True)
        )
    ]  # fmt: skip
    reader = RecordReader(artefact, drift_reference(artefact))
    scored = verbs.evaluate.evaluate(artefact, str(folder / "new.csv"), include_learned=True).metrics
    live = live_performance(reader, records).metrics
    for name in ("cost", "f1", "accuracy"):
        assert live[name] == pytest.approx(scored[name].value)


def test_an_alarm_on_the_cost_knows_the_costs(folder):
    new = trained(folder, "cost_first", evaluation={"costs": COSTS, "metrics": ["cost"]})
    reader = RecordReader(new.artefact, drift_reference(new.artefact))
    metric = reader.reference.metric
    assert (metric.name, metric.bound) == ("cost", 5.0)
    assert metric.mean_loss == pytest.approx(new.report.metrics["cost"].value)
    response = {"prediction": "good", "probabilities": {"good": 0.95, "bad": 0.05}}
    record = PredictionRecord(id="1", at=1.0, model="m", version="v", inputs={}, response=response, label="bad")
    assert reader.labeled_rows([record], np.array([1.0])).metric.tolist() == [5.0]


def test_a_number_needs_no_folds(folder):
    new = trained(folder, "number", evaluation={"threshold": 0.3}, validation={"folds": 0})
    assert new.artefact.manifest["threshold"]["value"] == 0.3
    table = new.artefact.predictor.predict_table(new_rows(folder))
    assert ((table["probability_bad"] >= 0.3) == (table["prediction"] == "bad")).all()
    assert list(new.report.threshold_effect.curves) == ["recall", "precision"]


def test_one_split_chooses_on_the_rows_that_it_holds_out(folder):
    new = trained(folder, "split", evaluation={"threshold": "f1"}, validation={"folds": 1})
    assert new.artefact.manifest["threshold"]["rows"] == 360
    assert new.report.threshold_effect.gains["f1"].value > 0


def test_class_weights_and_costs_choose_by_rows(folder, by_costs):
    new = trained(folder, "weighted", evaluation={"costs": COSTS}, training={"class_weight": "balanced"})
    threshold = new.artefact.manifest["threshold"]
    assert threshold["value"] > by_costs.artefact.manifest["threshold"]["value"] + 0.05
    assert threshold["rows"] == 2400
    costs = [one.report.metrics["cost"] for one in (new, by_costs)]
    assert costs[0].low < costs[1].value < costs[0].high


@pytest.mark.parametrize("threshold", ["0.3", {"value": "high"}, {"value": 0.3}])
def test_manifest_with_another_threshold_is_no_version(by_f1, tmp_path, threshold):
    shutil.copytree(by_f1.artefact.folder, tmp_path / "version")
    manifest = {**by_f1.artefact.manifest, "threshold": threshold}
    (tmp_path / "version" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match="threshold: expected a number and its reason"):
        open_artefact(tmp_path / "version")


def test_refit_chooses_again_and_says_so(folder):
    new = trained(folder, "refit", evaluation={"threshold": "f1"}, training={"refit_full": True})
    threshold = new.artefact.manifest["threshold"]
    assert threshold["rows"] == 3000
    assert new.report.threshold_effect.threshold.rows == 2400
    assert any(f"and its threshold is {threshold['value']:.4g}, not" in note for note in new.report.notes)


def test_graph_has_the_threshold_of_the_manifest(by_f1):
    session = Session(by_f1.artefact.read("model.onnx"))
    golden = by_f1.artefact.read_json("golden.json")
    outputs = dict(zip(session.outputs, session.run(by_f1.artefact.schema.read_rows(golden["rows"]).feed), strict=True))
    expected = by_f1.artefact.predictor.task.predictions(outputs["probability"]).values
    assert outputs["prediction"].tolist() == expected.tolist()


def test_offline_page_follows_it(folder, by_f1, visit_file):
    page_path = folder / "page.html"
    verbs.page.page(open_artefact(by_f1.artefact.folder), page_path)
    rows = [by_f1.artefact.schema.to_json_row(by_f1.trained.prepared.rows.batch, index) for index in range(60)]
    expected = by_f1.artefact.predictor.predict(rows).tolist()
    page = visit_file(page_path)
    page.wait_for_selector("body[data-ready]")
    assert "bad is predicted from a probability of" in page.inner_text("#prediction")
    actual = page.evaluate("(rows) => rows.map((row) => model.predictRow(row).result.prediction)", rows)
    assert actual == expected


def test_predictions_of_more_classes_have_no_threshold():
    predictions = Predictions(
        np.array(["b", "c"], object), np.array([[0.1, 0.6, 0.3], [0.2, 0.2, 0.6]]), ("a", "b", "c")
    )
    assert predictions.codes.tolist() == [1, 2]


def test_requirements_that_are_none_are_usage_errors():
    import click

    with pytest.raises(click.UsageError, match="expected one of f1, then >= or <=, then a number"):
        evaluate._missed(["f1>0.9"], {"f1": None})
