"""predict: a version's predictions for every row of a table, to a file or a database."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from estimator.data.sinks import IfExists, sink_for
from estimator.data.sources.address import locate
from estimator.data.sources.base import Source
from estimator.errors import RowError
from estimator.store.artefact import Artefact
from estimator.store.batch_prediction import PredictionPlan, plan_source, predict_source
from estimator.store.partial_output import BatchSummary
from estimator.verbs.context import Context, data_like


def predict(
    artefact: Artefact,
    table: str,
    output: str,
    context: Context | None = None,
    *,
    query: str | None = None,
    into: str | None = None,
    if_exists: IfExists | None = None,
    keep: Sequence[str] = (),
    keep_all: bool = False,
    quote_formulas: bool = False,
    invalid_as_missing: bool = False,
    progress: Callable[[int], None] = lambda rows: None,
) -> BatchSummary:
    """Predict every row of a table and write the predictions, in order, to a file or into a database's table.

    The columns `keep` of the table, or all of them with `keep_all`, are copied before the predictions.
    `quote_formulas` puts ' before each text in a CSV file that a spreadsheet would run as a formula.
    """
    context = context or Context()
    context.reject_overrides(except_section="data")
    sink = sink_for(output, context.environment, table=into, if_exists=if_exists, quote_formulas=quote_formulas)
    with _rows(artefact, table, context, query, invalid_as_missing=invalid_as_missing) as source:
        keep = _all_columns(source) if keep_all else keep
        summary = predict_source(
            artefact.predictor, source, sink, keep=keep, invalid_as_missing=invalid_as_missing, progress=progress
        )
    context.notes.add(summary.notes(table))
    return summary


def plan(
    artefact: Artefact,
    table: str,
    output: str,
    context: Context | None = None,
    *,
    query: str | None = None,
    into: str | None = None,
    if_exists: IfExists | None = None,
    keep: Sequence[str] = (),
    keep_all: bool = False,
    quote_formulas: bool = False,
    invalid_as_missing: bool = False,
) -> PredictionPlan:
    """Return what `predict` would write, from the first rows of the table, which are predicted; nothing is written.

    Raises
    ------
    RowError, SourceError: what `predict` would raise, as far as the first rows and the output say.
    """
    context = context or Context()
    context.reject_overrides(except_section="data")
    sink = sink_for(output, context.environment, table=into, if_exists=if_exists, quote_formulas=quote_formulas)
    with _rows(artefact, table, context, query, invalid_as_missing=invalid_as_missing) as source:
        keep = _all_columns(source) if keep_all else keep
        return plan_source(artefact.predictor, source, sink, keep=keep, invalid_as_missing=invalid_as_missing)


@contextmanager
def _rows(
    artefact: Artefact, table: str, context: Context, query: str | None, *, invalid_as_missing: bool
) -> Iterator[Source]:
    """Open the rows of a table; an error of a row names the table."""
    # No row of the input is ever left out of the output.
    on_bad_lines = "missing" if invalid_as_missing else "error"
    data = data_like(artefact, context, table, query).model_copy(update={"on_bad_lines": on_bad_lines})
    with context.rows(data) as source:
        try:
            yield source
        except RowError as error:
            place = locate(table, context.environment).name
            raise RowError(error.faults, hint=error.hint, n_faults=error.n_faults, place=place) from None


def _all_columns(source: Source) -> list[str]:
    return next(iter(source.batches())).columns
