"""The base image `scratch`: the running Python and the shared libraries that it and its packages need.

The builder `direct` takes that of this machine; the Dockerfile runs `write_python` in the official image of Python.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from estimator.errors import ImageError

EXCLUDED = {
    "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "site-packages", "dist-packages",
    "__pycache__", "distutils", "pydoc_data",
}  # fmt: skip
# Libraries that Linux wheels expect of any system (PEP 600).
SYSTEM_LIBRARIES = (
    "libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libdl.so.2", "librt.so.1", "libpthread.so.0", "libresolv.so.2",
)  # fmt: skip
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# Where libraries go that the system's loader would not find; in LD_LIBRARY_PATH.
LIBRARY_FOLDER = "/usr/local/lib"
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8",
    "LD_LIBRARY_PATH": LIBRARY_FOLDER,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LayerFile:
    """A file of a layer, or a symbolic link to the path in `content`; `name` is the path below /."""

    name: str
    content: Path | bytes
    is_executable: bool = False
    is_link: bool = False


def files_of_python() -> list[LayerFile]:
    """Return the files of a root file system with this Python in /usr/local.

    Raises
    ------
    ImageError: this machine does not run Linux, or has no ldd.
    """
    ldd = shutil.which("ldd")
    if sys.platform != "linux" or ldd is None:
        raise ImageError("image.base: scratch needs Linux with ldd", hint="use an image such as python:3.11-slim")
    stdlib = Path(sysconfig.get_path("stdlib"))
    home = f"{LIBRARY_FOLDER[1:]}/{stdlib.name}"
    modules = [path for path in stdlib.rglob("*") if path.is_file() and _is_needed(path.relative_to(stdlib))]
    binary = Path(sys.executable).resolve()
    files = [
        *(LayerFile(f"{home}/{path.relative_to(stdlib).as_posix()}", path) for path in modules),
        LayerFile(f"usr/local/bin/{stdlib.name}", binary, is_executable=True),
        *(LayerFile(f"usr/local/bin/{name}", stdlib.name.encode(), is_link=True) for name in ("python", "python3")),
    ]
    system = _system_libraries()
    extensions = [path for path in modules if path.suffix == ".so"]
    libraries = {*system, *_linked_libraries(ldd, [binary, *extensions, *system])}
    files += [_library_file(path) for path in sorted(libraries)]
    if CERTIFICATES.exists():
        files.append(LayerFile(str(CERTIFICATES)[1:], CERTIFICATES.resolve()))
    return list({file.name: file for file in files}.values())


def write_python(folder: str) -> None:
    """Write the files of a root file system with this Python into a folder."""
    for file in files_of_python():
        path = Path(folder) / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(file.content, Path):
            shutil.copy(file.content, path)
        else:
            path.symlink_to(file.content.decode())


def _is_needed(path: Path) -> bool:
    """Whether a file of the standard library is more than a test, a development tool or a header."""
    return not (EXCLUDED & set(path.parts) or path.parts[0].startswith("config-") or "_tkinter" in path.name)


def _system_libraries() -> list[Path]:
    paths = [path for name in SYSTEM_LIBRARIES for path in Path("/usr/lib").glob(f"*-linux-gnu/{name}")]
    for name in SYSTEM_LIBRARIES:
        paths += [path for path in (Path("/usr/lib64") / name, Path("/lib64") / name) if path.exists()]
    return paths


def _linked_libraries(ldd: str, files: Iterable[Path]) -> set[Path]:
    done = subprocess.run([ldd, *map(str, files)], check=False, capture_output=True, text=True)  # noqa: S603 # no shell, and our own files
    return {Path(path) for path in re.findall(r"(?:=> )?(/\S+) \(0x", done.stdout)}


def _library_file(path: Path) -> LayerFile:
    """Return a library at its own path if the system's loader searches there, else in LIBRARY_FOLDER."""
    is_searched = path.parts[1] in ("lib", "lib64", "usr") and not str(path).startswith("/usr/local")
    name = str(path)[1:] if is_searched else f"{LIBRARY_FOLDER[1:]}/{path.name}"
    return LayerFile(name, path.resolve(), is_executable=True)
