"""A version as a container image, without an engine: what is in it, that it is always the same, and that it answers."""

from __future__ import annotations

import fcntl
import gzip
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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import estimator
from estimator import verbs
from estimator.config import Image
from estimator.errors import ImageError, RegistryError
from estimator.shipping.image import smoke_test as trial
from estimator.shipping.image.build import BuildOptions, build, weigh
from estimator.shipping.image.build_record import read_record
from estimator.shipping.image.build_spec import BuildSpec, write_context
from estimator.shipping.image.direct.oci import ELF_MACHINES, base_of_rootfs, write_image
from estimator.shipping.image.engines import find_engine, parse_size, started_layout
from estimator.shipping.image.push import push
from estimator.shipping.image.registry import Registry, parse_reference
from estimator.shipping.image.smoke_test import run_smoke_test
from estimator.shipping.image.wheels import PinnedPackage, own_wheel
from tests.clients import serving
from tests.conftest import EXAMPLES
from tests.rootfs import write_rootfs
from tests.servers import docker_registry

TAG = "price_estimator_api:latest"
PINS = (
    PinnedPackage("numpy", "2.0.0", ("0" * 64,), "BSD-3-Clause"),
    PinnedPackage("onnxruntime", "1.20.0", ("1" * 64,)),
)


@pytest.fixture(scope="module")
def artefact(store):
    return verbs.Context(store_path=str(store)).version("house_pricing_model")


@pytest.fixture(scope="module")
def spec(artefact):
    return BuildSpec(artefact, TAG, "python:3.11-slim", "3.11", "amd64", 5000, PINS, own_wheel(), {"team": 'a "b" $c'})


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rootfs")
    write_rootfs(folder / "rootfs.tar", folder)
    return folder / "rootfs.tar"


@pytest.fixture(scope="module")
def built(artefact, rootfs, tmp_path_factory):
    """An image that was written, started and tried; pip installs its packages."""
    folder = tmp_path_factory.mktemp("image")
    return build(artefact, Image(), BuildOptions(TAG, folder, "direct", rootfs), environment={}), folder


def test_the_own_wheel_is_the_package_as_it_runs_and_always_the_same():
    name, content = own_wheel()
    assert own_wheel() == (name, content)
    with zipfile.ZipFile(io.BytesIO(content)) as wheel:
        names = set(wheel.namelist())
        package = Path(estimator.__file__).parent
        here = {
            f"estimator/{path.relative_to(package).as_posix()}"
            for path in package.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert {each for each in names if each.startswith("estimator/")} == here
        record = next(each for each in names if each.endswith("RECORD"))
        assert {line.split(",")[0] for line in wheel.read(record).decode().splitlines()} == names


def test_the_dockerfile_is_one_that_a_linter_has_nothing_to_say_of(spec, tmp_path):
    write_context(spec, tmp_path / "context")
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, tmp_path / "context" / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    text = (tmp_path / "context" / "Dockerfile").read_text()
    assert "USER 10001:10001" in text
    assert r'team="a \"b\" \$c"' in text
    # What engines as old as Docker 20.10 do not know.
    assert not any(word in text for word in ("# syntax", "--link", "<<", "--start-interval", "--network"))


def test_what_is_installed_is_pinned_by_hash_and_names_no_address(spec):
    text = spec.context()["requirements.txt"].decode()
    assert all("--hash=sha256:" in line for line in text.splitlines())
    assert "://" not in text
    assert text.splitlines()[-1].startswith("./estimator_lifepath-")


def test_a_context_is_the_same_again_and_holds_nothing_else(spec, tmp_path):
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "old.txt").write_text("of another build")
    write_context(spec, tmp_path / "context")
    found = {path.relative_to(tmp_path / "context").as_posix(): path.read_bytes()
             for path in (tmp_path / "context").rglob("*") if path.is_file()}  # fmt: skip
    assert found == spec.context() == spec.context()
    assert {name for name in found if name.startswith("model/")} == {
        f"model/{name}" for name in ("manifest.json", *spec.artefact.manifest["files"])
    }


def test_the_bill_of_materials_follows_its_standard(spec):
    bill = spec.context()["sbom.cdx.json"].decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    assert {each["purl"] for each in json.loads(bill)["components"]} == {
        "pkg:pypi/numpy@2.0.0", "pkg:pypi/onnxruntime@1.20.0",
    }  # fmt: skip


def test_an_image_is_written_started_and_tried_without_an_engine(built, report_figure):
    made, folder = built
    assert made.smoke_test is not None
    assert (made.smoke_test.n_rows, made.smoke_test.n_rejected) == (20, 3)
    assert [created_by for created_by, _ in made.layers[1:]] == [
        "compiled standard library", "packages", f"house_pricing_model {made.spec.artefact.version}",
    ]  # fmt: skip
    above = sum(size for _, size in made.layers[1:])
    assert above < 150e6
    report_figure(f"image: {above / 1e6:.0f} MB above its base")
    with tarfile.open(made.archive) as archive:
        names = archive.getnames()
        told = json.load(archive.extractfile("manifest.json"))[0]
        config = json.load(archive.extractfile(told["Config"]))
    assert told["RepoTags"] == [TAG]
    assert set(told["Layers"]) <= set(names)
    assert config["config"]["User"] == "10001:10001"
    assert config["config"]["Entrypoint"] == ["python", "-m", "estimator"]
    assert config["config"]["Healthcheck"]["Test"][0] == "CMD"
    assert read_record(folder)["smoke_tested"] is True


def test_others_than_root_try_the_packages_with_their_own_python(built, artefact, monkeypatch):
    made, _ = built
    monkeypatch.setattr("estimator.shipping.image.engines.CHROOT", None)
    with started_layout(made.layout, made.spec) as started:
        found = run_smoke_test(
            artefact, started.address, started=started.how, began=started.began, is_alive=started.is_alive
        )
    assert (found.n_rows, found.n_rejected) == (20, 3)
    assert "this machine's Python" in found.started_by


def test_an_image_whose_server_refuses_to_start_says_why(built, monkeypatch):
    made, _ = built
    monkeypatch.setitem(trial.ENVIRONMENT, "ESTIMATOR_CONFIG__SERVING__MAX_ROWS", "-1")
    with (
        pytest.raises(ImageError, match=r"exited instead of serving: .*max_rows"),
        started_layout(made.layout, made.spec),
    ):
        pass


def test_the_same_version_gives_the_same_digest(built, rootfs, tmp_path):
    made, _ = built
    again = write_image(made.spec, base_of_rootfs(rootfs, tmp_path), tmp_path)
    assert again.digest == made.digest


def test_a_base_that_does_not_fit_is_refused(built, rootfs, tmp_path):
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


def test_a_folder_is_for_one_build_and_forgets_what_was_built_before(artefact, tmp_path):
    (tmp_path / "image.json").write_text("{}")
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(ImageError, match="another process is building in it"):
        build(artefact, Image(), BuildOptions(TAG, tmp_path), environment={})
    os.close(held)
    assert (tmp_path / "image.json").exists()
    with pytest.raises(RegistryError, match="refused"):
        build(artefact, Image(base="127.0.0.1:9/none:v1"), BuildOptions(TAG, tmp_path, "direct"), environment={})
    assert not (tmp_path / "image.json").exists()


def test_a_tag_that_is_none_is_refused(artefact, tmp_path):
    with pytest.raises(RegistryError, match="'Upper case' is not an image reference"):
        build(artefact, Image(), BuildOptions("Upper case", tmp_path), environment={})


def test_an_image_that_weighs_too_much_is_refused(built):
    made, _ = built
    weigh(made, 1000)
    with pytest.raises(ImageError, match=r"more than image\.max_size_mb allows: .* packages"):
        weigh(made, 100)


def test_an_image_that_answers_otherwise_is_not_good(artefact, store):

    def answers_of(named, of):
        with serving(store / named) as (process, address):
            return run_smoke_test(of, address, started="here", began=time.monotonic(),
                         is_alive=lambda: process.poll() is None)  # fmt: skip

    assert answers_of("house_pricing_model", artefact).n_rows == 20
    golden = artefact.read_json("golden.json")
    answers = [value * 1.001 for value in golden["predictions"]]
    other = type(artefact)(artefact.folder, artefact.manifest)
    other.__dict__["read_json"] = lambda name: (
        {**golden, "predictions": answers} if name == "golden.json" else artefact.read_json(name)
    )
    with pytest.raises(ImageError, match="different predictions"):
        answers_of("house_pricing_model", other)


def test_a_version_that_asks_for_keys_is_tried_without_them(tmp_path, monkeypatch):
    choices = (
        "model.kind=constant",
        "serving.api_key_env=NOT_SET",
        "serving.max_rows=2",
        'serving.prediction_log="no/log.db"',
    )
    made = verbs.train.train(EXAMPLES / "boston" / "config.json", verbs.Context(choices, store_path=str(tmp_path)))
    for name, value in trial.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with serving(made.artefact.folder) as (process, address):
        found = run_smoke_test(made.artefact, address, started="here", began=time.monotonic(),
                      is_alive=lambda: process.poll() is None)  # fmt: skip
    assert (found.n_rows, found.n_rejected) == (20, 3)


def test_a_container_that_ends_is_told(artefact):
    with pytest.raises(ImageError, match="exited instead of serving"):
        run_smoke_test(artefact, "http://127.0.0.1:9", started="here", began=time.monotonic(), is_alive=lambda: False)


def test_an_engine_that_is_not_there_or_does_not_run_is_told(tmp_path, monkeypatch):
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
def test_bytes_are_read_as_engines_tell_them(text, expected):
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
def test_references_are_read_as_engines_read_them(text, expected):
    assert str(parse_reference(text)) == expected


@pytest.mark.parametrize("text", ["", "App", "a b", "host:5000/", "app:", "app@sha256:abc", "http://host/app"])
def test_what_names_no_image_is_refused(text):
    with pytest.raises(RegistryError, match="is not an image reference"):
        parse_reference(text)


def test_a_registry_gets_the_image_once_and_knows_it_by_its_digest(built, tmp_path):
    made, folder = built
    with docker_registry() as host:
        told: list[str] = []
        pushed = push(folder, f"{host}/team/app:v1", environment={}, note=told.append)
        assert pushed.digest == made.digest
        assert all("sent" in line for line in told)
        told.clear()
        assert push(folder, f"{host}/team/app:v2", environment={}, note=told.append).digest == made.digest
        assert all("already there" in line for line in told)
        assert read_record(folder)["pushed"] == f"{host}/team/app@{made.digest}"
        base = Registry(parse_reference(str(pushed))).pull_base("amd64", tmp_path)
        assert [layer.diff_id for layer in base.layers] == [layer.diff_id for layer in made.layout.layers]
        assert base.config["User"] == "10001:10001"
        assert Registry(parse_reference(f"{host}/team/none:v1")).digest() is None


@contextmanager
def breaking(host: str, allowed: int):
    """A registry behind a line that breaks for good after so many requests that send something."""
    import http.client

    sent = [0]

    class Line(BaseHTTPRequestHandler):
        def pass_on(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if self.command in ("PUT", "POST"):
                sent[0] += 1
                if sent[0] > allowed:
                    self.close_connection = True
                    return
            to = http.client.HTTPConnection(host)
            to.request(self.command, self.path, body, {**self.headers, "Host": self.headers["Host"]})
            found = to.getresponse()
            content = found.read()
            self.send_response_only(found.status)
            for name, value in found.getheaders():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
            to.close()

        do_GET = do_HEAD = do_PUT = do_POST = pass_on  # as the library names them

        def log_message(self, *_):
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Line)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_push_that_broke_off_goes_on(built):
    made, folder = built
    with docker_registry() as host:
        with breaking(host, allowed=4) as line, pytest.raises(RegistryError) as caught:
            layout = made.layout
            Registry(parse_reference(f"{line}/app:v1"), pause=0.01).push(layout)
        assert "finished layers are not sent again" in (caught.value.hint or "")
        told: list[str] = []
        assert push(folder, f"{host}/app:v1", environment={}, note=told.append).digest == made.digest
        assert sum("already there" in line for line in told) == 2


def test_a_registry_that_is_not_there_or_lets_nobody_in_is_told(built, tmp_path):
    made, folder = built
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(RegistryError, match="refused"):
        Registry(parse_reference(f"127.0.0.1:{port}/app:v1"), pause=0.01).push(made.layout)
    with docker_registry(user="me", password="secret") as host:
        with pytest.raises(RegistryError, match="401") as caught:
            push(folder, f"{host}/app:v1", environment={"HOME": str(tmp_path)})
        assert "docker login" in (caught.value.hint or "")
        (tmp_path / ".docker").mkdir()
        kept = {"auths": {host: {"auth": "bWU6c2VjcmV0"}}}
        (tmp_path / ".docker" / "config.json").write_text(json.dumps(kept))
        assert push(folder, f"{host}/app:v1", environment={"HOME": str(tmp_path)}).digest == made.digest


def test_nothing_is_pushed_where_nothing_was_built(built, tmp_path):
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
    assert os.listdir(copy) == ["image.json"]  # noqa: PTH208 # names alone


def test_an_image_from_scratch_holds_python_alone_and_answers(artefact, tmp_path, report_figure):
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


def test_no_engine_starts_from_scratch(artefact, tmp_path):
    with pytest.raises(ImageError, match="cannot build from scratch"):
        build(artefact, Image(base="scratch"), BuildOptions(TAG, tmp_path, "docker"), environment={})
    other = "arm64" if os.uname().machine == "x86_64" else "amd64"
    with pytest.raises(ImageError, match="this machine's Python"):
        build(
            artefact, Image(base="scratch", architecture=other), BuildOptions(TAG, tmp_path, "direct"), environment={}
        )
