"""Where a config comes from: a dictionary, an address, standard input; its rows; and the columns that it names."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import estimator
from estimator import verbs
from estimator.data.tables import frame_hash
from estimator.errors import ConfigError, EstimatorError, SourceError
from estimator.store.artefact import open_artefact
from tests.conftest import QUICK_SECTIONS
from tests.servers import serve

CONFIG = {**QUICK_SECTIONS, "data": {"target": "price"}, "model": {"kind": "linear"}}
DENSE = {"model": {"kind": "dense", "layers": [4]}, "training": {"epochs": 3}}


@pytest.fixture(scope="module")
def houses() -> pl.DataFrame:
    draw = np.random.default_rng(5)
    area = draw.uniform(40, 200, 120)
    return pl.DataFrame(
        {"area": area, "town": draw.choice(["Ulm", "Aalen"], 120), "price": area * 3 + draw.normal(size=120)}
    )


def only_version(store: Path):
    (folder,) = [path.parent for path in store.glob("*/*/manifest.json")]
    return open_artefact(folder)


def trained_rows(artefact) -> str:
    return artefact.manifest["data"]["files"]["rows"]


@pytest.mark.parametrize("form", ["polars", "pandas", "rows"])
def test_a_dictionary_trains_on_a_frame_or_rows(form, houses, tmp_path):
    data = {"polars": houses, "pandas": houses.to_pandas(), "rows": houses.to_dicts()}[form]
    predictor = estimator.train(CONFIG, data=data, store=tmp_path)
    artefact = only_version(tmp_path)
    assert predictor.name == artefact.name == "price"
    assert trained_rows(artefact) == frame_hash(houses)
    assert json.loads(artefact.read("config.json")) == CONFIG


def test_a_frame_gives_the_version_of_its_file(houses, tmp_path):
    houses.write_parquet(tmp_path / "houses.parquet")
    of_file = estimator.train(
        {**CONFIG, "data": {"path": str(tmp_path / "houses.parquet"), "target": "price"}}, store=tmp_path / "a"
    )
    assert estimator.train(CONFIG, data=houses, store=tmp_path / "b").graph == of_file.graph


def test_rows_that_were_not_kept_are_named_when_they_are_needed(houses, tmp_path):
    estimator.train(CONFIG, data=houses, store=tmp_path)
    with pytest.raises(SourceError, match="handed over in Python, and were not kept") as caught:
        verbs.verify.verify("price", verbs.Context(store_path=str(tmp_path)))
    assert "name it in data.path" in caught.value.hint


def test_the_hash_of_a_frame_tells_every_difference():
    frame = pl.DataFrame({"a": [1.0, None], "b": ["x", ""], "c": [[1], [2, 3]]})
    others = [
        frame.with_columns(a=pl.Series([1.0, float("nan")])),
        frame.with_columns(b=pl.Series(["x", None])),
        frame.with_columns(b=pl.Series(["", "x"])),
        frame.with_columns(c=pl.Series([[1, 2], [3]])),
        frame.with_columns(pl.col("a").cast(pl.Float32)),
        frame.rename({"a": "A"}),
        frame[:1],
    ]
    hashes = [frame_hash(item) for item in (frame, *others)]
    assert len(set(hashes)) == len(hashes)


def test_a_dictionary_may_hold_paths_and_numbers_of_numpy():
    config = verbs.Context().config(
        {
            "data": {"path": Path("a.csv"), "target": "y"},
            "training": {"epochs": np.int64(3), "test_size": np.float32(0.5)},
        }
    )
    assert (config.data.path, config.training.epochs, config.training.test_size) == ("a.csv", 3, 0.5)


def test_what_a_config_cannot_hold_is_named(houses):
    with pytest.raises(ConfigError, match="config: a config cannot hold a DataFrame") as caught:
        estimator.train({"data": {"frame": houses, "target": "y"}})
    assert "data=frame" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"data": {"path": "houses.csv", "target": "price"}, **DENSE}),
        "data: {path: houses.csv, target: price}\nmodel: {kind: dense, layers: [4]}\ntraining: {epochs: 3}\n",
        '[data]\npath = "houses.csv"\ntarget = "price"\n[model]\nkind = "dense"\n[training]\nepochs = 3\n',
    ],
    ids=["json", "yml", "toml"],
)
def test_standard_input_is_read_in_its_own_format(text, houses, run, tmp_path, monkeypatch):
    houses.write_csv(tmp_path / "houses.csv")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    code, output, _ = run("train", "--conf", "-", "--set", "validation.folds=0", "--json")
    assert (code, output["model"]["kind"], output["model"]["epochs"]) == (0, "dense", 3)


def test_faults_of_standard_input_have_a_line(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"data: {path: a, target: y}\nnmae: x\n")))
    assert "error: standard input:2: nmae: unknown key" in run("train", "--conf", "-")[2]


def test_an_address_is_read_with_its_table_and_schema(houses, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    houses.write_csv("houses.csv")
    verbs.init.init("houses.csv", "price", verbs.Context(), conf=Path("config.yml"), force=False)
    with serve() as web:
        for name in ("houses.csv", "config.yml", "schema.yml"):
            web.pages[f"/of/{name}"] = (tmp_path / name).read_bytes()
        context = verbs.Context(("model.kind=linear", "validation.folds=0"), {}, str(tmp_path / "models"))
        new = verbs.train.train(f"{web.url}/of/config.yml", context)
        assert new.artefact.config["data"]["path"] == f"{web.url}/of/houses.csv"
        assert new.artefact.read("config.yml") == (tmp_path / "config.yml").read_bytes()
        web.pages["/of/config.yml"] = b"data: {path: houses.csv, target: price}\ntraining: {epocs: 1}\n"
        with pytest.raises(ConfigError, match=r"/of/config.yml:2: training.epocs: unknown key"):
            verbs.train.train(f"{web.url}/of/config.yml", context)


def test_an_address_of_plain_http_is_read_from_this_machine_only():
    with pytest.raises(SourceError, match="is sent over http, where anybody on the way can change it"):
        verbs.Context().config("http://192.0.2.1/config.yml")
    with pytest.raises(ConfigError, match="expected a file, or an address that begins with https://"):
        verbs.Context().config("ftp://192.0.2.1/config.yml")


def test_an_address_that_is_no_config_is_named():
    with serve() as web:
        web.pages["/config.yml"] = b"x" * 5_000_001
        with pytest.raises(EstimatorError, match="larger than 5,000,000 bytes"):
            verbs.Context().config(f"{web.url}/config.yml")
        with pytest.raises(EstimatorError, match="responds with 404"):
            verbs.Context().config(f"{web.url}/none.yml")


COLUMNS = """data:
  path: table.csv
  target: price
  drop: [town, twon]
  sample_weight: wieght
schema:
  columns:
    aera: {kind: number}
    size: {aliases: [area]}
features:
  columns:
    tonw: {encoder: onehot}
training:
  split: {kind: group, column: nope}
tuning:
  space:
    features.columns.arae.encoder: [raw, standard]
evaluation: {fairness_columns: [towm]}
serving: {private_columns: [towne]}
monitoring: {ignore: [town, area, pirce]}
"""
COLUMN_FAULTS = (
    "4: data.drop.1: no column 'twon' in the table (did you mean 'town'?",
    "5: data.sample_weight: no column 'wieght' in the table (known: area, town, price)",
    "8: schema.columns.aera: no column",
    "12: features.columns.tonw: no column",
    "14: training.split.column: no column 'nope'",
    "17: tuning.space.features.columns.arae.encoder: no column 'arae'",
    "18: evaluation.fairness_columns.0: no column 'towm'",
    "19: serving.private_columns.0: no column 'towne'",
    "20: monitoring.ignore.2: no column 'pirce' in the table (did you mean 'price'?",
)


@pytest.mark.parametrize("verb", ["train", "tune", "explore"])
def test_columns_of_every_section_are_checked_against_the_header(verb, houses, run, tmp_path):
    houses.write_csv(tmp_path / "table.csv")
    conf = tmp_path / "config.yml"
    conf.write_text(COLUMNS)
    lines = run(verb, "--conf", conf)[2].splitlines()
    assert lines[0] == f"error: {len(COLUMN_FAULTS)} faults in the config:"
    assert [fault for fault, line in zip(COLUMN_FAULTS, lines[1:], strict=False) if f"yml:{fault}" not in line] == []


def test_unknown_columns_and_wrong_keys_are_reported_together(houses, run, tmp_path):
    houses.write_csv(tmp_path / "table.csv")
    conf = tmp_path / "config.yml"
    conf.write_text("data: {path: table.csv, target: prize}\ntraining: {epocs: 3}\n")
    err = run("train", "--conf", conf)[2]
    assert "config.yml:1: data.target: no column 'prize' in the table (did you mean 'price'?" in err
    assert "config.yml:2: training.epocs: unknown key" in err


def test_columns_are_checked_before_the_rows_are_read(houses, tmp_path, run):
    """The last line cannot be read, and lies beyond the first part of the file: the config's fault comes first."""
    wide = houses.with_columns(note=pl.lit("x" * 300_000))
    (tmp_path / "table.csv").write_text(wide.write_csv() + "1,2,3,4,5\n")
    conf = tmp_path / "config.yml"
    conf.write_text("data: {path: table.csv, target: price, drop: [twon]}\n")
    assert "data.drop.0: no column 'twon'" in run("train", "--conf", conf)[2]


def test_an_accent_may_be_written_in_two_ways():
    loaded = verbs.Context().loaded({"data": {"path": "a.csv", "target": "y", "drop": ["caf\u00e9"]}})
    loaded.check_columns(["y", "cafe\u0301"])
    with pytest.raises(ConfigError, match="no column"):
        loaded.check_columns(["y", "cafe"])


@pytest.mark.parametrize(
    "place", [{"pretrained": ...}, {"training": {"pretrained": ...}}, {"model_config": {"pretrained": ...}}]
)
def test_pretrained_continues_from_an_earlier_version(place, houses, tmp_path):
    (section,) = place
    base = {**QUICK_SECTIONS, "name": "houses", "data": {"target": "price"}, **DENSE}
    context = verbs.Context((), {}, str(tmp_path))
    first = verbs.train.train(base, context, data=houses)
    conf = json.loads(json.dumps(base))
    if section == "pretrained":
        conf["pretrained"] = "houses@live"
    elif section == "training":
        conf["training"]["pretrained"] = "houses@live"
    else:
        conf["model_config"] = {"layers": {"a": 4, "out": 1}, "pretrained": str(first.artefact.folder)}
        del conf["model"]
    second = verbs.train.train(conf, context, data=houses)
    assert second.artefact.manifest["parent"] == first.artefact.version
    again = verbs.train.train(base, context, data=houses, continue_from="houses@live")
    assert second.artefact.read("model.onnx") == again.artefact.read("model.onnx") != first.artefact.read("model.onnx")


def test_a_version_continued_from_another_model_is_reproduced(houses, tmp_path):
    houses.write_csv(tmp_path / "houses.csv")
    data = {"path": str(tmp_path / "houses.csv"), "target": "price"}
    # The store that only the config names holds both.
    base = {**QUICK_SECTIONS, "data": data, "store": str(tmp_path / "models"), **DENSE}
    first = verbs.train.train({**base, "name": "first"}, verbs.Context())
    second = verbs.train.train({**base, "name": "second", "pretrained": "first@live"}, verbs.Context())
    assert second.artefact.manifest["parent"] == f"first/{first.artefact.version}"
    assert verbs.verify.verify("second", verbs.Context(store_path=str(tmp_path / "models"))).is_equal
