"""Outcome of a search -> one offline HTML file in the report's style."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from estimator.core.text import format_number
from estimator.evaluation.metrics import SHELF
from estimator.pages import charts
from estimator.pages.charts import Chart
from estimator.pages.render import render_page
from estimator.tuning.outcome import Outcome
from estimator.tuning.search import is_beyond, score_of
from estimator.tuning.space import shown
from estimator.tuning.study import FINISHED

MOST_SLICES = 12


def tuning_page(found: Outcome, *, name: str) -> bytes:
    """Return the page."""
    folds = found.on_folds
    scores = [("folds of the search", format_number(found.search), "" if folds is None else format_number(folds.first)),
              ("held-out rows", str(found.held_out), str(found.untuned))]  # fmt: skip
    higher = SHELF.load(found.metric).higher_is_better
    return render_page(
        "tuning.html.j2",
        name=name,
        counts=found.counts,
        verdict=found.verdict,
        metric=found.metric,
        direction="more is better" if higher else "less is better",
        scores=scores,
        gains=[
            (one.metric, format_number(one.first), format_number(one.second), str(one.gain), one.verdict)
            for one in found.compared
        ],
        best=found.best.number,
        settings=[(key, shown(value)) for key, value in found.edits.items()],
        charts=[chart for chart in _charts(found, higher=higher) if chart.svg],
        trials=[_row(trial) for trial in found.trials if trial.state in FINISHED],
    )


def _row(trial: FrozenTrial) -> tuple[str, ...]:
    told = trial.user_attrs["told"]
    score = score_of(trial) if told["scores"] else math.nan
    settings = ", ".join(f"{key} {shown(value)}" for key, value in trial.user_attrs["edits"].items())
    settings = settings or "the config's own"
    return (str(trial.number), format_number(score) if math.isfinite(score) else "", format_number(told["seconds"]), settings,
            told["reason"] or "")  # fmt: skip


def _charts(found: Outcome, *, higher: bool) -> list[Chart]:
    complete = [
        trial for trial in found.trials if trial.state == TrialState.COMPLETE and math.isfinite(score_of(trial))
    ]
    span = _span([score_of(trial) for trial in complete], higher=higher)
    kept = [trial for trial in complete if not is_beyond(trial)]
    beyond = [trial for trial in complete if is_beyond(trial)]
    groups = {"within limits": _over(kept), "beyond a limit": _over(beyond)} if beyond else {"": _over(kept)}
    history = charts.points(
        groups, x_title="trial", y_title=found.metric, title="score by trial", y=span,
        best=_best_so_far(kept, higher=higher),
    )  # fmt: skip
    shares = {key: value for key, value in found.importance.items() if value > 0}
    bars = charts.bars(list(shares), list(shares.values()), [0.0] * len(shares), title="importance") if shares else ""
    return [
        Chart("History", "Trials that came to their end, and the best so far.", history),
        Chart("What the score hangs on", "Shares of the settings, by PED-ANOVA (Watanabe et al., 2023).", bars),
        *_trade_offs(complete, found, span),
        *_slices(complete, found, span),
    ]


def _over(trials: Sequence[FrozenTrial]) -> list[tuple[float, float]]:
    return [(float(trial.number), score_of(trial)) for trial in trials]


def _best_so_far(trials: Sequence[FrozenTrial], *, higher: bool) -> list[tuple[float, float]]:
    scores = np.array([score_of(trial) for trial in trials])
    best = np.maximum.accumulate(scores) if higher else np.minimum.accumulate(scores)
    return [(float(trial.number), float(value)) for trial, value in zip(trials, best, strict=True)]


def _span(scores: Sequence[float], *, higher: bool) -> tuple[float, float]:
    """Return the range that shows the good scores; the worst tenth may lie far off."""
    low, high = (float(value) for value in np.quantile(scores, [0.1, 1.0] if higher else [0.0, 0.9]))
    room = 0.08 * (high - low) or abs(high) * 0.05 or 1.0
    return low - room, high + room


def _trade_offs(trials: Sequence[FrozenTrial], found: Outcome, span: tuple[float, float]) -> list[Chart]:
    """Return the score against what the graph costs, where a limit asked for it."""
    units = {"latency_ms": "ms for one row", "size_mb": "MB of the graph"}
    made = []
    for name in [name for name in units if name in found.limits]:
        pairs = [(trial.user_attrs["told"]["measures"][name], score_of(trial)) for trial in trials]
        svg = charts.points(
            {"": pairs}, x_title=units[name], y_title=found.metric, title=f"score against {name}", y=span,
            limit=float(str(found.limits[name]).strip("<= ")),
        )  # fmt: skip
        made.append(Chart(f"Score against {name}", "The broken line is the limit.", svg))
    return made


def _slices(trials: Sequence[FrozenTrial], found: Outcome, span: tuple[float, float]) -> list[Chart]:
    names = sorted(
        {name for trial in trials for name in trial.params}, key=lambda name: -found.importance.get(name, 0.0)
    )
    return [_slice(name, trials, found.metric, span) for name in names[:MOST_SLICES]]


def _slice(name: str, trials: Sequence[FrozenTrial], metric: str, span: tuple[float, float]) -> Chart:
    having = [trial for trial in trials if name in trial.params]
    kind = having[0].distributions[name]
    reading, title = "Trials by this setting alone.", name
    if isinstance(kind, CategoricalDistribution):
        place = {choice: float(number) for number, choice in enumerate(kind.choices)}
        pairs = [(place[trial.params[name]], score_of(trial)) for trial in having]
        told = [f"{number}: {shown(_value(choice))}" for number, choice in enumerate(kind.choices)]
        reading = f"Trials by this choice alone; {'; '.join(told)}."
    elif getattr(kind, "log", False):
        pairs = [(math.log10(trial.params[name]), score_of(trial)) for trial in having]
        title = f"{name}, as a power of 10"
    else:
        pairs = [(float(trial.params[name]), score_of(trial)) for trial in having]
    svg = charts.points({"": pairs}, x_title=title, y_title=metric, title=f"score by {name}", y=span)
    return Chart(name, reading, svg)


def _value(label: object) -> object:
    """Return the choice that a label stands for; kinds of models are their own labels."""
    try:
        return json.loads(str(label))
    except json.JSONDecodeError:
        return label
