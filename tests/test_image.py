"""Container images without an engine: content, reproducibility, smoke test, registry."""

from __future__ import annotations

import gzip
import http.client
import importlib.util
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import estimator
from estimator import verbs
from estimator.cli import image as cli_image
from estimator.config import Image, Serving
from estimator.errors import ImageError, RegistryError
from estimator.serving.auth.keys import new_key, read_keys, write_keys
from estimator.shipping.image import builders
from estimator.shipping.image.build import build, check_size
from estimator.shipping.image.build_record import plan_push, push, read_record, record_lock
from estimator.shipping.image.build_spec import BuildSpec, write_context
from estimator.shipping.image.builders import BuildOptions, builder_of, choose_builder
from estimator.shipping.image.container_inputs import container_inputs
from estimator.shipping.image.direct.builder import start_layout
from estimator.shipping.image.direct.oci import ELF_MACHINES, base_of_rootfs, read_layout, write_image
from estimator.shipping.image.direct.transfer import pull_base, push_layout
from estimator.shipping.image.engines import find_engine, parse_size
from estimator.shipping.image.registry import Registry, parse_reference
from estimator.shipping.image.smoke_test import RunningServer, run_smoke_test
from estimator.shipping.image.stand_ins import StandIns
from estimator.shipping.image.wheels import PinnedPackage, estimator_wheel
from tests.clients import serving
from tests.rootfs import write_rootfs
from tests.servers import docker_registry
from tests.test_planted_secrets import TEXTS, leaks, trained, with_rare_secrets

TAG = "price_estimator_api:latest"
PACKAGES = (
    PinnedPackage("numpy", "2.0.0", ("0" * 64,), "BSD-3-Clause"),
    PinnedPackage("onnxruntime", "1.20.0", ("1" * 64,)),
)


@pytest.fixture(scope="module")
def artefact(store):
    return verbs.Context(store_path=str(store)).version("house_pricing_model")


@pytest.fixture(scope="module")
def spec(artefact):
    return BuildSpec(
        artefact, TAG, "python:3.11-slim", "3.11", "amd64", 5000, PACKAGES, estimator_wheel(), {"team": 'a "b" $c'}
    )


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rootfs")
    write_rootfs(folder / "rootfs.tar", folder)
    return folder / "rootfs.tar"


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """A version whose serving section needs all that a container can get when it is run, and has narrow limits.

    Its table holds secrets of every kind, in rows that no file of it keeps.
    """
    section = {
        "api_key_env": "MODEL_KEY",
        "keys_file": "run/keys.json",
        "tls_certificate": "/run/tls/certificate.pem",
        "tls_key": "/run/tls/key.pem",
        "prediction_log": "logs/predictions.db",
        "max_rows": 2,
        "rate_limit": 5,
        "access_log": True,
    }
    text_column = {"columns": {"comment": {"kind": "text"}}}
    made, context = trained(
        with_rare_secrets(), tmp_path_factory.mktemp("secured"), schema=text_column, serving=section
    )
    assert sum("looks like" in note for note in context.notes.to_data()) == len(TEXTS)
    return made.artefact


@pytest.fixture(scope="module")
def built(secured, rootfs, tmp_path_factory):
    """A built and tested image, and its folder; pip installs its packages."""
    folder = tmp_path_factory.mktemp("image")
    with pytest.MonkeyPatch.context() as patch:
        for index, text in enumerate(TEXTS):
            patch.setenv(f"SETTING_{index}", text.replace("\n", " "))
        return build(secured, Image(), BuildOptions(TAG, folder, "direct", rootfs), environment=os.environ), folder


def layout_of(made, folder):
    return read_layout(folder / "layout", made.layout)


def test_wheel_has_the_installed_package_reproducibly():
    name, content = estimator_wheel()
    assert estimator_wheel() == (name, content)
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        names = set(wheel.namelist())
        package = Path(estimator.__file__).parent
        installed = {
            f"estimator/{path.relative_to(package).as_posix()}"
            for path in package.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert {name for name in names if name.startswith("estimator/")} == installed
        record = next(name for name in names if name.endswith("RECORD"))
        assert {line.split(",")[0] for line in wheel.read(record).decode().splitlines()} == names


def test_linter_accepts_the_dockerfile(spec, tmp_path):
    write_context(spec, tmp_path / "context")
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, tmp_path / "context" / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    text = (tmp_path / "context" / "Dockerfile").read_text()
    assert "USER 10001:10001" in text
    assert r'team="a \"b\" \$c"' in text
    # Docker 20.10 does not support these.
    assert not any(word in text for word in ("# syntax", "--link", "<<", "--start-interval", "--network"))


def test_requirements_are_pinned_by_hash_without_urls(spec):
    text = spec.context()["requirements.txt"].decode()
    assert all("--hash=sha256:" in line for line in text.splitlines())
    assert "://" not in text
    assert text.splitlines()[-1].startswith("./estimator_lifepath-")


def test_context_is_reproducible_and_has_no_old_files(spec, tmp_path):
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "old.txt").write_text("from another build")
    write_context(spec, tmp_path / "context")
    paths = [path for path in (tmp_path / "context").rglob("*") if path.is_file()]
    contents = {path.relative_to(tmp_path / "context").as_posix(): path.read_bytes() for path in paths}
    assert contents == spec.context() == spec.context()
    assert {name for name in contents if name.startswith("model/")} == {
        f"model/{name}" for name in ("manifest.json", "signature", *spec.artefact.manifest["files"])
    }


def test_sbom_follows_its_schema(spec):
    bill = spec.context()["sbom.cdx.json"].decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    urls = {component["purl"] for component in json.loads(bill)["components"]}
    assert urls == {"pkg:pypi/numpy@2.0.0", "pkg:pypi/onnxruntime@1.20.0"}


def test_image_is_built_and_tested_without_an_engine(built, report_figure):
    made, folder = built
    assert made.smoke_test is not None
    assert (made.smoke_test.n_rows, made.smoke_test.n_rejected) == (20, 3)
    model_layer = f"planted {made.spec.artefact.version}"
    assert [created_by for created_by, _ in made.layers[1:]] == ["compiled standard library", "packages", model_layer]
    size_bytes = sum(size_bytes for _, size_bytes in made.layers[1:])
    assert size_bytes < 152e6
    report_figure(f"image: {size_bytes / 1e6:.0f} MB above its base")
    with tarfile.open(made.archive) as archive:
        names = archive.getnames()
        manifest = json.load(archive.extractfile("manifest.json"))[0]
        config = json.load(archive.extractfile(manifest["Config"]))
    assert manifest["RepoTags"] == [TAG]
    assert set(manifest["Layers"]) <= set(names)
    assert config["config"]["User"] == "10001:10001"
    assert config["config"]["Entrypoint"] == ["python", "-m", "estimator"]
    assert config["config"]["Healthcheck"]["Test"][0] == "CMD"
    assert read_record(folder)["smoke_tested"] is True


def test_image_is_tested_with_its_serving_section(built):
    """Its keys, certificate, log and limits apply, and the next command passes what it needs."""
    made, _ = built
    assert made.smoke_test.requires_key
    assert made.smoke_test.started_by == ("chroot" if os.geteuid() == 0 else "this machine's Python")
    text = cli_image._text(made)
    assert (
        f"next: docker run --publish 5000:5000 --env MODEL_KEY "
        f'--volume "$PWD"/run/keys.json:/run/keys.json:ro '
        f"--volume /run/tls/certificate.pem:/run/tls/certificate.pem:ro --volume /run/tls/key.pem:/run/tls/key.pem:ro "
        f'--volume "$PWD"/logs:/logs {TAG}'
    ) in text
    assert (
        "10001, must be able to read run/keys.json, /run/tls/certificate.pem, /run/tls/key.pem and write to logs"
        in text
    )
    assert "with stand-ins for serving.api_key_env, serving.keys_file" in text


def test_no_layer_holds_a_planted_secret(built):
    """Nor the configuration: the build ran with secrets in its table and its environment."""
    made, folder = built
    layout, n_tokens = layout_of(made, folder), 0
    for layer in layout.layers[1:]:
        with tarfile.open(layout.path(layer.blob)) as archive:
            for member in archive:
                content = archive.extractfile(member).read() if member.isfile() else member.linkname.encode()
                assert leaks(member.name, content) == [], member.name
                n_tokens += member.name == "model/model.onnx" and b"something" in content
    assert n_tokens == 1, "the layers do not hold the tokens of the table"
    assert not leaks(layout.path(layout.config).read_bytes(), (folder / "image.json").read_bytes())
    assert not leaks(*(path.read_bytes() for path in (folder / "context").rglob("*") if path.is_file()))


def test_without_root_the_packages_run_with_this_python(built, secured, monkeypatch):
    made, folder = built
    monkeypatch.setattr("estimator.shipping.image.engines.CHROOT", None)
    with start_layout(layout_of(made, folder), made.spec) as server:
        result = run_smoke_test(secured, server)
        port = server.address.rpartition(":")[2]
        check = [argument.replace(str(made.spec.port), port) for argument in made.spec.health_check[1:]]
        assert subprocess.run([sys.executable, *check], capture_output=True, check=False).returncode == 0
    assert (result.n_rows, result.n_rejected) == (20, 3)
    assert "this machine's Python" in result.started_by


def test_error_says_why_the_server_does_not_start(built, monkeypatch):
    made, folder = built
    monkeypatch.setitem(made.spec.environment, "ESTIMATOR_CONFIG__SERVING__MAX_ROWS", "-1")
    monkeypatch.setattr("estimator.shipping.image.engines.CHROOT", None)
    with (
        pytest.raises(ImageError, match=r"exited instead of serving: .*max_rows"),
        start_layout(layout_of(made, folder), made.spec),
    ):
        pass


@pytest.mark.parametrize(
    ("serving_section", "message"),
    [
        ({"prediction_log": "log.db"}, r"serving\.prediction_log: log\.db: .* cannot write to /$"),
        ({"prediction_log": "/model/log.db"}, r"cannot write to /model$"),
        ({"tls_certificate": "tls.pem"}, r"serving\.tls_key: .* left out"),
        ({"tls_key": "tls.pem"}, r"serving\.tls_certificate: .* left out"),
        ({"prediction_log": "postgresql://me:${PGPASSWORD}@db/x"}, r"serving\.prediction_log: needs the extra 'sql'"),
        ({"traces": True}, r"serving\.traces: needs the extra 'traces'"),
    ],
)
def test_section_with_which_no_container_can_serve_is_rejected(artefact, tmp_path, serving_section, message):
    other = type(artefact)(artefact.folder, artefact.manifest)
    other.__dict__["config"] = {**artefact.config, "serving": serving_section}
    with pytest.raises(ImageError, match=message) as caught:
        build(other, Image(), BuildOptions(TAG, tmp_path, "direct"), environment={})
    assert caught.value.hint
    assert not (tmp_path / "image.json").exists()


def test_key_file_in_the_image_must_have_keys(tmp_path):
    stand_ins = StandIns(Serving(keys_file="/run/keys.json"))
    path = tmp_path / "run" / "keys.json"
    path.parent.mkdir()
    for content, message in (("no json", "not a key file"), ('{"keys": []}', "has no valid keys")):
        path.write_text(content)
        with pytest.raises(ImageError, match=rf"serving\.keys_file: /run/keys\.json in the image.*{message}"):
            stand_ins.write(tmp_path)
    own, _ = new_key("web", ["predict"], now=datetime.now(UTC))
    write_keys(path, [own])
    stand_ins.write(tmp_path)
    assert [key.name for key in read_keys(path)] == ["web", "smoke test"]


def test_stand_ins_do_not_leave_the_root_folder(tmp_path):
    """The link of Debian's /var/run means the /run of the image, not that of this machine."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "var").mkdir(parents=True)
    (root / "var" / "run").symlink_to(outside)
    StandIns(Serving(keys_file="/var/run/keys.json")).write(root)
    assert not outside.exists()
    assert (root / outside.relative_to("/") / "keys.json").is_file()


def test_log_in_a_database_has_a_file_as_stand_in():
    serving_section = Serving(prediction_log="postgresql://me:${PGPASSWORD}@db/x", api_key_env="HOUSES_KEY")
    inputs = container_inputs(serving_section)
    assert inputs.options == ["--env HOUSES_KEY", "--env PGPASSWORD"]
    variables = StandIns(serving_section).environment()
    assert json.loads(variables["ESTIMATOR_CONFIG__SERVING__PREDICTION_LOG"]).startswith("/tmp/")
    assert len(variables["HOUSES_KEY"]) > 40


def test_same_version_gives_the_same_digest(built, rootfs, tmp_path):
    made, _ = built
    again = write_image(made.spec, base_of_rootfs(rootfs, tmp_path), tmp_path)
    assert again.digest == made.digest


def test_unsuitable_base_is_rejected(built, rootfs, tmp_path):
    made, _ = built
    base = base_of_rootfs(rootfs, tmp_path)
    other = next(name for name in ELF_MACHINES if name != made.spec.architecture)
    with pytest.raises(ImageError, match=f"the base is for {made.spec.architecture}, .* for {other}"):
        write_image(replace(made.spec, architecture=other), base, tmp_path)
    with pytest.raises(ImageError, match=r"has no Python 3\.99"):
        write_image(replace(made.spec, python="3.99"), base, tmp_path)
    for content in (b"no tar", b"", b"\x1f\x8bno gzip"):
        (tmp_path / "no.tar").write_bytes(content)
        with pytest.raises(ImageError, match=r"no\.tar: (not a tar archive|cannot be read)"):
            base_of_rootfs(tmp_path / "no.tar", tmp_path)
    (tmp_path / "packed.tar.gz").write_bytes(gzip.compress(rootfs.read_bytes(), 1))
    (packed,), (plain,) = base_of_rootfs(tmp_path / "packed.tar.gz", tmp_path).layers, base.layers
    assert packed.diff_id == plain.diff_id


def test_build_locks_its_folder_and_removes_the_old_record(artefact, tmp_path):
    (tmp_path / "image.json").write_text("{}")
    busy = pytest.raises(ImageError, match=r"another process is building in it: process \d+")
    with record_lock(tmp_path, purpose="building in it"), busy:
        build(artefact, Image(), BuildOptions(TAG, tmp_path), environment={})
    assert (tmp_path / "image.json").exists()
    with pytest.raises(RegistryError, match="refused"):
        build(artefact, Image(base="127.0.0.1:9/none:v1"), BuildOptions(TAG, tmp_path, "direct"), environment={})
    assert not (tmp_path / "image.json").exists()


def test_invalid_tag_is_rejected(artefact, tmp_path):
    with pytest.raises(RegistryError, match="'Upper case' is not an image reference"):
        build(artefact, Image(), BuildOptions("Upper case", tmp_path), environment={})


def test_too_large_image_is_rejected(built):
    made, _ = built
    check_size(made, 1000)
    with pytest.raises(ImageError, match=r"more than image\.max_size_mb allows: .* packages"):
        check_size(made, 100)


def test_different_predictions_fail_the_smoke_test(artefact, store):
    golden = artefact.read_json("golden.json")
    predictions = [value * 1.001 for value in golden["predictions"]]
    other = type(artefact)(artefact.folder, artefact.manifest)
    other.__dict__["read_json"] = lambda name: (
        {**golden, "predictions": predictions} if name == "golden.json" else artefact.read_json(name)
    )
    with serving(store / "house_pricing_model") as (process, address):
        assert run_smoke_test(artefact, running(process, address)).n_rows == 20
        with pytest.raises(ImageError, match="different predictions"):
            run_smoke_test(other, running(process, address))


def running(process, address):
    return RunningServer(address, "a test", time.monotonic(), lambda: process.poll() is None)


def test_server_that_ignores_its_keys_fails_the_smoke_test(artefact, store):
    with serving(store / "house_pricing_model") as (process, address):
        server = replace(running(process, address), key="a key that is required")
        with pytest.raises(ImageError, match="requires API keys, but a request without an API key gets 200, not 401"):
            run_smoke_test(artefact, server)


def test_exited_container_fails_the_smoke_test(artefact):
    with pytest.raises(ImageError, match="exited instead of serving"):
        run_smoke_test(artefact, RunningServer("http://127.0.0.1:9", "a test", time.monotonic(), lambda: False))


def test_missing_or_broken_engine_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_engine() is None
    with pytest.raises(ImageError, match="podman is not installed"):
        find_engine("podman")
    (tmp_path / "docker").write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    assert find_engine() is None
    with pytest.raises(ImageError, match="Cannot connect to the Docker daemon"):
        find_engine("docker")


@pytest.mark.parametrize(
    ("text", "expected"), [("1024", 1024), ("12.2 MB", 12_200_000), ("0 B", 0), ("1.5GB", 1_500_000_000), ("?", 0)]
)
def test_sizes_printed_by_engines_are_parsed(text, expected):
    assert parse_size(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("python:3.11-slim", "docker.io/library/python:3.11-slim"),
        ("me/app", "docker.io/me/app:latest"),
        ("127.0.0.1:5001/team/app:v1", "127.0.0.1:5001/team/app:v1"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:v1", "123456789012.dkr.ecr.eu-west-1.amazonaws.com/app:v1"),
        (f"localhost/app@sha256:{'a' * 64}", f"localhost/app@sha256:{'a' * 64}"),
    ],
)
def test_references_are_parsed_like_engines_do(text, expected):
    assert str(parse_reference(text)) == expected


@pytest.mark.parametrize("text", ["", "App", "a b", "host:5000/", "app:", "app@sha256:abc", "http://host/app"])
def test_invalid_references_are_rejected(text):
    with pytest.raises(RegistryError, match="is not an image reference"):
        parse_reference(text)


def test_layers_are_pushed_once_and_found_by_digest(built, tmp_path):
    made, folder = built
    with docker_registry() as host:
        notes: list[str] = []
        pushed = push(folder, f"{host}/team/app:v1", environment={}, note=notes.append)
        assert pushed.digest == made.digest
        assert all("sent" in line for line in notes)
        notes.clear()
        assert push(folder, f"{host}/team/app:v2", environment={}, note=notes.append).digest == made.digest
        assert all("already there" in line for line in notes)
        assert read_record(folder)["pushed"] == f"{host}/team/app@{made.digest}"
        base = pull_base(Registry(parse_reference(str(pushed))), "amd64", tmp_path)
        layers = layout_of(made, folder).layers
        assert [layer.diff_id for layer in base.layers] == [layer.diff_id for layer in layers]
        assert base.config["User"] == "10001:10001"
        assert Registry(parse_reference(f"{host}/team/none:v1")).digest() is None


def test_plan_of_a_push_is_what_the_push_does_and_changes_nothing(built):
    made, folder = built
    with docker_registry() as host:
        to = f"{host}/team/app:v1"
        before = (folder / "image.json").read_bytes()
        planned = plan_push(folder, to, environment={})
        assert (str(planned.reference), planned.digest, planned.architecture) == (to, made.digest, "amd64")
        assert planned.stored_digest is None
        assert (folder / "image.json").read_bytes() == before
        assert Registry(parse_reference(to)).digest() is None
        pushed = push(folder, to, environment={})
        assert plan_push(folder, to, environment={}).stored_digest == pushed.digest == planned.digest


@contextmanager
def unreliable(host: str, max_uploads: int):
    """A proxy of a registry that closes all connections with uploads after a number of them."""
    n_uploads = 0

    class Proxy(BaseHTTPRequestHandler):
        def forward(self):
            nonlocal n_uploads
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.command in ("PUT", "POST"):
                n_uploads += 1
                if n_uploads > max_uploads:
                    self.close_connection = True
                    return
            registry = http.client.HTTPConnection(host)
            registry.request(self.command, self.path, body, {**self.headers, "Host": self.headers["Host"]})
            response = registry.getresponse()
            content = response.read()
            self.send_response_only(response.status)
            for name, value in response.getheaders():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
            registry.close()

        do_GET = do_HEAD = do_PUT = do_POST = forward  # as http.server names them

        def log_message(self, *_):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_interrupted_push_continues(built):
    made, folder = built
    with docker_registry() as host:
        layout = layout_of(made, folder)
        with unreliable(host, max_uploads=4) as proxy, pytest.raises(RegistryError) as caught:
            push_layout(layout, Registry(parse_reference(f"{proxy}/app:v1"), retry_seconds=0.01))
        assert "finished layers are not sent again" in (caught.value.hint or "")
        notes: list[str] = []
        assert push(folder, f"{host}/app:v1", environment={}, note=notes.append).digest == made.digest
        assert sum("already there" in line for line in notes) == 2


def test_unreachable_registry_and_missing_login_are_reported(built, tmp_path):
    made, folder = built
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(RegistryError, match="refused"):
        push_layout(layout_of(made, folder), Registry(parse_reference(f"127.0.0.1:{port}/app:v1"), retry_seconds=0.01))
    with docker_registry(user="me", password="secret") as host:
        with pytest.raises(RegistryError, match="401") as caught:
            push(folder, f"{host}/app:v1", environment={"HOME": str(tmp_path)})
        assert "docker login" in (caught.value.hint or "")
        (tmp_path / ".docker").mkdir()
        logins = {"auths": {host: {"auth": "bWU6c2VjcmV0"}}}
        (tmp_path / ".docker" / "config.json").write_text(json.dumps(logins))
        assert push(folder, f"{host}/app:v1", environment={"HOME": str(tmp_path)}).digest == made.digest


def test_push_needs_a_built_image(built, tmp_path):
    _, folder = built
    with pytest.raises(ImageError, match="contains no built image"):
        push(tmp_path, "127.0.0.1:1/app:v1", environment={})
    (tmp_path / "image.json").write_text("{}")
    with pytest.raises(ImageError, match="is not a record of a built image"):
        push(tmp_path, "127.0.0.1:1/app:v1", environment={})
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy2(folder / "image.json", copy / "image.json")
    with pytest.raises(ImageError, match="does not exist"):
        push(copy, "127.0.0.1:1/app:v1", environment={})
    assert [path.name for path in copy.iterdir()] == ["image.json"]


def test_image_from_scratch_has_only_python(artefact, tmp_path, report_figure):
    if os.geteuid() != 0:
        pytest.skip("only root can start it in its own file system")
    built = build(artefact, Image(base="scratch"), BuildOptions(TAG, tmp_path, "auto"), environment={})
    assert built.builder == "direct"
    assert (built.smoke_test.n_rows, built.smoke_test.started_by) == (20, "chroot")
    assert built.layers[0][0] == "Python"
    assert built.size_bytes < 250e6
    report_figure(
        f"image from scratch: {built.size_bytes / 1e6:.0f} MB, ready after {built.smoke_test.startup_seconds:.2f} s"
    )


def test_dockerfile_from_scratch_takes_python_from_its_image(spec, tmp_path):
    write_context(replace(spec, base="scratch"), tmp_path / "context")
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, tmp_path / "context" / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    first, last = (tmp_path / "context" / "Dockerfile").read_text().split("\nFROM scratch\n")
    assert "FROM python:3.11-slim AS build" in first
    # There is no shell, and no Python before it is copied.
    assert "RUN" not in last
    assert "LD_LIBRARY_PATH" in last


def test_direct_builds_from_scratch_only_for_this_machine(artefact, tmp_path):
    other = "arm64" if os.uname().machine == "x86_64" else "amd64"
    with pytest.raises(ImageError, match="this machine's Python"):
        build(
            artefact, Image(base="scratch", architecture=other), BuildOptions(TAG, tmp_path, "direct"), environment={}
        )


def test_without_the_direct_package_images_need_an_engine(artefact, tmp_path, monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == builders.DIRECT_PACKAGE else find_spec(name)
    )
    monkeypatch.setattr(builders, "find_engine", lambda name: None)
    with pytest.raises(ImageError, match="no container engine works here"):
        choose_builder("auto")
    with pytest.raises(ImageError, match="the builder `direct` is not part of it") as caught:
        build(artefact, Image(), BuildOptions(TAG, tmp_path, "direct"), environment={})
    assert "--builder docker" in (caught.value.hint or "")
    with pytest.raises(ImageError, match="`direct` is not part of it"):
        build(artefact, Image(base="scratch"), BuildOptions(TAG, tmp_path), environment={})
    with pytest.raises(ImageError, match="`direct` is not part of it"):
        builder_of({"builder": "direct", "layout": {}})
    assert builder_of({"builder": "docker", "layout": None}).engine.name == "docker"


def test_only_the_seam_names_the_direct_package():
    """Nothing outside the folder imports it, so that it can be deleted."""
    package = Path(estimator.__file__).parent
    direct = package / "shipping" / "image" / "direct"
    modules = [path for path in package.rglob("*.py") if direct not in path.parents]
    assert [path.name for path in modules if "image.direct" in path.read_text()] == ["builders.py"]
