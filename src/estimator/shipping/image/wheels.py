"""The packages of an image: estimator itself as a wheel, all others pinned by version and hash."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

from estimator.core.files import scratch_folder
from estimator.errors import ImageError

PACKAGE = "estimator-lifepath"
# Versions of glibc in wheel tags, newest first; that of python:*-slim is newer than all of them.
GLIBC_VERSIONS = ("2_34", "2_31", "2_28", "2_27", "2_24", "2_17", "2_12", "2_5")
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
# The earliest time that zip files support.
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class PinnedPackage:
    """A package of an image; `hashes` are sha256 digests of its wheel in hexadecimal."""

    name: str
    version: str
    hashes: tuple[str, ...]
    license: str | None = None

    @property
    def requirement(self) -> str:
        """The package as a line of requirements.txt."""
        return " ".join([f"{self.name}=={self.version}", *(f"--hash=sha256:{digest}" for digest in self.hashes)])


def estimator_wheel() -> tuple[str, bytes]:
    """Return the name and the bytes of a wheel of the installed estimator; the bytes are reproducible.

    An image needs exactly this code, which no package index has to offer.
    """
    about = metadata.distribution(PACKAGE)
    stem = f"{PACKAGE.replace('-', '_')}-{about.version}"
    content = {f"estimator/{name}": data for name, data in _tree(files("estimator"))}
    info = f"{stem}.dist-info"
    content[f"{info}/METADATA"] = (about.read_text("METADATA") or "").encode()
    content[f"{info}/entry_points.txt"] = (about.read_text("entry_points.txt") or "").encode()
    content[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: estimator\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = "".join(f"{name},sha256={_url_hash(data)},{len(data)}\n" for name, data in sorted(content.items()))
    content[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(content.items()):
            entry = zipfile.ZipInfo(name, ZIP_EPOCH)
            entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return f"{stem}-py3-none-any.whl", packed.getvalue()


@cache
def resolve_packages(
    wheel: tuple[str, bytes], extras: tuple[str, ...], *, python: str, architecture: str
) -> tuple[PinnedPackage, ...]:
    """Return the dependencies of a wheel on Linux, at the versions installed here, as pip resolves them.

    `python` is such as "3.11". pip takes ten seconds, so a process asks it once.

    Raises
    ------
    ImageError: pip is missing, or finds no wheels for that Python and architecture.
    """
    name, content = wheel
    with scratch_folder() as folder:
        (folder / name).write_bytes(content)
        installed = {item.name: item.version for item in metadata.distributions() if item.name != PACKAGE}
        (folder / "constraints.txt").write_text("".join(f"{name}=={version}\n" for name, version in installed.items()))
        target = f"{folder / name}[{','.join(extras)}]" if extras else str(folder / name)
        options = ["--dry-run", "--ignore-installed", "--report", str(folder / "report.json"), "--target", str(folder)]
        options += ["--constraint", str(folder / "constraints.txt"), *platform_options(python, architecture)]
        run_pip(["install", *options, target])
        report = json.loads((folder / "report.json").read_text())
    packages = [_pin(item) for item in report["install"] if item["metadata"]["name"] != PACKAGE]
    return tuple(sorted(packages, key=lambda package: package.name.lower()))


def platform_options(python: str, architecture: str) -> list[str]:
    """Return options of pip that choose wheels for a Python on Linux, whatever this machine is."""
    machine = MACHINES[architecture]
    tags = [*(f"manylinux_{glibc}_{machine}" for glibc in GLIBC_VERSIONS), f"manylinux2014_{machine}"]
    platforms = [argument for tag in tags for argument in ("--platform", tag)]
    return ["--only-binary", ":all:", "--implementation", "cp", "--python-version", python, *platforms]


def run_pip(arguments: Sequence[str], *, folder: Path | None = None) -> None:
    """Run pip of this Python, in a folder.

    Raises
    ------
    ImageError: pip is not installed or fails.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments, "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)  # noqa: S603 # our own arguments
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        error = next((line for line in lines if line.startswith("ERROR")), lines[-1])
        hint = "python -m ensurepip" if "No module named pip" in done.stderr else None
        raise ImageError(f"pip cannot install the packages of the image: {error}", hint=hint)


def requirements(packages: Sequence[PinnedPackage], wheel: tuple[str, bytes]) -> str:
    """Return requirements.txt; the hashes allow only these files, whichever index they come from."""
    name, content = wheel
    wheel_line = f"./{name} --hash=sha256:{hashlib.sha256(content).hexdigest()}"
    return "\n".join([*(package.requirement for package in packages), wheel_line, ""])


def _pin(item: Mapping[str, Any]) -> PinnedPackage:
    about = item["metadata"]
    digest = item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
    if digest is None:
        raise ImageError(
            f"pip gives no hash for {about['name']} {about['version']}", hint="pip 23.1 or newer is needed"
        )
    license_name = about.get("license_expression") or about.get("license")
    # Some packages give the text of their license here.
    short = license_name if license_name and "\n" not in license_name else None
    return PinnedPackage(about["name"], about["version"], (digest,), short)


def _tree(folder: Any, prefix: str = "") -> list[tuple[str, bytes]]:
    """Return the path and content of all files below a folder."""
    contents: list[tuple[str, bytes]] = []
    for item in sorted(folder.iterdir(), key=lambda item: str(item.name)):
        if item.is_dir():
            contents += [] if item.name == "__pycache__" else _tree(item, f"{prefix}{item.name}/")
        else:
            contents.append((f"{prefix}{item.name}", item.read_bytes()))
    return contents


def _url_hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
