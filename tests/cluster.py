"""A fake kubectl with a cluster whose objects are files and whose pods are local servers.

Manifests are validated against the schemas of the Kubernetes API; pods of unknown images never become ready.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAM = """#!/bin/sh
exec {python} -m tests.cluster "$@"
"""
# Kinds without a schema in the API.
CUSTOM_KINDS = ("InferenceService",)


@contextmanager
def cluster(folder: Path, versions: Mapping[str, Path]) -> Iterator[Path]:
    """Put the fake kubectl first in PATH while the context is open; yield the folder of its objects."""
    pytest.importorskip("kubernetes_validate")
    (folder / "bin").mkdir(parents=True)
    (folder / "objects").mkdir()
    program = folder / "bin" / "kubectl"
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    (folder / "versions.json").write_text(json.dumps({digest: str(path) for digest, path in versions.items()}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
        patch.setenv(
            "PYTHONPATH", os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
        )
        patch.setenv("CLUSTER", str(folder))
        yield folder / "objects"


def fail(message: str) -> None:
    sys.stderr.write(f"{message}\n")
    raise SystemExit(1)


class Kubectl:
    """One call of kubectl."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.versions: dict[str, str] = json.loads((folder / "versions.json").read_text())

    def objects(self) -> list[dict]:
        return [json.loads(path.read_text()) for path in sorted((self.folder / "objects").iterdir())]

    def path(self, kind: str, name: str) -> Path:
        return self.folder / "objects" / f"{kind.lower()}-{name}.json"

    def is_known(self, item: dict) -> bool:
        spec = item["spec"].get("template", item["spec"].get("predictor", {}))
        (container,) = spec.get("spec", spec)["containers"]
        return container["image"].rpartition("@")[2] in self.versions

    def apply(self, filename: str, *, dry: bool) -> None:
        import kubernetes_validate
        from ruamel.yaml import YAML

        for item in YAML(typ="safe", pure=True).load_all(Path(filename).read_text()):
            if item["kind"] not in CUSTOM_KINDS:
                try:
                    kubernetes_validate.validate(item, "1.31", strict=True)
                except kubernetes_validate.ValidationError as error:
                    fail(f"error validating {filename}: {error.message}")
            if not dry:
                self.path(item["kind"], item["metadata"]["name"]).write_text(json.dumps(self.with_status(item)))

    def with_status(self, item: dict) -> dict:
        if item["kind"] in CUSTOM_KINDS:
            ready = "True" if self.is_known(item) else "False"
            address = f"http://{item['metadata']['name']}.example.com"
            return {**item, "status": {"url": address, "conditions": [{"type": "Ready", "status": ready}]}}
        if item["kind"] != "Deployment":
            return item
        pods = 2 if self.is_known(item) else 0
        status = {"replicas": 2, "updatedReplicas": pods, "availableReplicas": pods, "readyReplicas": pods}
        return {**item, "spec": {"replicas": 2, **item["spec"]}, "status": status}

    def get(self, kinds: str, selector: str) -> None:
        labels = dict(item.split("=") for item in selector.split(","))
        items = [
            item
            for item in self.objects()
            if item["kind"].lower() in kinds.split(",") and labels.items() <= item["metadata"]["labels"].items()
        ]
        sys.stdout.write(json.dumps({"items": items}))

    def wait(self, kind: str, name: str) -> None:
        if not self.is_known(json.loads(self.path(kind, name).read_text())):
            fail("error: timed out waiting for the condition")

    def forward(self, name: str) -> None:
        """Serve the version in the deployment's image until the process is terminated."""
        (container,) = json.loads(self.path("deployment", name).read_text())["spec"]["template"]["spec"]["containers"]
        version = self.versions[container["image"].rpartition("@")[2]]
        server = subprocess.Popen(
            [sys.executable, "-m", "estimator", "serve", "--port", "0", "--json"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "MODEL_FOLDER": version},
        )
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        assert server.stdout is not None
        address = json.loads(server.stdout.readline())["url"].removeprefix("http://")
        sys.stdout.write(f"Forwarding from {address} -> {container['ports'][0]}\n")
        sys.stdout.flush()
        server.wait()


def main(arguments: list[str]) -> None:
    options = {}
    while arguments and arguments[0] in ("--context", "--namespace"):
        options[arguments[0]], arguments = arguments[1], arguments[2:]
    if options.get("--context") == "gone":
        fail("The connection to the server 127.0.0.1:6443 was refused - did you specify the right host or port?")
    if options.get("--namespace") == "nowhere" and arguments[0] == "apply":
        fail('Error from server (NotFound): namespaces "nowhere" not found')
    kubectl = Kubectl(Path(os.environ["CLUSTER"]))
    match arguments:
        case ["apply", "--dry-run=server", "--filename", path]:
            kubectl.apply(path, dry=True)
        case ["apply", "--filename", path]:
            kubectl.apply(path, dry=False)
        case ["get", kinds, "--selector", selector, "--output", "json"]:
            kubectl.get(kinds, selector)
        case ["delete", kind, name, "--wait=true"]:
            kubectl.path(kind, name).unlink()
        case ["rollout", "status", target, _] | ["wait", _, target, _]:
            kubectl.wait(*target.split("/"))
        case ["get", "nodes", "--output", _]:
            nodes = os.environ.get("CLUSTER_NODES", "amd64")
            if nodes == "forbidden":
                fail('Error from server (Forbidden): nodes is forbidden: User "me" cannot list resource "nodes"')
            sys.stdout.write(nodes)
        case ["config", "current-context"]:
            sys.stdout.write("kind\n")
        case ["port-forward", service, ":80"]:
            kubectl.forward(service.split("/")[1])
        case _:
            fail(f"error: unknown command {arguments}")


if __name__ == "__main__":
    main(sys.argv[1:])
