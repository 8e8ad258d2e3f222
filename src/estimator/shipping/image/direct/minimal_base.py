"""A base made of nothing but this machine's Python and the libraries that it and its packages ask of the system."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from estimator.errors import ImageError
from estimator.shipping.image.direct.layers import LayerFile

SCRATCH = "scratch"
LEFT_OUT = {
    "test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "site-packages", "dist-packages",
    "__pycache__", "distutils", "pydoc_data",
}  # fmt: skip
# What wheels for Linux may ask of any system (PEP 600), as far as Python's own modules do not ask for it anyway.
ASKED = (
    "libstdc++.so.6", "libgcc_s.so.1", "libm.so.6", "libdl.so.2", "librt.so.1", "libpthread.so.0", "libresolv.so.2",
)  # fmt: skip
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
OWN_LIBRARIES = "/usr/local/lib"


def files_of_python() -> list[LayerFile]:
    """Return the files of a system that holds this Python in /usr/local, and what it takes to run it.

    Raises
    ------
    ImageError: this is not Linux, or its programs cannot be looked into.
    """
    program = shutil.which("ldd")
    if sys.platform != "linux" or program is None:
        raise ImageError(
            "image.base: scratch is made of a Linux system with ldd", hint="use an image such as python:3.11-slim"
        )
    library = Path(sysconfig.get_path("stdlib"))
    home = f"{OWN_LIBRARIES[1:]}/{library.name}"
    own = [path for path in library.rglob("*") if path.is_file() and _is_used(path.relative_to(library))]
    files = [LayerFile(f"{home}/{path.relative_to(library).as_posix()}", path) for path in own]
    binary = Path(sys.executable).resolve()
    files += [
        LayerFile(f"usr/local/bin/{library.name}", binary, is_program=True),
        *(LayerFile(f"usr/local/bin/{name}", library.name.encode(), is_link=True) for name in ("python", "python3")),
    ]
    modules = [path for path in own if path.suffix == ".so"]
    libraries = [path for name in ASKED for path in Path("/usr/lib").glob(f"*-linux-gnu/{name}")]
    libraries += [
        path for name in ASKED for path in (Path("/usr/lib64") / name, Path("/lib64") / name) if path.exists()
    ]
    files += [_placed(path) for path in sorted({*libraries, *_libraries(program, [binary, *modules, *libraries])})]
    if CERTIFICATES.exists():
        files.append(LayerFile(str(CERTIFICATES)[1:], CERTIFICATES.resolve()))
    return list({file.name: file for file in files}.values())


def _is_used(path: Path) -> bool:
    """Whether a file of Python's library is more than a test, a tool, or what C is compiled against."""
    return not (LEFT_OUT & set(path.parts) or path.parts[0].startswith("config-") or "_tkinter" in path.name)


def _placed(path: Path) -> LayerFile:
    """Return a library where the system's loader looks for it by itself, else where LD_LIBRARY_PATH says."""
    of_system = path.parts[1] in ("lib", "lib64", "usr") and not str(path).startswith("/usr/local")
    return LayerFile(
        str(path)[1:] if of_system else f"{OWN_LIBRARIES[1:]}/{path.name}", path.resolve(), is_program=True
    )


def _libraries(program: str, files: Iterable[Path]) -> set[Path]:
    told = subprocess.run(  # noqa: S603 # no shell, and files of our own
        [program, *map(str, files)], check=False, capture_output=True, text=True
    ).stdout
    return {Path(found) for found in re.findall(r"(?:=> )?(/\S+) \(0x", told)}
