"""The decision of a retraining: which candidate replaces the live version, if any, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from estimator.core.clock import Moment
from estimator.monitoring.candidates import Candidate, RetrainingRows
from estimator.store.artefact import Artefact

DECISIONS_FOLDER, EVIDENCE_FILE = "decisions", "evidence.json"


@dataclass(frozen=True)
class Decision:
    """All candidates of a retraining, the version of the chosen one, None for none, and the reasons.

    `reason` is why there was a retraining; the first of `reasons` is the outcome, then comes one per candidate.
    `record` names its folder. `notes` say which new rows were left out or filled in.
    """

    model: str
    live: str
    time: str
    reason: str
    rows: Mapping[str, int]
    candidates: tuple[Candidate, ...]
    chosen: str | None
    reasons: tuple[str, ...]
    record: str
    notes: tuple[str, ...] = ()

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        candidates = [candidate.to_data() for candidate in self.candidates]
        return {**asdict(replace(self, candidates=())), "candidates": candidates}


@dataclass(frozen=True)
class HoldoutEvidence:
    """What a retraining has shown of the candidate that it chose among `n_candidates`, row by row of its holdout.

    `gains` are the losses of the version that was live, `live`, minus the candidate's.
    """

    live: str = ""
    chosen: str = ""
    n_candidates: int = 1
    gains: Sequence[float] = ()

    @classmethod
    def find(cls, model_folder: Path, *, live: str, candidate: str) -> HoldoutEvidence:
        """Return the evidence of the retraining that chose a candidate over the live version; without one, none."""
        for path in sorted(model_folder.glob(f"{DECISIONS_FOLDER}/*/{EVIDENCE_FILE}"), reverse=True):
            evidence = cls(**json.loads(path.read_text()))
            if (evidence.live, evidence.chosen) == (live, candidate):
                return evidence
        return cls()


def decide(
    live: Artefact,
    rows: RetrainingRows,
    candidates: Sequence[Candidate],
    *,
    max_regression: float,
    reason: str,
    notes: Sequence[str] = (),
) -> Decision:
    """Choose the candidate that gains most on the holdout and is not much worse on old rows."""
    reasons, eligible = [], []
    for candidate in candidates:
        verdict, is_eligible = _verdict(candidate, max_regression)
        reasons.append(f"{candidate.kind}: {verdict}")
        eligible += [candidate] if is_eligible else []
    best = max(eligible, key=lambda candidate: candidate.comparisons[0].gain.value, default=None)
    outcome = f"chosen: {best.kind}" if best is not None else "the live version stays: no candidate is better"
    moment = Moment.now()
    return Decision(
        model=live.name,
        live=live.version,
        time=moment.iso,
        record=moment.version,
        reason=reason,
        rows=rows.counts,
        candidates=tuple(candidates),
        chosen=None if best is None else best.version,
        reasons=(outcome, *reasons),
        notes=tuple(notes),
    )


def _verdict(candidate: Candidate, max_regression: float) -> tuple[str, bool]:
    """Return why a candidate may be chosen or not, and whether it may."""
    if candidate.error is not None:
        return candidate.error, False
    first = candidate.comparisons[0]
    verdict = first.sentence
    if candidate.regression is not None and candidate.regression > max_regression:
        loss = f"the error on old rows grew by {candidate.regression:.0%}, at most {max_regression:.0%} is allowed"
        return f"{verdict}; {loss}", False
    if first.verdict == "not better" or first.gain.value <= 0:
        return verdict, False
    on_old_rows = "" if candidate.regression is None else f"; error on old rows {candidate.regression:+.1%}"
    return f"{verdict}{on_old_rows}", True
