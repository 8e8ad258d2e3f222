"""Profile + findings -> one offline HTML file that is read by eye, by keyboard and by screen reader alike."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from estimator.core.text import format_number
from estimator.exploration.cards import BarTable, card, facts, level_table, share_of
from estimator.exploration.correlations import shown_columns, strongest_pairs
from estimator.exploration.findings import SEVERITIES, Finding
from estimator.exploration.profile import ColumnProfile, Profile
from estimator.exploration.scatter import clouds
from estimator.pages import charts
from estimator.pages.render import render_page, resource

MOST_GAPS = 40
MOST_AXES = 8
MOST_ASSOCIATIONS = 8


def exploration_page(profile: Profile, findings: Sequence[Finding], *, name: str) -> bytes:
    """Return the page."""
    anchors = _anchors(profile)
    target = profile.column(profile.target)
    features = [column for column in profile.columns if column.name != profile.target]
    return render_page(
        "exploration.html.j2",
        script=resource("exploration.js"),
        name=name,
        profile=profile,
        kinds=Counter(column.kind for column in features).most_common(),
        gaps=share_of(sum(column.gaps for column in profile.columns), profile.rows * len(profile.columns)),
        repeated=share_of(profile.duplicate_rows, profile.rows),
        anchors=anchors,
        findings=[_finding(item, anchors) for item in findings],
        severities=[(word, sum(item.severity == word for item in findings)) for word in SEVERITIES],
        target=card(target, profile, anchor="target", findings=findings),
        target_chart=_target_chart(target),
        target_facts=facts(target, profile) | _quantiles(target),
        target_levels=level_table(target, profile, most=20) if target.top else None,
        associations=_associations(profile),
        heat=_heat(profile),
        pairs=strongest_pairs(profile),
        clouds=clouds(profile),
        axes=_axes(profile),
        gap_table=_gap_table(profile),
        cards=[card(column, profile, anchor=anchors[column.name], findings=findings) for column in features],
    )


def edit_text(edit: Mapping[str, Any]) -> str:
    """Return an edit as the lines one would write into the config.

    >>> print(edit_text({"data.drop": ["id"]}))
    data.drop: ["id"]
    """
    return "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in edit.items())


def linked(sentence: str, names: Sequence[str], anchors: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return a sentence in parts with the anchor each leads to; names it does not tell follow at its end.

    >>> linked("TAX and RAD move together", ["TAX", "RAD"], {"TAX": "c9", "RAD": "c8"})
    [('TAX', 'c9'), (' and ', ''), ('RAD', 'c8'), (' move together', '')]
    """
    known = sorted((name for name in set(names) if name and name in anchors), key=lambda name: (-len(name), name))
    if not known:
        return [(sentence, "")]
    pattern = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, known))})(?!\w)")
    parts, told = [], set()
    for place, text in enumerate(pattern.split(sentence)):
        # A second mention may be a common word: "same is the same in every row".
        parts.append((text, anchors[text] if place % 2 and text not in told else ""))
        told |= {text} if place % 2 else set()
    parts = [part for part in parts if part[0]]
    for name in sorted(set(known) - told, key=list(names).index):
        parts += [(" · ", ""), (name, anchors[name])]
    return parts


def _anchors(profile: Profile) -> dict[str, str]:
    found = {column.name: f"c{place}" for place, column in enumerate(profile.columns, start=1)}
    return found | {profile.target: "target"}


def _finding(finding: Finding, anchors: Mapping[str, str]) -> dict[str, Any]:
    return {
        "number": finding.number,
        "severity": finding.severity,
        "rule": finding.rule,
        "parts": linked(finding.sentence, finding.columns, anchors),
        "edit": edit_text(finding.edit) if finding.edit else "",
    }


def _target_chart(target: ColumnProfile) -> str:
    if target.histogram is None or target.top:
        return ""
    name = charts.shortened(target.name, 60)
    return charts.distribution(*target.histogram, x_title=name, title=f"distribution of {name}")


def _quantiles(target: ColumnProfile) -> dict[str, str]:
    """Return the extremes and quantiles of a target that is a number."""
    if target.top or not target.quantiles:
        return {}
    names = {"0.01": "1%", "0.25": "25%", "0.75": "75%", "0.99": "99%"}
    inner = {name: format_number(target.quantiles[key]) for key, name in names.items() if key in target.quantiles}
    return {"min": format_number(target.numbers["min"]), **inner, "max": format_number(target.numbers["max"])}


def _associations(profile: Profile) -> BarTable | None:
    """Return the columns that hang together most with the target."""
    known = [(name, *found) for name, found in profile.with_target.items() if abs(found[1]) >= 0.005]
    shown = sorted(known, key=lambda item: -abs(item[2]))[:MOST_ASSOCIATIONS]
    if not shown:
        return None
    rows = [(name, measure, f"{value:.2f}") for name, measure, value in shown]
    bars = charts.row_bars([min(abs(value), 1.0) for _, _, value in shown])
    return BarTable("columns by their association with the target", ("column", "measure", "value"), rows, bars)


def _heat(profile: Profile) -> str:
    order = shown_columns(profile)
    if len(order) < 2:
        return ""
    names = [charts.shortened(profile.numeric[place], 60) for place in order]
    values = np.nan_to_num(profile.pearson[np.ix_(order, order)])
    return charts.heat(values, names, title="correlations of columns, similar ones side by side")


def _axes(profile: Profile) -> BarTable | None:
    if len(profile.axes) < 2:
        return None
    shown = list(profile.axes[:MOST_AXES])
    rows = [
        (f"axis {place}", f"{share:.1%}", f"{sum(shown[:place]):.1%}") for place, share in enumerate(shown, start=1)
    ]
    heads = ("principal axis", "variance", "together")
    return BarTable("variance along each principal axis", heads, rows, charts.row_bars(shown))


def _gap_table(profile: Profile) -> BarTable | None:
    with_gaps = sorted((column for column in profile.columns if column.gaps), key=lambda column: -column.gaps)
    if not with_gaps:
        return None
    shown = with_gaps[:MOST_GAPS]
    rows = [(column.name, share_of(column.gaps, profile.rows)) for column in shown]
    bars = charts.row_bars([column.gaps / max(profile.rows, 1) for column in shown])
    more = f"and {len(with_gaps) - len(shown):,} more columns with fewer" if len(with_gaps) > len(shown) else ""
    return BarTable("gaps of columns", ("column", "gaps"), rows, bars, [column.gaps for column in shown], more)
