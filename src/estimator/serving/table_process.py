"""Parquet and Arrow bodies are read in a process of their own: a crafted one can end that process, never the server.

A few bytes of these formats can ask for more memory than a machine has, which no caller can catch. The process has a
limit of memory, starts with the first such body, ends with the server, and is replaced when it has died.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from estimator.core.child_process import child_environment, end_with_parent
from estimator.data import sources
from estimator.data.sources.base import PLAIN, FileSource, ReadOptions
from estimator.data.sources.files import MemoryFile
from estimator.errors import RequestError, SourceError

if TYPE_CHECKING:
    import polars as pl

# What a reader needs besides the table.
MEMORY_BYTES = 1_000_000_000
# Copies that reading makes of a table.
MEMORY_FACTOR = 16
NAME = "the body"


class TableLimits(NamedTuple):
    """What a body may hold: rows, and bytes once it is unpacked."""

    rows: int
    n_bytes: int


class TableProcess:
    """Reads tables of untrusted bodies, one at a time. May be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def read(
        self, body: bytes, kind: str, limits: TableLimits, *, timeout_seconds: float
    ) -> tuple[pl.DataFrame, list[str]]:
        """Return the rows of a body as `read_body` does, in the process.

        Raises
        ------
        RequestError: see `read_body`; or reading takes longer than `timeout_seconds`, or ends the process.
        """
        import polars as pl

        with self._lock:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            timer = threading.Timer(timeout_seconds, process.kill)
            timer.start()
            try:
                _send(process.stdin, {"kind": kind, "limits": limits}, body)
                response, content = _receive(process.stdout)
            except (OSError, EOFError):
                process.kill()
                self.close()
                unpacked = f"unpacks to more than {limits.n_bytes:,} bytes"
                raise RequestError(422, f"{NAME} cannot be read: it is damaged, or {unpacked}") from None
            finally:
                timer.cancel()
        if "message" in response:
            raise RequestError(response["status"], response["message"])
        return pl.read_ipc_stream(io.BytesIO(content)), response["notes"]

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None and self._process.stdin is not None and self._process.stdout is not None:
            with suppress(OSError):
                self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            atexit.register(self.close)
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "estimator.serving.table_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # What a damaged file makes polars write; the response says what matters.
                stderr=subprocess.DEVNULL,
                env=child_environment({**os.environ, "POLARS_MAX_THREADS": "1"}),
            )
        return self._process


def _send(stream: IO[bytes], head: dict[str, Any], content: bytes = b"") -> None:
    stream.write(json.dumps({**head, "bytes": len(content)}).encode() + b"\n")
    stream.write(content)
    stream.flush()


def _receive(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    head: dict[str, Any] = json.loads(line)
    content = stream.read(head["bytes"])
    if len(content) < head["bytes"]:
        raise EOFError
    return head, content


def serve_bodies(requests: IO[bytes], responses: IO[bytes]) -> None:
    """Read the bodies of requests until there are no more."""
    while True:
        try:
            head, body = _receive(requests)
        except EOFError:
            return
        limits = TableLimits(*head["limits"])
        limit = MEMORY_BYTES + MEMORY_FACTOR * limits.n_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.getrlimit(resource.RLIMIT_DATA)[1]))
        try:
            frame, notes = read_body(body, head["kind"], limits)
        except RequestError as error:
            _send(responses, {"status": error.status, "message": error.message})
            continue
        content = io.BytesIO()
        frame.write_ipc_stream(content, compression="uncompressed")
        _send(responses, {"notes": notes}, content.getvalue())


def read_body(
    body: bytes, kind: str, limits: TableLimits, options: ReadOptions = PLAIN
) -> tuple[pl.DataFrame, list[str]]:
    """Return the rows of a table in the format of a kind of source, and notes on how it was read.

    Raises
    ------
    RequestError: the body is not such a table, has no row, or is beyond a limit.
    """
    import polars as pl

    source_type = sources.SHELF.load(kind)
    assert issubclass(source_type, FileSource)
    source = source_type((MemoryFile(NAME, body),), options)
    try:
        frame = pl.concat(_limited(source.batches(), limits))
    except SourceError as error:
        raise RequestError(422, error.message) from None
    if not frame.height:
        raise RequestError(422, "expected at least one row, got none")
    return frame, source.notes()


def _limited(batches: Iterator[pl.DataFrame], limits: TableLimits) -> Iterator[pl.DataFrame]:
    n_rows = n_bytes = 0
    for frame in batches:
        n_rows, n_bytes = n_rows + frame.height, n_bytes + unpacked_bytes(frame)
        if n_rows > limits.rows:
            raise RequestError(413, f"expected at most {limits.rows:,} rows, got more")
        if n_bytes > limits.n_bytes:
            raise RequestError(413, f"expected a body that unpacks to at most {limits.n_bytes:,} bytes, got more")
        yield frame


def unpacked_bytes(frame: pl.DataFrame) -> int:
    """Return the size of a table in which every cell stands for itself: one text in a thousand rows counts each time.

    >>> import polars as pl
    >>> unpacked_bytes(pl.DataFrame({"x": [1.0, 2.0], "city": ["Oslo", "Oslo"]}))
    24
    """
    import polars as pl

    n_bytes = 0
    for column in frame.iter_columns():
        if column.dtype in (pl.Categorical, pl.Enum):
            n_bytes += int(column.cat.len_bytes().sum())
        elif column.dtype in (pl.String, pl.Binary):
            sizes = column.str.len_bytes() if column.dtype == pl.String else column.bin.size()
            n_bytes += int(sizes.sum())
        else:
            n_bytes += max(8 * len(column), int(column.estimated_size()))
    return n_bytes


if __name__ == "__main__":
    # The thread that started it served one request.
    end_with_parent(thread_stays=False)
    # The server ends this process, by closing its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve_bodies(sys.stdin.buffer, sys.stdout.buffer)
