"""Images in a real engine: built with and without it, run, killed, pushed and pulled.

The tests take minutes and need Debian packages that root installs: `make test-image` runs them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from estimator import verbs
from estimator.config import Image
from estimator.errors import ImageError
from estimator.shipping.image.build import build
from estimator.shipping.image.build_record import push
from estimator.shipping.image.builders import BuildOptions
from estimator.shipping.image.engines import HARDENED, DockerEngine, find_engine
from estimator.shipping.image.smoke_test import request_json, run_smoke_test
from estimator.shipping.image.stand_ins import StandIns
from tests.conftest import EXAMPLES
from tests.engine import docker_engine
from tests.rootfs import write_debian
from tests.servers import debian_program, docker_registry

pytestmark = pytest.mark.skipif(
    "ESTIMATOR_TEST_ENGINE" not in os.environ, reason="a Docker engine is started by `make test-image`"
)
TAG = "price_estimator_api:latest"
ENVIRONMENTS = Path.home() / ".cache" / "estimator-benchmarks"


@pytest.fixture(scope="module")
def artefact(store):
    return verbs.Context(store_path=str(store)).version("house_pricing_model")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    write_debian(folder / "base.tar", folder)
    return folder / "base.tar"


@pytest.fixture(scope="module")
def docker(base, artefact):
    """An engine that has the base under the name of the official Python image."""
    with docker_engine():
        engine = find_engine("docker")
        assert isinstance(engine, DockerEngine)
        path = "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        version = ".".join(map(str, sys.version_info[:2]))
        engine.run("import", "--change", path, "--change", "ENV LANG=C.UTF-8", str(base), f"python:{version}-slim")
        yield engine


@pytest.fixture(scope="module")
def by_engine(docker, artefact, tmp_path_factory):
    folder = tmp_path_factory.mktemp("engine")
    notes: list[str] = []
    built = build(artefact, Image(), BuildOptions(TAG, folder, "docker"), environment={}, note=notes.append)
    assert any(line.startswith("docker: [build ") for line in notes), notes
    return built, folder


@pytest.fixture(scope="module")
def by_direct(docker, artefact, base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("direct")
    built = build(artefact, Image(), BuildOptions("direct:latest", folder, "direct", base), environment={})
    docker.run("load", "--input", str(built.archive))
    return built, folder


def test_image_of_the_engine_passes_the_smoke_test(by_engine, report_figure):
    built, _ = by_engine
    assert (built.smoke_test.n_rows, built.smoke_test.n_rejected) == (20, 3)
    above = sum(size for _, size in built.layers[1:])
    report_figure(f"image by docker: {built.size_bytes / 1e6:.0f} MB, {above / 1e6:.0f} above its base, ready after "
         f"{built.smoke_test.startup_seconds:.2f} s")  # fmt: skip


def test_direct_image_passes_the_smoke_test_in_the_engine(docker, by_direct, artefact, report_figure):
    built, _ = by_direct
    with docker.start("direct:latest", 5000, StandIns(built.spec.serving)) as server:
        result = run_smoke_test(artefact, server)
    assert (result.n_rows, result.n_rejected) == (20, 3)
    report_figure(
        f"image without an engine: {built.size_bytes / 1e6:.0f} MB, "
        f"ready after {result.startup_seconds:.2f} s of docker run"
    )


def test_container_of_the_test_gets_stand_ins(docker, base, tmp_path):
    """Mounted where the serving section says; what its image has itself stays."""
    choices = (
        "model.kind=constant",
        "serving.keys_file=run/keys.json",
        "serving.tls_certificate=/run/tls/certificate.pem",
        "serving.tls_key=/run/tls/key.pem",
        "serving.prediction_log=logs/predictions.db",
        "serving.max_rows=2",
    )
    context = verbs.Context(choices, store_path=str(tmp_path / "store"))
    secured = verbs.train.train(EXAMPLES / "boston" / "config.json", context).artefact
    built = build(secured, Image(), BuildOptions("secured:latest", tmp_path, "direct", base), environment={})
    docker.run("load", "--input", str(built.archive))
    with docker.start("secured:latest", 5000, StandIns(built.spec.serving)) as server:
        assert run_smoke_test(secured, server).requires_key
    (tmp_path / "Dockerfile").write_text("FROM secured:latest\nCOPY keys.json /run/keys.json\n")
    (tmp_path / "keys.json").write_text('{"keys": []}')
    docker.run("build", "--tag", "without_keys:latest", str(tmp_path))
    message = r"serving\.keys_file: /run/keys\.json in the image has no valid keys"
    with (
        pytest.raises(ImageError, match=message),
        docker.start("without_keys:latest", 5000, StandIns(built.spec.serving)),
    ):
        pass


def test_installed_size_of_other_frameworks(report_figure):
    sizes_mb = {}
    for name in ("bentoml", "mlflow", "mlserver"):
        for folder in sorted(ENVIRONMENTS.glob(f"{name}-*")):
            sizes = [path.lstat().st_size for path in folder.glob("lib/*/site-packages/**/*") if path.is_file()]
            sizes_mb[folder.name] = sum(sizes) / 1e6
    if not sizes_mb:
        pytest.skip("their environments are made by `make bench-serve`")
    report_figure(f"installed packages: {', '.join(f'{name} {size:.0f} MB' for name, size in sizes_mb.items())}")


@pytest.mark.parametrize("tag", [TAG, "direct:latest"])
def test_container_is_healthy_stops_fast_and_restarts(docker, by_engine, by_direct, house, tag):
    container = docker.run("run", "--detach", *HARDENED, "--publish", "127.0.0.1::5000", tag).strip()

    def asked():
        place = docker.run("port", container, "5000/tcp").split()[0]
        for _ in range(200):
            try:
                return request_json(f"http://{place}", "/v1/services/predict", [house])
            except OSError:
                time.sleep(0.05)
        raise AssertionError(docker.run("logs", container))

    status, first = asked()
    assert status == 200
    assert docker.run("exec", container, "id", "-u").strip() == "10001"
    assert subprocess.run(
        ["docker", "exec", container, "touch", "/model/x"], capture_output=True, check=False
    ).returncode
    for _ in range(150):
        if (health := docker.run("inspect", "--format", "{{.State.Health.Status}}", container).strip()) != "starting":
            break
        time.sleep(0.1)
    assert health == "healthy"
    docker.run("kill", container)
    docker.run("start", container)
    assert asked() == (200, first)
    stopped_at = time.monotonic()
    docker.run("stop", "--time", "30", container)
    assert time.monotonic() - stopped_at < 15
    assert docker.run("inspect", "--format", "{{.State.ExitCode}}", container).strip() == "0"
    docker.run("rm", container)


def test_both_builders_give_the_same_config(docker, by_engine, by_direct):
    inspected = [json.loads(docker.run("image", "inspect", tag))[0] for tag in (TAG, "direct:latest")]
    for name in ("User", "ExposedPorts", "Entrypoint", "Cmd", "Healthcheck", "Labels", "StopSignal"):
        assert inspected[0]["Config"][name] == inspected[1]["Config"][name], name
    assert sorted(inspected[0]["Config"]["Env"]) == sorted(inspected[1]["Config"]["Env"])
    assert inspected[0]["Architecture"] == inspected[1]["Architecture"]


def test_pushed_image_is_pulled_by_digest(docker, by_engine, by_direct, artefact):
    with docker_registry() as host:
        for (built, folder), name in ((by_engine, "engine"), (by_direct, "direct")):
            identity = docker.run("image", "inspect", "--format", "{{.Id}}", built.spec.tag).strip()
            pushed = push(folder, f"{host}/team/{name}:v1", environment={})
            assert built.digest in (None, pushed.digest)
            # Forced, as it has several names.
            docker.run("rmi", "--force", identity)
            docker.run("pull", "--quiet", str(pushed))
            assert docker.run("image", "inspect", "--format", "{{.Id}}", str(pushed)).strip() == identity
            docker.run("tag", str(pushed), built.spec.tag)
            with docker.start(str(pushed), 5000, StandIns(built.spec.serving)) as server:
                run_smoke_test(artefact, server)


def test_build_errors_of_the_engine_are_reported(docker, artefact, tmp_path):
    with pytest.raises(ImageError, match="docker build"):
        build(artefact, Image(base="127.0.0.1:9/none:v1"), BuildOptions(TAG, tmp_path, "docker"), environment={})


@pytest.fixture(scope="module")
def others(base, tmp_path_factory):
    """Podman and Buildah with images of their own, one of them the base."""
    folder = tmp_path_factory.mktemp("containers")
    for name in ("podman", "buildah", "runc"):
        debian_program(name, name)
    (folder / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{folder}/images"\nrunroot = "{folder}/run"\n'
    )
    limits = 'default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]'
    (folder / "containers.conf").write_text(f'[containers]\n{limits}\n[engine]\nruntime = "runc"\n')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_STORAGE_CONF", str(folder / "storage.conf"))
        patch.setenv("CONTAINERS_CONF", str(folder / "containers.conf"))
        path = "ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
        named = f"docker.io/library/python:{'.'.join(map(str, sys.version_info[:2]))}-slim"
        subprocess.run(["podman", "import", "--change", path, base, named], check=True, capture_output=True)
        yield


@pytest.mark.parametrize("name", ["podman", "buildah"])
def test_podman_and_buildah_build_and_run_the_image(others, artefact, tmp_path, report_figure, name):
    built = build(artefact, Image(), BuildOptions(f"by_{name}:latest", tmp_path, name), environment={})
    assert (built.smoke_test.n_rows, built.smoke_test.n_rejected) == (20, 3)
    assert built.size_bytes > 100e6
    report_figure(
        f"image by {name}: {built.size_bytes / 1e6:.0f} MB, ready after {built.smoke_test.startup_seconds:.2f} s"
    )


@pytest.mark.parametrize("name", ["docker", "podman", "buildah"])
def test_engines_build_an_image_from_scratch(docker, others, artefact, tmp_path, report_figure, name):
    options = BuildOptions(f"scratch_by_{name}:latest", tmp_path, name)
    built = build(artefact, Image(base="scratch"), options, environment={})
    assert (built.smoke_test.n_rows, built.smoke_test.n_rejected) == (20, 3)
    report_figure(f"image from scratch by {name}: {built.size_bytes / 1e6:.0f} MB")


def test_exited_container_is_reported_at_once(docker, by_engine, artefact):
    with (
        pytest.raises(ImageError, match="exited instead of serving"),
        docker.start(TAG, 5000, StandIns(by_engine[0].spec.serving)) as server,
    ):
        docker.run("kill", docker.run("ps", "-lq").strip())
        run_smoke_test(artefact, server)
