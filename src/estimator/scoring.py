"""A table of new rows -> a table of answers, in batches, rows in order."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from estimator.artefact import Artefact
from estimator.errors import Fault, SchemaError, SourceError
from estimator.predictor import Predictor, columns_of
from estimator.schema import Batch
from estimator.schema.frames import read_frame, read_series, with_contract_names
from estimator.sources.base import Source
from estimator.task import Floats

SINKS = (".parquet", ".csv")


@dataclass
class Tally:
    """What a run has done so far: rows read, and the faults of rows that got no answer."""

    rows: int = 0
    faults: list[Fault] = field(default_factory=list)
    failure: Exception | None = None


def score_source(
    predictor: Predictor,
    source: Source,
    output: Path,
    *,
    faulty_are_gaps: bool = False,
    watch: Callable[[int], None] = lambda rows: None,
) -> Tally:
    """Answer every row of a source and write the answers, whole or not at all, with bounded memory.

    With `faulty_are_gaps`, rows that break the contract get empty answers and are counted.

    Raises
    ------
    RowError: a row breaks the contract.
    SourceError: the output cannot be written, or its ending is not known.
    """
    if output.suffix.lower() not in SINKS:
        raise SourceError(f"{output}: expected a file that ends in {' or '.join(SINKS)}")
    if output.resolve() in {path.resolve() for path in source.paths}:
        raise SourceError(f"{output}: is the input; choose another file for the answers")
    tally = Tally()
    temporary = output.with_name(f".{output.stem}.{os.getpid()}{output.suffix}")
    answers = _lazy(predictor, source, tally, faulty_are_gaps, watch)
    try:
        if output.suffix.lower() == ".csv":
            answers.sink_csv(temporary)
        else:
            answers.sink_parquet(temporary)
        temporary.replace(output)
    except (pl.exceptions.PolarsError, OSError) as error:
        if tally.failure is not None:
            raise tally.failure from None
        raise SourceError(f"{output}: cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    return tally


def _lazy(
    predictor: Predictor, source: Source, tally: Tally, faulty_are_gaps: bool, watch: Callable[[int], None]
) -> pl.LazyFrame:
    """Return the answers as a lazy frame that is worked out batch by batch while it is written."""
    from polars.io.plugins import register_io_source

    def batches(*_: Any) -> Iterator[pl.DataFrame]:
        # A failure that passes through polars loses its kind, so it is kept aside.
        try:
            for frame in source.batches():
                yield _answers(predictor, frame, tally, faulty_are_gaps)
                watch(tally.rows)
        except Exception as error:
            tally.failure = error
            raise

    return register_io_source(batches, schema=pl.Schema(_columns(predictor)))


def _columns(predictor: Predictor) -> dict[str, pl.DataType]:
    """Return the columns of answers and their types, as `columns_of` names them."""
    is_regression, outputs = predictor.task.is_regression, predictor.outputs
    kinds: dict[str, pl.DataType] = {"prediction": pl.Float64() if is_regression else pl.String()}
    kinds |= {name: pl.Float64() for name in ("prediction_low", "prediction_high") if name in outputs}
    kinds |= {"prediction_set": pl.String()} if "prediction_set" in outputs else {}
    return kinds | {f"probability_{level}": pl.Float64() for level in predictor.task.levels}


def _answers(predictor: Predictor, frame: pl.DataFrame, tally: Tally, faulty_are_gaps: bool) -> pl.DataFrame:
    first_row = tally.rows + 1
    batch = read_frame(predictor.schema, frame, first_row=first_row, drop_faulty=faulty_are_gaps)
    tally.rows += frame.height
    tally.faults += batch.faults
    columns = columns_of(predictor.answer(batch))
    if batch.kept is None:
        return pl.DataFrame({name: _series(values) for name, values in columns.items()})
    places = np.flatnonzero(batch.kept)
    return pl.DataFrame({name: _spread(_series(values), places, frame.height) for name, values in columns.items()})


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
    frame = with_contract_names(schema, frame)
    if schema.target.name not in frame.columns:
        raise SchemaError(f"the table has no column {schema.target.name!r} to compare with")
    open_target = replace(schema.target, kind=schema.target.kind if task.is_regression else "category", gaps=("",))
    raw, _ = read_series(open_target, frame[schema.target.name])
    truth = raw[:, 0].astype(np.float64) if task.is_regression else task.codes(raw[:, 0])
    known = ~np.isnan(truth)
    if not known.any():
        raise SchemaError(f"no row has a {schema.target.name!r} that this version knows")
    return read_frame(schema, frame.filter(pl.Series(known))), truth[known]
