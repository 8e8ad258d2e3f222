"""The deployment target `kubernetes`: a cluster, through kubectl, which has the credentials."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from estimator.errors import DeploymentError
from estimator.shipping.deployment.base import (
    SETTINGS_HASH,
    Action,
    DeploymentContext,
    DeploymentPlan,
    DeploymentStatus,
    PlanStep,
    Release,
    Resource,
    check_architecture,
    deployment_lock,
)
from estimator.shipping.deployment.health import check_health
from estimator.shipping.deployment.kubernetes.manifests import (
    MANIFEST_HASH,
    SERVICE_PORT,
    manifests,
    object_name,
    selector,
)
from estimator.shipping.deployment.kubernetes.settings import KubernetesSettings
from estimator.shipping.files import write_yaml

FILE = "kubernetes.yaml"
# The kinds of objects of each form, the main one first.
FORMS = {
    "deployment": ("Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"),
    "kserve": ("InferenceService",),
}
NODE_ARCHITECTURES = "jsonpath={.items[*].status.nodeInfo.architecture}"
MAIN_KINDS = ("Deployment", "InferenceService")
# The rollout has succeeded by then.
CHECK_TIMEOUT_SECONDS = 30.0


class KubernetesTarget(KubernetesSettings):
    """A Kubernetes cluster, with or without KServe; kubectl has the credentials."""

    def lock(self, model: str, context: DeploymentContext) -> AbstractContextManager[None]:
        return deployment_lock(context)

    def image(self, record: Mapping[str, Any], context: DeploymentContext) -> str:
        if (pushed := record.get("pushed")) is None:
            raise DeploymentError(
                f"{record['tag']} was not pushed to a registry, which the nodes pull it from",
                hint=f"estimator push {record['name']} --to HOST/NAME:TAG",
            )
        return str(pushed)

    def plan(self, release: Release, context: DeploymentContext) -> DeploymentPlan:
        check_architecture(release, self._architectures(), "the nodes of the cluster are")
        status = self.status(release.model, context)
        path = self._write(release, status, context)
        # The cluster validates the manifests.
        self._kubectl("apply", "--dry-run=server", "--filename", str(path))
        hashes = {item["kind"]: _manifest_hash(item) for item in self._objects(release.model)}
        steps = []
        for manifest in self._manifests(release, status):
            kind = manifest["kind"]
            action: Action = "change" if kind in hashes else "create"
            if hashes.get(kind) == _manifest_hash(manifest) and status.state == "ready":
                action = "keep"
            detail = release.version if kind in MAIN_KINDS else ""
            steps.append(PlanStep(action, kind, manifest["metadata"]["name"], detail))
        cluster = self.context or self._kubectl("config", "current-context").strip()
        note = f"context {cluster}, namespace {self.namespace}; the manifests are in {path}"
        return DeploymentPlan(tuple(steps), notes=(note,))

    def apply(self, release: Release, context: DeploymentContext) -> DeploymentStatus:
        status, before = self.status(release.model, context), self._objects(release.model)
        path = self._write(release, status, context)
        try:
            self._kubectl("apply", "--filename", str(path))
            context.note(f"{len(self._manifests(release, status))} objects applied; waiting for the pods")
            self._wait(release.model)
            if self.form == "deployment":
                timeout_seconds = min(CHECK_TIMEOUT_SECONDS, self.health_timeout_seconds)
                with self._port_forward(release.model) as address:
                    context.note(check_health(release, address, context, timeout_seconds=timeout_seconds))
        except (DeploymentError, KeyboardInterrupt) as error:
            self._restore(release.model, before, context)
            if not isinstance(error, DeploymentError):
                raise
            outcome = f"{status.release.version} runs again" if status.release else "everything was removed"
            raise DeploymentError(f"{error.message}; {outcome}", hint=error.hint) from None
        return self.status(release.model, context)

    def status(self, model: str, context: DeploymentContext) -> DeploymentStatus:
        objects = self._objects(model)
        resources = tuple(
            Resource(item["kind"], item["metadata"]["name"], _ready_pods(item.get("status", {}))) for item in objects
        )
        main = next((item for item in objects if item["kind"] in MAIN_KINDS), None)
        if main is None:
            return DeploymentStatus("absent", resources=resources)
        labels = main["metadata"].get("annotations", {})
        cluster_url = f"http://{main['metadata']['name']}.{self.namespace}.svc"
        return DeploymentStatus(
            "ready" if _is_ready(main) else "failing",
            Release.from_labels(labels),
            Release.from_labels(labels, previous=True),
            labels.get(SETTINGS_HASH),
            main.get("status", {}).get("url", cluster_url),
            resources,
        )

    def remove(self, model: str, context: DeploymentContext) -> tuple[Resource, ...]:
        for item in self._objects(model):
            self._delete(item)
            context.note(f"removed {item['kind']} {item['metadata']['name']}")
        return self.status(model, context).resources

    def _manifests(self, release: Release, status: DeploymentStatus) -> list[dict[str, Any]]:
        previous = status.release if status.release and status.release != release else status.previous
        return manifests(release, self, release.labels(self.settings_hash(release), previous))

    def _write(self, release: Release, status: DeploymentStatus, context: DeploymentContext) -> Path:
        path = context.folder / "deployment" / FILE
        comment = f"Written and applied by `estimator deploy {release.model}`."
        write_yaml(path, self._manifests(release, status), comment=comment)
        return path

    def _architectures(self) -> list[str]:
        """Return the architectures of the nodes, none if this user may not list nodes."""
        with suppress(DeploymentError):
            return self._kubectl("get", "nodes", "--output", NODE_ARCHITECTURES).split()
        return []

    def _objects(self, model: str) -> list[dict[str, Any]]:
        """Return all objects of a model in the cluster, the main one first."""
        kinds = ",".join(kind.lower() for kind in FORMS[self.form])
        labels = ",".join(f"{name}={value}" for name, value in selector(model).items())
        output = self._kubectl("get", kinds, "--selector", labels, "--output", "json")
        objects: list[dict[str, Any]] = json.loads(output)["items"]
        return sorted(objects, key=lambda item: FORMS[self.form].index(item["kind"]))

    def _delete(self, item: Mapping[str, Any]) -> None:
        self._kubectl("delete", item["kind"].lower(), item["metadata"]["name"], "--wait=true")

    def _wait(self, model: str) -> None:
        name, timeout = object_name(model), f"--timeout={self.health_timeout_seconds}s"
        if self.form == "kserve":
            self._kubectl("wait", "--for=condition=Ready", f"inferenceservice/{name}", timeout)
        else:
            self._kubectl("rollout", "status", f"deployment/{name}", timeout)

    @contextmanager
    def _port_forward(self, model: str) -> Iterator[str]:
        """Forward a port of localhost to the service while the context is open; yield its URL."""
        command = self._command("port-forward", f"service/{object_name(model)}", f":{SERVICE_PORT}")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603 # no shell
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            match = re.search(r"127\.0\.0\.1:(\d+)", line)
            if match is None:
                process.kill()
                raise DeploymentError(f"kubectl port-forward: {(line + process.communicate()[1]).strip()[:300]}")
            yield f"http://127.0.0.1:{match[1]}"
        finally:
            process.terminate()
            process.communicate()

    def _restore(self, model: str, before: Sequence[Mapping[str, Any]], context: DeploymentContext) -> None:
        """Restore the objects that the cluster had before, and delete all others of the model."""
        kinds = {item["kind"] for item in before}
        for item in self._objects(model):
            if item["kind"] not in kinds:
                self._delete(item)
        if before:
            path = context.folder / "deployment" / "previous.yaml"
            write_yaml(path, [_manifest_of(item) for item in before], comment="The previous release, restored.")
            self._kubectl("apply", "--filename", str(path))

    def _kubectl(self, *arguments: str) -> str:
        done = subprocess.run(self._command(*arguments), capture_output=True, text=True, check=False)  # noqa: S603 # no shell
        if done.returncode:
            lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
            error = lines[-1] if lines else f"exit status {done.returncode}"
            raise DeploymentError(f"kubectl {arguments[0]}: {error}", hint=_hint(done.stderr, self))
        return done.stdout

    def _command(self, *arguments: str) -> list[str]:
        if shutil.which("kubectl") is None:
            raise DeploymentError("kubectl is not installed", hint="https://kubernetes.io/docs/tasks/tools")
        context = ["--context", self.context] if self.context else []
        return ["kubectl", *context, "--namespace", self.namespace, *arguments]


def _is_ready(main: Mapping[str, Any]) -> bool:
    status = main.get("status", {})
    if main["kind"] == "InferenceService":
        return any(item["type"] == "Ready" and item["status"] == "True" for item in status.get("conditions", []))
    replicas = main["spec"].get("replicas", 1)
    return bool(status.get("updatedReplicas", 0) >= replicas and status.get("availableReplicas", 0) >= replicas)


def _ready_pods(status: Mapping[str, Any]) -> str:
    return f"{status.get('readyReplicas', 0)} of {status['replicas']} pods are ready" if "replicas" in status else ""


def _manifest_hash(item: Mapping[str, Any]) -> str | None:
    value: str | None = item["metadata"].get("annotations", {}).get(MANIFEST_HASH)
    return value


def _manifest_of(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object without the fields that the cluster added."""
    metadata = item["metadata"]
    annotations = {
        name: value for name, value in metadata.get("annotations", {}).items() if name.startswith("estimator.")
    }
    names = {name: metadata[name] for name in ("name", "namespace", "labels") if name in metadata}
    return {
        "apiVersion": item["apiVersion"],
        "kind": item["kind"],
        "metadata": {**names, "annotations": annotations},
        "spec": item["spec"],
    }


def _hint(error: str, settings: KubernetesSettings) -> str | None:
    if "connection refused" in error or "was refused" in error or "no such host" in error:
        return "check that the cluster runs and is the context of kubectl; deployment.context selects another"
    if "namespaces" in error and "not found" in error:
        return f"kubectl create namespace {settings.namespace}"
    if "orbidden" in error or "nauthorized" in error:
        return "your user lacks a permission in the namespace; `kubectl auth can-i --list` lists those it has"
    if "timed out" in error or "exceeded its progress deadline" in error:
        return "`kubectl describe pods` and `kubectl logs` show why pods do not become ready"
    return None
