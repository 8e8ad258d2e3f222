"""Clusters of several nodes train the same model, also when processes and nodes are killed meanwhile.

They take minutes: `make test-scale` runs them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from estimator.config import EngineChoice
from estimator.engine import LOCAL, open_engine
from estimator.errors import EngineError
from tests.engine_rows import graph_hash, houses, patiently, prepared_houses, trained_by

pytestmark = [
    pytest.mark.skipif("ESTIMATOR_TEST_SCALE" not in os.environ, reason="takes minutes; make test-scale"),
    # Nodes are started by a process that has jax.
    pytest.mark.filterwarnings("ignore:os.fork"),
]


@pytest.fixture(scope="module")
def rows():
    return prepared_houses()


@pytest.fixture(scope="module")
def local_hash(rows):
    return graph_hash(trained_by(LOCAL, rows, "ensemble"))


@pytest.fixture
def cluster_of():
    """A function that starts a cluster of so many nodes; the first is the one that a test joins from."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with contextlib.ExitStack() as stack:

        def start(n_nodes: int, **settings):
            head = {"num_cpus": 1, "include_dashboard": False, **settings}
            cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
            stack.callback(cluster.shutdown)
            others = [patiently(lambda: cluster.add_node(num_cpus=1)) for _ in range(n_nodes - 1)]
            cluster.wait_for_nodes()
            return cluster, others

        yield start


def on(address: str):
    return open_engine(EngineChoice(kind="ray", address=address))


@pytest.mark.parametrize("n_nodes", [1, 2, 3])
def test_number_of_nodes_does_not_matter(rows, local_hash, cluster_of, n_nodes):
    cluster, _ = cluster_of(n_nodes)
    with on(cluster.address) as engine:
        assert graph_hash(trained_by(engine, rows, "ensemble")) == local_hash


def once(act):
    """Return a progress callback that acts when the first fit has ended."""
    acted = []

    def progress(step):
        if step.label.startswith("cross-validation fits") and not acted:
            acted.append(step)
            act()

    return progress


def tasks():
    """Return the processes in which Ray runs our tasks now."""
    lines = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True).stdout.splitlines()
    return [int(line.split()[0]) for line in lines if "ray::_task" in line]


def test_killed_node_does_not_matter(rows, local_hash, cluster_of):
    cluster, others = cluster_of(3)
    with on(cluster.address) as engine:
        kill = once(lambda: cluster.remove_node(others[0], allow_graceful=False))
        assert graph_hash(trained_by(engine, rows, "ensemble", progress=kill)) == local_hash


def test_killed_fits_do_not_matter(rows, local_hash, cluster_of):
    cluster, _ = cluster_of(2)
    killed = []

    def kill():
        killed.extend(tasks())
        for process in killed:
            os.kill(process, signal.SIGKILL)

    with on(cluster.address) as engine:
        assert graph_hash(trained_by(engine, rows, "ensemble", progress=once(kill))) == local_hash
    assert killed


# Ray leaves the log of its client server open.
@pytest.mark.filterwarnings("ignore:unclosed file")
def test_client_from_outside_trains_the_same(rows, local_hash, cluster_of):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    cluster_of(2, ray_client_server_port=port)
    with on(f"ray://127.0.0.1:{port}") as engine:
        assert graph_hash(trained_by(engine, rows, "ensemble")) == local_hash


def test_lost_cluster_is_an_error(rows, cluster_of):
    cluster, _ = cluster_of(1)
    began = []

    def lose():
        began.append(time.monotonic())
        cluster.head_node.kill_gcs_server()
        cluster.head_node.kill_raylet()

    with on(cluster.address) as engine, pytest.raises(EngineError, match="engine: the cluster at") as caught:
        trained_by(engine, rows, "ensemble", progress=once(lose))
    assert time.monotonic() - began[0] < 40
    assert "--engine local" in caught.value.hint


def test_private_cluster_is_private_and_ends(tmp_path, local_hash):
    """The variable of another cluster does not matter, and no process is left."""
    pytest.importorskip("ray")
    houses().write_csv(tmp_path / "t.csv")
    (tmp_path / "config.yml").write_text("data: {path: t.csv, target: price}\nvalidation: {folds: 3}\n")
    # A socket's path has room for 107 characters.
    temporary = tempfile.mkdtemp(prefix="e", dir="/tmp")
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1", "TMPDIR": temporary}
    hashes = []
    for engine in ("local", "ray"):
        command = [sys.executable, "-m", "estimator", "train", "--engine", engine, "--store", engine]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (graph,) = [path for path in Path(tmp_path / engine).rglob("model.onnx") if not path.parent.is_symlink()]
        hashes.append(hashlib.sha256(graph.read_bytes()).hexdigest())
    assert hashes[0] == hashes[1]
    listing = subprocess.run(["ps", "-eo", "args="], capture_output=True, text=True, check=True).stdout
    assert temporary not in listing
    shutil.rmtree(temporary)
