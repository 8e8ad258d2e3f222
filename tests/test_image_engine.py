"""Images in a real engine: built by it and without it, run as they should be, killed, pushed, pulled back.

They take minutes and packages of Debian that root installs: `make test-image` runs them.
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
from estimator.shipping.image.build import BuildOptions, build
from estimator.shipping.image.engines import HARDENED, DockerEngine, find_engine
from estimator.shipping.image.push import push
from estimator.shipping.image.smoke_test import ask, run_smoke_test
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
    """An engine that has the base under the name images of Python have."""
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
    told: list[str] = []
    built = build(artefact, Image(), BuildOptions(TAG, folder, "docker"), environment={}, note=told.append)
    assert any(line.startswith("docker: [build ") for line in told), told
    return built, folder


@pytest.fixture(scope="module")
def by_hand(docker, artefact, base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("direct")
    built = build(artefact, Image(), BuildOptions("by_hand:latest", folder, "direct", base), environment={})
    docker.run("load", "--input", str(built.archive))
    return built, folder


def test_an_image_that_the_engine_built_answers_as_the_version(by_engine, report_figure):
    built, _ = by_engine
    assert (built.smoke_test.n_rows, built.smoke_test.n_rejected) == (20, 3)
    above = sum(size for _, size in built.layers[1:])
    report_figure(f"image by docker: {built.size_bytes / 1e6:.0f} MB, {above / 1e6:.0f} above its base, ready after "
         f"{built.smoke_test.startup_seconds:.2f} s")  # fmt: skip


def test_an_image_that_was_written_here_answers_in_the_engine(docker, by_hand, artefact, report_figure):
    built, _ = by_hand
    with docker.started("by_hand:latest", 5000) as started:
        trial = run_smoke_test(
            artefact, started.address, started=started.how, began=started.began, is_alive=started.is_alive
        )
    assert (trial.n_rows, trial.n_rejected) == (20, 3)
    report_figure(
        f"image without an engine: {built.size_bytes / 1e6:.0f} MB, "
        f"ready after {trial.startup_seconds:.2f} s of docker run"
    )


def test_what_other_frameworks_would_install(report_figure):
    found = {}
    for name in ("bentoml", "mlflow", "mlserver"):
        for folder in sorted(ENVIRONMENTS.glob(f"{name}-*")):
            sizes = [path.lstat().st_size for path in folder.glob("lib/*/site-packages/**/*") if path.is_file()]
            found[folder.name] = sum(sizes) / 1e6
    if not found:
        pytest.skip("their environments are made by `make bench-serve`")
    report_figure(f"installed packages: {', '.join(f'{name} {size:.0f} MB' for name, size in found.items())}")


@pytest.mark.parametrize("tag", [TAG, "by_hand:latest"])
def test_a_container_is_healthy_ends_at_once_and_starts_again(docker, by_engine, by_hand, house, tag):
    named = docker.run("run", "--detach", *HARDENED, "--publish", "127.0.0.1::5000", tag).strip()

    def asked():
        place = docker.run("port", named, "5000/tcp").split()[0]
        for _ in range(200):
            try:
                return ask(f"http://{place}", "/v1/services/predict", [house])
            except OSError:
                time.sleep(0.05)
        raise AssertionError(docker.run("logs", named))

    status, first = asked()
    assert status == 200
    assert docker.run("exec", named, "id", "-u").strip() == "10001"
    assert subprocess.run(["docker", "exec", named, "touch", "/model/x"], capture_output=True, check=False).returncode
    for _ in range(150):
        if (health := docker.run("inspect", "--format", "{{.State.Health.Status}}", named).strip()) != "starting":
            break
        time.sleep(0.1)
    assert health == "healthy"
    docker.run("kill", named)
    docker.run("start", named)
    assert asked() == (200, first)
    began = time.monotonic()
    docker.run("stop", "--time", "30", named)
    assert time.monotonic() - began < 15
    assert docker.run("inspect", "--format", "{{.State.ExitCode}}", named).strip() == "0"
    docker.run("rm", named)


def test_both_ways_to_an_image_make_the_same_of_it(docker, by_engine, by_hand):
    told = [json.loads(docker.run("image", "inspect", tag))[0] for tag in (TAG, "by_hand:latest")]
    for name in ("User", "ExposedPorts", "Entrypoint", "Cmd", "Healthcheck", "Labels", "StopSignal"):
        assert told[0]["Config"][name] == told[1]["Config"][name], name
    assert sorted(told[0]["Config"]["Env"]) == sorted(told[1]["Config"]["Env"])
    assert told[0]["Architecture"] == told[1]["Architecture"]


def test_an_image_is_pulled_back_by_its_digest(docker, by_engine, by_hand, artefact):
    with docker_registry() as host:
        for (built, folder), name in ((by_engine, "engine"), (by_hand, "hand")):
            identity = docker.run("image", "inspect", "--format", "{{.Id}}", built.spec.tag).strip()
            pushed = push(folder, f"{host}/team/{name}:v1", environment={})
            assert built.digest in (None, pushed.digest)
            # Under all of its names.
            docker.run("rmi", "--force", identity)
            docker.run("pull", "--quiet", str(pushed))
            assert docker.run("image", "inspect", "--format", "{{.Id}}", str(pushed)).strip() == identity
            docker.run("tag", str(pushed), built.spec.tag)
            with docker.started(str(pushed), 5000) as started:
                run_smoke_test(
                    artefact, started.address, started="pulled", began=started.began, is_alive=started.is_alive
                )


def test_the_engine_says_why_it_cannot_build(docker, artefact, tmp_path):
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
def test_other_engines_build_and_run_it_as_well(others, artefact, tmp_path, report_figure, name):
    built = build(artefact, Image(), BuildOptions(f"by_{name}:latest", tmp_path, name), environment={})
    assert (built.smoke_test.n_rows, built.smoke_test.n_rejected) == (20, 3)
    assert built.size_bytes > 100e6
    report_figure(
        f"image by {name}: {built.size_bytes / 1e6:.0f} MB, ready after {built.smoke_test.startup_seconds:.2f} s"
    )


def test_a_container_that_ends_is_not_waited_for(docker, by_engine, artefact):
    with pytest.raises(ImageError, match="exited instead of serving"), docker.started(TAG, 5000) as started:
        docker.run("kill", docker.run("ps", "-lq").strip())
        run_smoke_test(artefact, started.address, started=started.how, began=started.began, is_alive=started.is_alive)
