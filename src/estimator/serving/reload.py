"""What is served follows what names mean: a version that moved is loaded, checked, and only then takes over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from estimator.config import Serving
from estimator.errors import EstimatorError, ServingError
from estimator.serving.service import Service
from estimator.store.artefact import Artefact, check_golden, open_artefact

logger = logging.getLogger("estimator.serving")


@dataclass(frozen=True)
class Reference:
    """A name that means a version: `find` gives the folder that it means now.

    `find_alias` gives the folder that another alias of the model means now, None when it means none.
    """

    name: str
    find: Callable[[], Path]
    find_alias: Callable[[str], Path | None] = lambda alias: None


class Following:
    """The services that references mean, to be checked before they answer. Used by one thread at a time."""

    def __init__(self, references: Sequence[Reference], serving_of: Callable[[Artefact], Serving]) -> None:
        self._references, self._serving_of = references, serving_of
        self.services = [self._opened(reference.find()) for reference in references]
        self._seen = [service.artefact.folder for service in self.services]
        # What answers a copy of the traffic, by the model's name.
        self.shadows: dict[str, Service] = {}
        # Why what a name now means is not served, by the name.
        self.faults: dict[str, str] = {}
        names = [service.artefact.name for service in self.services]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ServingError(f"two versions of the model {min(twice)!r} cannot be served at once")

    def check(self) -> None:
        """Answer the golden rows of all versions.

        Raises
        ------
        ArtefactError, ServingError: one answers other than it did, or not at all.
        """
        for service in self.services:
            _check(service.artefact)
        self._look_for_shadows()

    def look(self, was_told: bool) -> Sequence[Service] | None:
        """Return the services when one is new, else None; a version that fails leaves the old one and a fault.

        What was seen already is loaded again only when that `was_told`.
        """
        self._look_for_shadows()
        services = list(self.services)
        for place, reference in enumerate(self._references):
            try:
                folder = reference.find()
                if folder == self._seen[place] and not was_told:
                    continue
                self._seen[place] = folder
                services[place] = self._replacing(services[place], folder)
                self.faults.pop(reference.name, None)
            except EstimatorError as error:
                if self.faults.get(reference.name) != error.message:
                    logger.error("a version was not taken over", extra={"told": {"why": error.message}})
                self.faults[reference.name] = error.message
        if all(new is old for new, old in zip(services, self.services, strict=True)):
            return None
        self.services = services
        return services

    def _look_for_shadows(self) -> None:
        for reference, service in zip(self._references, self.services, strict=True):
            alias, model = service.serving.shadow, service.artefact.name
            if alias is None:
                continue
            try:
                folder = reference.find_alias(alias)
                known = self.shadows.get(model)
                if folder is None or folder == service.artefact.folder:
                    self.shadows.pop(model, None)
                elif known is None or known.artefact.folder != folder:
                    self.shadows[model] = self._replacing(service, folder)
                self.faults.pop(f"{model}@{alias}", None)
            except EstimatorError as error:
                self.shadows.pop(model, None)
                self.faults[f"{model}@{alias}"] = error.message

    def _replacing(self, old: Service, folder: Path) -> Service:
        new = self._opened(folder)
        _check(new.artefact)
        if new.artefact.name != old.artefact.name:
            raise ServingError(f"{folder} is of the model {new.artefact.name!r}, not of {old.artefact.name!r}")
        return new

    def _opened(self, folder: Path) -> Service:
        artefact = open_artefact(folder)
        return Service(artefact, self._serving_of(artefact))


def _check(artefact: Artefact) -> None:
    try:
        check_golden(artefact)
    except EstimatorError:
        raise
    except Exception as error:
        # A graph that this onnxruntime cannot run, for one; what it raises is of its own kinds.
        raise ServingError(f"{artefact.folder}: cannot be loaded: {error}") from error
