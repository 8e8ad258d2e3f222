"""A server as processes on one core: started, asked, loaded by wrk, weighed and stopped (on Linux)."""

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
# A connection that waits longer for its answer counts as late.
WAIT_SECONDS = 60
START_SECONDS, STOP_SECONDS, SETTLE_SECONDS = 300, 15, 20
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


class ServerError(Exception):
    """A server that does not start, or does not answer as it should."""


@dataclass(frozen=True)
class Server:
    """A running server: its first process, its port, and where it writes what it has to say."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path
    started: float

    def family(self) -> list[int]:
        """Give the ids of all its processes: those of its session, and whoever descends from it."""
        members = {self.process.pid}
        # A child's id is mostly above its parent's, but ids start again at the end of their range.
        for _ in range(2):
            for pid, (parent, session) in sorted(_parents().items()):
                if parent in members or session == self.process.pid:
                    members.add(pid)
        return sorted(members)

    def cpu_seconds(self) -> float:
        """Give the CPU seconds that its processes have used, ended children included; counted in ticks of 10 ms."""
        return sum(_ticks(pid) for pid in self.family()) / TICKS_PER_SECOND

    def megabytes(self) -> float:
        """Give the memory of its processes, what they share with others in parts (PSS)."""
        return sum(_pss_bytes(pid) for pid in self.family()) / 1e6

    def first_answer(self, path: str, body: bytes) -> tuple[Any, float]:
        """Wait for the first answer with status 200; give it, and the seconds since the start of the process.

        Raises
        ------
        ServerError: it ended, or it does not come.
        """
        refused = "nobody listens"
        while time.perf_counter() - self.started < START_SECONDS:
            if self.process.poll() is not None:
                raise ServerError(f"ended with {self.process.returncode}: {self.last_words()}")
            try:
                status, answer = self._post(path, body)
            except (OSError, HTTPException):
                time.sleep(0.005)
                continue
            if status == 200:
                return json.loads(answer), time.perf_counter() - self.started
            refused = f"{status} {answer[:300].decode(errors='replace')}"
            time.sleep(0.02)
        raise ServerError(f"no answer in {START_SECONDS} s: {refused}; {self.last_words()}")

    def load(self, path: str, body: Path, connections: int, seconds: int) -> dict[str, float]:
        """Let wrk ask on so many connections for so long; give what it counted and `cpu_us`, per request answered."""
        self._settle()
        before = self.cpu_seconds()
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", f"{WAIT_SECONDS}s", "-s", str(LUA)]
        address = f"http://127.0.0.1:{self.port}{path}"
        printed = subprocess.check_output([*command, address], env={**os.environ, "BODY": str(body)}, text=True)
        spent = self.cpu_seconds() - before
        counted: dict[str, float] = json.loads(printed.splitlines()[-1])
        return counted | {"cpu_us": spent / max(counted["requests"], 1) * 1e6}

    def last_words(self) -> str:
        """Give the end of what it has written."""
        return self.log.read_text(errors="replace")[-1000:].strip()

    def stop(self) -> None:
        """End all its processes, by force those that do not end when told to."""
        family = self.family()
        _signal([self.process.pid], signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        _signal([pid for pid in family if pid in _parents()], signal.SIGKILL)
        self.process.wait()

    def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS)
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _settle(self) -> None:
        """Wait until what the load before has left behind is worked off."""
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
    """Run a server on one core, in a folder that gets its log; it is stopped in the end."""
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
    """Give a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port: int = opened.getsockname()[1]
    return port


def _stat(pid: int) -> list[str]:
    """Give the fields of a process from its state on; none when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return []


def _parents() -> dict[int, tuple[int, int]]:
    """Give each process's parent and session; those that have ended are left out."""
    found = {int(entry.name): _stat(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    return {pid: (int(stat[1]), int(stat[3])) for pid, stat in found.items() if stat and stat[0] != "Z"}


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
