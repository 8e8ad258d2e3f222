"""A version: one folder of plain files, written atomically and opened only if every hash matches."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import numpy as np

from estimator.config.authority import acting, description
from estimator.core.files import write_folder_atomic
from estimator.core.task import Task
from estimator.data.labels import TargetReader
from estimator.data.schema import Schema
from estimator.data.schema.file import from_data
from estimator.errors import ArtefactError, ConfigError, FileError
from estimator.store.predictor import Predictor
from estimator.store.signature import SIGNATURE, is_signed, signature_of

# The first format that was released; its number is raised whenever a file's names or meaning change.
FORMAT = 2
MANIFEST = "manifest.json"
REQUIRED_FILES = ("model.onnx", "schema.json", "golden.json", "config.resolved.json")
REQUIRED_KEYS = ("name", "version", "task", "files")
THRESHOLD_KEYS = {"value", "rule", "positive_class", "rows", "note"}
# They become names of folders and of images.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
# Another processor may round differently; a real difference is far larger.
GOLDEN_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Artefact:
    """An opened version: its `folder` and `manifest`; other files are read on access.

    `is_own` is whether it is signed with this user's key. Only then does its config act on this machine.
    """

    folder: Path
    manifest: Mapping[str, Any]
    is_own: bool = False

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.manifest["name"])

    @property
    def version(self) -> str:
        """The version's name, which was its folder's name when it was written."""
        return str(self.manifest["version"])

    def read(self, file: str) -> bytes:
        """Return the content of a file of the version.

        Raises
        ------
        ArtefactError: the manifest does not list the file, it is missing, or its hash differs.
        """
        if file not in self.manifest["files"]:
            raise ArtefactError(f"{self.folder}: this version has no file {file!r}")
        content = _read_inside(self.folder, file)
        if hashlib.sha256(content).hexdigest() != self.manifest["files"][file]:
            raise ArtefactError(
                f"{self.folder / file}: changed since the version was written (its hash differs)",
                hint="restore the file, or train the version again",
            )
        return content

    def read_json(self, file: str) -> Any:
        """Return the data of a JSON file of the version."""
        try:
            return json.loads(self.read(file))
        except ValueError as error:
            raise ArtefactError(f"{self.folder / file}: not valid JSON: {error}") from error

    @cached_property
    def schema(self) -> Schema:
        """The schema of the version's input rows."""
        return from_data(self.read_json("schema.json"), source=str(self.folder / "schema.json"))

    @cached_property
    def recorded_config(self) -> Mapping[str, Any]:
        """The config that trained the version, with every default filled in."""
        config = self.read_json("config.resolved.json")
        if not isinstance(config, Mapping):
            raise ArtefactError(f"{self.folder / 'config.resolved.json'}: expected an object, got {config!r:.40}")
        return config

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """What applies here of that config: all of it in a version of one's own, else what describes the model."""
        return self.recorded_config if self.is_own else description(self.recorded_config)

    @cached_property
    def unused_config(self) -> Mapping[str, Any]:
        """What is left out of `config`, by key, where it is not the default."""
        return {} if self.is_own else acting(self.recorded_config)

    @cached_property
    def predictor(self) -> Predictor:
        """The model: takes rows, returns predictions."""
        task, threshold = self.manifest["task"], self.manifest.get("threshold")
        value = None if threshold is None else float(threshold["value"])
        graph = self.read("model.onnx")
        return Predictor(self.schema, Task(task["kind"], tuple(task["classes"]), value), graph, self.name, self.version)

    @cached_property
    def target_reader(self) -> TargetReader:
        """What reads the labels of the version's target."""
        return TargetReader(self.schema.target, self.predictor.task)

    def state(self) -> dict[str, bytes]:
        """Return what a warm start continues from, by file name."""
        files = [file for file in self.manifest["files"] if file.startswith("state/")]
        return {file.removeprefix("state/"): self.read(file) for file in files}


def write_artefact(parent: Path, version: str, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> Path:
    """Write a version into a new folder of `parent`, signed and atomically, and return the folder.

    Raises
    ------
    ArtefactError: the folder cannot be written; nothing is left behind.
    """
    folder = parent / version
    try:
        write_folder_atomic(folder, sealed(version, manifest, files))
    except FileError as error:
        raise ArtefactError(error.message, hint="choose another --store") from error
    return folder


def sealed(version: str, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return all files of a version: those given, then its signature, and the manifest with their hashes, last."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    complete = {"format": FORMAT, **manifest, "version": version, "files": hashes}
    content = json.dumps(complete, indent=2, ensure_ascii=False).encode()
    signature = signature_of(content)
    signed = {} if signature is None else {SIGNATURE: signature}
    return {**files, **signed, MANIFEST: content}


def open_artefact(folder: Path) -> Artefact:
    """Open a version and verify the hash of every file.

    Raises
    ------
    ArtefactError: the folder is not a version, is damaged, or has another format.
    """
    try:
        content = (folder / MANIFEST).read_bytes()
        manifest = json.loads(content)
    except FileNotFoundError:
        raise ArtefactError(f"{folder}: not a version: it has no {MANIFEST}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{folder / MANIFEST}: cannot be read: {error}") from error
    check_manifest(str(folder), manifest)
    artefact = Artefact(folder, manifest, is_signed(folder, content))
    for file in manifest["files"]:
        artefact.read(file)
    return artefact


def check_manifest(folder: str, manifest: Any) -> None:
    """Reject what is not the manifest of a version in a folder or at an address.

    Raises
    ------
    ArtefactError: it is none, or of another format.
    """
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise ArtefactError(f"{folder}/{MANIFEST}: not the manifest of a version")
    if manifest["format"] > FORMAT:
        raise ArtefactError(
            f"{folder}: format {manifest['format']} is from a later estimator; this one reads format {FORMAT}",
            hint="pip install --upgrade estimator-lifepath",
        )
    if manifest["format"] < FORMAT:
        raise ArtefactError(
            f"{folder}: format {manifest['format']} was written by an earlier pre-release; this estimator reads format "
            f"{FORMAT}",
            hint="train it again: estimator train --conf config.yml",
        )
    missing = [key for key in REQUIRED_KEYS if key not in manifest]
    if missing or not isinstance(manifest["files"], dict):
        raise ArtefactError(f"{folder}/{MANIFEST}: not the manifest of a version: no {', '.join(sorted(missing))}")
    threshold = manifest.get("threshold", dict.fromkeys(THRESHOLD_KEYS, 0.0))
    is_complete = isinstance(threshold, dict) and set(threshold) >= THRESHOLD_KEYS
    if not is_complete or not isinstance(threshold["value"], int | float):
        raise ArtefactError(f"{folder}/{MANIFEST}: threshold: expected a number and its reason, got {threshold!r:.60}")
    for key in ("name", "version", "parent"):
        # A parent may be a version of another model.
        names = str(manifest.get(key) or "none").split("/") if key == "parent" else [str(manifest[key])]
        if len(names) > 2 or not all(map(NAME.fullmatch, names)):
            raise ArtefactError(
                f"{folder}/{MANIFEST}: {key}: expected letters, digits, _, . and -, got {manifest[key]!r}"
            )
    for file in REQUIRED_FILES:
        if file not in manifest["files"]:
            raise ArtefactError(f"{folder}/{MANIFEST}: lists no {file}")


def check_golden(artefact: Artefact) -> int:
    """Predict the version's golden rows, compare with the predictions stored at training, return the number of rows.

    Raises
    ------
    ArtefactError: a prediction differs.
    """
    golden = artefact.read_json("golden.json")
    predictions = artefact.predictor.predict_batch(artefact.schema.read_rows(golden["rows"]))
    absolute_tolerance = 1e-9 if predictions.probabilities is None else 1e-7
    if not np.allclose(predictions.raw, golden["predictions"], rtol=GOLDEN_TOLERANCE, atol=absolute_tolerance):
        raise ArtefactError(
            f"{artefact.folder}: predictions for the golden rows differ from those stored at training",
            hint="was onnxruntime upgraded, or the graph changed? train the version again",
        )
    return len(golden["rows"])


@contextmanager
def missing_packages_named(artefact: Artefact) -> Iterator[None]:
    """Name, in an error about the kinds in a version's config, the version and the packages that it lacks here."""
    try:
        yield
    except ConfigError as error:
        missing = [name for name in artefact.manifest["libraries"] if not _is_installed(name)]
        hint = f"it was trained with packages that are not installed: pip install {' '.join(missing)}"
        raise ConfigError(
            f"{artefact.name} {artefact.version}: {error.message}", hint=hint if missing else error.hint
        ) from error


def _is_installed(package: str) -> bool:
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def _read_inside(folder: Path, file: str) -> bytes:
    """Read a file, and reject one that lies outside the folder once links are followed."""
    path = (folder / file).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ArtefactError(f"{folder / MANIFEST}: lists {file!r}, which is outside the version's folder")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ArtefactError(f"{path}: the file is missing") from None
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}") from error
