"""The compose file of a release: the server and, on request, Prometheus and Grafana.

Only features of Compose 1.29 are used.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from estimator.core.files import write_atomic
from estimator.shipping.deployment.base import Release
from estimator.shipping.deployment.docker.settings import DockerSettings
from estimator.shipping.files import write_yaml

SERVER = "server"
METRICS_KEY_PATH = "/run/estimator-key"
LOG_ROTATION = {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}


def compose(release: Release, settings: DockerSettings, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return the compose file of a release; the container is hardened as in the smoke test, and restarts on failure."""
    # Compose would replace a variable after a single dollar.
    variables: dict[str, str | None] = {name: value.replace("$", "$$") for name, value in settings.environment.items()}
    # Compose takes variables without a value from its own environment.
    variables |= dict.fromkeys(settings.secrets)
    server: dict[str, Any] = {
        "image": release.image,
        "restart": "unless-stopped",
        "ports": [f"{settings.host}:{settings.port}:{release.port}"],
        "read_only": True,
        "tmpfs": ["/tmp"],  # noqa: S108 # inside
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "pids_limit": 512,
        "mem_limit": f"{settings.memory_mb}m",
        "stop_grace_period": "15s",
        "logging": LOG_ROTATION,
        "labels": dict(labels),
    }
    if settings.cpus is not None:
        server["cpus"] = settings.cpus
    if variables:
        server["environment"] = {name: variables[name] for name in sorted(variables)}
    if settings.volumes:
        server["volumes"] = [f"{source}:{target}" for source, target in settings.volumes.items()]
    services = {SERVER: server}
    if not settings.monitoring:
        return {"services": services}
    return {"services": services | _monitoring(settings), "volumes": {"prometheus": {}, "grafana": {}}}


def _monitoring(settings: DockerSettings) -> dict[str, Any]:
    key = [] if settings.metrics_key is None else [f"{settings.metrics_key}:{METRICS_KEY_PATH}:ro"]
    hardened = {"restart": "unless-stopped", "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]}
    return {
        "prometheus": {
            "image": settings.prometheus_image,
            "command": ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.retention.time=30d"],
            "volumes": ["./monitoring/prometheus:/etc/prometheus:ro", "prometheus:/prometheus", *key],
            "ports": [f"127.0.0.1:{settings.prometheus_port}:9090"],
            "logging": LOG_ROTATION,
            **hardened,
        },
        "grafana": {
            "image": settings.grafana_image,
            # Only this machine can reach it, so it needs no login; the viewer role is read-only.
            "environment": {
                "GF_AUTH_ANONYMOUS_ENABLED": "true",
                "GF_AUTH_ANONYMOUS_ORG_ROLE": "Viewer",
                "GF_AUTH_DISABLE_LOGIN_FORM": "true",
                "GF_ANALYTICS_REPORTING_ENABLED": "false",
                "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
            },
            "volumes": [
                "./monitoring/grafana:/etc/grafana/provisioning:ro",
                "./monitoring/dashboards:/var/lib/grafana/dashboards:ro",
                "grafana:/var/lib/grafana",
            ],
            "ports": [f"127.0.0.1:{settings.grafana_port}:3000"],
            "depends_on": ["prometheus"],
            "logging": LOG_ROTATION,
            **hardened,
        },
    }


def write_monitoring(folder: Path, release: Release, settings: DockerSettings) -> None:
    """Write the configs of Prometheus and Grafana, and the dashboard."""
    targets = [f"{SERVER}:{release.port}"]
    scrape: dict[str, Any] = {"job_name": release.model, "static_configs": [{"targets": targets}]}
    if settings.metrics_key is not None:
        scrape["authorization"] = {"credentials_file": METRICS_KEY_PATH}
    source = {"name": "Prometheus", "type": "prometheus", "url": "http://prometheus:9090", "isDefault": True}
    provider = {"name": "estimator", "type": "file", "options": {"path": "/var/lib/grafana/dashboards"}}
    configs: dict[str, dict[str, Any]] = {
        "prometheus/prometheus.yml": {"global": {"scrape_interval": "15s"}, "scrape_configs": [scrape]},
        "grafana/datasources/prometheus.yml": {"apiVersion": 1, "datasources": [source]},
        "grafana/dashboards/estimator.yml": {"apiVersion": 1, "providers": [provider]},
    }
    for name, content in configs.items():
        write_yaml(folder / name, [content], comment=f"Written by `estimator deploy {release.model}`.")
    dashboard = folder / "dashboards" / "estimator.json"
    write_atomic(dashboard, files("estimator.serving.telemetry").joinpath("grafana.json").read_bytes())
