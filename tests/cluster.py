"""A stand-in for kubectl and the cluster behind it, where no cluster can be had: objects are files, pods are servers.

What it is given is held to the API's own schemas; a pod of an image that it does not know never becomes ready.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAM = """#!/bin/sh
exec {python} -m tests.cluster "$@"
"""
CUSTOM = ("InferenceService",)


@contextmanager
def cluster(folder: Path, versions: dict[str, Path]) -> Iterator[Path]:
    """Put a kubectl before all others, for a block; give the folder of its objects."""
    pytest.importorskip("kubernetes_validate")
    (folder / "bin").mkdir()
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


def refuse(message: str) -> None:
    sys.stderr.write(f"{message}\n")
    raise SystemExit(1)


class Kubectl:
    """One call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.versions: dict[str, str] = json.loads((folder / "versions.json").read_text())

    def objects(self) -> list[dict]:
        return [json.loads(path.read_text()) for path in sorted((self.folder / "objects").iterdir())]

    def path(self, kind: str, name: str) -> Path:
        return self.folder / "objects" / f"{kind.lower()}-{name}.json"

    def is_known(self, thing: dict) -> bool:
        spec = thing["spec"].get("template", thing["spec"].get("predictor", {}))
        (container,) = spec.get("spec", spec)["containers"]
        return container["image"].rpartition("@")[2] in self.versions

    def apply(self, filename: str, *, dry: bool) -> None:
        import kubernetes_validate
        from ruamel.yaml import YAML

        for thing in YAML(typ="safe", pure=True).load_all(Path(filename).read_text()):
            if thing["kind"] not in CUSTOM:
                try:
                    kubernetes_validate.validate(thing, "1.31", strict=True)
                except kubernetes_validate.ValidationError as error:
                    refuse(f"error validating {filename}: {error.message}")
            if not dry:
                self.path(thing["kind"], thing["metadata"]["name"]).write_text(json.dumps(self.standing(thing)))

    def standing(self, thing: dict) -> dict:
        if thing["kind"] in CUSTOM:
            ready = "True" if self.is_known(thing) else "False"
            address = f"http://{thing['metadata']['name']}.example.com"
            return {**thing, "status": {"url": address, "conditions": [{"type": "Ready", "status": ready}]}}
        if thing["kind"] != "Deployment":
            return thing
        pods = 2 if self.is_known(thing) else 0
        status = {"replicas": 2, "updatedReplicas": pods, "availableReplicas": pods, "readyReplicas": pods}
        return {**thing, "spec": {"replicas": 2, **thing["spec"]}, "status": status}

    def get(self, kinds: str, selector: str) -> None:
        wanted = dict(item.split("=") for item in selector.split(","))
        found = [
            each
            for each in self.objects()
            if each["kind"].lower() in kinds.split(",") and wanted.items() <= each["metadata"]["labels"].items()
        ]
        sys.stdout.write(json.dumps({"items": found}))

    def wait(self, kind: str, name: str) -> None:
        if not self.is_known(json.loads(self.path(kind, name).read_text())):
            refuse("error: timed out waiting for the condition")

    def forward(self, name: str) -> None:
        """Serve what the deployment's image created_by, until told to end."""
        (container,) = json.loads(self.path("deployment", name).read_text())["spec"]["template"]["spec"]["containers"]
        version = self.versions[container["image"].rpartition("@")[2]]
        server = subprocess.Popen(
            [sys.executable, "-m", "estimator", "serve", "--port", "0", "--json"], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "MODEL_FOLDER": version},
        )  # fmt: skip
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        assert server.stdout is not None
        told = json.loads(server.stdout.readline())
        sys.stdout.write(f"Forwarding from {told['address'].removeprefix('http://')} -> {container['ports'][0]}\n")
        sys.stdout.flush()
        server.wait()


def main(words: list[str]) -> None:
    options = {}
    while words and words[0] in ("--context", "--namespace"):
        options[words[0]], words = words[1], words[2:]
    if options.get("--context") == "gone":
        refuse("The connection to the server 127.0.0.1:6443 was refused - did you specify the right host or port?")
    if options.get("--namespace") == "nowhere" and words[0] == "apply":
        refuse('Error from server (NotFound): namespaces "nowhere" not found')
    kubectl = Kubectl(Path(os.environ["CLUSTER"]))
    match words:
        case ["apply", "--dry-run=server", "--filename", path]:
            kubectl.apply(path, dry=True)
        case ["apply", "--filename", path]:
            kubectl.apply(path, dry=False)
        case ["get", kinds, "--selector", selector, "--output", "json"]:
            kubectl.get(kinds, selector)
        case ["delete", kind, name, "--wait=true"]:
            kubectl.path(kind, name).unlink()
        case ["rollout", "status", named, _] | ["wait", _, named, _]:
            kubectl.wait(*named.split("/"))
        case ["config", "current-context"]:
            sys.stdout.write("kind\n")
        case ["port-forward", named, ":80"]:
            kubectl.forward(named.split("/")[1])
        case _:
            refuse(f"error: unknown command {words}")


if __name__ == "__main__":
    main(sys.argv[1:])
