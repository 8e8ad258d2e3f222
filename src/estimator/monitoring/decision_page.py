"""A decision of retraining -> one offline HTML page: which candidate was chosen, and why."""

from __future__ import annotations

from estimator.core.text import format_duration, format_e_value, format_number
from estimator.monitoring.retrain import WORDS, Candidate, Decision
from estimator.pages.render import render_page


def decision_page(decision: Decision) -> bytes:
    """Return the page."""
    return render_page(
        "decision.html.j2",
        decision=decision,
        rows=[(name.replace("_", " "), f"{count:,}") for name, count in decision.rows.items()],
        candidates=[_row(each) for each in decision.candidates],
        metrics=[
            (each.kind, one.metric, format_number(one.first), format_number(one.second), str(one.gain), one.verdict)
            for each in decision.candidates
            for one in each.compared
        ],
    )


def _row(candidate: Candidate) -> tuple[str, ...]:
    first = candidate.compared[0] if candidate.compared else None
    return (
        candidate.kind, WORDS[candidate.kind], candidate.version or "",
        "" if first is None else f"{first.gain}: {first.verdict}",
        "" if first is None else format_e_value(candidate.evidence),
        "" if candidate.forgot is None else f"{candidate.forgot:+.1%}",
        format_duration(candidate.seconds), candidate.problem or "",
    )  # fmt: skip
