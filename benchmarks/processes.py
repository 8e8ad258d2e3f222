"""Run whole processes and measure what each costs, for every benchmark in this folder (on Unix)."""

from __future__ import annotations

import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from threading import Timer
from typing import Any

# Only the standard library up here: a peer's Python runs the benchmarks too, and a child's peak memory starts at
# its parent's, so the process that measures must stay small.

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "estimator-benchmarks"


def measured(
    command: Sequence[str], environment: Mapping[str, str], *, limit_seconds: float | None = None
) -> tuple[dict[str, Any], dict[str, float]]:
    """Run the command; return the JSON object it printed, and its cost.

    A command that is still running after the limit is killed: a TimeoutError.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=errors, env={**os.environ, **environment})
        timer = Timer(limit_seconds or 0, _kill, [process.pid])
        if limit_seconds is not None:
            timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall_seconds = time.perf_counter() - started
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        if limit_seconds is not None and wall_seconds >= limit_seconds:
            raise TimeoutError(f"over {limit_seconds:g} s")
        output.seek(0)
        errors.seek(0)
        if process.returncode != 0:
            message = (errors.read() + output.read())[-3000:]
            raise SystemExit(f"{' '.join(command)}\nended with {process.returncode}:\n{message}")
        printed = json.load(output)
    bytes_per_unit = 1 if sys.platform == "darwin" else 1024
    return printed, {
        "wall_seconds": wall_seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_megabytes": usage.ru_maxrss * bytes_per_unit / 1e6,
    }


def child_command(python: Path, script: Path, child: str, request: Mapping[str, Any]) -> list[str]:
    """Return the command that runs one child of a benchmark on the request."""
    return [str(python), str(script.resolve()), "--child", child, "--request", json.dumps(request)]


def built_environment(folder: Path, *choices: Sequence[str]) -> Path:
    """Return the Python of a peer's environment; install the first choice of packages that is available."""
    python, finished = folder / "bin" / "python", folder / "finished"
    if not finished.exists():
        print(f"installing {folder.name} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet"]
        if not any(subprocess.run([*install, *packages], check=False).returncode == 0 for packages in choices):
            raise SystemExit(f"could not install any of {choices} into {folder}")
        finished.touch()
    return python


def keras_environment(folder: Path = CACHE / "keras-tf") -> Path:
    """Return the Python of an environment with Keras on TensorFlow and pandas."""
    # The smaller build is not made for every platform.
    choices = [["keras>=3", "pandas", "pyarrow", build] for build in ("tensorflow-cpu", "tensorflow")]
    return built_environment(folder, *choices)


def machine_line(names: Iterable[str], peers: Mapping[Path, Iterable[str]]) -> str:
    """Return a line about the machine, and the versions of our packages and of each peer's."""
    parts = [platform.platform(), f"{os.cpu_count()} cores", f"Python {platform.python_version()}"]
    parts += [f"{name} {metadata.version(name)}" for name in names]
    for python, package_names in peers.items():
        listed = subprocess.check_output([str(python), "-m", "pip", "list", "--format", "json"])
        packages = {package["name"].replace("_", "-"): package["version"] for package in json.loads(listed)}
        parts += [f"{name} {packages[name]}" for name in package_names if name in packages]
    return ", ".join(parts)


def spread(values: Sequence[float], form: str) -> str:
    """Return the cell "median (min..max)"."""
    return f"{statistics.median(values):{form}} ({min(values):{form}}..{max(values):{form}})"


def ratio(above: Iterable[object], below: Iterable[object], field: str) -> str:
    """Return the ratio of two medians of a field of the runs."""
    medians = [statistics.median(getattr(run, field) for run in runs) for runs in (above, below)]
    return f"{medians[0] / medians[1]:.2f}"


def _kill(process_id: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process_id, signal.SIGKILL)
