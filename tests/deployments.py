"""Releases of two versions of one model, for tests of deployments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from estimator import verbs
from estimator.shipping.deployment import DeploymentContext, Release
from estimator.store.artefact import Artefact
from tests.conftest import EXAMPLES

# Digests of the images of both versions, and of one that does not exist.
DIGESTS = [f"sha256:{number:064x}" for number in range(1, 4)]


def two_versions(store: Path) -> list[Artefact]:
    """Train two versions of the Boston model; return the older first."""
    conf = next((EXAMPLES / "boston").glob("config.*"))
    models = (("model.kind=linear",), ("model.kind=boosting", "model.n_estimators=20"))
    return [verbs.train.train(conf, verbs.Context(model, store_path=str(store))).artefact for model in models]


def releases_of(versions: Sequence[Artefact], repository: str) -> list[Release]:
    """Return the releases of versions, whose images have the first digests."""
    return [
        Release(version.name, version.version, f"{repository}@{digest}", 5000, "amd64")
        for version, digest in zip(versions, DIGESTS, strict=False)
    ]


def folders_by_digest(versions: Sequence[Artefact]) -> Mapping[str, Path]:
    """Return the folders of versions by the digests of their images."""
    return {digest: version.folder for digest, version in zip(DIGESTS, versions, strict=False)}


def context_of(versions: Sequence[Artefact], folder: Path) -> DeploymentContext:
    """Return a context that opens these versions."""
    by_version = {version.version: version for version in versions}
    return DeploymentContext(folder, {}, lambda release: by_version.get(release.version))
