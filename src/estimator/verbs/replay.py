"""replay: logged requests through another version; what would be different?"""

from __future__ import annotations

from estimator.monitoring.replay import Replayed, replayed
from estimator.verbs.context import Context
from estimator.verbs.monitor import MonitoredModel, opened_log

MOST_REPLAYED = 100_000


def replay(model: MonitoredModel, against: str, context: Context, *, since: float, until: float) -> Replayed:
    """Predict the last 100,000 rows logged in a time span, in seconds since 1970, by another version, and compare."""
    other, artefact = context.version(against), context.version(model.reference)
    with opened_log(model, artefact, context) as database:
        logged = database.latest(artefact.name, until=until, limit=MOST_REPLAYED)
    return replayed([row for row in logged if row.at >= since], other)
