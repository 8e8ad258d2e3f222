"""Which rows a version has learned from: short keyed hashes of its training rows, in a file of the version."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats, Mask
from estimator.core.task import Task
from estimator.data.schema import Batch, Schema
from estimator.store.artefact import Artefact

FILE = "learned_rows.bin"
KEY_BYTES, HASH_BYTES = 16, 8
# 8 MB of hashes. A version of more rows keeps none.
MAX_ROWS = 1_000_000
# If more of the training rows than this have a twin among them, a new row may equal one of them by chance.
MAX_REPEATED = 0.05
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class LearnedRows:
    """Hashes, in ascending order, of the values of `columns` and of the label of each row, made with a random key."""

    key: bytes
    columns: tuple[str, ...]
    hashes: Hashes

    @classmethod
    def of(cls, columns: Sequence[str], batch: Batch, labels: Floats, task: Task, *, key: bytes) -> LearnedRows | None:
        """Hash rows and their labels, numbers or class codes; None for too many rows."""
        if batch.n_rows > MAX_ROWS:
            return None
        return cls(key, tuple(columns), np.sort(_hashes(key, columns, batch, labels, task)))

    @classmethod
    def from_bytes(cls, content: bytes) -> LearnedRows:
        """Read a version's file: a line of JSON, then the hashes, each in 8 bytes."""
        head, _, hashes = content.partition(b"\n")
        values = json.loads(head)
        return cls(bytes.fromhex(values["key"]), tuple(values["columns"]), np.frombuffer(hashes, "<u8"))

    def to_bytes(self) -> bytes:
        """Return the content of a version's file."""
        head = json.dumps({"key": self.key.hex(), "columns": self.columns}, ensure_ascii=False)
        return f"{head}\n".encode() + self.hashes.astype("<u8").tobytes()

    def with_more(self, batch: Batch, labels: Floats, task: Task) -> LearnedRows | None:
        """Return these rows and more, which have the same columns; None where they are too many together."""
        more = _hashes(self.key, self.columns, batch, labels, task)
        hashes = np.sort(np.concatenate([self.hashes, more]))
        return LearnedRows(self.key, self.columns, hashes) if len(hashes) <= MAX_ROWS else None

    def contains(self, batch: Batch, labels: Floats, task: Task) -> Mask:
        """Whether each row is one of these, as far as its hash says; two different rows hardly ever share one."""
        return np.isin(_hashes(self.key, self.columns, batch, labels, task), self.hashes)

    @cached_property
    def repeated(self) -> float:
        """The fraction of these rows that equal another one of them."""
        _, counts = np.unique(self.hashes, return_counts=True)
        return float(counts[counts > 1].sum()) / max(len(self.hashes), 1)

    @property
    def is_decisive(self) -> bool:
        """Whether rows differ enough that one which equals a training row is that row."""
        return self.repeated <= MAX_REPEATED


def hashed_columns(schema: Schema, private: Collection[str]) -> list[str]:
    """Return the columns that go into the hashes: the features, without private ones, which no hash may give away."""
    return [column.name for column in schema.features if column.name not in private]


def learned_rows(artefact: Artefact) -> LearnedRows | None:
    """Return the rows that a version has learned from; None if it keeps none because they are too many."""
    return LearnedRows.from_bytes(artefact.read(FILE)) if FILE in artefact.manifest["files"] else None


def recognized(is_learned: Mask, learned: LearnedRows, *, name: str, holder: str, use: str) -> tuple[Mask, list[str]]:
    """Return which rows of a table to leave out, and a note if there are rows that equal learned ones.

    `holder` completes "equal rows that ...", `use` "--include-learned ... them, too".
    """
    n_rows, n_learned = len(is_learned), int(is_learned.sum())
    if not n_learned:
        return is_learned, []
    equal = f"{name}: {n_learned:,} of {n_rows:,} rows equal rows that {holder}"
    if learned.is_decisive:
        return is_learned, [f"{equal}, and are left out; --include-learned {use} them, too"]
    by_chance = f"as {learned.repeated:.0%} of those equal another one, an equal row may be a new one, and is used"
    return np.zeros_like(is_learned), [f"{equal}; {by_chance}"]


def _hashes(key: bytes, columns: Sequence[str], batch: Batch, labels: Floats, task: Task) -> Hashes:
    """Return a hash per row of its values as the model reads them, so the format they came in does not matter."""
    feeds = [batch.feed[name][:, 0] for name in columns]
    texts = [values.tolist() for values in feeds if values.dtype == object]
    if task.is_regression:
        numbers = [labels]
    else:
        numbers, texts = [], [*texts, [task.classes[code] for code in labels.astype(np.int64).tolist()]]
    matrix = np.stack([*(feed for feed in feeds if feed.dtype != object), *numbers, np.zeros(batch.n_rows)], axis=1)
    # One zero and one missing value: both have several patterns of bits.
    matrix = np.where(np.isnan(matrix), np.nan, matrix.astype("<f8") + 0.0)
    digests = bytearray()
    # No text holds a NUL.
    rows_of_texts = zip(*texts, strict=True) if texts else [()] * batch.n_rows
    for row, row_texts in zip(matrix, rows_of_texts, strict=True):
        text = "\0".join(row_texts).encode("utf-8", "surrogatepass")
        digests += blake2b(row.tobytes() + text, digest_size=HASH_BYTES, key=key).digest()
    return np.frombuffer(bytes(digests), "<u8")
