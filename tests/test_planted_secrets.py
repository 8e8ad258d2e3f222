"""Secrets of every kind in every place where a user can write: no file, page, log line or message holds one."""

from __future__ import annotations

import gzip
import json
import random
import sqlite3
import string
import urllib.error
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from estimator import verbs
from estimator.config import Image
from estimator.core.credentials import find_credentials, redacted
from estimator.errors import ArtefactError, ConfigError, EstimatorError, ImageError, ServingError
from estimator.monitoring.alerts import alert_data, alert_text
from estimator.monitoring.events import Event, read_events, store_event
from estimator.prediction_log import open_log
from estimator.shipping.image.build_record import push
from estimator.shipping.image.build_spec import BuildSpec
from estimator.verbs.monitor import MonitoredModel
from tests.clients import get, post, serving, within
from tests.conftest import QUICK_SECTIONS
from tests.servers import free_port

DRAW = random.Random(11)
HEX, UPPER = "0123456789abcdef", string.ascii_uppercase + string.digits


def drawn(n: int, alphabet: str = string.ascii_letters + string.digits) -> str:
    return "".join(DRAW.choices(alphabet, k=n - 1)) + "7"


# What a user may write, and the secret in it. Made here, so that no scanner of this repository finds them.
PLANTED = {
    "AWS access key": ("AKIA{}", drawn(16, UPPER)),
    "AWS secret key": ("aws_secret_access_key={}", drawn(40)),
    "GitHub token": ("ghp_{}", drawn(36)),
    "GitHub fine-grained token": ("github_pat_{}", drawn(60)),
    "GitLab token": ("glpat-{}", drawn(20)),
    "Slack token": ("xoxb-123456789012-{}", drawn(24)),
    "Slack webhook": ("https://hooks.slack.com/services/T0123/B0123/{}", drawn(24)),
    "Stripe key": ("sk_live_{}", drawn(24)),
    "Google API key": ("AIza{}", drawn(35)),
    "JSON web token": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.{}", drawn(43)),
    "private key": ("-----BEGIN " + "PRIVATE KEY-----\n{}\n-----END " + "PRIVATE KEY-----", drawn(64)),
    "PostgreSQL password": ("postgresql://me:{}@db.example/sales", drawn(14)),
    "MySQL password": ("mysql://root:{}@db.example/sales", drawn(14)),
    "Redis password": ("redis://:{}@cache:6379/0", drawn(14)),
    "MongoDB password": ("mongodb+srv://me:{}@cluster.example/x", drawn(14)),
    "basic authorization in a URL": ("https://me:{}@host.example/x.csv", drawn(14)),
    "Azure storage key": ("DefaultEndpointsProtocol=https;AccountName=x;AccountKey={}==", drawn(86)),
    "Azure signature": ("https://x.blob.core.windows.net/c/t.csv?sv=2022-11-02&sp=r&sig={}%3D", drawn(43)),
    "SendGrid key": ("SG." + drawn(22) + ".{}", drawn(43)),
    "npm token": ("npm_{}", drawn(36)),
    "PyPI token": ("pypi-{}", drawn(60)),
    "OpenAI key": ("sk-proj-{}", drawn(48)),
    "Anthropic key": ("sk-ant-api03-{}", drawn(80)),
    "bearer token": ("Authorization: Bearer {}", drawn(32)),
    "key of this server": ("est_{}", drawn(43)),
}
TEXTS = [form.format(secret) for form, secret in PLANTED.values()]
SECRETS = [secret for _, secret in PLANTED.values()]
# A password after its name counts in a config, where a table's text may say so harmlessly.
IN_CONFIG = {
    **PLANTED,
    "password": ("password={}", drawn(20)),
    "password with a weak form": ("host=db;pwd={};user=me", "hunter7"),
}


def leaks(*contents: bytes | str) -> list[str]:
    """The planted secrets, or parts of them, that contents hold."""
    joined = b"\n".join(item.encode() if isinstance(item, str) else item for item in contents).lower()
    # Pages cut long texts, and graphs hold tokens.
    return [name for name, (_, secret) in IN_CONFIG.items() if secret[:12].lower().encode() in joined]


def files_below(folder: Path) -> list[bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return [*(path.read_bytes() for path in paths), *(str(path).encode() for path in paths)]


def config(**sections: object) -> dict[str, object]:
    return {"data": {"path": "a.csv", "target": "y"}, **sections}


SECTIONS = {
    "serving.prediction_log": lambda text: {"serving": {"prediction_log": text}},
    "serving.label": lambda text: {"serving": {"label": text}},
    "deployment.environment": lambda text: {"deployment": {"kind": "docker", "environment": {"SETTING": text}}},
    "monitoring.alerts": lambda text: {"monitoring": {"alerts": [{"url": text}]}},
    "data.path": lambda text: {"data": {"path": text, "target": "y"}},
    "data.query": lambda text: {"data": {"path": "sqlite:///a.db", "target": "y", "query": f"SELECT '{text}'"}},
    "image.labels": lambda text: {"image": {"labels": {"build": text}}},
    "tuning.study": lambda text: {"tuning": {"study": text}},
    "schema.columns": lambda text: {"schema": {"columns": {"a": {"unit": text}}}},
    "schema.columns, its key": lambda text: {"schema": {"columns": {text: {"unit": "m"}}}},
    "purpose": lambda text: {"purpose": f"a model that uses {text} to read"},
}


@pytest.mark.parametrize("kind", IN_CONFIG)
def test_every_section_of_a_config_refuses_it_unseen(kind):
    form, secret = IN_CONFIG[kind]
    for place, section in SECTIONS.items():
        with pytest.raises(ConfigError, match="looks like") as caught:
            verbs.Context().config(config(**section(form.format(secret))))
        assert not leaks(caught.value.message, caught.value.hint or ""), place


@pytest.mark.parametrize("place", ["environment", "--set"])
def test_overrides_refuse_it_unseen(place):
    for form, secret in IN_CONFIG.values():
        text = form.format(secret).replace("\n", " ")
        variables = {"ESTIMATOR_CONFIG__SERVING__LABEL": f"'{text}'"} if place == "environment" else {}
        overrides = () if variables else (f"serving.label='{text}'",)
        with pytest.raises(ConfigError, match="looks like") as caught:
            verbs.Context(overrides, variables).config(config())
        assert not leaks(caught.value.message)


def test_a_random_key_without_a_form_is_refused_where_the_machine_is_set_up():
    key = drawn(30)
    for section in ({"deployment": {"kind": "docker", "environment": {"SETTING": key}}}, {"serving": {"label": key}}):
        with pytest.raises(ConfigError, match="looks like a random key") as caught:
            verbs.Context().config(config(**section))
        assert key not in caught.value.message
    allowed = {"allow": ["deployment.environment.SETTING"]}
    section = {"deployment": {"kind": "docker", "environment": {"SETTING": key}}}
    assert verbs.Context().config(config(**section, secrets=allowed)).deployment is not None


def frame_of(texts: list[str], n_rows: int = 240) -> pl.DataFrame:
    cells = [(texts * n_rows)[row] if row % 2 else "plain" for row in range(n_rows)]
    return pl.DataFrame(
        {
            "kind": cells,
            "size": [row % 50 * 1.5 for row in range(n_rows)],
            "y": [float(row % 7) for row in range(n_rows)],
        }
    )


def trained(frame: pl.DataFrame, folder: Path, target: str = "y", **sections: object):
    frame.write_csv(folder / "table.csv")
    data = {"path": str(folder / "table.csv"), "target": target}
    context = verbs.Context((), {}, str(folder / "models"))
    made = {**QUICK_SECTIONS, "name": "planted", "data": data, "model": {"kind": "linear"}, **sections}
    return verbs.train.train(made, context), context


def test_categories_are_refused_by_their_column(tmp_path):
    with pytest.raises(ArtefactError, match=r"column 'kind': rows? \d.*looks like a GitHub token") as caught:
        trained(frame_of(TEXTS, 100), tmp_path)
    message = caught.value.message
    assert message.count("fingerprint") == len(TEXTS)
    assert not leaks(message, *files_below(tmp_path / "models"))


def test_names_of_columns_are_refused(tmp_path):
    frame = frame_of(["other"]).with_columns(pl.col("size").alias(text) for text in TEXTS)
    with pytest.raises(ArtefactError, match="the name of column 4: looks like") as caught:
        trained(frame, tmp_path)
    assert not leaks(caught.value.message, *files_below(tmp_path / "models"))


def test_classes_are_refused(tmp_path):
    frame = frame_of(TEXTS[:3])
    with pytest.raises(ArtefactError, match="column 'kind'") as caught:
        trained(frame, tmp_path, target="kind")
    assert not leaks(caught.value.message, *files_below(tmp_path / "models"))


def with_rare_secrets() -> pl.DataFrame:
    """Return a table with every text once, in rows that no file of a version keeps."""
    comments = [f"note {row} of a long text about something else" for row in range(300)]
    golden = {round(index * 299 / 19) for index in range(20)}
    others = [row for row in range(300) if row not in golden]
    for index, text in enumerate(TEXTS):
        comments[others[11 * index]] += " " + text
    return with_comments(["other"], comments)


def test_texts_that_no_file_keeps_are_noted(tmp_path):
    frame = with_rare_secrets()
    new, context = trained(frame, tmp_path, schema={"columns": {"comment": {"kind": "text"}}})
    notes = context.notes.to_data()
    assert sum("column 'comment': row" in note and "looks like" in note for note in notes) == len(TEXTS)
    assert not leaks(*notes, *files_below(tmp_path / "models"))
    assert new.artefact.is_own


def test_tokens_of_a_graph_are_refused(tmp_path):
    often = [
        f"note {row} {'with' if row % 2 else 'without'} {TEXTS[2]}" if row % 3 else f"n {row}" for row in range(300)
    ]
    frame = frame_of(["other"], 300).with_columns(pl.Series("comment", often))
    with pytest.raises(ArtefactError, match="column 'comment'"):
        trained(frame, tmp_path, schema={"columns": {"comment": {"kind": "text"}}})
    assert not leaks(*files_below(tmp_path / "models"))


def with_comments(kind: list[str], comments: list[str]) -> pl.DataFrame:
    return frame_of(kind, len(comments)).with_columns(pl.Series("comment", comments))


def test_retrain_scans_new_rows_before_it_stores_them(tmp_path):
    plain = [f"note {row} of a long text about something else" for row in range(300)]
    settings = {"schema": {"columns": {"comment": {"kind": "text"}}}, "retraining": {"candidates": ["refit"]}}
    new, context = trained(with_comments(["other"], plain), tmp_path, **settings)
    model = MonitoredModel("planted", folder=tmp_path)
    path = tmp_path / "new.csv"
    with_comments(TEXTS[2:4], plain[::-1]).write_csv(path)
    with pytest.raises(ArtefactError, match=r"column 'kind': rows? 2.*looks like a GitHub token") as caught:
        verbs.retrain.retrain(model, context, data=str(path), include_learned=True, isolated=False)
    assert not leaks(caught.value.message, *files_below(tmp_path / "models"))
    assert not (tmp_path / "models" / "planted" / "rows").exists()
    with_comments(["other"], [*plain[:105], f"one {TEXTS[2]}", *plain[106:]]).write_csv(path)
    decision = verbs.retrain.retrain(model, context, data=str(path), include_learned=True, isolated=False)
    (note,) = (note for note in decision.notes if "looks like" in note)
    assert note.startswith("column 'comment': row 106")
    assert note.endswith("no file of the version holds it")
    assert decision.candidates[0].error is None
    folder = tmp_path / "models" / "planted"
    assert not leaks(*context.notes.to_data(), *files_below(folder / decision.candidates[0].version))
    assert new.artefact.is_own


def test_init_refuses_and_explore_shows_fingerprints(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame_of(TEXTS[:8], 400).with_columns(pl.Series("comment", [*TEXTS, *["a longer text"] * 375])).write_csv("t.csv")
    code, out, err = run("init", "t.csv", "--target", "y")
    assert (code, "column 'kind'" in err) == (1, True)
    assert not list(tmp_path.glob("*.yml"))
    code, data, noted = run("explore", "t.csv", "--target", "y", "--json")
    assert code == 0
    assert any("column 'kind': row" in note for note in data["notes"])
    (tmp_path / "t.csv").unlink()
    assert not leaks(str(out), err, str(data), noted, *files_below(tmp_path))


def test_a_reference_is_never_resolved_into_a_file(tmp_path):
    folder = tmp_path / TEXTS[2]
    folder.mkdir()
    frame_of(["other"]).write_csv(folder / "t.csv")
    variables = {"TABLE": str(folder / "t.csv"), "LOG_PASSWORD": SECRETS[11], "HOOK": TEXTS[6]}
    sections = {
        "data": {"path": "${TABLE}", "target": "y"},
        "serving": {"prediction_log": "postgresql://me:${LOG_PASSWORD}@db/log"},
        "monitoring": {"alerts": [{"url": "${HOOK}"}]},
    }
    context = verbs.Context((), variables, str(tmp_path / "models"))
    verbs.train.train({**QUICK_SECTIONS, "name": "planted", "model": {"kind": "linear"}, **sections}, context)
    assert not leaks(*files_below(tmp_path / "models"), *context.notes.to_data())


def test_the_name_of_a_file_is_refused(tmp_path):
    frame_of(["other"]).write_csv(tmp_path / f"{TEXTS[2]}.csv")
    data = {"path": str(tmp_path / "*.csv"), "target": "y"}
    context = verbs.Context((), {}, str(tmp_path / "models"))
    with pytest.raises(EstimatorError, match="looks like a GitHub token") as caught:
        verbs.train.train({**QUICK_SECTIONS, "name": "planted", "model": {"kind": "linear"}, "data": data}, context)
    assert not leaks(caught.value.message, *files_below(tmp_path / "models"))


@pytest.fixture
def store(tmp_path) -> Path:
    trained(frame_of(["other"]), tmp_path)
    return tmp_path / "models"


def test_the_history_holds_fingerprints(store, run, monkeypatch, tmp_path):
    trained(frame_of(["another"]), tmp_path)
    for name in ("LOGNAME", "USER"):
        monkeypatch.setenv(name, TEXTS[2])
    code, data, err = run("promote", "planted", "--why", f"for {' '.join(TEXTS)}", "--store", store, "--json")
    history = run("history", "planted", "--store", store, "--json")
    assert (code, history[0]) == (0, 0)
    assert "a GitHub token" in str(history[1])
    assert not leaks(str(data), err, str(history), *files_below(store))


@pytest.mark.parametrize("flag", [[], ["--json"]])
def test_messages_of_drivers_do_not_show_the_address(flag, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address = f"postgresql://me:{SECRETS[11]}@127.0.0.1:{free_port()}/sales"
    monkeypatch.setenv("DB", address)
    code, out, err = run("explore", "${DB}", "--target", "y", "--query", "t", *flag)
    assert code == 1
    assert not leaks(str(out), err)
    code, out, err = run("explore", f"--query=SELECT '{TEXTS[2]}' FROM nothing", "sqlite:///no.db", "--target=y", *flag)
    assert code == 1
    assert not leaks(str(out), err)


def test_requests_leave_no_secret_in_logs(store, tmp_path):
    log = tmp_path / "log.db"
    with serving(store / "planted", "--log", f"sqlite:///{log}", "--access-log") as (process, address):
        for text in TEXTS:
            post(address, [{"kind": text, "size": 3}], "/v1/predict")
            header = text.replace("\n", " ")
            for row in ({"kind": [text], "size": 1}, {"kind": "a", "size": text}, {text: 1}):
                with pytest.raises(urllib.error.HTTPError):
                    post(address, [row], "/v1/predict", **{"X-Api-Key": header, "traceparent": header})
            with pytest.raises(urllib.error.HTTPError):
                get(address, f"/v1/models/{SECRETS[2]}", Authorization=f"Bearer {SECRETS[2]}")
        with sqlite3.connect(log) as database:
            count = "SELECT count(*) FROM predictions WHERE inputs LIKE '%[a%'"
            assert within(20, lambda: database.execute(count).fetchone()[0] == len(TEXTS))
        process.terminate()
        _, stderr = process.communicate(timeout=60)
    lines = [json.loads(line) for line in stderr.splitlines()]
    statuses = Counter(line["status"] for line in lines if line["event"] == "request")
    assert statuses == {200: len(TEXTS), 422: 3 * len(TEXTS), 404: len(TEXTS)}
    assert not leaks(stderr, *files_below(tmp_path))


def test_an_allowed_value_is_logged_as_it_is(tmp_path):
    (item,) = find_credentials(TEXTS[2])
    new, _ = trained(frame_of([TEXTS[2]]), tmp_path, secrets={"allow": [item.fingerprint]})
    log = tmp_path / "log.db"
    with serving(new.artefact.folder, "--log", f"sqlite:///{log}") as (_, address):
        post(address, [{"kind": TEXTS[2], "size": 3}], "/v1/predict")
        with sqlite3.connect(log) as database:
            stored = f"SELECT count(*) FROM predictions WHERE inputs LIKE '%{TEXTS[2]}%'"
            assert within(20, lambda: database.execute(stored).fetchone()[0] == 1)


def test_a_key_is_not_named_by_a_key(tmp_path, run):
    for text in TEXTS:
        with pytest.raises(ServingError, match="looks like a key") as caught:
            verbs.key.new_key(text, ["predict"], now=None)
        assert not leaks(caught.value.message)


def test_events_and_alerts_hold_fingerprints(tmp_path):
    message = f"training failed: {' '.join(TEXTS)}"
    event = Event("e1", "planted", 1.0, "retrain", "v1", {"message": message, "columns": [], "next": TEXTS[2]})
    log = open_log(f"sqlite:///{tmp_path / 'log.db'}", tmp_path, {})
    assert store_event(log, event)
    stored = read_events(log, "planted")
    log.close()
    assert not leaks(str(alert_data(event)), alert_text(event), str(stored), *files_below(tmp_path))


def test_labels_of_an_image_are_refused(store, tmp_path, run):
    overrides = [f"--set=image.labels.l{index}='{text}'" for index, text in enumerate(TEXTS)]
    code, out, err = run("image", "planted", "--store", store, "--folder", tmp_path / "build", *overrides, "--json")
    assert code == 1
    assert not leaks(str(out), err, *files_below(tmp_path / "build"))
    assert Image(labels={}).labels == {}


def test_a_changed_build_folder_is_not_pushed(tmp_path):
    record = '{"name": "x", "version": "v", "tag": "x:1", "builder": "direct", "layout": {}, "environment": {}}'
    for place in ("image.json", "context/Dockerfile", "context/model/graph.bin"):
        folder = tmp_path / place.replace("/", "-")
        for name in ("image.json", place):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(record.replace("{}}", f'{{"A": "{TEXTS[2]}"}}}}') if name == place else record)
        with pytest.raises(ImageError, match=f"it was not pushed:\n  {place}.*looks like a GitHub token") as caught:
            push(folder, "127.0.0.1:1/x:1", environment={})
        assert not leaks(caught.value.message)


def test_the_environment_of_a_build_is_not_in_its_context(store, monkeypatch):
    artefact = verbs.Context(store_path=str(store)).version("planted")
    for index, text in enumerate(TEXTS):
        monkeypatch.setenv(f"SETTING_{index}", text.replace("\n", " "))
    spec = BuildSpec(artefact, "x:1", "scratch", "3.11", "amd64", 8000, (), ("w.whl", b""), {})
    assert not leaks(*spec.context().values(), str(spec.environment))


def test_redacted_text_holds_none_and_is_stable():
    text = f"cannot connect: {' and '.join(TEXTS)}"
    assert not leaks(redacted(text))
    assert redacted(redacted(text)) == redacted(text)
    assert redacted("rows 1 to 9, column 'token': expected a number, got 'x'").endswith("got 'x'")


def test_ordinary_tables_hold_none(tables):
    for path in sorted(tables.glob("*/*.csv.gz"))[:8]:
        with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
            text = file.read(400_000)
        assert list(find_credentials(text, assignments=False)) == [], path
