"""The deployment target `docker`: a container on this machine, run by Docker Compose."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from estimator.core.files import write_atomic
from estimator.errors import DeploymentError, ImageError
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
    check_public,
    deployment_lock,
    serving_of,
)
from estimator.shipping.deployment.docker.compose import SERVER, compose, write_monitoring
from estimator.shipping.deployment.docker.settings import DockerSettings
from estimator.shipping.deployment.health import check_health, is_ready
from estimator.shipping.files import write_yaml
from estimator.shipping.image.engines import DockerEngine, find_engine
from estimator.shipping.image.smoke_test import run_smoke_test
from estimator.shipping.image.stand_ins import StandIns

FILE = "compose.yaml"
# Labels that Compose writes.
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
FILES_LABEL = "com.docker.compose.project.config_files"
LIST_COMMANDS = {"container": ("ps", "--all"), "network": ("network", "ls"), "volume": ("volume", "ls")}
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


class DockerTarget(DockerSettings):
    """A container on this machine, run by Docker Compose; a new release replaces it within about a second."""

    def lock(self, model: str, context: DeploymentContext) -> AbstractContextManager[None]:
        return deployment_lock(context)

    def image(self, record: Mapping[str, Any], context: DeploymentContext) -> str:
        engine = _engine()
        if record["layout"] is not None:
            archive = context.folder / f"{record['name']}.tar"
            if not archive.is_file():
                raise DeploymentError(f"{archive}: does not exist", hint="estimator image VERSION")
            context.note(f"docker loads {archive}")
            _docker(engine, "load", "--input", str(archive))
        try:
            (image,) = json.loads(engine.run("image", "inspect", record["tag"]))
        except ImageError:
            raise DeploymentError(
                f"{record['tag']}: docker does not have this image; it was built by {record['builder']}",
                hint="estimator image VERSION --builder docker, or direct",
            ) from None
        version = (image["Config"]["Labels"] or {}).get("org.opencontainers.image.version")
        if version != record["version"]:
            raise DeploymentError(
                f"{record['tag']} is now an image of {version}, not of {record['version']}",
                hint="estimator image VERSION",
            )
        return str(image["Id"])

    def plan(self, release: Release, context: DeploymentContext) -> DeploymentPlan:
        _compose_command()
        self._check(release, context)
        check_architecture(
            release, [_engine().run("version", "--format", "{{.Server.Arch}}").strip()], "docker runs on"
        )
        status = self.status(release.model, context)
        steps = [_server_step(status, release, self), *self._monitoring_steps(status)]
        notes = (
            (f"Prometheus at http://127.0.0.1:{self.prometheus_port}, Grafana at http://127.0.0.1:{self.grafana_port}",)
            if self.monitoring
            else ()
        )
        return DeploymentPlan(tuple(steps), notes=notes)

    def _monitoring_steps(self, status: DeploymentStatus) -> Iterator[PlanStep]:
        containers = [resource.name for resource in status.resources if resource.kind == "container"]
        for service in ("prometheus", "grafana"):
            exists = any(service in name for name in containers)
            if self.monitoring or exists:
                action: Action = "remove" if not self.monitoring else "keep" if exists else "create"
                yield PlanStep(action, "container", service, getattr(self, f"{service}_image"))

    def _check(self, release: Release, context: DeploymentContext) -> None:
        """Reject settings that cannot work or are not safe, before anything changes."""
        if missing := [name for name in self.secrets if name not in context.environment]:
            raise DeploymentError(
                f"deployment.secrets: {', '.join(missing)}: not set in this environment",
                hint="export it and run the command again",
            )
        if self.host not in LOCAL_HOSTS and not self.allow_public:
            check_public(release, self.host, self.environment, context)
        if self.metrics_key is not None and not Path(self.metrics_key).is_file():
            raise DeploymentError(f"deployment.metrics_key: {self.metrics_key}: no such file", hint="estimator key add")

    def apply(self, release: Release, context: DeploymentContext) -> DeploymentStatus:
        model, before = release.model, self.status(release.model, context)
        if _server_step(before, release, self).action != "keep":
            self._smoke_test(release, context)
        old_file = _running_compose_file(model)
        path = self._write(release, before, context)
        try:
            self._up(model, path, context)
            message = check_health(
                release,
                self.address,
                context,
                is_alive=lambda: _is_alive(model),
                timeout_seconds=self.health_timeout_seconds,
            )
            context.note(message)
        except (DeploymentError, KeyboardInterrupt) as error:
            log = _last_log_line(model)
            outcome = (
                self._restore(before, old_file, context) if before.release else self._remove_all(model, path, context)
            )
            if isinstance(error, DeploymentError):
                raise DeploymentError(f"{error.message}; {outcome}", hint=error.hint or log) from None
            raise
        return self.status(model, context)

    def status(self, model: str, context: DeploymentContext) -> DeploymentStatus:
        engine = _engine()
        resources = tuple(_resources(engine, model))
        server = _server_container(engine, model)
        if server is None:
            return DeploymentStatus("absent", resources=resources)
        labels = server["Config"]["Labels"]
        release = Release.from_labels(labels)
        bindings = [binding for ports in server["HostConfig"]["PortBindings"].values() for binding in ports]
        address = f"http://{_client_host(bindings[0]['HostIp'])}:{bindings[0]['HostPort']}" if bindings else None
        is_serving = release is not None and address is not None and is_ready(release, address)
        return DeploymentStatus(
            "ready" if is_serving else "failing" if server["State"]["Running"] else "stopped",
            release,
            Release.from_labels(labels, previous=True),
            labels.get(SETTINGS_HASH),
            address,
            resources,
        )

    def remove(self, model: str, context: DeploymentContext) -> tuple[Resource, ...]:
        engine = _engine()
        for resource in _resources(engine, model):
            command = ("rm", "--force") if resource.kind == "container" else (resource.kind, "rm")
            _docker(engine, *command, resource.name)
            context.note(f"removed {resource.kind} {resource.name}")
        return tuple(_resources(engine, model))

    @property
    def address(self) -> str:
        """The URL of the server, seen from this machine."""
        return f"http://{_client_host(self.host)}:{self.port}"

    def _smoke_test(self, release: Release, context: DeploymentContext) -> None:
        """Test a release in a container of its own before the running one is replaced."""
        artefact = context.version(release)
        if artefact is None:
            return
        stand_ins = StandIns(serving_of(release, {}, context))
        with _deployment_errors(), _engine().start(release.image, release.port, stand_ins) as server:
            result = run_smoke_test(artefact, server)
        context.note(f"smoke test passed: {result.n_rows} golden rows and {result.n_rejected} rejected rows")

    def _write(self, release: Release, before: DeploymentStatus, context: DeploymentContext) -> Path:
        """Write the compose file and the files of the monitoring; return the path of the former."""
        previous = before.release if before.release and before.release != release else before.previous
        path = (context.folder / "deployment" / FILE).resolve()
        labels = release.labels(self.settings_hash(release), previous)
        comment = f"Written and started by `estimator deploy {release.model}`."
        write_yaml(path, [compose(release, self, labels)], comment=comment)
        if self.monitoring:
            write_monitoring(path.parent / "monitoring", release, self)
        return path

    def _up(self, model: str, path: Path, context: DeploymentContext) -> None:
        arguments = ["--project-name", _project(model), "--file", str(path), "up", "--detach", "--remove-orphans"]
        done = subprocess.run(  # noqa: S603 # no shell, and our own arguments
            [*_compose_command(), *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **context.environment},
        )
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["failed"]
            error = next((line for line in lines if "ERROR" in line or "Error" in line), lines[-1])
            hint = "set another deployment.port" if "already allocated" in done.stderr else None
            raise DeploymentError(f"docker compose: {error.strip()}", hint=hint)

    def _restore(
        self, before: DeploymentStatus, old_file: tuple[Path, bytes] | None, context: DeploymentContext
    ) -> str:
        """Run the release that ran before; return a message with the result."""
        release = before.release
        assert release is not None, "a release ran before"
        if old_file is None or before.address is None:
            command = f"estimator deploy {release.model} --rollback"
            return f"{release.version} was the previous release, but its compose file no longer exists: {command}"
        path, content = old_file
        write_atomic(path, content)
        self._up(release.model, path, context)
        check_health(release, before.address, context, timeout_seconds=self.health_timeout_seconds)
        return f"{release.version} runs again"

    def _remove_all(self, model: str, path: Path, context: DeploymentContext) -> str:
        """Remove everything; return a message with the result."""
        self.remove(model, context)
        path.unlink(missing_ok=True)
        return "everything was removed"


def _server_step(status: DeploymentStatus, release: Release, settings: DockerTarget) -> PlanStep:
    desired = f"{release.version} at {settings.address}"
    if status.release is None:
        return PlanStep("create", "container", SERVER, desired)
    if status.settings_hash == settings.settings_hash(release) and status.state == "ready":
        return PlanStep("keep", "container", SERVER, desired)
    return PlanStep("replace", "container", SERVER, f"{status.release.version} by {desired}")


def _project(model: str) -> str:
    """Return the name of a model's Compose project.

    >>> _project("House.Prices")
    'estimator-house-prices'
    """
    return "estimator-" + re.sub(r"[^a-z0-9_-]", "-", model.lower())


def _engine() -> DockerEngine:
    try:
        engine = find_engine("docker")
    except ImageError as error:
        raise DeploymentError(error.message, hint=error.hint or "deployment.kind docker needs Docker") from None
    assert isinstance(engine, DockerEngine)
    return engine


def _compose_command() -> Sequence[str]:
    """Return the command of Docker Compose: the plugin of Docker, or the older program."""
    for command in (("docker", "compose"), ("docker-compose",)):
        if shutil.which(command[0]) is not None:
            done = subprocess.run([*command, "version"], capture_output=True, check=False)  # noqa: S603 # no shell
            if done.returncode == 0:
                return command
    raise DeploymentError("Docker Compose is not installed", hint="https://docs.docker.com/compose/install")


def _docker(engine: DockerEngine, *arguments: str) -> str:
    with _deployment_errors():
        return engine.run(*arguments)


@contextmanager
def _deployment_errors() -> Iterator[None]:
    """Raise an ImageError of an engine or smoke test as a DeploymentError."""
    try:
        yield
    except ImageError as error:
        raise DeploymentError(error.message, hint=error.hint) from None


def _containers(engine: DockerEngine, model: str) -> list[dict[str, Any]]:
    """Return the model's containers as `docker inspect` describes them."""
    ids = _docker(engine, "ps", "--all", "--quiet", "--filter", f"label={PROJECT_LABEL}={_project(model)}").split()
    containers: list[dict[str, Any]] = json.loads(_docker(engine, "inspect", *ids)) if ids else []
    return containers


def _server_container(engine: DockerEngine, model: str) -> dict[str, Any] | None:
    containers = _containers(engine, model)
    return next((container for container in containers if _label(container, SERVICE_LABEL) == SERVER), None)


def _resources(engine: DockerEngine, model: str) -> list[Resource]:
    """Return all resources of a model, in an order in which they can be removed."""
    resources = []
    for kind, command in LIST_COMMANDS.items():
        name = "{{.Names}}" if kind == "container" else "{{.Name}}"
        options = ("--filter", f"label={PROJECT_LABEL}={_project(model)}", "--format", name)
        resources += [Resource(kind, line) for line in _docker(engine, *command, *options).split()]
    return resources


def _is_alive(model: str) -> bool:
    """Whether the server runs and was not restarted after a crash."""
    server = _server_container(_engine(), model)
    return server is not None and server["State"]["Running"] and server["RestartCount"] == 0


def _last_log_line(model: str) -> str | None:
    server = _server_container(_engine(), model)
    if server is None:
        return None
    done = subprocess.run(["docker", "logs", "--tail", "1", server["Id"]], capture_output=True, text=True)  # noqa: S603, S607 # an id
    return f"its log ends: {(done.stdout + done.stderr).strip()}"


def _running_compose_file(model: str) -> tuple[Path, bytes] | None:
    """Return the compose file of the running server, which may be in another folder, and its content."""
    server = _server_container(_engine(), model)
    path = Path((_label(server, FILES_LABEL) if server else None) or "none")
    return (path, path.read_bytes()) if path.is_file() else None


def _label(container: Mapping[str, Any], name: str) -> str | None:
    label: str | None = (container["Config"]["Labels"] or {}).get(name)
    return label


def _client_host(host: str) -> str:
    """Return the host at which this machine reaches a server that listens on an address."""
    if host in ("0.0.0.0", "", "::", "localhost"):  # noqa: S104 # compared
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
