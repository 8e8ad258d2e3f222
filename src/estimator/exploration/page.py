"""Profile + findings -> one offline HTML file, with a few lines of script for search and copying."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from estimator import charts
from estimator.errors import needs_extra
from estimator.exploration.findings import Finding
from estimator.exploration.profile import ColumnProfile, Profile
from estimator.task import Floats
from estimator.wording import figure

SHOWN_POINTS = 600
MOST_HEAT = 60


def exploration_page(profile: Profile, findings: Sequence[Finding], *, name: str) -> bytes:
    """Return the page."""
    with needs_extra("train", "writing the page"):
        from jinja2 import Environment, StrictUndefined
    source = files("estimator.templates").joinpath("exploration.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    target = profile.column(profile.target)
    page = environment.from_string(source).render(
        name=name,
        profile=profile,
        findings=[_finding(item) for item in findings],
        target=_card(target, profile),
        target_chart=_target_chart(target),
        cards=[_card(column, profile) for column in profile.columns if column.name != profile.target],
        heat=_heat(profile),
        cloud=_cloud(profile),
        explained=sum(profile.axes[:2]),
    )
    return page.encode()


def edit_text(edit: Mapping[str, Any]) -> str:
    """Return an edit as the lines one would write into the config.

    >>> print(edit_text({"data.drop": ["id"]}))
    data.drop: ["id"]
    """
    return "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in edit.items())


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "number": finding.number,
        "severity": finding.severity,
        "rule": finding.rule,
        "sentence": finding.sentence,
        "edit": edit_text(finding.edit) if finding.edit else "",
    }


def _target_chart(target: ColumnProfile) -> str:
    if target.histogram is not None:
        edges, counts = target.histogram
        return charts.distribution(edges, counts, x_title=target.name, title=f"distribution of {target.name}")
    if not target.top:
        return ""
    names, sizes = [level for level, _, _ in target.top], [float(count) for _, count, _ in target.top]
    return charts.bars(names, sizes, [0.0] * len(sizes), title=f"levels of {target.name}")


def _card(column: ColumnProfile, profile: Profile) -> dict[str, Any]:
    shape = ""
    if column.histogram is not None:
        shape = charts.spark(list(map(float, column.histogram[1])), title=f"distribution of {column.name}")
    elif column.top:
        shape = charts.spark([float(count) for _, count, _ in column.top], title=f"commonest levels of {column.name}")
    measure = profile.with_target.get(column.name)
    facts = {"gaps": f"{column.gaps / max(profile.rows, 1):.1%}" if column.gaps else "none"}
    facts["distinct"] = f"{'' if column.distinct_is_exact else 'about '}{column.distinct:,}"
    for key in ("mean", "std", "min", "max", "skewness"):
        if key in column.numbers and np.isfinite(column.numbers[key]) and column.kind not in ("date", "datetime"):
            facts[key] = figure(float(column.numbers[key]))
    if measure is not None and np.isfinite(measure[1]):
        facts[f"{measure[0]} with {profile.target}"] = f"{measure[1]:.2f}"
    if np.isfinite(profile.inflation.get(column.name, np.nan)):
        facts["variance inflation"] = figure(profile.inflation[column.name])
    top = [f"{level} ({count:,})" for level, count, _ in column.top[:5]]
    return {"name": column.name, "kind": column.kind, "shape": shape, "facts": facts, "top": top}


def _heat(profile: Profile) -> str:
    values = np.nan_to_num(profile.pearson)
    if len(profile.numeric) < 2:
        return ""
    order = _clustered(values)[:MOST_HEAT]
    names = [profile.numeric[place] for place in order]
    return charts.heat(values[np.ix_(order, order)], names, title="correlations, similar columns side by side")


def _clustered(values: Floats) -> list[int]:
    """Return columns in the order of their angle on the first two axes (Friendly, 2002, "Corrgrams")."""
    _, vectors = np.linalg.eigh(values)
    angles = np.arctan2(vectors[:, -2], vectors[:, -1])
    order = np.argsort(angles)
    gaps = np.diff(np.append(angles[order], angles[order][0] + 2 * np.pi))
    # The circle is cut where neighbours are least alike.
    cut = int(np.argmax(gaps)) + 1
    return [int(place) for place in np.roll(order, -cut)]


def _cloud(profile: Profile) -> str:
    if len(profile.places) < 3:
        return ""
    step = max(1, len(profile.places) // SHOWN_POINTS)
    colours = np.nan_to_num(profile.place_colours[: len(profile.places)])
    return charts.cloud(profile.places[::step], colours[::step], title="rows on the first two principal axes")
