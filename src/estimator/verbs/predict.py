"""predict: a version's predictions for every row of a table, to a file or a database."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from estimator.data.sinks import IfExists, sink_for
from estimator.data.sources.address import locate
from estimator.errors import RowError
from estimator.store.artefact import Artefact
from estimator.store.batch_prediction import predict_source
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
    # No row of the input is ever left out of the output.
    on_bad_lines = "missing" if invalid_as_missing else "error"
    data = data_like(artefact, context, table, query).model_copy(update={"on_bad_lines": on_bad_lines})
    with context.rows(data) as source:
        if keep_all:
            keep = next(iter(source.batches())).columns
        try:
            summary = predict_source(
                artefact.predictor, source, sink, keep=keep, invalid_as_missing=invalid_as_missing, progress=progress
            )
        except RowError as error:
            place = locate(table, context.environment).name
            raise RowError(error.faults, hint=error.hint, n_faults=error.n_faults, place=place) from None
    context.notes.add(summary.notes(table))
    return summary
