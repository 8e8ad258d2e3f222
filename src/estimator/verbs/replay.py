"""replay: logged requests through another version; what would be different?"""

from __future__ import annotations

from estimator.models import Progress, silent, stage
from estimator.monitoring.replay import Replay
from estimator.monitoring.replay import replay as replay_records
from estimator.verbs.context import Context
from estimator.verbs.monitor import MonitoredModel, opened_log

MAX_REPLAYED_ROWS = 100_000


def replay(
    model: MonitoredModel, against: str, context: Context, *, since: float, until: float, progress: Progress = silent
) -> Replay:
    """Predict the last 100,000 rows logged in a time span, in seconds since 1970, by another version, and compare."""
    other, artefact = context.version(against), context.version(model.reference)
    progress(stage("reading the log"))
    with opened_log(model, artefact, context) as log:
        records = log.latest(artefact.name, until=until, limit=MAX_REPLAYED_ROWS)
    in_time = [record for record in records if record.at >= since]
    progress(stage(f"predicting {len(in_time):,} logged rows again"))
    return replay_records(in_time, other)
