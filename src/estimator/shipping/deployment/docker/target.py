"""This machine: a container that Docker Compose keeps running, with Prometheus and Grafana on request."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from estimator.core.files import write_atomic
from estimator.errors import DeploymentError, ImageError
from estimator.shipping.deployment.base import (
    Action,
    DeploymentContext,
    DeploymentPlan,
    DeploymentStatus,
    PlanStep,
    Release,
    Resource,
    check_public,
)
from estimator.shipping.deployment.docker.compose import SERVER, compose, write_monitoring
from estimator.shipping.deployment.docker.settings import DockerSettings
from estimator.shipping.deployment.health import check, is_ready
from estimator.shipping.files import folder_lock, write_yaml
from estimator.shipping.image.engines import DockerEngine, find_engine
from estimator.shipping.image.smoke_test import run_smoke_test

FILE = "compose.yaml"
# Compose writes the project's name beside all that it makes.
PROJECT = "com.docker.compose.project"
SERVICE = "com.docker.compose.service"
FILES = "com.docker.compose.project.config_files"
KINDS = {"container": ("ps", "--all"), "network": ("network", "ls"), "volume": ("volume", "ls")}
LOCAL = ("127.0.0.1", "localhost", "::1")


class DockerTarget(DockerSettings):
    """This machine, by Docker Compose; a swap takes the second that the new server needs to start."""

    def lock(self, model: str, context: DeploymentContext) -> AbstractContextManager[None]:
        return folder_lock(context.folder / "deployment", purpose="deploying from it", error_type=DeploymentError)

    def image(self, record: Mapping[str, Any], context: DeploymentContext) -> str:
        engine = _engine()
        if record["layout"] is not None:
            archive = context.folder / f"{record['name']}.tar"
            if not archive.is_file():
                raise DeploymentError(f"{archive}: does not exist", hint="estimator image VERSION")
            context.note(f"docker loads {archive}")
            _told(engine, "load", "--input", str(archive))
        try:
            (found,) = json.loads(engine.run("image", "inspect", record["tag"]))
        except ImageError:
            raise DeploymentError(
                f"{record['tag']}: docker does not have this image; it was built by {record['builder']}",
                hint="estimator image VERSION --builder docker, or direct",
            ) from None
        holds = (found["Config"]["Labels"] or {}).get("org.opencontainers.image.version")
        if holds != record["version"]:
            raise DeploymentError(
                f"{record['tag']} is now an image of {holds}, not of {record['version']}",
                hint="estimator image VERSION",
            )
        return str(found["Id"])

    def plan(self, release: Release, context: DeploymentContext) -> DeploymentPlan:
        _composer()
        self._refuse(release, context)
        status = self.status(release.model, context)
        steps = [_container_step(status, release, self)]
        beside = {item.name: item for item in status.resources if item.kind == "container"}
        for service in ("prometheus", "grafana"):
            is_there = any(service in name for name in beside)
            if self.monitoring or is_there:
                wanted: Action = "keep" if is_there else "create"
                action: Action = wanted if self.monitoring else "remove"
                steps.append(PlanStep(action, "container", service, getattr(self, f"{service}_image")))
        notes = (
            (f"Prometheus at http://127.0.0.1:{self.prometheus_port}, Grafana at http://127.0.0.1:{self.grafana_port}",)
            if self.monitoring
            else ()
        )
        return DeploymentPlan(tuple(steps), notes=notes)

    def _refuse(self, release: Release, context: DeploymentContext) -> None:
        """Refuse what would not work, or not be safe, before anything is touched."""
        if missing := [name for name in self.secrets if name not in context.environment]:
            raise DeploymentError(
                f"deployment.secrets: {', '.join(missing)}: not set in this environment",
                hint="export it and run the command again",
            )
        if self.host not in LOCAL and not self.allow_public:
            check_public(release, self.host, self.environment, context)
        if self.metrics_key is not None and not Path(self.metrics_key).is_file():
            raise DeploymentError(f"deployment.metrics_key: {self.metrics_key}: no such file", hint="estimator key add")

    def apply(self, release: Release, context: DeploymentContext) -> DeploymentStatus:
        before = self.status(release.model, context)
        step = _container_step(before, release, self)
        if step.action != "keep":
            self._try(release, context)
        previous = before.release if before.release and before.release != release else before.previous
        path = (context.folder / "deployment" / FILE).resolve()
        kept = _file_of(release.model)
        labels = release.labels(self.mark(release), previous)
        comment = f"Written and started by `estimator deploy {release.model}`."
        write_yaml(path, [compose(release, self, labels)], comment=comment)
        if self.monitoring:
            write_monitoring(path.parent / "monitoring", release, self)
        try:
            self._up(release.model, path, context)
            model, patience = release.model, self.health_timeout_seconds
            context.note(check(release, self.address, context, is_alive=lambda: _is_alive(model), patience=patience))
        except (DeploymentError, KeyboardInterrupt) as error:
            said = _last_words(release.model)
            back = (
                self._restore(before, kept, context) if before.release else self._forget(release.model, path, context)
            )
            if isinstance(error, DeploymentError):
                raise DeploymentError(f"{error.message}; {back}", hint=error.hint or said) from None
            raise
        return self.status(release.model, context)

    def status(self, model: str, context: DeploymentContext) -> DeploymentStatus:
        engine = _engine()
        resources = tuple(_resources(engine, model))
        server = next((found for found in _containers(engine, model) if _label(found, SERVICE) == SERVER), None)
        if server is None:
            return DeploymentStatus("absent", resources=resources)
        labels = server["Config"]["Labels"]
        release = Release.from_labels(labels)
        ports = [place for places in server["HostConfig"]["PortBindings"].values() for place in places]
        address = f"http://{_reachable(ports[0]['HostIp'])}:{ports[0]['HostPort']}" if ports else None
        is_fine = release is not None and address is not None and is_ready(release, address)
        return DeploymentStatus(
            "ready" if is_fine else "failing" if server["State"]["Running"] else "stopped",
            release, Release.from_labels(labels, previous=True), labels.get("estimator.settings"), address, resources,
        )  # fmt: skip

    def remove(self, model: str, context: DeploymentContext) -> tuple[Resource, ...]:
        engine = _engine()
        for resource in _resources(engine, model):
            words = ("rm", "--force", resource.name)
            _told(engine, *(words if resource.kind == "container" else (resource.kind, "rm", resource.name)))
            context.note(f"removed {resource.kind} {resource.name}")
        return tuple(_resources(engine, model))

    @property
    def address(self) -> str:
        """Where it answers, seen from this machine."""
        return f"http://{_reachable(self.host)}:{self.port}"

    def _try(self, release: Release, context: DeploymentContext) -> None:
        """Start a release apart, on a port of its own, before what runs is touched."""
        artefact = context.version(release)
        if artefact is None:
            return
        with _as_ours(), _engine().started(release.image, release.port) as started:
            trial = run_smoke_test(
                artefact, started.address, started=started.how, began=started.began, is_alive=started.is_alive
            )
        context.note(f"smoke test passed: {trial.n_rows} golden rows and {trial.n_rejected} rejected rows")

    def _up(self, model: str, path: Path, context: DeploymentContext) -> None:
        words = ["--project-name", _project(model), "--file", str(path), "up", "--detach", "--remove-orphans"]
        done = subprocess.run(  # noqa: S603 # no shell, and words of our own
            [*_composer(), *words], capture_output=True, text=True, check=False,
            env={**os.environ, **context.environment},
        )  # fmt: skip
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            told = next((line for line in lines if "ERROR" in line or "Error" in line), (lines or ["failed"])[-1])
            hint = "deployment.port: another one" if "already allocated" in done.stderr else None
            raise DeploymentError(f"docker compose: {told.strip()}", hint=hint)

    def _restore(self, before: DeploymentStatus, kept: tuple[Path, bytes] | None, context: DeploymentContext) -> str:
        """Run again what ran before; return that in words."""
        assert before.release is not None, "nothing ran before"
        named = before.release.version
        if kept is None or before.address is None:
            command = f"estimator deploy {before.release.model} --rollback"
            return f"{named} was the previous release, but its compose file no longer exists: {command}"
        path, content = kept
        write_atomic(path, content)
        self._up(before.release.model, path, context)
        check(before.release, before.address, context, patience=self.health_timeout_seconds)
        return f"{named} runs again"

    def _forget(self, model: str, path: Path, context: DeploymentContext) -> str:
        """Remove all; return that in words."""
        self.remove(model, context)
        path.unlink(missing_ok=True)
        return "everything was removed"


def _container_step(status: DeploymentStatus, release: Release, settings: DockerTarget) -> PlanStep:
    now = f"{release.version} at {settings.address}"
    if status.release is None:
        return PlanStep("create", "container", SERVER, now)
    if status.settings == settings.mark(release) and status.state == "ready":
        return PlanStep("keep", "container", SERVER, now)
    return PlanStep("replace", "container", SERVER, f"{status.release.version} by {now}")


def _project(model: str) -> str:
    """Return a name that Compose takes for what belongs to a model.

    >>> _project("House.Prices")
    'estimator-house-prices'
    """
    return "estimator-" + re.sub(r"[^a-z0-9_-]", "-", model.lower())


def _engine() -> DockerEngine:
    try:
        found = find_engine("docker")
    except ImageError as error:
        raise DeploymentError(error.message, hint=error.hint or "deployment.kind docker needs Docker") from None
    assert isinstance(found, DockerEngine)
    return found


def _composer() -> Sequence[str]:
    """Return how Docker Compose is called here: as Docker's own part, or as the program it was before."""
    for words in (("docker", "compose"), ("docker-compose",)):
        if shutil.which(words[0]) is not None:
            done = subprocess.run([*words, "version"], capture_output=True, check=False)  # noqa: S603 # no shell
            if done.returncode == 0:
                return words
    raise DeploymentError("Docker Compose is not installed", hint="https://docs.docker.com/compose/install")


def _told(engine: DockerEngine, *words: str) -> str:
    with _as_ours():
        return engine.run(*words)


class _as_ours:  # noqa: N801 # reads as a verb after `with`
    """Tell what an engine or a trial refuses as a deployment's error."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ImageError):
            raise DeploymentError(error.message, hint=error.hint) from None


def _containers(engine: DockerEngine, model: str) -> list[Any]:
    named = _told(engine, "ps", "--all", "--quiet", "--filter", f"label={PROJECT}={_project(model)}").split()
    found: list[Any] = json.loads(_told(engine, "inspect", *named)) if named else []
    return found


def _resources(engine: DockerEngine, model: str) -> list[Resource]:
    """Return what is there for a model, in the order in which it can be removed."""
    found = []
    for what, words in KINDS.items():
        shown = "{{.Names}}" if what == "container" else "{{.Name}}"
        filtered = ("--filter", f"label={PROJECT}={_project(model)}", "--format", shown)
        found += [Resource(what, name) for name in _told(engine, *words, *filtered).split()]
    return found


def _is_alive(model: str) -> bool:
    """Whether the server runs, and has not been started again because it ended."""
    found = next((each for each in _containers(_engine(), model) if _label(each, SERVICE) == SERVER), None)
    return found is not None and found["State"]["Running"] and found["RestartCount"] == 0


def _last_words(model: str) -> str | None:
    """Return the last line that the server has written."""
    for found in _containers(_engine(), model):
        if _label(found, SERVICE) == SERVER:
            done = subprocess.run(["docker", "logs", "--tail", "1", found["Id"]], capture_output=True, text=True)  # noqa: S603, S607 # an id
            return f"its log ends: {(done.stdout + done.stderr).strip()}"
    return None


def _file_of(model: str) -> tuple[Path, bytes] | None:
    """Return the compose file of what runs, which may be in another folder, and what is in it."""
    for found in _containers(_engine(), model):
        path = Path(_label(found, FILES) or "none")
        if _label(found, SERVICE) == SERVER and path.is_file():
            return path, path.read_bytes()
    return None


def _label(container: Any, name: str) -> str | None:
    label: str | None = (container["Config"]["Labels"] or {}).get(name)
    return label


def _reachable(host: str) -> str:
    """Return where this machine reaches an address that it listens at."""
    return "127.0.0.1" if host in ("0.0.0.0", "", "::", "localhost") else f"[{host}]" if ":" in host else host  # noqa: S104 # compared
