"""A version as one folder of plain files: written whole or not at all, opened only when every hash is right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from estimator.core.files import write_folder_atomic
from estimator.core.task import Task
from estimator.data.schema import Schema
from estimator.data.schema.file import from_data
from estimator.errors import ArtefactError, FileError
from estimator.store.predictor import Predictor

FORMAT = 1
MANIFEST = "manifest.json"
NEEDED = ("model.onnx", "schema.json", "golden.json", "config.resolved.json")
GOLDEN_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Artefact:
    """An opened version: `manifest` as stored, files read when asked for."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.manifest["name"])

    @property
    def version(self) -> str:
        """The version's name, that of its folder when it was made."""
        return str(self.manifest["version"])

    def read(self, file: str) -> bytes:
        """Return a file of the version.

        Raises
        ------
        ArtefactError: it is not listed, not there, or not what was written.
        """
        if file not in self.manifest["files"]:
            raise ArtefactError(f"{self.folder}: this version has no file {file!r}")
        content = _content(self.folder, file)
        if hashlib.sha256(content).hexdigest() != self.manifest["files"][file]:
            raise ArtefactError(f"{self.folder / file}: the file is not what was written (its hash differs)")
        return content

    def read_json(self, file: str) -> Any:
        """Return a JSON file of the version."""
        try:
            return json.loads(self.read(file))
        except ValueError as error:
            raise ArtefactError(f"{self.folder / file}: not JSON: {error}") from error

    @cached_property
    def schema(self) -> Schema:
        """The contract of the version's rows."""
        return from_data(self.read_json("schema.json"), place=str(self.folder / "schema.json"))

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The config it was made with, every default filled in."""
        found: Mapping[str, Any] = self.read_json("config.resolved.json")
        return found

    @cached_property
    def predictor(self) -> Predictor:
        """What answers."""
        task = self.manifest["task"]
        graph = self.read("model.onnx")
        return Predictor(self.schema, Task(task["kind"], tuple(task["classes"])), graph, self.name, self.version)

    def state(self) -> dict[str, bytes]:
        """Return what a warm start needs, by file name."""
        files = [file for file in self.manifest["files"] if file.startswith("state/")]
        return {file.removeprefix("state/"): self.read(file) for file in files}


def write_artefact(parent: Path, version: str, manifest: Mapping[str, Any], files: Mapping[str, bytes]) -> Path:
    """Write a version's folder: into a temporary one first, which is renamed when all of it is on the disk.

    Raises
    ------
    ArtefactError: the folder cannot be written; nothing is left behind.
    """
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    described = {"format": FORMAT, **manifest, "version": version, "files": hashes}
    folder = parent / version
    try:
        write_folder_atomic(folder, {**files, MANIFEST: _json(described)})
    except FileError as error:
        raise ArtefactError(error.message, hint="choose another --store") from error
    return folder


def open_artefact(folder: Path) -> Artefact:
    """Open a version and check every file of it.

    Raises
    ------
    ArtefactError: no version, damaged, foreign, or of a future format.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise ArtefactError(f"{folder}: not a version: it has no {MANIFEST}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{folder / MANIFEST}: cannot be read: {error}") from error
    _check_manifest(folder, manifest)
    artefact = Artefact(folder, manifest)
    for file in manifest["files"]:
        artefact.read(file)
    return artefact


def check_golden(artefact: Artefact) -> int:
    """Answer the version's golden rows and return how many there are.

    Raises
    ------
    ArtefactError: an answer is not what it was when the version was made.
    """
    golden = artefact.read_json("golden.json")
    answers = artefact.predictor.predict_batch(artefact.schema.read_rows(golden["rows"]))
    expected = golden["answers"]
    if answers.probabilities is None:
        same = np.allclose(answers.values, expected, rtol=GOLDEN_TOLERANCE, atol=1e-9)
    else:
        same = np.allclose(answers.probabilities, expected, rtol=GOLDEN_TOLERANCE, atol=1e-7)
    if not same:
        raise ArtefactError(f"{artefact.folder}: golden rows get other answers than when the version was made")
    return len(golden["rows"])


def _check_manifest(folder: Path, manifest: Any) -> None:
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise ArtefactError(f"{folder / MANIFEST}: not the manifest of a version")
    if manifest["format"] > FORMAT:
        raise ArtefactError(
            f"{folder}: format {manifest['format']} is from a later estimator; this one reads up to {FORMAT}",
            hint="pip install --upgrade estimator-lifepath",
        )
    missing = {"name", "version", "task", "files"} - manifest.keys()
    if missing or not isinstance(manifest["files"], dict):
        raise ArtefactError(f"{folder / MANIFEST}: not the manifest of a version: no {', '.join(sorted(missing))}")
    for file in [*NEEDED, *manifest["files"]]:
        if file not in manifest["files"]:
            raise ArtefactError(f"{folder / MANIFEST}: lists no {file}")


def _content(folder: Path, file: str) -> bytes:
    """Read a file that lies inside the folder, links followed."""
    path = (folder / file).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ArtefactError(f"{folder / MANIFEST}: lists {file!r}, which lies outside the version's folder")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ArtefactError(f"{path}: the file is missing") from None
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}") from error


def _json(data: object) -> bytes:
    return json.dumps(data, indent=2, ensure_ascii=False).encode()
