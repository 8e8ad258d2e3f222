"""A server as processes on one core: start, first request, load by wrk, memory and stop (on Linux)."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

LUA = Path(__file__).with_name("serve_load.lua")
# A response that takes longer counts as late.
TIMEOUT_SECONDS = 60
START_SECONDS, STOP_SECONDS, SETTLE_SECONDS = 300, 15, 20
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class ServerError(Exception):
    """A server that does not start, or does not respond as it should."""


@dataclass(frozen=True)
class Server:
    """A running server: its first process, its port, and its log."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    started: float

    def family(self) -> list[int]:
        """Return the ids of all its processes: those of its session and all descendants."""
        members = {self.process.pid}
        # A child's id is mostly above its parent's, but ids start again at the end of their range.
        for _ in range(2):
            for pid, (parent, session) in sorted(_parents().items()):
                if parent in members or session == self.process.pid:
                    members.add(pid)
        return sorted(members)

    def cpu_seconds(self) -> float:
        """Return the CPU seconds that its processes have used, ended children included; counted in ticks of 10 ms."""
        return sum(_ticks(pid) for pid in self.family()) / TICKS_PER_SECOND

    def megabytes(self) -> float:
        """Return the memory of its processes, shared pages divided among their users (PSS)."""
        return sum(_pss_bytes(pid) for pid in self.family()) / 1e6

    def first_response(self, path: str, body: bytes) -> tuple[Any, float]:
        """Wait for the first response with status 200; return it, and the seconds since the start of the process.

        Raises
        ------
        ServerError: the server ended, or does not respond.
        """
        problem = "the port is closed"
        while time.perf_counter() - self.started < START_SECONDS:
            if self.process.poll() is not None:
                raise ServerError(f"ended with {self.process.returncode}: {self.log_tail()}")
            try:
                status, response = self._post(path, body)
            except (OSError, HTTPException):
                time.sleep(0.005)
                continue
            if status == 200:
                return json.loads(response), time.perf_counter() - self.started
            problem = f"{status} {response[:300].decode(errors='replace')}"
            time.sleep(0.02)
        raise ServerError(f"no response in {START_SECONDS} s: {problem}; {self.log_tail()}")

    def load(self, path: str, body: Path, connections: int, seconds: int) -> dict[str, float]:
        """Send requests by wrk on some connections; return its counts, and the CPU time per response as `cpu_us`."""
        self._settle()
        before = self.cpu_seconds()
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "--timeout",
            f"{TIMEOUT_SECONDS}s",
            "-s",
            str(LUA),
        ]
        address = f"http://127.0.0.1:{self.port}{path}"
        printed = subprocess.check_output([*command, address], env={**os.environ, "BODY": str(body)}, text=True)
        spent = self.cpu_seconds() - before
        counted: dict[str, float] = json.loads(printed.splitlines()[-1])
        return counted | {"cpu_us": spent / max(counted["requests"], 1) * 1e6}

    def log_tail(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-1000:].strip()

    def stop(self) -> None:
        """End all its processes; those that ignore SIGTERM are killed."""
        family = self.family()
        _signal([self.process.pid], signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        _signal([pid for pid in family if pid in _parents()], signal.SIGKILL)
        self.process.wait()

    def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _settle(self) -> None:
        """Wait until the work of the previous load is finished."""
        until = time.perf_counter() + SETTLE_SECONDS
        while time.perf_counter() < until:
            before = self.cpu_seconds()
            time.sleep(0.25)
            if self.cpu_seconds() - before < 0.05:
                return


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], *, port: int, core: int, folder: Path
) -> Iterator[Server]:
    """Run a server on one core, with its log in a folder; stop it at the end."""
    log = folder / "log.txt"
    with log.open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            ["taskset", "--cpu-list", str(core), *command],
            env={**os.environ, **environment},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(process, port, log, started)
    try:
        yield server
    finally:
        server.stop()


def free_port() -> int:
    """Return a free port."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port: int = opened.getsockname()[1]
    return port


def _stat(pid: int) -> list[str]:
    """Return the fields of a process from its state on; none when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return []


def _parents() -> dict[int, tuple[int, int]]:
    """Return each process's parent and session; those that have ended are left out."""
    stats = {int(entry.name): _stat(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    return {pid: (int(stat[1]), int(stat[3])) for pid, stat in stats.items() if stat and stat[0] != "Z"}


def _ticks(pid: int) -> int:
    return sum(int(field) for field in _stat(pid)[11:15])


def _pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
