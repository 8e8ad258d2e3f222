"""A table of new rows -> a table of answers, in batches, rows in order."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from estimator.core.arrays import Floats
from estimator.core.files import atomic_path
from estimator.core.text import did_you_mean, join_names
from estimator.data.schema import Batch
from estimator.data.schema.frames import read_frame, read_series, with_schema_names
from estimator.data.sinks import Sink
from estimator.data.sources.base import Source
from estimator.errors import Fault, RowError, SchemaError, SourceError
from estimator.store.artefact import Artefact
from estimator.store.predictor import Predictor, columns_of

# Batches that are answered before they are kept: what a kill costs.
PART_BATCHES = 4
MOST_FAULTS = 20


@dataclass(frozen=True, slots=True)
class Tally:
    """What has been done: rows read, rows left without an answer, and the first of their faults.

    `taken_up` are the rows that an earlier run had answered.
    """

    rows: int = 0
    unanswered: int = 0
    faults: tuple[Fault, ...] = ()
    taken_up: int = 0

    def after(self, batch: Batch, n_rows: int) -> Tally:
        """Return the tally with a batch more."""
        left = 0 if batch.kept is None else int((~batch.kept).sum())
        faults = (*self.faults, *batch.faults)[:MOST_FAULTS]
        return replace(self, rows=self.rows + n_rows, unanswered=self.unanswered + left, faults=faults)


def score_source(
    predictor: Predictor, source: Source, sink: Sink, *, keep: Sequence[str] = (),
    faulty_are_gaps: bool = False, progress: Callable[[int], None] = lambda rows: None,
) -> Tally:  # fmt: skip
    """Answer every row of a source and write the answers, whole or not at all, with bounded memory.

    Predictions are kept in parts beside the output as they are found. A run that is interrupted or killed costs its last
    part: the same call goes on, when version, files, `keep` and `faulty_are_gaps` are the same. The columns `keep` of
    the source stand before the answers, as they were read; the contract need not know them. With `faulty_are_gaps`,
    rows that break the contract get empty answers and are counted.

    Raises
    ------
    RowError: a row breaks the contract.
    SourceError: the output cannot be written, or a column to be kept is not there.
    """
    sink.check()
    if sink.beside.resolve() in {path.resolve() for path in source.paths}:
        raise SourceError(f"{sink.name}: is the input; choose another file for the answers")
    try:
        with Parts(sink, _plan(predictor, source, [*keep, faulty_are_gaps])) as parts:
            tally = _score(predictor, source, parts, keep, faulty_are_gaps, progress)
            sink.write(parts.paths)
            parts.drop()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SourceError(f"{sink.name}: cannot be written: {error}") from error
    return tally


def _score(
    predictor: Predictor, source: Source, parts: Parts, keep: Sequence[str], faulty_are_gaps: bool,
    progress: Callable[[int], None],
) -> Tally:  # fmt: skip
    tally = parts.tally
    unknown = [name for name in keep if predictor.schema.resolve(name) is None]

    def answered(frame: pl.DataFrame, rows_before: int) -> tuple[Batch, pl.DataFrame]:
        rows = frame.drop(unknown, strict=False)
        batch = read_frame(predictor.schema, rows, first_row=rows_before + 1, drop_faulty=faulty_are_gaps)
        beside = _beside(frame, keep, source, rows_before if parts.sink.numbers_rows else None)
        return batch, _joined(beside, _answers(predictor, batch, frame.height))

    frames = islice(source.batches(), parts.n_done * PART_BATCHES, None)
    # Reading and onnxruntime leave other threads alone.
    with ThreadPoolExecutor(min(PART_BATCHES, os.cpu_count() or 1)) as threads:
        while found := list(islice(frames, PART_BATCHES)):
            answers = []
            starts = accumulate((frame.height for frame in found), initial=tally.rows)
            try:
                for batch, table in threads.map(answered, found, starts):
                    answers.append(table)
                    tally = tally.after(batch, table.height)
                    progress(tally.rows)
            except RowError:
                parts.drop()
                raise
            parts.keep(pl.concat(answers), tally)
    return tally


def _beside(frame: pl.DataFrame, keep: Sequence[str], source: Source, rows_before: int | None) -> pl.DataFrame:
    """Return what rows are known by: columns of theirs, or their numbers from 1 where they have no order."""
    for name in keep:
        if name not in frame.columns:
            place = str(source.paths[0]) if source.paths else "the table"
            raise SourceError(f"{place}: has no column {name!r} to keep", hint=did_you_mean(name, frame.columns))
    if keep or rows_before is None:
        return frame.select(keep)
    return pl.DataFrame({"row": np.arange(rows_before + 1, rows_before + 1 + frame.height)})


def _joined(beside: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    if again := set(beside.columns) & set(answers.columns):
        raise SourceError(f"{join_names(map(repr, again))}: cannot be kept, as the answers have a column of that name")
    return pl.concat([beside, answers], how="horizontal")


def _plan(predictor: Predictor, source: Source, options: Sequence[str | bool]) -> str | None:
    """Return what makes two runs the same; None where rows are not sure to come in the same order again."""
    if not source.paths:
        return None
    told = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in source.paths]
    content = json.dumps([told, repr(source), repr(predictor.schema), options]).encode()
    return hashlib.sha256(predictor.graph + content).hexdigest()[:16]


class Parts:
    """Predictions on their way to a sink: files in a folder beside it, `plan` in its name, that one process fills."""

    def __init__(self, sink: Sink, plan: str | None) -> None:
        self.sink, self._plan = sink, plan
        self._folder = sink.beside.with_name(f".{sink.beside.name}.{plan or 'once'}.parts")
        self.tally, self.n_done = Tally(), 0
        self._lock = -1

    def __enter__(self) -> Parts:
        beside = self.sink.beside
        for folder in beside.parent.glob(f".{glob.escape(beside.name)}.*.parts"):
            if folder != self._folder or self._plan is None:
                shutil.rmtree(folder)
        self._folder.mkdir(exist_ok=True)
        self._lock = os.open(self._folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise SourceError(f"{self.sink.name}: another process is answering the same rows") from None
        self.n_done = len(self.paths)
        if self.n_done:
            known = json.loads(pl.read_parquet_metadata(self.paths[-1])["tally"])
            faults = tuple(Fault(**fault) for fault in known["faults"])
            self.tally = Tally(known["rows"], known["unanswered"], faults, taken_up=known["rows"])
        return self

    def __exit__(self, *_: object) -> None:
        if self._plan is None and self._folder.exists():
            self.drop()
        os.close(self._lock)

    def keep(self, answers: pl.DataFrame, tally: Tally) -> None:
        """Keep answers as the next part, in one step."""
        path = self._folder / f"{self.n_done:08d}.parquet"
        with atomic_path(path) as temporary:
            answers.write_parquet(temporary, metadata={"tally": json.dumps(asdict(tally), default=str)})
        self.n_done += 1

    def drop(self) -> None:
        """Forget what was answered."""
        shutil.rmtree(self._folder)

    @property
    def paths(self) -> list[Path]:
        """The parts, in order."""
        return sorted(self._folder.glob("*.parquet"))


def _answers(predictor: Predictor, batch: Batch, n_rows: int) -> pl.DataFrame:
    columns = columns_of(predictor.predict_batch(batch))
    if batch.kept is None:
        return pl.DataFrame({name: _series(values) for name, values in columns.items()})
    places = np.flatnonzero(batch.kept)
    return pl.DataFrame({name: _spread(_series(values), places, n_rows) for name, values in columns.items()})


def _series(values: Any) -> pl.Series:
    return pl.Series(values.tolist(), dtype=pl.String) if values.dtype == object else pl.Series(values)


def _spread(values: pl.Series, places: Any, n_rows: int) -> pl.Series:
    """Put answers back at their rows, with gaps between them."""
    found = pl.Series([None] * n_rows, dtype=values.dtype)
    return found.scatter(places, values) if len(places) else found


def labelled_rows(artefact: Artefact, frame: pl.DataFrame) -> tuple[Batch, Floats]:
    """Return the rows of a table whose truth is known, and that truth as numbers or level positions.

    Raises
    ------
    SchemaError: the target is not in the table, or no row has a truth the version knows.
    """
    schema, task = artefact.schema, artefact.predictor.task
    frame = with_schema_names(schema, frame)
    if schema.target.name not in frame.columns:
        raise SchemaError(f"the table has no column {schema.target.name!r} to compare with")
    open_target = replace(
        schema.target, kind=schema.target.kind if task.is_regression else "category", nullable=True, na_values=()
    )
    raw, _ = read_series(open_target, frame[schema.target.name])
    truth = raw[:, 0].astype(np.float64) if task.is_regression else task.codes(raw[:, 0])
    known = ~np.isnan(truth)
    if not known.any():
        raise SchemaError(f"no row has a {schema.target.name!r} that this version knows")
    return read_frame(schema, frame.filter(pl.Series(known))), truth[known]
