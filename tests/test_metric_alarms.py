"""The first metric of the config is an alarm: a worse ranking that losses hardly show, within the same budget."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from estimator import verbs
from estimator.core.task import Predictions, Task
from estimator.drift import DriftReference
from estimator.drift.held_out import HeldOutErrors
from estimator.drift.held_out_metric import HeldOutMetric
from estimator.evaluation.metrics import SHELF
from estimator.monitoring.degradation import DegradationTest, LabeledErrors
from estimator.monitoring.performance import live_performance
from estimator.monitoring.ranking_detector import RankingDetector
from estimator.monitoring.records import RecordReader, drift_reference
from estimator.monitoring.sequential import VersionMonitor
from estimator.prediction_log import PredictionRecord
from tests.conftest import read_example

THRESHOLD = 1096.0
TASK = Task("binary", ("no", "yes"))
EDGES = np.linspace(0.004, 0.996, 249)


def scored(n, *, seed, slope=1.3, shift=0.0):
    """Probabilities, 0.23 on average, and labels whose logits have another slope than those of the probabilities."""
    generator = np.random.default_rng(seed)
    x = 0.75 * (generator.normal(size=n) + shift)
    labels = generator.random(n) < 1.0 / (1.0 + np.exp(1.4 - slope * x))
    return 1.0 / (1.0 + np.exp(1.4 - x)), labels.astype(float)


def codes(probabilities):
    return 1 + np.searchsorted(EDGES, probabilities)


def predictions(probabilities):
    return TASK.predictions(np.column_stack([1.0 - probabilities, probabilities]))


def metric_of(name, probabilities, labels, **options):
    options = {"codes": codes(probabilities), "n_bins": 251, **options}
    return HeldOutMetric.of(name, SHELF.load(name)(), labels, predictions(probabilities), **options)


def labeled(probabilities, labels, metric):
    losses = -np.log(np.where(labels == 1.0, probabilities, 1.0 - probabilities))
    rows = LabeledErrors(losses, labels - probabilities, np.full(len(labels), np.nan))
    if metric is None:
        return rows
    ranked = np.column_stack([labels, codes(probabilities)]).astype(float)
    of_rows = ranked if metric.is_ranking else metric.metric.row_losses(labels, predictions(probabilities))
    return replace(rows, metric=of_rows)


def monitored(held_out, metric):
    rows = labeled(*held_out, metric)
    return DegradationTest(HeldOutErrors.of(rows.losses, rows.errors), None, metric)


def first_alarm(test, rows, *, per_day=500):
    alarms = np.flatnonzero(test.update(rows, np.arange(len(rows)) // per_day) >= THRESHOLD)
    return int(alarms[0]) + 1 if len(alarms) else None


def test_a_worse_ranking_is_found_where_the_log_loss_hardly_moves():
    held_out, later = scored(5000, seed=1), scored(6000, seed=2, slope=0.8)
    metric = metric_of("roc_auc", *held_out)
    losses = [labeled(*rows, metric).losses.mean() for rows in (held_out, later)]
    assert losses[1] < 1.08 * losses[0]
    assert first_alarm(monitored(held_out, None), labeled(*later, None)) is None
    test = monitored(held_out, metric)
    n_labels = first_alarm(test, labeled(*later, metric))
    assert n_labels is not None
    test = monitored(held_out, metric)
    test.update(labeled(*(values[:n_labels] for values in later), metric), np.arange(n_labels) // 500)
    message = test.message(TASK)
    assert message.startswith("predictions have become worse: auc 0.6"), message
    assert message.endswith("labels (0.7249 on held-out rows)"), message


def quiet_alarms(name, seeds, *, n=1500, **later):
    alarms = 0
    for seed in seeds:
        metric = metric_of(name, *scored(1000, seed=seed))
        test = monitored(scored(1000, seed=seed), metric).detectors["metric"]
        values = labeled(*scored(n, seed=1000 + seed, **later), metric).metric
        e_values = test.update(values, np.arange(n) // 100)
        alarms += bool(e_values.max() >= THRESHOLD)
    return alarms


@pytest.mark.parametrize("name", ["auc", "f1", "accuracy"])
def test_quiet_labels_keep_the_budget(name):
    # 15 periods of a test that raises a false alarm in 1,096: 0.3 alarms are expected of 20 such streams.
    assert quiet_alarms(name, range(20)) <= 2


def test_scores_that_all_move_are_no_worse_ranking():
    assert quiet_alarms("auc", range(12), n=2000, shift=1.2) == 0


def test_other_class_frequencies_are_no_worse_ranking():
    held_out, (probabilities, labels) = scored(2000, seed=3), scored(12_000, seed=4)
    kept = (labels == 0.0) | (np.random.default_rng(5).random(12_000) < 0.2)
    metric = metric_of("auc", *held_out)
    test = monitored(held_out, metric).detectors["metric"]
    rows = labeled(probabilities[kept], labels[kept], metric).metric
    assert test.update(rows[:3000], np.arange(3000) // 500).max() < THRESHOLD


def test_a_wave_of_scores_counts_as_fewer_rows():
    def wave(seed):
        generator = np.random.default_rng(seed)
        x = 0.75 * (np.repeat(generator.normal(size=100), 40) + generator.normal(size=4000))
        return 1.0 / (1.0 + np.exp(1.4 - x)), (generator.random(4000) < 1.0 / (1.0 + np.exp(1.4 - x))).astype(float)

    assert metric_of("auc", *wave(1), places=np.arange(4000)).design_effect > 5.0
    assert metric_of("auc", *scored(4000, seed=1), places=np.arange(4000)).design_effect == 1.0


def test_a_metric_of_a_missing_plug_in_is_not_monitored():
    stored = json.loads(json.dumps(asdict(metric_of("auc", *scored(500, seed=11)))))
    assert HeldOutMetric.from_data(stored) == metric_of("auc", *scored(500, seed=11))
    assert HeldOutMetric.from_data({**stored, "name": "of_a_plug_in"}) is None


@pytest.mark.parametrize("name", ["log_loss", "binary_crossentropy", "balanced_accuracy"])
def test_a_loss_that_is_monitored_already_is_not_monitored_twice(name):
    held_out = scored(500, seed=6)
    assert metric_of(name, *held_out) is None
    assert set(monitored(held_out, None).detectors) == {"loss", "too_low", "too_high"}


def test_held_out_figures_are_those_of_the_metric():
    held_out = scored(3000, seed=7)
    for name in ("auc", "f1", "accuracy", "precision", "recall", "brier"):
        metric = metric_of(name, *held_out)
        actual = metric.metric.scores(held_out[1], predictions(held_out[0]), np.ones((1, 3000)))[0]
        assert metric.score(metric.mean_loss) == pytest.approx(actual, abs=0.002), name


def test_rmse_counts_squared_errors_up_to_a_limit():
    errors = np.random.default_rng(8).normal(0.0, 2.0, 2000)
    zeros, ones = Predictions(np.zeros(2000)), np.ones(2000, int)
    metric = HeldOutMetric.of("rmse", SHELF.load("rmse")(), errors, zeros, codes=ones, n_bins=2)
    rows = LabeledErrors(np.abs(errors), errors, np.full(2000, np.nan), np.square(1.3 * errors))
    test = DegradationTest(HeldOutErrors.of(np.abs(errors), errors), None, metric)
    assert first_alarm(test, rows) is not None
    message = test.message(Task("regression"))
    assert "rmse 2.6" in message
    assert "(2.0" in message
    assert "on held-out rows; a row counts up to 8." in message


def test_one_error_of_a_perfect_model_is_no_alarm():
    perfect = np.repeat([0.01, 0.99], 200), np.repeat([0.0, 1.0], 200)
    for name in ("auc", "accuracy"):
        metric = metric_of(name, *perfect)
        test = monitored((np.full(400, 0.5), perfect[1]), metric).detectors["metric"]
        one_error = labeled(np.append(perfect[0], 0.01), np.append(perfect[1], 1.0), metric).metric
        assert test.update(one_error, np.zeros(401, int)).max() < THRESHOLD


def test_state_does_not_depend_on_batches():
    held_out, later = scored(1000, seed=9), scored(400, seed=10, slope=0.0)
    metric = metric_of("auc", *held_out)
    rows, periods = labeled(*later, metric).metric, np.arange(400) // 100
    whole, parts = (monitored(held_out, metric).detectors["metric"] for _ in range(2))
    at_once, pieces = whole.update(rows, periods), []
    for start in range(0, 400, 37):
        restored = monitored(held_out, metric).detectors["metric"]
        restored.restore(json.loads(json.dumps(parts.to_data())))
        pieces.append(restored.update(rows[start : start + 37], periods[start : start + 37]))
        parts = restored
    assert np.allclose(np.concatenate(pieces), at_once)
    assert at_once.max() > 100.0
    assert isinstance(whole, RankingDetector)
    whole.restart()
    assert (whole.e_value, whole.n_rows) == (0.0, 0)


@pytest.fixture(scope="module")
def credit(tmp_path_factory):
    """A function that trains a version on half of the loans, with one metric."""
    frame, versions = read_example("credit")[:2000], {}

    def train(name):
        if name not in versions:
            folder = tmp_path_factory.mktemp("credit")
            frame.write_csv(folder / "credit.csv")
            config = {
                "name": "credit",
                "data": {"path": "credit.csv", "target": "Status", "positive_class": "bad"},
                "model": {"kind": "linear"},
                "validation": {"folds": 0},
                "evaluation": {"metrics": [name], "bootstrap_samples": 100, "importance_repeats": 0},
            }
            (folder / "config.json").write_text(json.dumps(config))
            context = verbs.Context(store_path=str(folder / "models"))
            versions[name] = verbs.train.train(folder / "config.json", context).artefact
        return versions[name]

    return train


def loans(artefact, *, is_shuffled):
    """Records of loans that were not in training, with their labels, or with those of other loans."""
    rows = read_example("credit")[2000:].drop_nulls()
    inputs = rows.drop("Status").to_dicts()
    labels = rows["Status"].to_list()
    if is_shuffled:
        labels = rows["Status"].shuffle(seed=0).to_list()
    predicted = artefact.predictor.predict_batch(artefact.schema.read_rows(inputs))
    return [
        PredictionRecord(
            id=f"loan{index}",
            at=float(index),
            model="credit",
            version=artefact.version,
            inputs=inputs[index],
            response={
                "prediction": predicted.values[index],
                "probabilities": dict(zip(predicted.classes, predicted.probabilities[index].tolist(), strict=True)),
            },
            label=labels[index],
            labeled_at=float(index),
        )
        for index in range(rows.height)
    ]


@pytest.mark.parametrize(("name", "shown"), [("roc_auc", "auc"), ("f1", "f1")])
def test_a_version_is_monitored_by_the_metric_it_was_asked_for(credit, name, shown):
    artefact = credit(name)
    reader, found = RecordReader(artefact, drift_reference(artefact)), []
    for is_shuffled in (False, True):
        records = loans(artefact, is_shuffled=is_shuffled)
        monitor = VersionMonitor(reader.reference, THRESHOLD)
        for start in range(0, len(records), 100):
            part = records[start : start + 100]
            rows = reader.labeled_rows(part, reader.labels(part))
            if (monitor.update_labels(rows, np.full(len(part), start // 500)) >= THRESHOLD).any():
                break
        else:
            found.append(None)
            continue
        detector = monitor.degradation.detectors["metric"]
        found.append((reader.reference.metric.name, detector.mean > detector.usual))
    assert found == [None, (shown, True)]
    assert not any("becomes worse" in warning for warning in live_performance(reader, records).warnings)


def test_a_metric_without_an_alarm_is_said(credit):
    artefact = credit("balanced_accuracy")
    reader = RecordReader(artefact, drift_reference(artefact))
    warnings = live_performance(reader, loans(artefact, is_shuffled=False)).warnings
    assert any("no alarm can say that balanced_accuracy becomes worse: it is no mean" in text for text in warnings)
    older = credit("roc_auc")
    data = drift_reference(older).to_data()
    del data["metric"]
    reader = RecordReader(older, DriftReference.from_data(data))
    assert reader.reference.metric is None
    warnings = live_performance(reader, loans(older, is_shuffled=False)).warnings
    assert any("auc becomes worse: the version keeps too few held-out rows" in text for text in warnings)
