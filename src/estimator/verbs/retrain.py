"""retrain: new rows -> candidate versions, compared with the live version, and the decision with its reasons."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from estimator import tuning
from estimator.config import Config
from estimator.data.schema.frames import with_schema_names
from estimator.errors import RetrainingError
from estimator.models import Progress, silent
from estimator.monitoring import retrain as retraining
from estimator.monitoring.decision_page import decision_page
from estimator.monitoring.retrain import Decision
from estimator.prediction_log import PredictionRecord
from estimator.store.artefact import Artefact
from estimator.training.prepare import prepare
from estimator.verbs.compare import held_out_frame
from estimator.verbs.context import SHELVES, Context, config_of, data_like, kind_of, model_of, warm_start
from estimator.verbs.monitor import MonitoredModel, opened_log, rules_of


def retrain(
    model: MonitoredModel,
    context: Context,
    *,
    data: str | None = None,
    query: str | None = None,
    why: str = "started by hand",
    progress: Progress = silent,
    note: Callable[[str], None] = lambda text: None,
) -> Decision:
    """Train candidates on new rows, of a table or the labeled ones of the log, and compare them with the live version.

    Raises
    ------
    RetrainingError: there are no new rows, or too few.
    """
    store = context.store()
    live = context.version(model.reference)
    rules = rules_of(live, context, model.conf)
    config = config_of(live)
    old, learned = _old_rows(live, config, context, model.folder)
    new = _new_table(live, context, data, query) if data is not None else _new_logged_rows(model, live, context)
    rows = retraining.deal(
        old, learned, new, holdout_size=rules.retraining.holdout_size, target=live.manifest["target"]
    )
    request = retraining.Request(
        live,
        config,
        model_of(config),
        warm_start(live),
        rules.retraining.candidates,
        rules.retraining.max_regression,
        why,
        partial(_tuned, live, context, progress=progress),
    )
    decision = retraining.retrain(request, store, rows, progress=progress, note=note)
    content = json.dumps(decision.to_data(), indent=1, ensure_ascii=False).encode()
    retraining.keep_decision(decision, store, decision_page(decision), content)
    return decision


def _old_rows(live: Artefact, config: Config, context: Context, folder: Path) -> tuple[pl.DataFrame, Any]:
    """Return the rows of the live version's own table, and the mask of those it was trained on."""
    held_out_frame(live, context, folder)
    with context.rows(config.data, folder) as source:
        prepared = prepare(source.frame(), config, live.schema)
    return prepared.frame, ~prepared.test_mask


def _new_table(live: Artefact, context: Context, data: str, query: str | None) -> pl.DataFrame:
    with context.rows(data_like(live, data, query)) as source:
        return with_schema_names(live.schema, source.frame())


def _new_logged_rows(model: MonitoredModel, live: Artefact, context: Context) -> pl.DataFrame:
    """Return the labeled rows of the log that the live version cannot have been trained on."""
    with opened_log(model, live, context) as database:
        created = datetime.fromisoformat(live.manifest["created"]).timestamp()
        logged = [row for row in database.read(live.name, since=created) if row.label is not None]
    if not logged:
        raise RetrainingError(
            f"{live.name}: no row logged since {live.version} was trained has a label",
            hint="POST /v1/labels, or give rows with --data",
        )
    target = live.manifest["target"]
    rows = [{**_by_schema_name(live, row), target: row.label} for row in logged]
    return with_schema_names(live.schema, pl.DataFrame(rows, infer_schema_length=None))


def _by_schema_name(live: Artefact, row: PredictionRecord) -> dict[str, Any]:
    return {live.schema.resolve(name) or name: value for name, value in row.inputs.items()}


def _tuned(
    live: Artefact, context: Context, config: Config, frame: pl.DataFrame, *, progress: Progress
) -> tuple[Config, Any]:
    """Search the settings again for these rows, in a study of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        study_path = str(Path(scratch) / "journal.log")
        config = config.model_copy(update={"tuning": config.tuning.model_copy(update={"study": study_path})})
        spec = tuning.StudySpec.of(config, kind_of(config), {}, Path(scratch))
        search = tuning.Search.of(tuning.Space.of(config, SHELVES), tuning.TuningRows(frame, config, live.schema, 1))
        with tuning.open_study(spec, fresh=True, environment=context.environment) as study:
            tuning.enqueue_current(study, search.space)
            tuning.run_search(study, search, progress=progress)
            edits = tuning.evaluate_search(study, search, progress=progress).edits
    best = search.space.varied(edits)
    return best, model_of(best)
