"""Docker, Podman and Buildah: build a context, and start and push the image."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from estimator.core.child_process import child_environment
from estimator.core.files import scratch_folder
from estimator.errors import ImageError
from estimator.shipping.image.build_spec import ENTRYPOINT, IMAGE_ENVIRONMENT, USER
from estimator.shipping.image.smoke_test import RunningServer
from estimator.shipping.image.stand_ins import StandIns

# Options of every container, in tests and deployments: only /tmp is writable, and privileges cannot be gained.
HARDENED = (
    "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",  # noqa: S108 # inside
    "--pids-limit", "512",
)  # fmt: skip
STOP_TIMEOUT_SECONDS = 15
# A build step in the output of BuildKit, or of Podman and Buildah.
STEP = re.compile(r"(?:#\d+ )?(\[[\w -]*\d+/\d+\] .+|(?:\[\d+/\d+\] )?STEP \d+(?:/\d+)?: .+)")
# Run in a container: the texts of those files that its image has.
READ_FILES = "import json,os,sys; print(json.dumps({p: open(p).read() for p in sys.argv[1:] if os.path.isfile(p)}))"
SIZE_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
CHROOT = shutil.which("chroot", path="/usr/sbin:/usr/bin:/sbin:/bin")
Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DockerEngine:
    """Docker, or Podman, which has the same command line."""

    name: str

    def build(self, folder: Path, tag: str, *, architecture: str, note: Note) -> None:
        """Build the Dockerfile of a folder."""
        progress = ("--progress", "plain") if self.name == "docker" else ()
        arguments = ["build", *progress, "--platform", f"linux/{architecture}", "--tag", tag, str(folder)]
        _run_build(self.name, arguments, self._environment, note)

    def layers(self, tag: str) -> list[tuple[str, int]]:
        """Return (what created it, size in bytes) of each layer that is not empty, the base first."""
        history = self.run("history", "--no-trunc", "--human=false", "--format", "{{.Size}}\t{{.CreatedBy}}", tag)
        layers = []
        for line in reversed(history.splitlines()):
            size, tab, created_by = line.partition("\t")
            if tab and (size_bytes := parse_size(size)):
                layers.append((created_by.strip() or "base", size_bytes))
        return layers

    def architecture(self, tag: str) -> str:
        """Return the architecture of an image."""
        return self.run("image", "inspect", "--format", "{{.Architecture}}", tag).strip()

    @contextmanager
    def start(self, tag: str, port: int, stand_ins: StandIns) -> Iterator[RunningServer]:
        """Run an image on a free port of localhost while the context is open; ImageError if it cannot run."""
        with scratch_folder() as scratch:
            # Users other than the owner enter it to read the mounted files.
            scratch.chmod(0o755)
            self._write_files(tag, stand_ins, scratch)
            with self._started(tag, port, stand_ins, scratch) as server:
                yield server

    def _write_files(self, tag: str, stand_ins: StandIns, folder: Path) -> None:
        """Write what is mounted into a container, with the content of the files that its image has."""
        files = [mount.target for mount in stand_ins.inputs.mounts if not mount.is_folder]
        if files:
            contents = json.loads(self.run("run", "--rm", "--entrypoint", "python", tag, "-c", READ_FILES, *files))
            for target, content in contents.items():
                path = folder / target.lstrip("/")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
        stand_ins.write(folder)

    @contextmanager
    def _started(self, tag: str, port: int, stand_ins: StandIns, folder: Path) -> Iterator[RunningServer]:
        started_at = time.monotonic()
        variables = [f"--env={name}={value}" for name, value in stand_ins.environment().items()]
        mounts = [
            f"--mount=type=bind,source={folder}{mount.target},target={mount.target}"
            f"{'' if mount.is_folder else ',readonly'}"
            for mount in stand_ins.inputs.mounts
        ]
        options = [*HARDENED, *variables, *mounts, "--publish", f"127.0.0.1::{port}"]
        container = self.run("run", "--detach", *options, tag).strip()
        inspect = ("inspect", "--format", "{{.State.Running}}", container)
        try:
            published = self.run("port", container, f"{port}/tcp").split()[0]
            scheme = "http" if stand_ins.serving.tls_certificate is None else "https"
            yield RunningServer(
                f"{scheme}://127.0.0.1:{published.rpartition(':')[2]}",
                f"{self.name} run",
                started_at,
                lambda: self.run(*inspect).strip() == "true",
                stand_ins.key,
            )
        except ImageError as error:
            logs = subprocess.run([self.name, "logs", container], capture_output=True, text=True, check=False)  # noqa: S603 # an id
            last_line = (logs.stdout + logs.stderr).strip().splitlines()[-1:]
            raise ImageError(" ".join([error.message, *(f"its log ends: {line}" for line in last_line)])) from None
        finally:
            self.run("stop", "--time", str(STOP_TIMEOUT_SECONDS), container)
            self.run("rm", "--force", container)

    def push(self, tag: str, reference: str) -> None:
        """Push an image under another name."""
        self.run("tag", tag, reference)
        self.run("push", reference)

    def run(self, *arguments: str) -> str:
        """Run the command and return its stdout; ImageError if it fails."""
        return run_command(self.name, arguments, self._environment)

    @property
    def _environment(self) -> dict[str, str]:
        return {"DOCKER_BUILDKIT": "1"} if self.name == "docker" else {}


@dataclass(frozen=True, slots=True)
class BuildahEngine:
    """Buildah, which builds images and does not run them."""

    name: str = "buildah"

    def build(self, folder: Path, tag: str, *, architecture: str, note: Note) -> None:
        """Build the Dockerfile of a folder."""
        platform = ["--platform", f"linux/{architecture}"]
        arguments = ["build", "--isolation", "chroot", "--format", "docker", *platform, "--tag", tag, str(folder)]
        _run_build(self.name, arguments, {}, note)

    def architecture(self, tag: str) -> str:
        """Return the architecture of an image."""
        return str(self._inspect(tag)["OCIv1"]["architecture"])

    def layers(self, tag: str) -> list[tuple[str, int]]:
        """Return one entry with the size of all files: Buildah does not report sizes of layers."""
        with self._mount(tag) as root:
            size_bytes = sum(path.lstat().st_size for path in root.rglob("*") if not path.is_dir())
        return [("all layers", size_bytes)]

    @contextmanager
    def start(self, tag: str, port: int, stand_ins: StandIns) -> Iterator[RunningServer]:
        """Run an image's command in its own file system while the context is open; the server chooses its port."""
        variables = self._inspect(tag)["OCIv1"]["config"].get("Env", [])
        environment = dict(variable.partition("=")[::2] for variable in variables)
        with self._mount(tag) as root, start_in_root(root, environment, stand_ins) as server:
            yield server

    def push(self, tag: str, reference: str) -> None:
        """Push an image under another name."""
        self._run("push", tag, f"docker://{reference}")

    def _inspect(self, tag: str) -> dict[str, Any]:
        description: dict[str, Any] = json.loads(self._run("inspect", "--type", "image", tag))
        return description

    @contextmanager
    def _mount(self, tag: str) -> Iterator[Path]:
        container = self._run("from", tag)
        try:
            yield Path(self._run("mount", container))
        finally:
            self._run("rm", container)

    def _run(self, *arguments: str) -> str:
        return run_command(self.name, arguments).strip()


Engine = DockerEngine | BuildahEngine


def find_engine(name: str | None = None) -> Engine | None:
    """Return the named engine, or the first of Docker, Podman and Buildah that works; None if none does.

    Raises
    ------
    ImageError: the named engine is not installed or does not work.
    """
    for candidate in (name,) if name else ("docker", "podman", "buildah"):
        if shutil.which(candidate) is None:
            continue
        try:
            run_command(candidate, ["info"])
        except ImageError as error:
            if name:
                hint = f"check that {name} runs and that you have permission to use it"
                raise ImageError(error.message, hint=hint) from None
            continue
        return engine_named(candidate)
    if name:
        raise ImageError(f"{name} is not installed", hint="--builder direct needs no engine")
    return None


def engine_named(name: str) -> Engine:
    """Return the engine of a name, whether it is installed or not."""
    return BuildahEngine() if name == "buildah" else DockerEngine(name)


def parse_size(text: str) -> int:
    """Return the size in bytes that an engine prints, as a number or with a unit.

    >>> parse_size("1024"), parse_size("12.2 MB"), parse_size("0 B")
    (1024, 12200000, 0)
    """
    match = re.fullmatch(r"([\d.]+) ?([kMG]?)B?", text.strip())
    return 0 if match is None else round(float(match[1]) * SIZE_UNITS[match[2]])


def run_command(program: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Run a program, with more environment variables; return its stdout.

    Raises
    ------
    ImageError: it fails; the message has the last line of its output.
    """
    done = subprocess.run(  # noqa: S603 # no shell, and our own arguments
        [program, *arguments], capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})}
    )
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).strip().splitlines() if line.strip()]
        raise ImageError(f"{program} {arguments[0]}: {lines[-1] if lines else f'exit status {done.returncode}'}")
    return done.stdout


def _run_build(program: str, arguments: Sequence[str], environment: Mapping[str, str], note: Note) -> None:
    """Run a build and note each of its steps; ImageError if it fails."""
    lines: list[str] = []
    with subprocess.Popen(  # noqa: S603 # no shell, and our own arguments
        [program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **environment},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip():
                lines = [*lines[-19:], line.strip()]
            if (step := STEP.match(line)) is not None:
                note(f"{program}: {step[1][:100]}")
    if process.returncode:
        errors = (line for line in lines if re.search(r"\berror\b", line, re.IGNORECASE))
        raise ImageError(f"{program} build: {next(errors, (lines or ['failed'])[-1])}")


@contextmanager
def start_in_root(root: Path, environment: Mapping[str, str], stand_ins: StandIns) -> Iterator[RunningServer]:
    """Start the server of an image in its root file system, by chroot, while the context is open."""
    stand_ins.write(root)
    command = [str(CHROOT), f"--userspec={USER}", str(root), *ENTRYPOINT]
    variables = {**environment, "HOME": "/tmp", **stand_ins.environment()}  # noqa: S108 # inside
    with start_process(command, variables, stand_ins, started_by="chroot") as server:
        yield server


@contextmanager
def start_process(
    command: Sequence[str], environment: Mapping[str, str], stand_ins: StandIns, *, started_by: str
) -> Iterator[RunningServer]:
    """Start a server on a free port of localhost while the context is open.

    Raises
    ------
    ImageError: it exits instead of serving; the message has the last line of its output.
    """
    started_at = time.monotonic()
    # An access log would fill a pipe.
    with TemporaryFile() as log:
        process = subprocess.Popen(  # noqa: S603 # no shell, and our own arguments
            [*command, "serve", "--host", "127.0.0.1", "--port", "0", "--allow-public", "--json"],
            env=child_environment({**IMAGE_ENVIRONMENT, **environment}),
            stdout=subprocess.PIPE,
            stderr=log,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            message = json.loads(line) if line else {}
            if "url" not in message:
                raise ImageError(f"the server exited instead of serving: {_startup_error(process, message, log)}")
            yield RunningServer(message["url"], started_by, started_at, lambda: process.poll() is None, stand_ins.key)
        finally:
            process.terminate()
            try:
                process.communicate(timeout=STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def _startup_error(process: subprocess.Popen[bytes], message: Mapping[str, Any], log: IO[bytes]) -> str:
    """Return the error that a server reported as JSON, else the last line of its stderr."""
    if "error" in message:
        return str(message["error"]["message"])
    if message:
        process.terminate()
    process.wait()
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"
