"""The predictions of an unfinished run: parts on disk, from which the same run goes on, and which end in one step."""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from estimator.core.files import atomic_path, write_atomic
from estimator.core.text import join_names
from estimator.data.schema import Batch, Column, Schema
from estimator.data.sinks import Sink
from estimator.errors import Fault, SourceError

MAX_FAULTS, MAX_NAMES = 20, 8


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """What a run has done: rows read, rows left without a prediction, and the first faults of those.

    `rows_resumed` counts the rows that an interrupted run had predicted before this one continued it, `imputed` the
    missing values that were imputed and `out_of_range` the values outside the training range or of an unknown category,
    by column; `left_out` are the features that the table does not have.
    """

    rows: int = 0
    rows_without_prediction: int = 0
    faults: tuple[Fault, ...] = ()
    rows_resumed: int = 0
    imputed: Mapping[str, int] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    out_of_range: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, schema: Schema, frame: pl.DataFrame, batch: Batch) -> BatchSummary:
        """Return the summary of some rows, and of those of them that have a prediction."""
        imputed = Counter(name for names in schema.imputed(batch) for name in names)
        left_out = tuple(schema.left_out(frame.columns))
        given = [column for column in schema.features if column.name not in left_out]
        out = {column.name: count for column in given if (count := _count_out_of_range(column, batch))}
        return cls(frame.height, frame.height - batch.n_rows, batch.faults, 0, dict(imputed), left_out, out)

    def plus(self, later: BatchSummary) -> BatchSummary:
        """Return the summary with later rows."""
        return replace(
            self,
            rows=self.rows + later.rows,
            rows_without_prediction=self.rows_without_prediction + later.rows_without_prediction,
            faults=(*self.faults, *later.faults)[:MAX_FAULTS],
            imputed=dict(Counter(self.imputed) + Counter(later.imputed)),
            left_out=later.left_out,
            out_of_range=dict(Counter(self.out_of_range) + Counter(later.out_of_range)),
        )

    def notes(self, table: str) -> list[str]:
        """Return what was done about missing values and columns of a table, and which values training did not have."""
        stand_in = "its default, or a missing value, in all rows"
        columns = [f"{table}: no column {name!r}: {stand_in}" for name in self.left_out]
        values = [f"{table}: column {name!r}: missing values imputed: {n:,}" for name, n in self.imputed.items()]
        out = [f"{name} ({n:,} {'row' if n == 1 else 'rows'})" for name, n in self.out_of_range.items()]
        unseen = f"{table}: values outside the training range, or categories unknown in training, in column"
        unseen = f"{unseen}{'s' if len(out) > 1 else ''} {join_names(out, limit=MAX_NAMES)}"
        return [*columns, *values, *([unseen] if out else [])]


def _count_out_of_range(column: Column, batch: Batch) -> int:
    values = batch.feed[column.name][:, 0]
    if not column.is_string:
        low, high = column.training_range or (-np.inf, np.inf)
        return int(np.count_nonzero((values < low) | (values > high)))
    # Polars looks categories up far faster than Python.
    known = pl.Series(["", *column.categories], dtype=pl.String)
    return 0 if column.kind == "text" else int((~pl.Series(values, dtype=pl.String).is_in(known.implode())).sum())


class PartialOutput:
    """Parts of an output: Parquet files in a hidden folder next to it, `.OUTPUT.ROWS.ATTEMPT.parts`.

    ROWS is the hash of all that decides the predictions: only a run of the same rows goes on from the parts. ATTEMPT is
    random: a database keeps it with the rows, so that they are not written twice. Before any part is removed, a file
    `.done`, which holds the summary, says that the run has finished; its removal is the last step.
    Mutable: it tracks the parts on disk. The caller has the output's lock.
    """

    def __init__(self, sink: Sink, rows_id: str) -> None:
        self.sink = sink
        self.summary, self.n_parts, self.is_finished = BatchSummary(), 0, False
        self._done = self._path(rows_id, secrets.token_hex(8), "done")
        for path, rows, ending in self._earlier():
            is_same = rows == rows_id
            if ending == "done" and is_same and sink.keeps_attempts:
                # It was killed before it could tell.
                self._done, self.is_finished = path, True
                self.summary = _resumed(json.loads(path.read_text()))
            elif ending == "parts" and is_same and not self.is_finished and not self.n_parts and self._resume(path):
                self._done = path.with_suffix(".done")
            else:
                self._remove(path)
        if self.n_parts and sink.is_written(self.attempt):
            self.is_finished = True

    @property
    def attempt(self) -> str:
        """The id of the attempt to write these rows."""
        return _attempt_of(self._done)

    @property
    def paths(self) -> list[Path]:
        """The parts, in order."""
        return sorted(self._folder.glob("*.parquet"))

    def add(self, predictions: pl.DataFrame, summary: BatchSummary) -> None:
        """Save the next part, with the summary up to it."""
        self._folder.mkdir(exist_ok=True)
        with atomic_path(self._folder / f"{self.n_parts:08d}.parquet", durable=True) as temporary:
            predictions.write_parquet(temporary, metadata={"summary": _as_json(summary)})
        self.n_parts += 1

    def finish(self, summary: BatchSummary) -> None:
        """Mark the run as finished, in one step, and remove what it kept."""
        write_atomic(self._done, _as_json(summary))
        self._remove(self._done)

    def kept_after_failure(self) -> str:
        """Say what the next run goes on from, and remove what is of no use to it."""
        if self.paths:
            return f": it goes on from the parts in {self._folder}"
        self.discard()
        return ""

    def discard(self) -> None:
        """Remove all parts of a run that is given up."""
        if self._folder.exists():
            self._remove(self._folder)

    @property
    def _folder(self) -> Path:
        return self._done.with_suffix(".parts")

    def _path(self, rows_id: str, attempt: str, ending: str) -> Path:
        output = self.sink.parts_path
        return output.with_name(f".{output.name}.{rows_id}.{attempt}.{ending}")

    def _earlier(self) -> Iterator[tuple[Path, str, str]]:
        """Yield what earlier runs into this output have left: each with the hash of its rows and its ending."""
        output = self.sink.parts_path
        name = re.compile(rf"\.{re.escape(output.name)}\.([0-9a-f]+)\.[0-9a-f]+\.(done|parts|unused)")
        for path in sorted(output.absolute().parent.iterdir(), key=lambda path: path.suffix):
            # A finished run takes its parts away with it.
            if (match := name.fullmatch(path.name)) and path.exists():
                yield path, match[1], match[2]

    def _remove(self, path: Path) -> None:
        """Remove what belongs to an attempt; its parts no longer look like an unfinished run."""
        parts, unused = path.with_suffix(".parts"), path.with_suffix(".unused")
        if parts.exists():
            parts.rename(unused)
        if unused.exists():
            shutil.rmtree(unused)
        if path.suffix == ".done":
            with suppress(SourceError):
                # Without this, the database keeps a row that has no use.
                self.sink.forget(_attempt_of(path))
            path.unlink()

    def _resume(self, folder: Path) -> bool:
        """Go on from the parts in a folder; False if they are not the first parts of a run."""
        paths = sorted(folder.glob("*.parquet"))
        if not paths or [path.name for path in paths] != [f"{number:08d}.parquet" for number in range(len(paths))]:
            return False
        try:
            saved = json.loads(pl.read_parquet_metadata(paths[-1])["summary"])
            n_rows = pl.scan_parquet(paths).select(pl.len()).collect().item()
        except (pl.exceptions.PolarsError, OSError, KeyError, ValueError):
            # A disk that failed.
            return False
        if n_rows != saved["rows"]:
            return False
        self.n_parts, self.summary = len(paths), _resumed(saved)
        return True


def _attempt_of(path: Path) -> str:
    return path.name.split(".")[-2]


def _as_json(summary: BatchSummary) -> str:
    return json.dumps(asdict(summary), default=str)


def _resumed(saved: Mapping[str, Any]) -> BatchSummary:
    faults = tuple(Fault(**fault) for fault in saved["faults"])
    later = {"faults": faults, "rows_resumed": saved["rows"], "left_out": tuple(saved["left_out"])}
    return BatchSummary(**{**saved, **later})
