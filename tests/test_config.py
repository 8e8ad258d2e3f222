"""A config file -> frozen values, and the errors of a wrong one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from estimator.config import Config, read_config, resolve
from estimator.config.document import read_document
from estimator.config.sections import model_data
from estimator.config.validation import config_schema
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


def error_of(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(path, *overrides)
    return f"{caught.value.message} {caught.value.hint or ''}"


def test_source_and_target_make_a_config(tmp_path):
    config = read(written(tmp_path, "data: {path: a.csv, target: y}"))
    assert type(config.model).__name__ == "Ensemble"
    assert config.training.test_size == 0.2


def test_tutorial_config_is_read_to_the_letter():
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
def test_json_yaml_and_toml_read_alike(tmp_path, ending):
    assert read(written(tmp_path, SAME[ending], ending)).training.epochs == 7


WRONG = {
    "json": ('{\n  "data": {"path": "a.csv", "target": "y"},\n  "training": {\n    "epocs": 7\n  }\n}', 4),
    "yml": ("data:\n  path: a.csv\n  target: y\ntraining:\n  epocs: 7\n", 5),
    "toml": ('[data]\npath = "a.csv"\ntarget = "y"\n\n[training]\nepocs = 7\n', 6),
}


@pytest.mark.parametrize("ending", WRONG)
def test_unknown_key_is_reported_with_its_line(tmp_path, ending):
    text, line = WRONG[ending]
    message = error_of(written(tmp_path, text, ending))
    assert f"config.{ending}:{line}: training.epocs: unknown key" in message
    assert "did you mean 'epochs'?" in message


def test_all_faults_are_reported_at_once(tmp_path):
    message = error_of(
        written(
            tmp_path, "data: {path: a.csv}\nmodel:\n  kind: dense\n  dropout: 2\ntraining:\n  epochs: 0\n  tset: 1\n"
        )
    )
    assert "4 faults" in message
    for location in ("data.target: missing", "model.dropout", "training.epochs", "training.tset"):
        assert location in message


def test_translated_key_is_reported_as_written(tmp_path):
    message = error_of(written(tmp_path, "data: {path: a.csv, target: y}\ntrain_test_ratio: 1.5\n"))
    assert "config.yml:2: train_test_ratio" in message


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
        ("training: {epochs: many}", "expected a whole number, got 'many'"),
    ],
)
def test_wrong_value_is_explained(tmp_path, line, expected):
    assert expected in error_of(written(tmp_path, f"data: {{path: a.csv, target: y}}\n{line}\n"))


def test_override_wins_over_environment_and_file(tmp_path):
    path = written(tmp_path, SAME["yml"])
    environment = {"ESTIMATOR_CONFIG__TRAINING__EPOCHS": "8"}
    assert read(path, environment=environment).training.epochs == 8
    assert read(path, "training.epochs=9", environment=environment).training.epochs == 9


@pytest.mark.parametrize("text", ["training.epochs", "=5", "training..epochs=5"])
def test_malformed_override_is_explained(tmp_path, text):
    assert "SECTION.KEY=VALUE" in error_of(written(tmp_path, SAME["yml"]), text)


def test_yaml_scalars_follow_the_core_schema(tmp_path):
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
def test_broken_file_is_reported_with_its_line(tmp_path, text, ending, expected):
    assert expected in error_of(written(tmp_path, text, ending))


def test_missing_file_hints_at_init(tmp_path):
    assert "estimator init" in error_of(tmp_path / "none.yml")


def test_resolved_config_reads_as_itself(tmp_path):
    config = read(EXAMPLES / "boston" / "config.json")
    path = written(tmp_path, json.dumps(model_data(config, "dense")), "json")
    assert read(path) == config


@pytest.mark.parametrize(
    ("override", "read_as"), [("data.drop=[a, b]", ["a", "b"]), ('data.drop=["a"]', ["a"]), ("data.drop=[]", [])]
)
def test_override_is_read_as_in_a_file(tmp_path, override, read_as):
    assert read(written(tmp_path, SAME["yml"]), override).data.drop == read_as


def test_another_kind_starts_from_its_own_defaults(tmp_path):
    path = written(tmp_path, "data: {path: a.csv, target: y}\nmodel: {kind: boosting, n_estimators: 5}\n")
    assert type(read(path, "model.kind=linear").model).__name__ == "Linear"
    assert read(path, "model.kind=boosting").model.n_estimators == 5


def test_fault_in_hyphenated_column_has_its_line(tmp_path):
    text = "data: {path: a.csv, target: y}\nschema:\n  columns:\n    marital-status:\n      kidn: text\n"
    assert "config.yml:5: schema.columns.marital-status.kidn: unknown key" in error_of(written(tmp_path, text))


CALLBACKS = """data: {path: a.csv, target: y}
model: MODEL
training:
  callbacks:
    - {kind: early_stopping, patience: 3}
    - {kind: learning_rate_schedule}
    - {kind: EarlyStopping, pateince: 3}
"""


@pytest.mark.parametrize("model", ["{kind: dense}", "{members: [{kind: linear}, {kind: dense}, {kind: dense}]}"])
def test_callbacks_are_checked_before_any_row_is_read(tmp_path, model):
    message = error_of(written(tmp_path, CALLBACKS.replace("MODEL", model)))
    assert "2 faults" in message
    assert "config.yml:6: training.callbacks.1.kind: no callback called 'learning_rate_schedule'" in message
    assert "config.yml:7: training.callbacks.2.pateince: callback 'early_stopping' has no setting 'pateince'" in message


def test_model_checkpoint_is_a_callback(tmp_path):
    text = "data: {path: a.csv, target: y}\nmodel: {kind: dense}\ntraining: {callbacks: [{kind: model_checkpoint}]}\n"
    assert read(written(tmp_path, text)).training.callbacks[0].kind == "model_checkpoint"


MANY = """$schema: config.schema.json
data: {path: a.csv, target: y, sample_wieght: w, drop: [y]}
name: my model
model:
  kind: dens
training:
  epochs: true
  test_size: 20
  split: {kind: grup}
  callbacks:
    - {kind: early_stoping, patience: many}
    - {patience: 3}
    - {kind: EarlyStopping, pateince: 3}
evaluation:
  metrics: [rmse, mea]
features: {columns: {a: {encoder: onehott}}}
monitoring: {every: 3 dayz}
serving: {port: 99999, page: maybe}
"""
MANY_FAULTS = (
    "2: data.sample_wieght: unknown key",
    "2: data.drop.0: 'y' is the target",
    "3: name: expected text that matches",
    "5: model.kind: no model called 'dens' (did you mean 'dense'?)",
    "7: training.epochs: expected a whole number, got true",
    "8: training.test_size: expected a number between 0 and 1, got 20 (20% is written 0.2)",
    "9: training.split.kind: expected one of 'random', 'group', 'time', 'column' or 'rows', got 'grup'",
    "11: training.callbacks.0.kind: no callback called 'early_stoping' (did you mean 'early_stopping'?",
    "12: training.callbacks.1.kind: missing",
    "13: training.callbacks.2.pateince: callback 'early_stopping' has no setting 'pateince'",
    "15: evaluation.metrics.1: no metric called 'mea' (did you mean 'mae'?)",
    "16: features.columns.a.encoder: no encoder called 'onehott'",
    "17: monitoring.every: expected a duration",
    "18: serving.port: expected a number between 0 and 65535, got 99999",
    "18: serving.page: expected true or false, got 'maybe'",
)


def test_no_fault_hides_another(tmp_path):
    lines = error_of(written(tmp_path, MANY)).splitlines()
    assert lines[0] == f"{len(MANY_FAULTS)} faults in the config:"
    assert [
        fault for fault, line in zip(MANY_FAULTS, lines[1:], strict=True) if f"config.yml:{fault}" not in line
    ] == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "model: {kind: dense, optimizer: {name: adam, learning_rat: 1, beta_1: x}}",
            "model.optimizer.beta_1: expected a",
        ),
        (
            "model: {kind: dense, layers: [8, {units: 8, activation: rellu}]}",
            "model.layers.1.activation: no activation",
        ),
        (
            "model: {kind: dense, kernel_initializer: glorot}",
            "model.kernel_initializer: no initializer called 'glorot'",
        ),
        ("model: {kind: dense, loss: msse}", "model.loss: no loss called 'msse'"),
        ("model: {members: [{kind: linear}, {kind: bosting}]}", "model.members.1.kind: no model called 'bosting'"),
        ("model: {members: [{kind: boosting, num_leaves: x}]}", "model.members.0.num_leaves: expected a whole number"),
        ("training: {class_weight: balancd}", "expected 'balanced' or a mapping of keys to values, got 'balancd'"),
        ("training: {split: {kind: time}}", "training.split: kind time needs `column`"),
        ("training: {callbacks: [early_stopping, {kind: model_chekpoint}]}\nmodel: {kind: dense}", "callbacks.1.kind"),
        ("data: {path: 5, target: NO, drop: y}", "expected a list, got 'y' (a list of one is written [y])"),
        ("data: {path: a, target: true}", 'expected text, got true (in quotes it is text: "true"'),
        ("data: {path: a, target: y, task: regression}\ntraining: {class_weight: balanced}", "has no classes"),
        ("deployment: {kind: dokcer}", "no target called 'dokcer' (did you mean 'docker'?"),
        ("deployment: {kind: docker, environment: [a]}", "environment: expected a mapping of keys"),
        ("schema: {columns: {float: {kind: number, nullable: 3}}}", "schema.columns.float.nullable: expected"),
        ("tuning: {limits: {rmse: [1]}}", "tuning.limits.rmse: expected a number or text, got [1]"),
    ],
)
def test_every_value_is_reported_at_its_own_key(tmp_path, line, expected):
    text = line if line.startswith("data") else f"data: {{path: a.csv, target: y}}\n{line}"
    assert expected in error_of(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "ending", "expected"),
    [
        ('{"a": 1,\n "b": {"c": 1, "c": 2},\n "a": 2}', "json", "config.json:2: the key 'c' is given twice, first in"),
        ('{"a": 1,\n "a": 2}', "json", "config.json:2: the key 'a' is given twice, first in line 1"),
        ("a: {b: 1, b: 2}\nc: 1\nc: 2\n", "yml", "2 faults"),
        ("a = 1\na = 2\n", "toml", "config.toml:2: not TOML: cannot overwrite a value"),
        ('{"a": 1,}', "json", "config.json:1: not JSON: a comma too many"),
        ("{'a': 1}", "json", 'write text in "double quotes"'),
        ('{"a": 1 // one\n}', "json", "JSON does not have"),
        ('{"a": True}', "json", "write true"),
        ('{"a": 1\n "b": 2}', "json", "config.json:2: not JSON: a comma is missing before this (column 2)"),
        ('{"a": [1, 2', "json", "it ends too early"),
        ("a:\n\tb: 1\n", "yml", "config.yml:2: not YAML: a tab at the start of the line"),
        ("a: b: c\n", "yml", "config.yml:1: not YAML: a colon in the middle of a value"),
        ("a: \x07\n", "yml", "config.yml: not YAML"),
        ("a: &x [1, 2]\nb: *y\n", "yml", "config.yml:2: not YAML: found undefined alias"),
        ("a: " + "&a [" * 80 + "]" * 80, "yml", "too large for a config"),
    ],
)
def test_broken_text_says_what_to_do(tmp_path, text, ending, expected):
    assert expected in error_of(written(tmp_path, text, ending))


def test_a_config_in_another_encoding_is_named(tmp_path):
    path = tmp_path / "config.yml"
    path.write_bytes("data: {path: a, target: y}\nname: caf\u00e9\n".encode("latin1"))
    assert "config.yml:2: expected UTF-8, got the byte 0xe9" in error_of(path)
    path.write_bytes("data: {path: a, target: y}".encode("utf-16"))
    assert "is UTF-16, expected UTF-8" in error_of(path)


def test_merged_yaml_mappings_are_read(tmp_path):
    text = "base: &base {a: 1, b: 2}\nother: {<<: *base, b: 3}\n"
    assert read_document(written(tmp_path, text)).values["other"] == {"a": 1, "b": 3}


def test_entries_of_a_list_of_tables_have_their_own_line(tmp_path):
    text = '[data]\npath = "a"\ntarget = "y"\n[model]\nkind = "dense"\n' + "".join(
        f'[[training.callbacks]]\nkind = "{kind}"\n' for kind in ("early_stopping", "early_stoping")
    )
    assert "config.toml:9: training.callbacks.1.kind: no callback" in error_of(written(tmp_path, text, "toml"))


def test_a_fault_of_an_override_names_the_override(tmp_path):
    path = written(tmp_path, SAME["yml"])
    assert "--set training.epochs: expected" in error_of(path, "training.epochs=0")
    with pytest.raises(ConfigError, match=r"ESTIMATOR_CONFIG__TRAINING__EPOCHS: training\.epochs: expected"):
        read(path, environment={"ESTIMATOR_CONFIG__TRAINING__EPOCHS": "0"})


def test_an_override_takes_a_column_whose_name_has_dots(tmp_path):
    config = read(written(tmp_path, SAME["yml"]), "features.columns.emp.var.rate.encoder=raw")
    assert config.features.columns["emp.var.rate"].encoder == "raw"


def test_the_key_in_an_error_is_explained_by_a_command(tmp_path, run):
    path = written(tmp_path, "data: {path: a.csv, target: y}\ntraining: {epocs: 1}\n")
    assert "estimator schema training explains the keys, as does docs/reference/config.md" in error_of(path)
    assert "training.epochs: integer, >= 1 (default 100)" in run("schema", "training")[1]["text"]
    assert run("schema", "model.dropout", "--json")[1]["keys"][0]["key"] == "model.dense.dropout"
    assert "did you mean 'training'?" in run("schema", "trainin")[2]


EDITED = {
    "$schema": "config.schema.json",
    "data": {"path": ["a.csv"], "target": "y"},
    "model": {
        "kind": "dense",
        "layers": [8, {"units": 4, "activation": "relu"}],
        "activations": ["relu", {"name": "elu", "alpha": 0.5}],
        "optimizer": {"name": "adam", "learning_rate": 0.01},
        "loss": "mae",
    },
    "training": {"callbacks": ["terminate_on_nan", {"kind": "early_stopping", "monitor": "val_mae"}]},
}


def test_the_json_schema_accepts_what_is_valid_and_nothing_else(tmp_path):
    validator = pytest.importorskip("jsonschema").Draft202012Validator(config_schema(SHELVES))
    members = {"members": [{"kind": "linear"}, {"kind": "boosting", "num_leaves": 8}]}
    for values in (EDITED, {**EDITED, "model": members}):
        assert resolve(values, SHELVES).data.target == "y"
        assert list(validator.iter_errors(values)) == []
    for section, content in (("training", {"epocs": 3}), ("model", {"kind": "dense", "layers": "8"}), ("nmae", "x")):
        assert list(validator.iter_errors({**EDITED, section: content})) != []


@pytest.mark.parametrize("ending", ["yml", "json"])
def test_init_names_the_json_schema_that_it_writes(ending, tmp_path, run):
    (tmp_path / "table.csv").write_text("a,b,y\n" + "".join(f"{n},{n % 3},{n * 2}\n" for n in range(60)))
    conf = tmp_path / f"config.{ending}"
    assert run("init", tmp_path / "table.csv", "--target", "y", "--conf", conf)[0] == 0
    first = {
        "yml": "# yaml-language-server: $schema=config.schema.json\n",
        "json": '{\n  "$schema": "config.schema.json",',
    }
    assert conf.read_text().startswith(first[ending])
    validator = pytest.importorskip("jsonschema").Draft202012Validator(
        json.loads((tmp_path / "config.schema.json").read_text())
    )
    assert list(validator.iter_errors(read_document(conf).values)) == []
    assert read(conf).data.target == "y"


def test_init_writes_no_format_that_it_cannot(tmp_path, run):
    (tmp_path / "table.csv").write_text("a,y\n1,2\n2,4\n")
    assert (
        "expected a name that ends in .yml or .json"
        in run("init", tmp_path / "table.csv", "--target", "y", "--conf", tmp_path / "config.toml")[2]
    )
