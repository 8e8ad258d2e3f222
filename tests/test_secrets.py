"""Credentials in a config, a table or an image: refused where they are written, unless they are allowed."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path

import polars as pl
import pytest

from estimator import verbs
from estimator.config import Image, Serving, resolve_section
from estimator.config.secrets import credentials_in_files
from estimator.core.credentials import find_credentials
from estimator.errors import ArtefactError, ConfigError, ImageError
from estimator.shipping.image.build import build
from estimator.shipping.image.builders import BuildOptions
from tests.conftest import QUICK_SECTIONS

DRAW = random.Random(4)


def drawn(n: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "".join(DRAW.choices(alphabet, k=n))


# Made here, so that no scanner of this repository finds them.
TOKENS = {
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "an AWS access key": "AKIA" + drawn(16, string.ascii_uppercase + string.digits),
    "an AWS secret key": "aws_secret_access_key = " + drawn(40),
    "a GitHub token": "ghp_" + drawn(36),
    "a GitLab token": "glpat-" + drawn(20),
    "a Slack token": "xoxb-" + drawn(12, string.digits) + "-" + drawn(24),
    "a webhook's address": "https://hooks.slack.com/services/T" + drawn(8) + "/B" + drawn(8) + "/" + drawn(24),
    "a Stripe key": "sk_live_" + drawn(24),
    "a Google API key": "AIza" + drawn(35),
    "an API key": "sk-proj-" + drawn(48),
    "a Hugging Face token": "hf_" + drawn(34),
    "an npm token": "npm_" + drawn(36),
    "a PyPI token": "pypi-" + drawn(60),
    "a SendGrid key": "SG." + drawn(22) + "." + drawn(43),
    "a Databricks token": "dapi" + drawn(32, "0123456789abcdef"),
    "a DigitalOcean token": "dop_v1_" + drawn(64, "0123456789abcdef"),
    "a Telegram token": drawn(9, "123456789") + ":AA" + drawn(33),
    "an Azure storage key": "AccountName=x;AccountKey=" + drawn(86) + "==",
    "an age key": "AGE-SECRET-KEY-1" + drawn(58, string.ascii_uppercase),
    "an API key of this server": "est_" + drawn(43),
    "a JSON web token": "eyJ" + drawn(20) + ".eyJ" + drawn(40) + "." + drawn(43),
    "an authorization header": "Authorization: Bearer 1" + drawn(30),
    "a password in an address": "postgresql://me:hunter2@host/db",
    "a password": "host=db;password=hunter2;user=me",
    "a secret": "https://host/t.csv?token=" + "9f8a7c6e5d4b3a21",
}
HARMLESS = [
    "postgresql://me:${PASSWORD}@host/db",
    "postgresql://${USER}:${PASSWORD}@host/db?sslmode=require",
    "https://host:8443/@scope/file.csv",
    "https://[::1]:8000/a@b",
    "https://host/t.csv?sig=1&page=2",
    "password=${PASSWORD}",
    "password=<your password>",
    "token=****",
    "api_key_env=KEY",
    "max_tokens=512",
    "the secret of a good model",
    "s3://bucket/key/name-with-many-parts-2024-01-01.parquet",
    "4f2a1c9e8b7d6a5f4e3d2c1b0a9f8e7d6c5b4a3f2e1d0c9b8a7f6e5d4c3b2a1f",
    "postgres:5432/db",
    "Basic information about houses",
    "me@host.example, you@host.example",
]


@pytest.mark.parametrize("rule", TOKENS)
def test_a_credential_is_recognized(rule):
    assert [item.rule for item in find_credentials(f"x: '{TOKENS[rule]}'")] == [rule]


@pytest.mark.parametrize("text", HARMLESS)
def test_a_reference_or_an_ordinary_text_is_none(text):
    assert list(find_credentials(f"x: '{text}'")) == []


CONFIG = """# the old one: password=tr0ub4dor
data: {path: "https://me:hunter2@host/x.csv", target: y}
serving:
  prediction_log: postgresql://me:s3cret@db/log
  api_key_env: API_KEY
monitoring:
  alerts:
    - {url: "WEBHOOK"}
    - {kind: mail, url: "smtp://me:pw@mail:587", sender: a@b.c, to: [x@y.z]}
    - {kind: mail, url: "smtp://me:${PW}@mail:587", sender: a@b.c, to: [x@y.z]}
tuning: {study: "postgresql://me:x1@h/db"}
image: {labels: {token: abcdef, build: "GITHUB"}}
deployment:
  kind: docker
  environment: {DB_PASSWORD: hunter3, TOKEN_TTL: "3600", API_KEY_ENV: KEY, DSN: "${DSN}"}
  secrets: [PASSWORD]
"""
FAULTS = (
    "1: looks like a password, fingerprint",
    "2: data.path: looks like a password in an address",
    "4: serving.prediction_log: looks like a password in an address",
    "8: monitoring.alerts.0.url: looks like a webhook's address",
    "9: monitoring.alerts.1.url: looks like a password in an address",
    "11: tuning.study: looks like a password in an address",
    "12: image.labels.token: looks like a secret, by its name",
    "12: image.labels.build: looks like a GitHub token",
    "15: deployment.environment.DB_PASSWORD: looks like a secret, by its name",
)


def test_credentials_in_any_key_are_refused_with_their_line(tmp_path, run):
    conf = tmp_path / "config.yml"
    text = CONFIG.replace("WEBHOOK", TOKENS["a webhook's address"]).replace("GITHUB", TOKENS["a GitHub token"])
    conf.write_text(text)
    code, _, err = run("train", "--conf", conf)
    lines = err.splitlines()
    assert (code, lines[0]) == (1, f"error: {len(FAULTS)} faults in the config:")
    assert [fault for fault, line in zip(FAULTS, lines[1:], strict=False) if f"config.yml:{fault}" not in line] == []
    assert not any(secret in err for secret in ("hunter", "s3cret", "tr0ub", "ghp_", "abcdef"))


def config(**sections: object) -> dict[str, object]:
    return {"data": {"path": "a.csv", "target": "y"}, **sections}


def test_a_fault_of_the_same_value_does_not_show_it():
    with pytest.raises(ConfigError) as caught:
        verbs.Context().config(config(monitoring={"alerts": "https://me:hunter2@host"}, serving={"port": "x"}))
    assert "hunter2" not in caught.value.message
    assert "serving.port: expected a whole number" in caught.value.message


@pytest.mark.parametrize(
    "override", ["serving.prediction_log=postgresql://a:hunter2@c/d", "deployment.environment.API_TOKEN=hunter2"]
)
def test_credentials_of_overrides_and_of_the_environment_are_refused(override):
    key, _, value = override.partition("=")
    with pytest.raises(ConfigError, match=f"--set {key}: looks like a"):
        verbs.Context((override,)).config(config())
    variable = "ESTIMATOR_CONFIG__" + key.upper().replace(".", "__")
    with pytest.raises(ConfigError, match=f"{variable}: {key}: looks like a".replace("API_TOKEN", "(?i:API_TOKEN)")):
        verbs.Context((), {variable: value}).config(config())


def test_an_override_that_another_replaces_is_refused_too():
    overrides = ("serving.prediction_log=postgresql://a:hunter2@c/d", "serving.prediction_log=log.db")
    with pytest.raises(ConfigError, match=r"serving\.prediction_log: looks like a password in an address"):
        verbs.Context(overrides).config(config())


def test_a_section_changed_later_is_checked():
    with pytest.raises(ConfigError, match=r"image\.labels\.token: looks like a secret") as caught:
        resolve_section("image", Image, {}, {}, overrides=("image.labels.token=hunter2",))
    assert "hunter2" not in caught.value.message
    assert resolve_section("serving", Serving, {"prediction_log": "x.db"}, {}).prediction_log == "x.db"


@pytest.mark.parametrize("by", ["key", "fingerprint"])
def test_what_is_none_can_be_allowed(by):
    secret = TOKENS["a GitHub token"]
    (found,) = find_credentials(secret)
    allow = ["image.labels.build"] if by == "key" else [found.fingerprint]
    loaded = verbs.Context().config(config(image={"labels": {"build": secret}}, secrets={"allow": allow}))
    assert loaded.image.labels["build"] == secret
    with pytest.raises(ConfigError, match=r"image\.labels\.other"):
        verbs.Context().config(config(image={"labels": {"other": secret}}, secrets={"allow": ["image.labels.build"]}))


def test_a_column_or_a_category_may_be_called_token(tmp_path):
    columns = {"token": {"kind": "category", "replace": {"secret": "private"}}, "password": {"unit": "bits"}}
    verbs.Context().config({"data": {"path": "a.csv", "target": "password"}, "schema": {"columns": columns}})


@pytest.fixture
def leaking(tmp_path) -> dict[str, object]:
    """A config of a table with a category that holds a token."""
    kinds = ["plain", TOKENS["a GitHub token"]] * 60
    frame = pl.DataFrame({"kind": kinds, "size": range(120), "y": [float(n % 7) for n in range(120)]})
    frame.write_csv(tmp_path / "table.csv")
    data = {"path": str(tmp_path / "table.csv"), "target": "y"}
    return {**QUICK_SECTIONS, "name": "leaking", "data": data, "model": {"kind": "linear"}}


def test_a_version_with_a_credential_of_its_table_is_not_trained(leaking, tmp_path):
    context = verbs.Context((), {}, str(tmp_path / "models"))
    with pytest.raises(ArtefactError, match=r"column 'kind': rows 2, .* looks like a GitHub token, finger") as caught:
        verbs.train.train(leaking, context)
    assert "ghp_" not in caught.value.message
    assert not list((tmp_path / "models").glob("*/*/manifest.json"))
    (found,) = find_credentials(TOKENS["a GitHub token"])
    new = verbs.train.train({**leaking, "secrets": {"allow": [found.fingerprint]}}, context)
    assert new.artefact.config["secrets"] == {"allow": [found.fingerprint]}


def test_every_text_file_of_a_version_is_scanned():
    token = TOKENS["a JSON web token"]
    files = {
        "report.html": f"<p>\n<td>{token}</td>".encode(),
        "card.md": b"password=harmless1 in a text of the table",
        "config.resolved.json": b'{\n "name": "x",\n "q": "password=hunter2"\n}',
        "model.onnx": token.encode(),
        "golden.json": b'{"rows": [{"link": "ftp://me:hunter3@host"}]}',
    }
    sentences = credentials_in_files(files, {})
    assert [text.partition(" looks")[0] for text in sentences] == [
        "report.html:2:",
        "config.resolved.json:3: q:",
        "golden.json:1: link:",
    ]


def test_an_image_with_a_credential_is_not_built(store, tmp_path, monkeypatch):
    artefact = verbs.Context(store_path=str(store)).version("penguins")
    settings = Image(labels={"build": TOKENS["a GitHub token"]})
    options = BuildOptions("penguins:latest", tmp_path, "direct")
    with pytest.raises(ImageError, match=r"labels.json:2: build: looks like a GitHub token") as caught:
        build(artefact, settings, options, environment={})
    assert "ghp_" not in caught.value.message
    assert not (tmp_path / "context").exists()


def test_examples_hold_no_credential():
    root = Path(__file__).parent.parent / "examples"
    files = {path.name: path.read_bytes() for path in root.glob("*/*") if path.suffix in (".yml", ".json")}
    assert credentials_in_files(files, {}) == []
    assert json.loads((root / "boston" / "config.json").read_text())["data"]["target"] == "MEDV"
