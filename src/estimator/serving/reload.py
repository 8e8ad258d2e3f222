"""Model references -> the services they mean now: a version that moved is loaded, checked, and only then served."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from estimator.config import Serving
from estimator.errors import EstimatorError, ServingError
from estimator.serving.service import Service
from estimator.store.artefact import Artefact, check_golden, open_artefact

logger = logging.getLogger("estimator.serving")


@dataclass(frozen=True)
class ModelReference:
    """A name such as `boston` or `boston@live`; `find` returns the folder of the version that it means now.

    `find_other` returns the folder that another alias of the model means now, or of another version; None when it is
    not set. A server asks no more often than every `poll_seconds`.
    """

    name: str
    find: Callable[[], Path]
    find_other: Callable[[str], Path | None] = lambda alias: None
    poll_seconds: float = 0.0


class ServedModels:
    """The services that references mean, with canaries, and shadows. Mutable, as versions move; for one thread.

    `errors` says, by reference, why the version that it means now is not served, or not known; `shadows` are services
    by model.
    """

    def __init__(self, references: Sequence[ModelReference], serving_of: Callable[[Artefact], Serving]) -> None:
        self._references, self._serving_of = references, serving_of
        self._poll_seconds = min(reference.poll_seconds for reference in references)
        self._next_poll = time.monotonic() + self._poll_seconds
        self.services = [self._open(reference.find()) for reference in references]
        self._folders = [service.artefact.folder for service in self.services]
        self._canary_folders: list[Path | None] = [None for _ in self.services]
        self.shadows: dict[str, Service] = {}
        self.errors: dict[str, str] = {}
        names = [service.artefact.name for service in self.services]
        if duplicates := {name for name in names if names.count(name) > 1}:
            raise ServingError(f"model {min(duplicates)!r} is given twice: one server serves one version of a model")

    def check(self) -> None:
        """Check that each version reproduces the predictions of its golden rows, and load canaries and shadows.

        Raises
        ------
        ArtefactError, ServingError: a version predicts something else, or cannot predict.
        """
        for service in self.services:
            _check(service.artefact)
        self.services = [
            self._with_canary(index, service, self._canary_folder(index, service), is_forced=True)
            for index, service in enumerate(self.services)
        ]
        for service, folder in zip(self.services, self._canary_folders, strict=True):
            if service.serving.canary is not None and folder is None:
                fields = {"model": service.artefact.name, "canary": service.serving.canary.version}
                logger.warning("no canary: its name is not set, or means the live version", extra={"fields": fields})
        self._reload_shadows()

    def reload(self, is_forced: bool) -> Sequence[Service] | None:
        """Return the services if a version has moved, else None; a version that cannot be loaded leaves the old one.

        A version that was tried before is loaded again only if the reload `is_forced`.
        """
        if not is_forced and time.monotonic() < self._next_poll:
            return None
        self._next_poll = time.monotonic() + self._poll_seconds
        self._reload_shadows()
        services = list(self.services)
        for index, reference in enumerate(self._references):
            with self._lookups_noted(f"{reference.name} alias"):
                folder = reference.find()
                with self._errors_noted(reference.name):
                    if folder != self._folders[index] or is_forced:
                        self._folders[index] = folder
                        canary = services[index].canary
                        successor = self._successor(services[index], folder)
                        services[index] = successor.with_canary(None if canary is None else canary.service)
                        self.errors.pop(reference.name, None)
            with self._lookups_noted(f"{reference.name} canary alias"):
                other = self._canary_folder(index, services[index])
                with self._errors_noted(f"{reference.name} canary"):
                    services[index] = self._with_canary(index, services[index], other, is_forced=is_forced)
        if all(new is old for new, old in zip(services, self.services, strict=True)):
            return None
        self.services = services
        return services

    @contextmanager
    def _errors_noted(self, name: str, event: str = "a new version could not be loaded") -> Iterator[None]:
        try:
            yield
        except EstimatorError as error:
            if self.errors.get(name) != error.message:
                logger.error(event, extra={"fields": {"error": error.message}})
            self.errors[name] = error.message

    @contextmanager
    def _lookups_noted(self, name: str) -> Iterator[None]:
        """Note that a name cannot be looked up, such as in a store that cannot be reached, until it can be again."""
        with self._errors_noted(name, "the store cannot be read; the version that is served stays"):
            yield
            if self.errors.pop(name, None) is not None:
                logger.info("the store can be read again", extra={"fields": {"name": name}})

    def _canary_folder(self, index: int, service: Service) -> Path | None:
        settings = service.serving.canary
        return None if settings is None else self._references[index].find_other(settings.version)

    def _with_canary(self, index: int, service: Service, folder: Path | None, *, is_forced: bool) -> Service:
        """Return a service with the canary in a folder, which its settings mean now, and itself if it has that one."""
        canary = self.services[index].canary
        if service.serving.canary is None:
            return service.with_canary(None)
        running, reference = None if canary is None else canary.service, self._references[index]
        tried = self._canary_folders[index]
        if folder == service.artefact.folder:
            folder = None
        self._canary_folders[index] = folder
        if folder is None or folder != tried or is_forced:
            running = None if folder is None else self._successor(service, folder)
            self.errors.pop(f"{reference.name} canary", None)
        if service.canary is not None and service.canary.service is running:
            return service
        return service.with_canary(running)

    def _reload_shadows(self) -> None:
        for reference, service in zip(self._references, self.services, strict=True):
            alias, model = service.serving.shadow, service.artefact.name
            if alias is None:
                continue
            with self._lookups_noted(f"{model}@{alias} alias"):
                self._reload_shadow(service, alias, reference.find_other(alias))

    def _reload_shadow(self, service: Service, alias: str, folder: Path | None) -> None:
        """Load the shadow of a service in a folder, if it is another one; None: there is none now."""
        model = service.artefact.name
        shadow = self.shadows.get(model)
        try:
            if folder is None or folder == service.artefact.folder:
                self.shadows.pop(model, None)
            elif shadow is None or shadow.artefact.folder != folder:
                self.shadows[model] = self._successor(service, folder)
            self.errors.pop(f"{model}@{alias}", None)
        except EstimatorError as error:
            self.shadows.pop(model, None)
            self.errors[f"{model}@{alias}"] = error.message

    def _successor(self, old: Service, folder: Path) -> Service:
        new = self._open(folder)
        if old.artefact.is_own and not new.artefact.is_own:
            # What one's own version says of this server stays in force.
            new = Service(new.artefact, old.serving)
        _check(new.artefact)
        if new.artefact.name != old.artefact.name:
            raise ServingError(
                f"{folder}: expected a version of {old.artefact.name!r}, got one of {new.artefact.name!r}"
            )
        return new

    def _open(self, folder: Path) -> Service:
        artefact = open_artefact(folder)
        return Service(artefact, self._serving_of(artefact))


def _check(artefact: Artefact) -> None:
    try:
        check_golden(artefact)
    except EstimatorError:
        raise
    except Exception as error:
        # onnxruntime raises its own errors, for instance for a graph that this release cannot run.
        raise ServingError(f"{artefact.folder}: cannot be loaded: {error}") from error
