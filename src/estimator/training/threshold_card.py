"""A decision threshold on the report's page: a table of what it changes, and curves over all thresholds."""

from __future__ import annotations

from typing import Any

from estimator.core.requirement import Requirement
from estimator.core.text import join_names
from estimator.evaluation.threshold import HALF
from estimator.evaluation.threshold_effect import ThresholdEffect
from estimator.pages import charts
from estimator.pages.charts import Chart, Curve, LegendKey


def threshold_card(effect: ThresholdEffect | None) -> dict[str, Any] | None:
    """Return what the template shows of a threshold, None without one."""
    if effect is None:
        return None
    return {"sentences": [effect.threshold.sentence, effect.sentence], "table": _table(effect), "chart": _chart(effect)}


def _table(effect: ThresholdEffect) -> list[tuple[str, ...]]:
    """Return a row per metric, below a header."""
    head = ("metric", f"at {effect.threshold.value:.4g}", "at 0.5", "better by")
    return [
        head,
        *(
            (name, str(effect.at_threshold[name]), str(effect.at_half[name]), str(gain))
            for name, gain in effect.gains.items()
        ),
    ]


def _chart(effect: ThresholdEffect) -> Chart:
    series = {
        f"{name}, held-out rows": Curve(curve.held_out, curve.low, curve.high) for name, curve in effect.curves.items()
    }
    for name, curve in effect.curves.items():
        if curve.out_of_fold is not None and len(effect.curves) == 1:
            series[f"{name}, out-of-fold rows"] = Curve(curve.out_of_fold)
    names, bound = join_names(effect.curves), Requirement.parse(effect.threshold.rule)
    svg = charts.curves(
        effect.grid,
        list(series.values()),
        marked=effect.threshold.value,
        compared=HALF,
        x_title=f"threshold for the probability of {effect.threshold.positive_class!r}",
        y_title=names,
        title=f"{names} by threshold",
        level=None if bound is None else bound.value,
    )
    reading = "The vertical line is the threshold in use, the dashed one 0.5; bands are confidence intervals."
    reading += "" if bound is None else f" The horizontal line is {bound.metric} {bound.value:g}."
    legend = [
        LegendKey(f'<path class="line c{number}{"" if curve.low is not None else " dashed"}" d="M0 6h24"/>', name)
        for number, (name, curve) in enumerate(series.items())
    ]
    return Chart(f"{names} by threshold", reading, svg, legend)
