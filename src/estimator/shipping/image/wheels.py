"""What an image installs: the own package as a wheel, and every other one by version and hash."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

from estimator.errors import ImageError

PACKAGE = "estimator-lifepath"
# The C libraries that wheels may ask for, newest first; python:*-slim has a newer one than all of them.
GLIBCS = ("2_34", "2_31", "2_28", "2_27", "2_24", "2_17", "2_12", "2_5")
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
# Zip files know no time before 1980.
EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class PinnedPackage:
    """One package of an image: `hashes` are sha256 digests of its wheel in hexadecimal."""

    name: str
    version: str
    hashes: tuple[str, ...]
    license: str | None = None

    @property
    def line(self) -> str:
        """The package as a line of requirements.txt."""
        return " ".join([f"{self.name}=={self.version}", *(f"--hash=sha256:{digest}" for digest in self.hashes)])


def own_wheel() -> tuple[str, bytes]:
    """Return the name and the bytes of a wheel of this very package, as it is installed; always the same bytes.

    An image is to answer with the code that has proved the version, which no index need know.
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
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr, entry.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    return f"{stem}-py3-none-any.whl", packed.getvalue()


def resolve_packages(
    wheel: tuple[str, bytes], extras: Sequence[str], *, python: str, architecture: str
) -> list[PinnedPackage]:
    """Return what a wheel needs on Linux, at the versions that are installed here, by pip's own resolution.

    `python` is as "3.11".

    Raises
    ------
    ImageError: pip is missing, or finds no wheels for that Python and architecture.
    """
    name, content = wheel
    with tempfile.TemporaryDirectory(prefix="estimator-image-") as scratch:
        folder = Path(scratch)
        (folder / name).write_bytes(content)
        here = {item.name: item.version for item in metadata.distributions() if item.name != PACKAGE}
        (folder / "constraints.txt").write_text("".join(f"{name}=={version}\n" for name, version in here.items()))
        packages = f"{folder / name}[{','.join(extras)}]" if extras else str(folder / name)
        words = ["--dry-run", "--ignore-installed", "--report", str(folder / "report.json"), "--target", scratch]
        run_pip(
            [
                "install",
                *words,
                "--constraint",
                str(folder / "constraints.txt"),
                *platform(python, architecture),
                packages,
            ]
        )
        report = json.loads((folder / "report.json").read_text())
    pins = [_pin(item) for item in report["install"] if item["metadata"]["name"] != PACKAGE]
    return sorted(pins, key=lambda pin: pin.name.lower())


def platform(python: str, architecture: str) -> list[str]:
    """Return what tells pip to choose wheels for a Python on Linux rather than for this machine."""
    machine = MACHINES[architecture]
    tags = [*(f"manylinux_{glibc}_{machine}" for glibc in GLIBCS), f"manylinux2014_{machine}"]
    named = [word for tag in tags for word in ("--platform", tag)]
    return ["--only-binary", ":all:", "--implementation", "cp", "--python-version", python, *named]


def run_pip(words: Sequence[str], *, folder: Path | None = None) -> None:
    """Run this Python's pip.

    Raises
    ------
    ImageError: it is missing or fails.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *words, "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)  # noqa: S603 # our own words
    if done.returncode:
        told = [line for line in done.stderr.splitlines() if line.strip()]
        hint = "python -m ensurepip" if "No module named pip" in done.stderr else None
        first = next((line for line in told if line.startswith("ERROR")), told[-1] if told else "no reason given")
        raise ImageError(f"pip cannot install the packages of the image: {first}", hint=hint)


def requirements(pins: Sequence[PinnedPackage], wheel: tuple[str, bytes]) -> str:
    """Return requirements.txt: only these files are installed, wherever they come from."""
    name, content = wheel
    own = f"./{name} --hash=sha256:{hashlib.sha256(content).hexdigest()}"
    return "\n".join([*(pin.line for pin in pins), own, ""])


def _pin(item: Mapping[str, Any]) -> PinnedPackage:
    about = item["metadata"]
    digest = item["download_info"].get("archive_info", {}).get("hashes", {}).get("sha256")
    if digest is None:
        raise ImageError(
            f"pip gives no hash for {about['name']} {about['version']}", hint="pip 23.1 or newer is needed"
        )
    licence = about.get("license_expression") or about.get("license")
    return PinnedPackage(
        about["name"], about["version"], (digest,), licence if licence and "\n" not in licence else None
    )


def _tree(folder: Any, prefix: str = "") -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for item in sorted(folder.iterdir(), key=lambda item: str(item.name)):
        if item.is_dir():
            found += [] if item.name == "__pycache__" else _tree(item, f"{prefix}{item.name}/")
        else:
            found.append((f"{prefix}{item.name}", item.read_bytes()))
    return found


def _url_hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
