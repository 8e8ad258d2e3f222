"""Parquet and Arrow bodies from strangers: damaged and crafted ones get 4xx, and the server lives."""

from __future__ import annotations

import io
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from estimator.errors import RequestError
from estimator.serving.table_process import TableLimits, TableProcess
from estimator.serving.tabular import ARROW_FILE, ARROW_STREAM, PARQUET
from estimator.store.artefact import open_artefact
from estimator.store.store import version_folder
from tests.clients import Client, gateway
from tests.conftest import ROOT

N_BODIES = int(os.environ.get("ESTIMATOR_FUZZ_INPUTS", "6000")) // 10
ROWS = pl.DataFrame(
    {
        "x": [1.5, 2.5, None, 4.0] * 5,
        "city": ["Oslo", "Bergen", "Oslo", None] * 5,
        "kind": pl.Series(["u", "v"] * 10).cast(pl.Categorical),
        "day": pl.Series(range(20)).cast(pl.Date),
    }
)


@pytest.fixture(scope="module")
def process():
    reader = TableProcess()
    yield reader
    reader.close()


def written(frame: pl.DataFrame, kind: str, compression: str) -> bytes:
    file = io.BytesIO()
    write = {PARQUET: frame.write_parquet, ARROW_FILE: frame.write_ipc, ARROW_STREAM: frame.write_ipc_stream}[kind]
    write(file, compression=compression)
    return file.getvalue()


BODIES = [
    *((PARQUET, written(ROWS, PARQUET, compression)) for compression in ("uncompressed", "zstd", "snappy", "gzip")),
    *((ARROW_FILE, written(ROWS, ARROW_FILE, compression)) for compression in ("uncompressed", "lz4", "zstd")),
    *((ARROW_STREAM, written(ROWS, ARROW_STREAM, compression)) for compression in ("uncompressed", "lz4", "zstd")),
]
KINDS = {PARQUET: "parquet", ARROW_FILE: "arrow", ARROW_STREAM: "arrow"}


def damaged(body: bytes, chance: random.Random) -> bytes:
    """Change, cut or insert some bytes."""
    content = bytearray(body)
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        start, fate = chance.randrange(len(content)), chance.random()
        if fate < 0.5:
            content[start] = chance.randrange(256)
        elif fate < 0.7:
            content[start : start + 4] = chance.choice([b"\xff\xff\xff\x7f", bytes(4), b"\xff" * 4])
        elif fate < 0.85:
            del content[start : start + chance.randrange(1, 20)]
        else:
            content[start:start] = chance.randbytes(chance.randrange(1, 9))
        content = content or bytearray(b"x")
    return bytes(content)


def test_damaged_bodies_are_rejected_or_read(process, capfd):
    chance, results = random.Random(7), Counter[str]()
    for _ in range(N_BODIES):
        kind, body = chance.choice(BODIES)
        try:
            process.read(damaged(body, chance), KINDS[kind], TableLimits(100, 1_000_000), timeout_seconds=20)
            results["read"] += 1
        except RequestError as error:
            assert error.status in (413, 422), error
            assert error.message
            results["the process ended" if "or unpacks to" in error.message else "rejected"] += 1
    with capfd.disabled():
        print(f"\n{N_BODIES:,} damaged bodies: {dict(results)}")
    assert {"read", "rejected"} <= results.keys()


@pytest.fixture(scope="module")
def greedy() -> bytes:
    """A body whose first compressed bitmap of missing values, 3 bytes for 20 rows, claims to hold a petabyte."""
    body, prefix = written(ROWS, ARROW_STREAM, "zstd"), (3).to_bytes(8, "little") + b"\x28\xb5\x2f\xfd"
    assert prefix in body
    return body.replace(prefix, (2**50).to_bytes(8, "little") + prefix[8:], 1)


def test_a_body_that_asks_for_more_memory_than_there_is_ends_its_reader_only(process, greedy):
    for _ in range(2):
        with pytest.raises(RequestError, match="damaged, or unpacks to more than 1,000,000 bytes") as raised:
            process.read(greedy, "arrow", TableLimits(100, 1_000_000), timeout_seconds=20)
        assert raised.value.status == 422
        frame, _ = process.read(BODIES[0][1], "parquet", TableLimits(100, 1_000_000), timeout_seconds=20)
        assert frame.height == 20


BOMBS = {
    "one long text in many rows": (pl.DataFrame({"x": ["a" * 100_000] * 2_000}), PARQUET, "zstd"),
    "one long category in many rows": (
        pl.DataFrame({"x": pl.Series(["a" * 100_000] * 2_000).cast(pl.Categorical)}), ARROW_FILE, "zstd"
    ),
    "zeros in a stream": (pl.DataFrame({"x": ["\0" * 30_000_000] * 2}), ARROW_STREAM, "zstd"),
    "zeros in a file": (pl.DataFrame({"x": ["\0" * 30_000_000] * 2}), ARROW_FILE, "lz4"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_body_that_unpacks_to_a_large_table_is_too_large(process, name):
    frame, kind, compression = BOMBS[name]
    body = written(frame, kind, compression)
    assert len(body) < 500_000
    with pytest.raises(RequestError, match="unpacks to at most 10,000,000 bytes, got more") as raised:
        process.read(body, KINDS[kind], TableLimits(10_000, 10_000_000), timeout_seconds=20)
    assert raised.value.status == 413


def test_a_body_with_too_many_rows_is_too_large(process):
    body = written(pl.DataFrame({"x": [0] * 3_000_000}), PARQUET, "zstd")
    with pytest.raises(RequestError, match="at most 100 rows"):
        process.read(body, "parquet", TableLimits(100, 10_000_000), timeout_seconds=20)


def test_a_service_predicts_after_a_body_that_ends_its_reader(store, house, greedy):
    client = Client(gateway(open_artefact(version_folder(store / "house_pricing_model"))))
    good = written(pl.DataFrame([house] * 20), ARROW_STREAM, "zstd")
    statuses = [
        client.post("/v1/predict", body, **{"content-type": ARROW_STREAM}).status_code for body in (good, greedy, good)
    ]
    assert statuses == [200, 422, 200]


PARENT = """
import sys
from estimator.serving.table_process import TableLimits, TableProcess
reader = TableProcess()
reader.read(open(sys.argv[1], "rb").read(), "parquet", TableLimits(100, 10**6), timeout_seconds=20)
print(reader._process.pid, flush=True)
sys.stdin.read()
"""


def test_the_reader_ends_when_its_server_is_killed(tmp_path):
    (tmp_path / "t.parquet").write_bytes(BODIES[0][1])
    command = [sys.executable, "-c", PARENT, str(tmp_path / "t.parquet")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as parent:
        child = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{child}").exists()
