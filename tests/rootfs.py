"""Root file systems with this machine's Python: minimal, or on top of Debian like the official Python images."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pip
import pytest

from estimator.errors import ImageError
from estimator.shipping.image.minimal_base import files_of_python
from tests.servers import debian_program

EXCLUDED = {"test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "site-packages", "__pycache__"}
# Packages of Debian 12 that Python's extension modules need.
PACKAGES = (
    "usr-is-merged,netbase,tzdata,ca-certificates,libssl3,libsqlite3-0,libbz2-1.0,liblzma5,zlib1g,libffi8,libreadline8,"
    "libncursesw6,libuuid1,libexpat1,libgdbm6,libnsl2,libcrypt1"
)


def write_rootfs(archive: Path, scratch: Path) -> None:
    """Write the tar of a file system with only Python; skip where ldd is missing."""
    root = scratch / "root"
    try:
        files = files_of_python()
    except ImageError as error:
        pytest.skip(error.message)
    for file in files:
        path = root / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.is_link:
            path.symlink_to(str(file.content, "utf-8"))
        else:
            shutil.copy2(file.content, path)
    (root / "etc").mkdir(exist_ok=True)
    (root / "etc/ld.so.conf").write_text("/usr/local/lib\n/lib/x86_64-linux-gnu\n/usr/lib/x86_64-linux-gnu\n")
    _pack(root, archive)


def write_debian(archive: Path, scratch: Path) -> None:
    """Write the tar of a minimal Debian with Python and pip in /usr/local; only root can."""
    program = debian_program("mmdebstrap", "mmdebstrap")
    options = [
        "--quiet",
        "--variant=minbase",
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        f"--include={PACKAGES}",
    ]
    sources = "/etc/apt/sources.list.d/debian.sources"
    done = subprocess.run(
        [program, *options, "bookworm", str(scratch / "debian.tar"), sources],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"Debian cannot be installed here: {done.stderr.strip().splitlines()[-1:]}")
    root = scratch / "root"
    root.mkdir()
    subprocess.run(["tar", "-xf", scratch / "debian.tar", "-C", root], check=True)
    needed = copy_python(root)
    site = root / "usr/local/lib" / Path(sysconfig.get_path("stdlib")).name / "site-packages"
    home = Path(pip.__file__).parent
    for path in (home, *home.parent.glob("pip-*.dist-info")):
        shutil.copytree(path, site / path.name, ignore=shutil.ignore_patterns("__pycache__"))
    command = root / "usr/local/bin/pip"
    command.write_text("#!/usr/local/bin/python\nfrom pip._internal.cli.main import main\nraise SystemExit(main())\n")
    command.chmod(0o755)
    for path in {path for file in needed for path in _libraries(file) if path.parts[1] not in ("lib", "lib64", "usr")}:
        shutil.copy2(path.resolve(), root / "usr/local/lib" / path.name)
    # pip in a build uses the same index as pip here.
    for name in ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt"):
        if Path(name).exists():
            shutil.copy2(name, root / name.lstrip("/"))
    _pack(root, archive)


def copy_python(root: Path) -> list[Path]:
    """Copy Python into /usr/local of a file system; return its files that are linked with shared libraries."""
    library = Path(sysconfig.get_path("stdlib"))
    home = root / "usr/local/lib" / library.name
    shutil.copytree(
        library, home, ignore=lambda folder, names: EXCLUDED & set(names), symlinks=False, dirs_exist_ok=True
    )
    program = Path(sys.executable).resolve()
    (root / "usr/local/bin").mkdir(parents=True, exist_ok=True)
    shutil.copy2(program, root / "usr/local/bin" / library.name)
    for name in ("python3", "python"):
        (root / "usr/local/bin" / name).symlink_to(library.name)
    return [program, *(path for path in (home / "lib-dynload").glob("*.so") if "tkinter" not in path.name)]


def _pack(root: Path, archive: Path) -> None:
    program = shutil.which("ldconfig", path="/usr/sbin:/sbin:/usr/bin")
    if program is None:
        pytest.skip("ldconfig is not installed")
    subprocess.run([program, "-r", str(root)], check=False, capture_output=True)
    with tarfile.open(archive, "w") as tar:
        tar.add(root, ".")
    shutil.rmtree(root)


def _libraries(file: Path) -> list[Path]:
    output = subprocess.run(["ldd", str(file)], check=False, capture_output=True, text=True).stdout
    return [Path(path) for path in re.findall(r"(?:=> )?(/\S+) \(0x", output)]
