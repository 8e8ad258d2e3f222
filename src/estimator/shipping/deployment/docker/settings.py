"""The settings of the deployment target `docker`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from estimator.config.section import Text
from estimator.shipping.deployment.base import DeploymentTarget, Variable

Port = Annotated[int, Field(ge=1, le=65535)]


class DockerSettings(DeploymentTarget):
    """A container on this machine, run by Docker Compose."""

    no_restart_keys: ClassVar[frozenset[str]] = frozenset(
        {"allow_public", "monitoring", "metrics_key", "prometheus_port", "grafana_port", "prometheus_image",
         "grafana_image", "health_timeout_seconds"}
    )  # fmt: skip
    kind: Literal["docker"] = "docker"
    host: Text = Field("127.0.0.1", description="address to publish; a public one needs API keys")
    port: Port = Field(5000, description="port to publish")
    allow_public: bool = Field(False, description="allow a server without API keys on a public address")
    secrets: list[Variable] = Field(
        [], description="environment variables passed on from the environment of `estimator deploy`"
    )
    volumes: dict[Text, Text] = Field(
        {}, description="paths of this machine -> absolute paths in the container, which runs as user 10001"
    )
    memory_mb: Annotated[int, Field(ge=64)] = Field(1024, description="memory limit of the server")
    cpus: Annotated[float, Field(gt=0)] | None = Field(None, description="CPU limit in cores; none by default")
    monitoring: bool = Field(False, description="also run Prometheus and Grafana")
    metrics_key: Text | None = Field(None, description="file with an API key of scope admin, for Prometheus")
    prometheus_port: Port = Field(9090, description="port of Prometheus on localhost")
    grafana_port: Port = Field(3000, description="port of Grafana on localhost")
    prometheus_image: Text = Field("prom/prometheus:v2.55.1", description="image of Prometheus")
    grafana_image: Text = Field("grafana/grafana:11.4.0", description="image of Grafana")
    health_timeout_seconds: Annotated[float, Field(gt=0)] = Field(
        60, description="seconds until a new server must be healthy"
    )
