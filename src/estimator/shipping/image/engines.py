"""Docker, Podman and Buildah: whichever is there builds a context, takes an image in and starts it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from estimator.errors import ImageError
from estimator.shipping.image import smoke_test as trial
from estimator.shipping.image.build_spec import ENTRYPOINT, ENVIRONMENT, USER, BuildSpec
from estimator.shipping.image.direct.oci import ImageLayout

# How an image is run, here and wherever it is deployed: it may write to /tmp and can gain no right.
HARDENED = (
    "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",  # noqa: S108 # inside
    "--pids-limit", "512",
)  # fmt: skip
STOP_SECONDS = 15
# How BuildKit, and Podman and Buildah, tell a step.
STEP = re.compile(r"(?:#\d+ )?(\[[\w -]*\d+/\d+\] .+|(?:\[\d+/\d+\] )?STEP \d+(?:/\d+)?: .+)")
Note = Callable[[str], None]
UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
CHROOT = shutil.which("chroot", path="/usr/sbin:/usr/bin:/sbin:/bin")


@dataclass(frozen=True, slots=True)
class RunningContainer:
    """A container that runs: its address, how it was started in words, and since when by time.monotonic."""

    address: str
    how: str
    began: float
    is_alive: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class DockerEngine:
    """Docker, or Podman, which takes the same words."""

    name: str

    def build(self, folder: Path, tag: str, *, architecture: str, note: Note) -> None:
        """Build the Dockerfile of a folder."""
        plain = ("--progress", "plain") if self.name == "docker" else ()
        words = ["build", *plain, "--platform", f"linux/{architecture}", "--tag", tag, str(folder)]
        _built(self.name, words, {"DOCKER_BUILDKIT": "1"} if self.name == "docker" else {}, note)

    def layers(self, tag: str) -> list[tuple[str, int]]:
        """Return what made each layer that is not empty, and its bytes, the base first."""
        told = self.run("history", "--no-trunc", "--human=false", "--format", "{{.Size}}\t{{.CreatedBy}}", tag)
        rows = [line.split("\t", 1) for line in told.splitlines() if "\t" in line]
        return [(made.strip() or "base", found) for size, made in reversed(rows) if (found := parse_size(size))]

    def architecture(self, tag: str) -> str:
        """Return the architecture an image is for."""
        return self.run("image", "inspect", "--format", "{{.Architecture}}", tag).strip()

    @contextmanager
    def started(self, tag: str, port: int) -> Iterator[RunningContainer]:
        """Run an image on a free port of this machine alone, for a block; ImageError when it cannot be run."""
        began = time.monotonic()
        settings = [word for item in trial.ENVIRONMENT.items() for word in ("--env", "=".join(item))]
        named = self.run("run", "--detach", *HARDENED, *settings, "--publish", f"127.0.0.1::{port}", tag).strip()
        try:
            place = self.run("port", named, f"{port}/tcp").split()[0]
            running = ("inspect", "--format", "{{.State.Running}}", named)
            address = f"http://127.0.0.1:{place.rpartition(':')[2]}"
            yield RunningContainer(address, f"{self.name} run", began, lambda: self.run(*running).strip() == "true")
        except ImageError as error:
            told = subprocess.run([self.name, "logs", named], capture_output=True, text=True, check=False)  # noqa: S603 # an id
            last = (told.stdout + told.stderr).strip().splitlines()[-1:]
            raise ImageError(" ".join([error.message, *(f"its log ends: {line}" for line in last)])) from None
        finally:
            self.run("stop", "--time", str(STOP_SECONDS), named)
            self.run("rm", "--force", named)

    def run(self, *words: str) -> str:
        """Run the program and return what it says; ImageError when it fails."""
        return run_program(self.name, words, {"DOCKER_BUILDKIT": "1"} if self.name == "docker" else {})


@dataclass(frozen=True, slots=True)
class BuildahEngine:
    """Buildah, which builds and does not run."""

    name: str = "buildah"

    def build(self, folder: Path, tag: str, *, architecture: str, note: Note) -> None:
        """Build the Dockerfile of a folder."""
        words = ["--isolation", "chroot", "--format", "docker", "--platform", f"linux/{architecture}", "--tag", tag]
        _built(self.name, ["build", *words, str(folder)], {}, note)

    def architecture(self, tag: str) -> str:
        """Return the architecture an image is for."""
        return str(json.loads(run_program(self.name, ["inspect", "--type", "image", tag], {}))["OCIv1"]["architecture"])

    def layers(self, tag: str) -> list[tuple[str, int]]:
        """Return the bytes of all layers together: Buildah does not tell them apart."""
        root = Path(
            run_program(self.name, ["mount", named := run_program(self.name, ["from", tag], {}).strip()], {}).strip()
        )
        try:
            size = sum(path.lstat().st_size for path in root.rglob("*") if not path.is_dir())
        finally:
            run_program(self.name, ["rm", named], {})
        return [("all layers", size)]

    @contextmanager
    def started(self, tag: str, port: int) -> Iterator[RunningContainer]:
        """Run an image's own command in its file system, for a block."""
        named = run_program(self.name, ["from", tag], {}).strip()
        try:
            root = Path(run_program(self.name, ["mount", named], {}).strip())
            with _in_root(root, {"PATH": "/usr/local/bin:/usr/bin:/bin"}) as found:
                yield found
        finally:
            run_program(self.name, ["rm", named], {})


def _built(program: str, words: Sequence[str], environment: dict[str, str], note: Note) -> None:
    """Run a build and tell each step that it comes to; ImageError when it fails."""
    lines: list[str] = []
    with subprocess.Popen(  # noqa: S603 # no shell, and words of our own
        [program, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        env={**os.environ, **environment},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip():
                lines = [*lines[-19:], line.strip()]
            if (step := STEP.match(line)) is not None:
                note(f"{program}: {step[1][:100]}")
    if process.returncode:
        wrong = next(
            (line for line in lines if re.search(r"\berror\b", line, re.IGNORECASE)), (lines or ["failed"])[-1]
        )
        raise ImageError(f"{program} build: {wrong}")


def parse_size(text: str) -> int:
    """Return the bytes that an engine tells: as a number, or as Podman does.

    >>> parse_size("1024"), parse_size("12.2 MB"), parse_size("0 B")
    (1024, 12200000, 0)
    """
    found = re.fullmatch(r"([\d.]+) ?([kMG]?)B?", text.strip())
    return 0 if found is None else round(float(found[1]) * UNITS[found[2]])


def run_program(program: str, words: Sequence[str], environment: dict[str, str]) -> str:
    """Run a program and return its stdout.

    Raises
    ------
    ImageError: it fails; the last line it wrote is told.
    """
    done = subprocess.run(  # noqa: S603 # no shell, and words of our own
        [program, *words], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).strip().splitlines() if line.strip()]
        raise ImageError(f"{program} {words[0]}: {lines[-1] if lines else f'ended with {done.returncode}'}")
    return done.stdout


def find_engine(wanted: str | None = None) -> DockerEngine | BuildahEngine | None:
    """Return the engine that is wanted, or the first that works here; None when none does.

    Raises
    ------
    ImageError: the one that is wanted is not there, or does not work.
    """
    for name in (wanted,) if wanted else ("docker", "podman", "buildah"):
        if shutil.which(name) is None:
            continue
        try:
            run_program(name, ["info"], {})
        except ImageError as error:
            if wanted:
                raise ImageError(
                    f"{error.message}", hint=f"check that {name} runs and that you have permission to use it"
                ) from None
            continue
        return BuildahEngine() if name == "buildah" else DockerEngine(name)
    if wanted:
        raise ImageError(f"{wanted} is not installed", hint="--builder direct needs no engine")
    return None


@contextmanager
def started_layout(layout: ImageLayout, spec: BuildSpec) -> Iterator[RunningContainer]:
    """Start an image that was written without an engine, for a block: in its own file system, which only root may.

    Others start its packages with this machine's Python, which must be of the same version.
    """
    in_root = os.geteuid() == 0 and CHROOT is not None
    with tempfile.TemporaryDirectory(prefix="estimator-image-") as folder:
        root = Path(folder)
        # The base may hold devices, which only root may make; the packages and the version are last.
        for layer in layout.layers if in_root else layout.layers[-2:]:
            run_program(
                "tar", ["--extract", "--gzip", "--file", str(layout.path(layer.blob)), "--directory", folder], {}
            )
        root.chmod(0o755)
        # A server looks for a place for what is temporary, also where the base brings none.
        (root / "tmp").mkdir(exist_ok=True)
        (root / "tmp").chmod(0o1777)
        with _in_root(root, layout.environment) if in_root else _with_own_python(root, spec) as found:
            yield found


@contextmanager
def _in_root(root: Path, environment: Mapping[str, str]) -> Iterator[RunningContainer]:
    words = [str(CHROOT), f"--userspec={USER}", str(root), *ENTRYPOINT]
    inside = {**environment, "HOME": "/tmp"}  # noqa: S108 # inside
    with _process(words, inside, "chroot") as found:
        yield found


@contextmanager
def _with_own_python(root: Path, spec: BuildSpec) -> Iterator[RunningContainer]:
    here = {
        "MODEL_FOLDER": str(root / "model"), "PYTHONPATH": str(root / spec.site.lstrip("/")),
        "PATH": os.environ["PATH"],
    }  # fmt: skip
    with _process([sys.executable, "-S", "-s", "-m", "estimator"], here, "this machine's Python") as found:
        yield found


@contextmanager
def _process(words: Sequence[str], environment: dict[str, str], how: str) -> Iterator[RunningContainer]:
    began = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 # no shell, and words of our own
        [*words, "serve", "--host", "127.0.0.1", "--port", "0", "--json"],
        env={**ENVIRONMENT, **trial.ENVIRONMENT, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = json.loads(line) if line else {}
        if "address" not in found:
            told = process.communicate()[1].decode(errors="replace").strip().splitlines()
            raise ImageError(f"the server exited instead of serving: {told[-1] if told else 'no output'}")
        yield RunningContainer(found["address"], how, began, lambda: process.poll() is None)
    finally:
        process.terminate()
        try:
            process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
