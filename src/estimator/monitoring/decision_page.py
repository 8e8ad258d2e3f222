"""The page of a retraining decision: the candidates, which one was chosen, and why."""

from __future__ import annotations

from estimator.core.text import format_duration, format_number
from estimator.monitoring.candidates import DESCRIPTIONS, Candidate
from estimator.monitoring.decision import Decision
from estimator.pages.render import render_page


def decision_page(decision: Decision) -> bytes:
    """Return the page."""
    return render_page(
        "decision.html.j2",
        decision=decision,
        rows=[(name.removeprefix("n_").replace("_", " "), f"{count:,}") for name, count in decision.rows.items()],
        candidates=[_row(candidate) for candidate in decision.candidates],
        metrics=[
            (
                candidate.kind,
                comparison.metric,
                format_number(comparison.first),
                format_number(comparison.second),
                str(comparison.gain),
                comparison.verdict,
            )
            for candidate in decision.candidates
            for comparison in candidate.comparisons
        ],
    )


def _row(candidate: Candidate) -> tuple[str, ...]:
    first = candidate.comparisons[0] if candidate.comparisons else None
    return (
        candidate.kind,
        DESCRIPTIONS[candidate.kind],
        candidate.version or "",
        "" if first is None else f"{first.gain}: {first.verdict}",
        "" if candidate.regression is None else f"{candidate.regression:+.1%}",
        format_duration(candidate.train_seconds),
        candidate.error or "",
    )
