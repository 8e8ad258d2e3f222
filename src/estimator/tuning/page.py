"""The result of a search -> one offline HTML page."""

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
from estimator.tuning.result import SearchResult
from estimator.tuning.search import breaks_limit, score_of
from estimator.tuning.space import format_setting
from estimator.tuning.study import FINISHED

MAX_SETTING_CHARTS = 12


def tuning_page(result: SearchResult, *, name: str) -> bytes:
    """Return the page."""
    on_folds = result.on_folds
    untuned_on_folds = "" if on_folds is None else format_number(on_folds.first)
    is_higher_better = SHELF.load(result.metric).higher_is_better
    return render_page(
        "tuning.html.j2",
        name=name,
        counts=result.counts,
        verdict=result.verdict,
        metric=result.metric,
        direction="higher is better" if is_higher_better else "lower is better",
        scores=[
            ("folds of the search", format_number(result.search_score), untuned_on_folds),
            ("held-out rows", str(result.held_out), str(result.untuned)),
        ],
        comparisons=[
            (item.metric, format_number(item.first), format_number(item.second), str(item.gain), item.verdict)
            for item in result.comparisons
        ],
        best=result.best.number,
        settings=[(key, format_setting(value)) for key, value in result.edits.items()],
        charts=[chart for chart in _charts(result, is_higher_better=is_higher_better) if chart.svg],
        trials=[_row(trial) for trial in result.trials if trial.state in FINISHED],
    )


def _row(trial: FrozenTrial) -> tuple[str, ...]:
    trial_result = trial.user_attrs["result"]
    score = score_of(trial) if trial_result["scores"] else math.nan
    settings = ", ".join(f"{key} {format_setting(value)}" for key, value in trial.user_attrs["edits"].items())
    return (
        str(trial.number),
        format_number(score) if math.isfinite(score) else "",
        format_number(trial_result["seconds"]),
        settings or "current config",
        trial_result["reason"] or "",
    )


def _charts(result: SearchResult, *, is_higher_better: bool) -> list[Chart]:
    complete = [
        trial for trial in result.trials if trial.state == TrialState.COMPLETE and math.isfinite(score_of(trial))
    ]
    span = _span([score_of(trial) for trial in complete], is_higher_better=is_higher_better)
    valid = [trial for trial in complete if not breaks_limit(trial)]
    over_limit = [trial for trial in complete if breaks_limit(trial)]
    history = charts.points(
        {"within limits": _by_number(valid), "over a limit": _by_number(over_limit)}
        if over_limit
        else {"": _by_number(valid)},
        x_title="trial",
        y_title=result.metric,
        title="score by trial",
        y=span,
        best=_best_so_far(valid, is_higher_better=is_higher_better),
    )
    importance = {key: value for key, value in result.importance.items() if value > 0}
    bars = ""
    if importance:
        bars = charts.bars(list(importance), *[list(importance.values())] * 3, title="importance")
    caption = "How much of the variation of the score each setting explains, by PED-ANOVA (Watanabe et al., 2023)."
    return [
        Chart("Search history", "Finished trials, and the best score so far.", history),
        Chart("Hyperparameter importance", caption, bars),
        *_limit_charts(complete, result, span),
        *_setting_charts(complete, result, span),
    ]


def _by_number(trials: Sequence[FrozenTrial]) -> list[tuple[float, float]]:
    return [(float(trial.number), score_of(trial)) for trial in trials]


def _best_so_far(trials: Sequence[FrozenTrial], *, is_higher_better: bool) -> list[tuple[float, float]]:
    scores = np.array([score_of(trial) for trial in trials])
    best = np.maximum.accumulate(scores) if is_higher_better else np.minimum.accumulate(scores)
    return [(float(trial.number), float(value)) for trial, value in zip(trials, best, strict=True)]


def _span(scores: Sequence[float], *, is_higher_better: bool) -> tuple[float, float]:
    """Return the range of the score axis, without the worst tenth, which may be far off."""
    low, high = (float(value) for value in np.quantile(scores, [0.1, 1.0] if is_higher_better else [0.0, 0.9]))
    padding = 0.08 * (high - low) or abs(high) * 0.05 or 1.0
    return low - padding, high + padding


def _limit_charts(trials: Sequence[FrozenTrial], result: SearchResult, span: tuple[float, float]) -> list[Chart]:
    """Return the score against latency and size, where the config limits them."""
    titles = {"latency_ms": "ms per row", "size_mb": "size of the graph in MB"}
    drawn = []
    for name in [name for name in titles if name in result.limits]:
        svg = charts.points(
            {"": [(trial.user_attrs["result"]["measures"][name], score_of(trial)) for trial in trials]},
            x_title=titles[name],
            y_title=result.metric,
            title=f"score against {name}",
            y=span,
            limit=float(str(result.limits[name]).strip("<= ")),
        )
        drawn.append(Chart(f"Score against {name}", "The dashed line is the limit.", svg))
    return drawn


def _setting_charts(trials: Sequence[FrozenTrial], result: SearchResult, span: tuple[float, float]) -> list[Chart]:
    names = {name for trial in trials for name in trial.params}
    most_important = sorted(names, key=lambda name: -result.importance.get(name, 0.0))
    return [_setting_chart(name, trials, result.metric, span) for name in most_important[:MAX_SETTING_CHARTS]]


def _setting_chart(name: str, trials: Sequence[FrozenTrial], metric: str, span: tuple[float, float]) -> Chart:
    trials = [trial for trial in trials if name in trial.params]
    distribution = trials[0].distributions[name]
    caption, title = "Trials by this setting.", name
    if isinstance(distribution, CategoricalDistribution):
        index = {choice: float(number) for number, choice in enumerate(distribution.choices)}
        points = [(index[trial.params[name]], score_of(trial)) for trial in trials]
        choices = [f"{number} is {format_setting(_value(label))}" for number, label in enumerate(distribution.choices)]
        caption = f"Trials by this choice: {', '.join(choices)}."
    elif getattr(distribution, "log", False):
        points = [(math.log10(trial.params[name]), score_of(trial)) for trial in trials]
        title = f"log10 of {name}"
    else:
        points = [(float(trial.params[name]), score_of(trial)) for trial in trials]
    svg = charts.points({"": points}, x_title=title, y_title=metric, title=f"score by {name}", y=span)
    return Chart(name, caption, svg)


def _value(label: object) -> object:
    """Return the choice that a label encodes; kinds of models are their own labels."""
    try:
        return json.loads(str(label))
    except json.JSONDecodeError:
        return label
