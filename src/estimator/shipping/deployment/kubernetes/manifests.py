"""The Kubernetes manifests of a release: a Deployment and its companions, or an InferenceService of KServe."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from estimator.shipping.deployment.base import PREFIX, Release
from estimator.shipping.deployment.kubernetes.settings import KubernetesSettings

MANIFEST_HASH = f"{PREFIX}manifest-hash"
SERVICE_PORT = 80
# Load balancers keep sending requests to a terminating pod for a few seconds.
DRAIN_SECONDS = 5
USER = 10001


def object_name(model: str) -> str:
    """Return the name of a model's objects, valid in Kubernetes.

    >>> object_name("House_Prices.v2")
    'house-prices-v2'
    """
    slug = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    # The name of a Service starts with a letter.
    slug = slug if slug[:1].isalpha() else f"m-{slug}"
    return slug if len(slug) <= 50 else f"{slug[:41]}-{hashlib.sha256(model.encode()).hexdigest()[:8]}"


def selector(model: str) -> dict[str, str]:
    """Return the labels of all objects of a model."""
    return {"app.kubernetes.io/name": object_name(model), "app.kubernetes.io/managed-by": "estimator"}


def manifests(release: Release, settings: KubernetesSettings, labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the objects of a release, the main one first, whose annotations are the labels of the release."""
    if settings.form == "kserve":
        objects = [_inference_service(release, settings)]
    else:
        objects = [
            _deployment(release, settings),
            _service(release),
            _autoscaler(release, settings),
            _disruption_budget(release),
            _network_policy(release, settings),
        ]
    objects[0]["metadata"]["annotations"] = dict(labels)
    return [_labelled(item, release.model, settings.namespace) for item in objects]


def _labelled(manifest: dict[str, Any], model: str, namespace: str) -> dict[str, Any]:
    """Return an object with namespace, labels, and a hash of its content, by which changes are seen."""
    content = {name: value for name, value in manifest.items() if name != "metadata"}
    content_hash = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    metadata = manifest.pop("metadata")
    return {
        "apiVersion": manifest.pop("apiVersion"),
        "kind": manifest.pop("kind"),
        "metadata": {
            "name": metadata["name"],
            "namespace": namespace,
            "labels": selector(model),
            "annotations": {**metadata.get("annotations", {}), MANIFEST_HASH: content_hash},
        },
        **manifest,
    }


def _container(release: Release, settings: KubernetesSettings) -> dict[str, Any]:
    variables: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in settings.environment.items()]
    for name, path in settings.secrets.items():
        secret, _, key = path.partition("/")
        variables.append({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
    memory = f"{settings.memory_mb}Mi"
    return {
        "name": "server",
        "image": release.image,
        "ports": [{"containerPort": release.port, "name": "http1"}],
        **({"env": variables} if variables else {}),
        "resources": {"requests": {"cpu": settings.cpu, "memory": memory}, "limits": {"memory": memory}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "startupProbe": _probe("/readyz", periodSeconds=1, failureThreshold=60),
        "readinessProbe": _probe("/readyz", periodSeconds=5),
        "livenessProbe": _probe("/healthz", periodSeconds=10, failureThreshold=3),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 # inside
    }


def _probe(path: str, **options: int) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "http1"}, "timeoutSeconds": 3, **options}


def _pod(release: Release, settings: KubernetesSettings) -> dict[str, Any]:
    return {
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"imagePullSecrets": [{"name": settings.pull_secret}]} if settings.pull_secret else {}),
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }


def _deployment(release: Release, settings: KubernetesSettings) -> dict[str, Any]:
    drain = ["python", "-I", "-S", "-c", f"import time; time.sleep({DRAIN_SECONDS})"]
    container = {**_container(release, settings), "lifecycle": {"preStop": {"exec": {"command": drain}}}}
    labels = selector(release.model)
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": object_name(release.model)},
        # The autoscaler sets the number of replicas.
        "spec": {
            "revisionHistoryLimit": 3,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {
                "metadata": {"labels": {**labels, "app.kubernetes.io/version": release.version}},
                "spec": {
                    **_pod(release, settings),
                    "nodeSelector": {"kubernetes.io/arch": release.architecture},
                    "terminationGracePeriodSeconds": 30,
                    "topologySpreadConstraints": [spread],
                    "containers": [container],
                },
            },
        },
    }


def _service(release: Release) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": object_name(release.model)},
        "spec": {
            "selector": selector(release.model),
            "ports": [{"name": "http", "port": SERVICE_PORT, "targetPort": "http1"}],
        },
    }


def _autoscaler(release: Release, settings: KubernetesSettings) -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": settings.cpu_percent}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": object_name(release.model)},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": object_name(release.model)},
            "minReplicas": settings.min_replicas,
            "maxReplicas": settings.max_replicas,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }


def _disruption_budget(release: Release) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": object_name(release.model)},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(release.model)}},
    }


def _network_policy(release: Release, settings: KubernetesSettings) -> dict[str, Any]:
    """Return the network policy: DNS is always allowed, all other traffic must be in the settings."""
    peers: list[dict[str, Any]] = [{"podSelector": {}}]
    peers += [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
        for name in settings.ingress_namespaces
    ]
    dns = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    egress: list[dict[str, Any]] = [{"to": [{"namespaceSelector": {}}], "ports": dns}]
    if settings.egress_cidrs:
        egress.append({"to": [{"ipBlock": {"cidr": network}} for network in settings.egress_cidrs]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": object_name(release.model)},
        "spec": {
            "podSelector": {"matchLabels": selector(release.model)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": peers, "ports": [{"protocol": "TCP", "port": release.port}]}],
            "egress": egress,
        },
    }


def _inference_service(release: Release, settings: KubernetesSettings) -> dict[str, Any]:
    predictor = {
        **_pod(release, settings),
        "minReplicas": settings.min_replicas,
        "maxReplicas": settings.max_replicas,
        "nodeSelector": {"kubernetes.io/arch": release.architecture},
        "containers": [{**_container(release, settings), "name": "kserve-container"}],
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": object_name(release.model)},
        "spec": {"predictor": predictor},
    }
