"""A config file -> frozen values, and what is said when it is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from estimator.config import Config, read_config
from estimator.config.document import read_document
from estimator.errors import ConfigError
from estimator.models.nets.dense import Dense
from estimator.verbs.context import SHELVES

EXAMPLES = Path(__file__).parent.parent / "examples"


def read(path: Path, *overrides: str, environment: dict[str, str] | None = None) -> Config:
    return read_config(path, SHELVES, overrides=overrides, environment=environment)


def written(tmp_path: Path, text: str, ending: str = "yml") -> Path:
    path = tmp_path / f"config.{ending}"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(path, *overrides)
    return f"{caught.value.message} {caught.value.hint or ''}"


def test_source_and_target_make_a_config(tmp_path):
    config = read(written(tmp_path, "data: {path: a.csv, target: y}"))
    assert type(config.model).__name__ == "Ensemble"
    assert config.training.test_size == 0.2


def test_the_tutorial_is_read_to_the_letter():
    config = read(EXAMPLES / "boston" / "config.json")
    model = config.model
    assert isinstance(model, Dense)
    assert config.name == "house_pricing_model"
    assert [layer.units for layer in model.layers] == [64, 64, 32]
    assert (model.output_units, model.output_activation.name) == (1, "linear")
    assert (config.training.epochs, config.training.batch_size, config.training.test_size) == (17, 10, 0.2)
    assert config.evaluation.metrics == ["mae"]


SAME = {
    "json": '{"data": {"path": "a.csv", "target": "y"}, "training": {"epochs": 7}}',
    "yml": "data:\n  path: a.csv\n  target: y\ntraining:\n  epochs: 7\n",
    "toml": '[data]\npath = "a.csv"\ntarget = "y"\n\n[training]\nepochs = 7\n',
}


@pytest.mark.parametrize("ending", SAME)
def test_three_formats_say_the_same(tmp_path, ending):
    assert read(written(tmp_path, SAME[ending], ending)).training.epochs == 7


WRONG = {
    "json": ('{\n  "data": {"path": "a.csv", "target": "y"},\n  "training": {\n    "epocs": 7\n  }\n}', 4),
    "yml": ("data:\n  path: a.csv\n  target: y\ntraining:\n  epocs: 7\n", 5),
    "toml": ('[data]\npath = "a.csv"\ntarget = "y"\n\n[training]\nepocs = 7\n', 6),
}


@pytest.mark.parametrize("ending", WRONG)
def test_an_unknown_key_is_named_with_its_line(tmp_path, ending):
    text, line = WRONG[ending]
    said = refusal(written(tmp_path, text, ending))
    assert f"config.{ending}:{line}: training.epocs: unknown key" in said
    assert "did you mean 'epochs'?" in said


def test_all_faults_are_told_at_once(tmp_path):
    said = refusal(
        written(
            tmp_path, "data: {path: a.csv}\nmodel:\n  kind: dense\n  dropout: 2\ntraining:\n  epochs: 0\n  tset: 1\n"
        )
    )
    assert "4 faults" in said
    for place in ("data.target: missing", "model.dropout", "training.epochs", "training.tset"):
        assert place in said


def test_a_moved_key_is_named_as_it_was_written(tmp_path):
    said = refusal(written(tmp_path, "data: {path: a.csv, target: y}\ntrain_test_ratio: 1.5\n"))
    assert "config.yml:2: train_test_ratio" in said


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("model: {kind: forrest}", "no model called 'forrest'"),
        ("model: {kind: dense, optimizer: adma}", "did you mean 'adam'?"),
        ("model: {kind: dense, optimizer: {name: adam, learning_rat: 1}}", "did you mean 'learning_rate'?"),
        ("model: {kind: dense, activation: rellu}", "no activation called 'rellu'"),
        ("model: {kind: dense, layers: [8, 8], activations: [relu]}", "one per hidden layer (2), got 1"),
        ("evaluation: {metrics: [rmsee]}", "no metric called 'rmsee'"),
        ("features: {columns: {a: {encoder: onehott}}}", "no encoder called 'onehott'"),
        ("training: {epochs: many}", "valid integer"),
    ],
)
def test_a_wrong_word_is_explained(tmp_path, line, expected):
    assert expected in refusal(written(tmp_path, f"data: {{path: a.csv, target: y}}\n{line}\n"))


def test_an_override_wins_over_environment_and_file(tmp_path):
    path = written(tmp_path, SAME["yml"])
    environment = {"ESTIMATOR_CONFIG__TRAINING__EPOCHS": "8"}
    assert read(path, environment=environment).training.epochs == 8
    assert read(path, "training.epochs=9", environment=environment).training.epochs == 9


@pytest.mark.parametrize("text", ["training.epochs", "=5", "training..epochs=5"])
def test_a_malformed_override_is_explained(tmp_path, text):
    assert "SECTION.KEY=VALUE" in refusal(written(tmp_path, SAME["yml"]), text)


def test_yaml_means_what_it_says(tmp_path):
    path = written(tmp_path, "a: 1e-3\nb: NO\nc: 3.10\nd: 007\ne: null\nf: 'true'\ng: true\n")
    values = read_document(path).values
    assert values["a"] == 0.001
    assert values["b"] == "NO"
    assert str(values["c"]) == "3.10"
    assert values["d"] == "007"
    assert (values["e"], values["f"], values["g"]) == (None, "true", True)


@pytest.mark.parametrize(
    ("text", "ending", "expected"),
    [
        ('{"a": 1, "a": 2}', "json", "given twice"),
        ("a: 1\na: 2\n", "yml", "config.yml:2: the key 'a' is given twice"),
        ('{"a": \n 1,,}', "json", "config.json:2: not JSON"),
        ("a: [1\nb: 2\n", "yml", "not YAML"),
        ("a = \n", "toml", "config.toml:1: not TOML"),
        ("[1, 2]", "json", "expected sections with keys"),
        ("", "ini", "expected a file that ends in"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, text, ending, expected):
    assert expected in refusal(written(tmp_path, text, ending))


def test_a_missing_file_names_the_way_out(tmp_path):
    assert "estimator init" in refusal(tmp_path / "none.yml")


def test_the_resolved_config_reads_as_itself(tmp_path):
    from estimator.config.sections import model_data

    config = read(EXAMPLES / "boston" / "config.json")
    path = written(tmp_path, json.dumps(model_data(config, "dense")), "json")
    assert read(path) == config


@pytest.mark.parametrize(
    ("override", "read_as"), [("data.drop=[a, b]", ["a", "b"]), ('data.drop=["a"]', ["a"]), ("data.drop=[]", [])]
)
def test_an_override_is_read_as_in_a_file(tmp_path, override, read_as):
    assert read(written(tmp_path, SAME["yml"]), override).data.drop == read_as


def test_another_kind_starts_from_its_own_defaults(tmp_path):
    path = written(tmp_path, "data: {path: a.csv, target: y}\nmodel: {kind: boosting, n_estimators: 5}\n")
    assert type(read(path, "model.kind=linear").model).__name__ == "Linear"
    assert read(path, "model.kind=boosting").model.n_estimators == 5


def test_a_fault_in_a_column_with_a_hyphen_has_its_line(tmp_path):
    text = "data: {path: a.csv, target: y}\nschema:\n  columns:\n    marital-status:\n      kidn: text\n"
    assert "config.yml:5: schema.columns.marital-status.kidn: unknown key" in refusal(written(tmp_path, text))
