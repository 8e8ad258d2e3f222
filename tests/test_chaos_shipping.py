"""Images and deployments are whole, wherever `image` and `deploy` are killed, and the next command finishes them."""

from __future__ import annotations

import os
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from estimator.core.files import TEMPORARY_PREFIX
from estimator.shipping.deployment import SHELF, DeploymentContext
from estimator.shipping.deployment.base import deployment_lock
from estimator.shipping.files import write_yaml
from estimator.shipping.image.build_record import RECORD, read_record, record_lock, write_record
from estimator.shipping.image.direct.oci import read_layout
from tests.chaos import N_KILLS, kills
from tests.cluster import cluster
from tests.deployments import DIGESTS, context_of, folders_by_digest, releases_of, two_versions
from tests.machines import instances, known_to_ecr
from tests.rootfs import write_rootfs
from tests.servers import aws
from tests.verb_chaos import hidden, killed, only_chaos, run_command

REGION = "eu-west-1"
REPOSITORY = f"123456789012.dkr.ecr.{REGION}.amazonaws.com/prices"


def processes_in(folder: Path) -> list[str]:
    """Return the command lines of the processes that work with what is in a folder."""
    commands = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and process.name != str(os.getpid()):
            try:
                open_files = [str((process / name).readlink()) for name in ("cwd", "root")]
                command = (process / "cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
            if any(str(folder) in text for text in (*open_files, command)):
                commands.append(command)
    return commands


@only_chaos
def test_image_killed_anywhere_is_not_called_good_and_the_next_build_is_whole(tmp_path, monkeypatch):
    (version, _) = two_versions(tmp_path / "models")
    write_rootfs(tmp_path / "rootfs.tar", tmp_path)
    scratch, build = tmp_path / "scratch", tmp_path / "build" / version.name
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    image = ("image", str(version.folder), "--builder", "direct", "--base-rootfs", "rootfs.tar")

    def check_build() -> None:
        read_layout(build / "layout", read_record(build)["layout"])
        with tarfile.open(build / f"{version.name}.tar") as archive:
            assert "manifest.json" in archive.getnames()

    for _ in killed(tmp_path, *image):
        if (build / RECORD).exists():
            check_build()
        deadline = time.monotonic() + 30
        # The server of its test ends with it.
        while left := processes_in(tmp_path):
            assert time.monotonic() < deadline, left
            time.sleep(0.1)
    assert run_command(tmp_path, *image) is not None
    check_build()
    assert hidden(build) == []
    assert [path.name for path in scratch.iterdir() if path.name.startswith(TEMPORARY_PREFIX)] == []


@contextmanager
def a_cluster(versions, folder) -> Iterator[str]:
    with cluster(folder / "cluster", folders_by_digest(versions)):
        yield "registry.example.com/prices"


@contextmanager
def a_cloud(versions, folder) -> Iterator[str]:
    with aws() as cloud:
        known_to_ecr(cloud, REGION, "prices", DIGESTS)
        with instances(cloud, REGION, folders_by_digest(versions)):
            yield REPOSITORY


@only_chaos
@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"kind": "kubernetes"}, a_cluster),
        ({"kind": "ec2", "region": REGION, "ingress_cidrs": ["203.0.113.4/32"]}, a_cloud),
    ],
    ids=["kubernetes", "ec2"],
)
def test_deployment_killed_anywhere_is_finished_by_the_next(tmp_path, settings, place):
    versions = two_versions(tmp_path / "models")
    model, build = versions[0].name, tmp_path / "build"
    context, target = context_of(versions, build), SHELF.load(settings["kind"]).model_validate(settings)
    options = [f"--set=deployment.{name}={value}" for name, value in settings.items()]
    common = (model, "--folder", "build", "--store", "models", *options)
    build.mkdir()

    with place(versions, tmp_path) as repository:
        releases = releases_of(versions, repository)

        def build_release(number: int) -> None:
            release = releases[number % 2]
            record = {
                "name": model, "tag": "prices:latest", "builder": "docker", "layout": None, "port": release.port,
                "version": release.version, "pushed": release.image, "architecture": release.architecture,
            }  # fmt: skip
            write_record(record, build)

        build_release(0)
        assert run_command(tmp_path, "deploy", "--yes", *common) is not None
        build_release(1)
        for number in killed(tmp_path, "deploy", "--yes", *common, n_kills=-(-N_KILLS // 2)):
            assert run_command(tmp_path, "deploy", "--yes", *common) is not None
            status = target.status(model, context)
            assert (status.state, status.release, status.previous) == (
                "ready", releases[number % 2], releases[(number + 1) % 2],
            )  # fmt: skip
            build_release(number + 1)
        assert run_command(tmp_path, "down", "--yes", *common) is not None
        assert target.status(model, context).resources == ()
        assert hidden(build) == []


def push_image(folder: Path, number: int) -> None:
    with record_lock(folder, purpose="pushing it"):
        write_record({**read_record(folder), "pushed": number}, folder)


def test_record_of_an_image_is_whole_wherever_a_push_is_killed(tmp_path):
    write_record({"name": "m", "tag": "t", "builder": "direct", "layout": None}, tmp_path)
    for at in kills(partial(push_image, tmp_path, 1)):
        assert read_record(tmp_path).get("pushed") in (None, 1), at
    push_image(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["image.json"]


def write_deployment(folder: Path) -> None:
    with deployment_lock(DeploymentContext(folder, {})):
        write_yaml(folder / "deployment" / "compose.yaml", [{"services": {"server": {"image": "m"}}}], comment="by us")


def test_files_of_a_deployment_are_whole_wherever_it_is_killed(tmp_path):
    write_deployment(tmp_path)
    expected = (tmp_path / "deployment" / "compose.yaml").read_text()
    for _ in kills(partial(write_deployment, tmp_path)):
        assert (tmp_path / "deployment" / "compose.yaml").read_text() == expected
    write_deployment(tmp_path)
    assert hidden(tmp_path) == []
