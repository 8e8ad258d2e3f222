"""A cluster of Kubernetes, by kubectl: it has the credentials, the context, and the last word on what is valid."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from estimator.errors import DeploymentError
from estimator.shipping.deployment.base import (
    Action,
    DeploymentContext,
    DeploymentPlan,
    DeploymentStatus,
    PlanStep,
    Release,
    Resource,
)
from estimator.shipping.deployment.health import check
from estimator.shipping.deployment.kubernetes.manifests import MANIFEST, SERVICE_PORT, manifests, object_name, selector
from estimator.shipping.deployment.kubernetes.settings import KubernetesSettings
from estimator.shipping.files import folder_lock, write_yaml

FILE = "kubernetes.yaml"
FORMS = {
    "deployment": (
        "Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy",
    ),
    "kserve": ("InferenceService",),
}  # fmt: skip
CHECK_SECONDS = 30.0


class KubernetesTarget(KubernetesSettings):
    """A cluster of Kubernetes, or KServe in one; kubectl must be there and know it."""

    def lock(self, model: str, context: DeploymentContext) -> AbstractContextManager[None]:
        return folder_lock(context.folder / "deployment", purpose="deploying from it", error_type=DeploymentError)

    def image(self, record: Mapping[str, Any], context: DeploymentContext) -> str:
        if (pushed := record.get("pushed")) is None:
            raise DeploymentError(
                f"{record['tag']} was not pushed to a registry, which the nodes pull it from",
                hint=f"estimator push {record['name']} --to HOST/NAME:TAG",
            )
        return str(pushed)

    def plan(self, release: Release, context: DeploymentContext) -> DeploymentPlan:
        status = self.status(release.model, context)
        path = self._write(release, status, context)
        # The cluster itself says whether it would take this.
        self._kubectl("apply", "--dry-run=server", "--filename", str(path))
        there = {each["kind"]: _mark_of(each) for each in self._objects(release.model)}
        steps = []
        for each in self._manifests(release, status):
            action: Action = "create" if each["kind"] not in there else "change"
            if there.get(each["kind"]) == _mark_of(each) and status.state == "ready":
                action = "keep"
            detail = release.version if each["kind"] in ("Deployment", "InferenceService") else ""
            steps.append(PlanStep(action, each["kind"], each["metadata"]["name"], detail))
        where = f"context {self.context or self._kubectl('config', 'current-context').strip()}"
        return DeploymentPlan(
            tuple(steps), notes=(f"{where}, namespace {self.namespace}; the manifests are in {path}",)
        )

    def apply(self, release: Release, context: DeploymentContext) -> DeploymentStatus:
        status, before = self.status(release.model, context), self._objects(release.model)
        path = self._write(release, status, context)
        try:
            self._kubectl("apply", "--filename", str(path))
            context.note(f"{len(self._manifests(release, status))} objects applied; waiting for the pods")
            self._wait(release.model)
            if self.form == "deployment":
                with self._forwarded(release.model) as address:
                    context.note(
                        check(release, address, context, patience=min(CHECK_SECONDS, self.health_timeout_seconds))
                    )
        except (DeploymentError, KeyboardInterrupt) as error:
            self._restore(release.model, before, context)
            if not isinstance(error, DeploymentError):
                raise
            back = f"{status.release.version} runs again" if status.release else "everything was removed"
            raise DeploymentError(f"{error.message}; {back}", hint=error.hint) from None
        return self.status(release.model, context)

    def status(self, model: str, context: DeploymentContext) -> DeploymentStatus:
        found = self._objects(model)
        resources = tuple(
            Resource(each["kind"], each["metadata"]["name"], _pods_of(each.get("status", {}))) for each in found
        )
        main = next((each for each in found if each["kind"] in ("Deployment", "InferenceService")), None)
        if main is None:
            return DeploymentStatus("absent", resources=resources)
        labels = main["metadata"].get("annotations", {})
        inside = f"http://{main['metadata']['name']}.{self.namespace}.svc"
        return DeploymentStatus(
            "ready" if _is_ready(main) else "failing", Release.from_labels(labels),
            Release.from_labels(labels, previous=True), labels.get("estimator.settings"),
            main.get("status", {}).get("url", inside), resources,
        )  # fmt: skip

    def remove(self, model: str, context: DeploymentContext) -> tuple[Resource, ...]:
        for each in self._objects(model):
            self._kubectl("delete", each["kind"].lower(), each["metadata"]["name"], "--wait=true")
            context.note(f"removed {each['kind']} {each['metadata']['name']}")
        return self.status(model, context).resources

    def _manifests(self, release: Release, status: DeploymentStatus) -> list[dict[str, Any]]:
        before = status.release if status.release and status.release != release else status.previous
        return manifests(release, self, release.labels(self.mark(release), before))

    def _write(self, release: Release, status: DeploymentStatus, context: DeploymentContext) -> Path:
        path = context.folder / "deployment" / FILE
        comment = f"Written and applied by `estimator deploy {release.model}`."
        write_yaml(path, self._manifests(release, status), comment=comment)
        return path

    def _objects(self, model: str) -> list[dict[str, Any]]:
        """Return all that the cluster has of a model, the main object first."""
        kinds = ",".join(kind.lower() for kind in FORMS[self.form])
        chosen = ",".join(f"{name}={value}" for name, value in selector(model).items())
        told = json.loads(self._kubectl("get", kinds, "--selector", chosen, "--output", "json"))
        found: list[dict[str, Any]] = told["items"]
        return sorted(found, key=lambda each: FORMS[self.form].index(each["kind"]))

    def _wait(self, model: str) -> None:
        name, time = object_name(model), f"--timeout={self.health_timeout_seconds}s"
        if self.form == "kserve":
            self._kubectl("wait", "--for=condition=Ready", f"inferenceservice/{name}", time)
        else:
            self._kubectl("rollout", "status", f"deployment/{name}", time)

    @contextmanager
    def _forwarded(self, model: str) -> Iterator[str]:
        """Give an address of this machine that leads to the service, for a block."""
        words = self._words("port-forward", f"service/{object_name(model)}", f":{SERVICE_PORT}")
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # noqa: S603 # no shell
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            if found is None:
                process.kill()
                raise DeploymentError(f"kubectl port-forward: {(line + process.communicate()[1]).strip()[:300]}")
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            process.terminate()
            process.communicate()

    def _restore(self, model: str, before: Sequence[Mapping[str, Any]], context: DeploymentContext) -> None:
        """Give the cluster back what it had; what it did not have goes."""
        kept = {each["kind"] for each in before}
        for each in self._objects(model):
            if each["kind"] not in kept:
                self._kubectl("delete", each["kind"].lower(), each["metadata"]["name"], "--wait=true")
        if before:
            path = context.folder / "deployment" / "before.yaml"
            write_yaml(path, [_bare(each) for each in before], comment="The previous release, restored.")
            self._kubectl("apply", "--filename", str(path))

    def _kubectl(self, *words: str) -> str:
        done = subprocess.run(self._words(*words), capture_output=True, text=True, check=False)  # noqa: S603 # no shell
        if done.returncode:
            lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
            told = lines[-1] if lines else f"ended with {done.returncode}"
            raise DeploymentError(f"kubectl {words[0]}: {told}", hint=_way_out(done.stderr, self))
        return done.stdout

    def _words(self, *words: str) -> list[str]:
        if shutil.which("kubectl") is None:
            raise DeploymentError("kubectl is not installed", hint="https://kubernetes.io/docs/tasks/tools")
        return [
            "kubectl",
            *(["--context", self.context] if self.context else []),
            "--namespace",
            self.namespace,
            *words,
        ]


def _is_ready(main: Mapping[str, Any]) -> bool:
    status = main.get("status", {})
    if main["kind"] == "InferenceService":
        return any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", []))
    wanted = main["spec"].get("replicas", 1)
    return bool(status.get("updatedReplicas", 0) >= wanted and status.get("availableReplicas", 0) >= wanted)


def _pods_of(status: Mapping[str, Any]) -> str:
    return f"{status.get('readyReplicas', 0)} of {status['replicas']} pods are ready" if "replicas" in status else ""


def _mark_of(thing: Mapping[str, Any]) -> str | None:
    mark: str | None = thing["metadata"].get("annotations", {}).get(MANIFEST)
    return mark


def _bare(thing: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object without what the cluster has added of its own."""
    metadata = thing["metadata"]
    annotations = {
        name: value for name, value in metadata.get("annotations", {}).items() if name.startswith("estimator.")
    }
    kept = {name: metadata[name] for name in ("name", "namespace", "labels") if name in metadata}
    return {
        "apiVersion": thing["apiVersion"], "kind": thing["kind"], "metadata": {**kept, "annotations": annotations},
        "spec": thing["spec"],
    }  # fmt: skip


def _way_out(told: str, settings: KubernetesSettings) -> str | None:
    if "connection refused" in told or "was refused" in told or "no such host" in told:
        return "check that the cluster runs and is the context of kubectl; deployment.context selects another"
    if "namespaces" in told and "not found" in told:
        return f"kubectl create namespace {settings.namespace}"
    if "orbidden" in told or "nauthorized" in told:
        return "your user lacks a permission in the namespace; `kubectl auth can-i --list` lists those it has"
    if "timed out" in told or "exceeded its progress deadline" in told:
        return "`kubectl describe pods` and `kubectl logs` show why pods do not become ready"
    return None
