"""The decision of a retraining: which candidate replaces the live version, if any, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from estimator.config import Retraining
from estimator.core.clock import Moment
from estimator.monitoring.candidates import WITH_OLD_ROWS, Candidate, CandidateKind, RetrainingRows
from estimator.store.artefact import Artefact

# The more rows a candidate learns, and the less it depends on the version before, the later it comes.
BY_ROWS: tuple[CandidateKind, ...] = ("new_only", "warm_start", "recent", "tune", "refit")
DECISIONS_FOLDER, EVIDENCE_FILE = "decisions", "evidence.json"


@dataclass(frozen=True)
class Decision:
    """All candidates of a retraining, the version of the chosen one, None for none, and the reasons.

    `reason` is why there was a retraining; the first of `reasons` is the outcome, then comes one per candidate.
    `record` names its folder. `notes` say which new rows were left out or filled in. With `judged`, the version of the
    candidate, the chosen version is that one trained once more, on all rows.
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
    judged: str | None = None

    @property
    def chosen_kind(self) -> CandidateKind | None:
        """The kind of the candidate that was chosen."""
        version = self.judged or self.chosen
        return next((item.kind for item in self.candidates if item.version == version is not None), None)

    def trained_on_all(self, version: str) -> Decision:
        """Return the decision with the chosen candidate trained once more, as another version."""
        outcome = (
            f"{self.reasons[0]}, then trained once more on all rows, those of the comparison included, as {version}"
        )
        return replace(self, chosen=version, judged=self.chosen, reasons=(outcome, *self.reasons[1:]))

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
    settings: Retraining,
    reason: str,
    notes: Sequence[str] = (),
) -> Decision:
    """Choose the candidate that is proven better on the holdout and gains most, and is not much worse on old rows.

    With `prefer: newest`, those for which the holdout cannot tell come after those that are better; of them the one
    with most rows is chosen, as the largest gain would be chance. Candidates of the newest rows alone then come last,
    whatever they gain: where neighbors are alike, a holdout that follows at once favors what learned nothing else.
    """
    reasons, eligible = [], []
    for candidate in candidates:
        verdict, is_eligible = _verdict(candidate, settings)
        reasons.append(f"{candidate.kind}: {verdict}")
        eligible += [candidate] if is_eligible else []
    best = max(eligible, key=partial(_order, settings.prefer), default=None)
    if best is None:
        outcome = "the live version stays: no candidate is proven better"
    elif best.comparisons[0].verdict == "better":
        outcome = f"chosen: {best.kind}"
    else:
        outcome = f"chosen: {best.kind}, as the newest (retraining.prefer); the holdout cannot tell which is better"
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


def _order(prefer: str, candidate: Candidate) -> tuple[bool, bool, float]:
    """Return what puts the best candidate last: proven ones by their gain, after the others by their rows."""
    first = candidate.comparisons[0]
    is_better, has_old_rows = first.verdict == "better", prefer == "newest" and candidate.kind in WITH_OLD_ROWS
    return has_old_rows, is_better, first.gain.value if is_better else BY_ROWS.index(candidate.kind)


def _verdict(candidate: Candidate, settings: Retraining) -> tuple[str, bool]:
    """Return why a candidate may be chosen or not, and whether it may."""
    if candidate.error is not None:
        return candidate.error, False
    first = candidate.comparisons[0]
    verdict = first.sentence
    if candidate.regression is not None and candidate.regression > settings.max_regression:
        limit = f"at most {settings.max_regression:.0%} is allowed"
        return f"{verdict}; the error on old rows grew by {candidate.regression:.0%}, {limit}", False
    if first.verdict != "better" and (first.verdict != "undecided" or settings.prefer == "proven"):
        return verdict, False
    on_old_rows = "" if candidate.regression is None else f"; error on old rows {candidate.regression:+.1%}"
    return f"{verdict}{on_old_rows}", True
