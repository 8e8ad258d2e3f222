"""The settings of the deployment target `kubernetes`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from estimator.config.section import Text
from estimator.shipping.deployment.base import DeploymentTarget, Variable


class KubernetesSettings(DeploymentTarget):
    """A Kubernetes cluster, with or without KServe; kubectl has the credentials."""

    no_restart_keys: ClassVar[frozenset[str]] = frozenset({"context", "health_timeout_seconds"})
    kind: Literal["kubernetes"] = "kubernetes"
    form: Literal["deployment", "kserve"] = Field(
        "deployment", description="deployment, or kserve for an InferenceService"
    )
    context: Text | None = Field(None, description="context of kubectl; by default the current one")
    namespace: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")] = Field(
        "default", description="an existing namespace"
    )
    min_replicas: Annotated[int, Field(ge=1)] = Field(2, description="minimum number of pods")
    max_replicas: Annotated[int, Field(ge=1)] = Field(6, description="maximum number of pods")
    cpu_percent: Annotated[int, Field(ge=1, le=100)] = Field(
        70, description="CPU use, in percent of the request, above which pods are added"
    )
    cpu: Annotated[Text, Field(pattern=r"^\d+(m|\.\d+)?$")] = Field("250m", description="CPU request of a pod")
    memory_mb: Annotated[int, Field(ge=64)] = Field(512, description="memory request and limit of a pod")
    secrets: dict[Variable, Annotated[str, Field(pattern=r"^[a-z0-9.-]+/[\w.-]+$")]] = Field(
        {}, description="environment variables of the server -> SECRET/KEY in the namespace"
    )
    pull_secret: Text | None = Field(None, description="secret for pulling from a private registry")
    ingress_namespaces: list[Text] = Field(
        [], description="other namespaces that can reach the server, such as ingress-nginx"
    )
    egress_cidrs: list[Text] = Field(
        [], description="networks that the server can reach, such as a database's; DNS is always allowed"
    )
    health_timeout_seconds: Annotated[int, Field(ge=1)] = Field(300, description="seconds until all pods must be ready")

    @model_validator(mode="after")
    def _check_replicas(self) -> KubernetesSettings:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is more than max_replicas {self.max_replicas}")
        return self
