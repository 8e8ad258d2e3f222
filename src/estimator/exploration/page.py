"""Profile + findings -> one offline HTML page, usable by mouse, keyboard and screen reader."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np

from estimator.core.text import format_number
from estimator.exploration.cards import BarTable, card, category_table, facts, format_fraction
from estimator.exploration.correlations import shown_columns, strongest_pairs
from estimator.exploration.findings import SEVERITIES, Finding, Numbered
from estimator.exploration.profile import ColumnProfile, Profile
from estimator.exploration.scatter import scatter_plots
from estimator.pages import charts
from estimator.pages.axes import shortened
from estimator.pages.render import render_page, resource

MAX_MISSING_SHOWN = 40
MAX_COMPONENTS = 8
MAX_ASSOCIATIONS = 8


def exploration_page(profile: Profile, findings: Sequence[Finding], *, name: str, notes: Sequence[str] = ()) -> bytes:
    """Return the page; `notes` say how the table was read."""
    anchors = _anchors(profile)
    target = profile.column(profile.target)
    features = [column for column in profile.columns if column.name != profile.target]
    return render_page(
        "exploration.html.j2",
        script=resource("exploration.js"),
        name=name,
        profile=profile,
        kinds=Counter(column.kind for column in features).most_common(),
        missing=format_fraction(sum(column.missing for column in profile.columns), profile.rows * len(profile.columns)),
        notes=notes,
        repeated=format_fraction(profile.duplicate_rows, profile.rows),
        anchors=anchors,
        findings=[_finding(item, anchors) for item in findings],
        severities=[(severity, sum(item.severity == severity for item in findings)) for severity in SEVERITIES],
        target=card(target, profile, anchor="target", findings=findings),
        target_chart=_target_chart(target),
        target_facts=facts(target, profile) | _quantiles(target),
        target_classes=category_table(target, profile, most=20) if target.top_categories else None,
        associations=_associations(profile),
        heat_map=_heat_map(profile),
        pairs=strongest_pairs(profile),
        scatter_plots=scatter_plots(profile),
        components=_component_table(profile),
        missing_table=_missing_table(profile),
        cards=[card(column, profile, anchor=anchors[column.name], findings=findings) for column in features],
    )


def table_on(path: Path) -> str | None:
    """Return the name of the table that an earlier page shows, "" if it is another page; None if there is none."""
    return _read(path).table[0] if path.is_file() else None


def numbers_on(path: Path, *, name: str, target: str) -> list[Numbered]:
    """Return the numbers of the findings on an earlier page of this table and target; none if there is no such page."""
    if not path.is_file():
        return []
    reader = _read(path)
    return reader.items if reader.table == (name, target) else []


def _read(path: Path) -> _NumberReader:
    reader = _NumberReader()
    reader.feed(path.read_text(encoding="utf-8", errors="replace"))
    return reader


class _NumberReader(HTMLParser):
    """Collects the findings of a page. Mutable, as its base is."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[Numbered] = []
        self.table = ("", "")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "main":
            self.table = (values.get("data-table") or "", values.get("data-target") or "")
        number, rule, columns = values.get("id") or "", values.get("data-rule"), values.get("data-columns")
        if tag == "li" and rule and columns and number[1:].isdecimal():
            self.items.append(Numbered(int(number[1:]), rule, tuple(json.loads(columns))))


def edit_text(edit: Mapping[str, Any]) -> str:
    """Return an edit as lines of the config.

    >>> print(edit_text({"data.drop": ["id"]}))
    data.drop: ["id"]
    """
    return "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in edit.items())


def linked(sentence: str, names: Sequence[str], anchors: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return a sentence as (text, anchor) parts; names that it does not mention are appended.

    >>> linked("TAX and RAD are collinear", ["TAX", "RAD"], {"TAX": "c9", "RAD": "c8"})
    [('TAX', 'c9'), (' and ', ''), ('RAD', 'c8'), (' are collinear', '')]
    """
    mentioned = sorted({name for name in names if name and name in anchors}, key=lambda name: (-len(name), name))
    if not mentioned:
        return [(sentence, "")]
    pattern = re.compile(rf"(?<!\w)({'|'.join(map(re.escape, mentioned))})(?!\w)")
    parts, linked_names = [], set()
    for index, text in enumerate(pattern.split(sentence)):
        is_name = index % 2 == 1
        # A second mention may be a common word: "value has the same value in every row".
        parts.append((text, anchors[text] if is_name and text not in linked_names else ""))
        linked_names |= {text} if is_name else set()
    parts = [part for part in parts if part[0]]
    for name in sorted(set(mentioned) - linked_names, key=list(names).index):
        parts += [(" · ", ""), (name, anchors[name])]
    return parts


def _anchors(profile: Profile) -> dict[str, str]:
    anchors = {column.name: f"c{number}" for number, column in enumerate(profile.columns, start=1)}
    return anchors | {profile.target: "target"}


def _finding(finding: Finding, anchors: Mapping[str, str]) -> dict[str, Any]:
    return {
        "number": finding.number,
        "severity": finding.severity,
        "rule": finding.rule,
        "columns": list(finding.columns),
        "parts": linked(finding.sentence, finding.columns, anchors),
        "edit": edit_text(finding.edit) if finding.edit else "",
    }


def _target_chart(target: ColumnProfile) -> str:
    if target.histogram is None or target.top_categories:
        return ""
    name = shortened(target.name, 60)
    return charts.distribution(*target.histogram, x_title=name, title=f"distribution of {name}")


def _quantiles(target: ColumnProfile) -> dict[str, str]:
    """Return the extremes and quantiles of a numeric target."""
    if target.top_categories or not target.quantiles:
        return {}
    names = {"0.01": "1%", "0.25": "25%", "0.75": "75%", "0.99": "99%"}
    inner = {name: format_number(target.quantiles[key]) for key, name in names.items() if key in target.quantiles}
    return {"min": format_number(target.statistics["min"]), **inner, "max": format_number(target.statistics["max"])}


def _associations(profile: Profile) -> BarTable | None:
    """Return the columns most associated with the target."""
    associations = [(name, *item) for name, item in profile.target_association.items() if abs(item[1]) >= 0.005]
    shown = sorted(associations, key=lambda item: -abs(item[2]))[:MAX_ASSOCIATIONS]
    if not shown:
        return None
    rows = [(name, measure, f"{value:.2f}") for name, measure, value in shown]
    bars = charts.row_bars([min(abs(value), 1.0) for _, _, value in shown])
    return BarTable("columns by their association with the target", ("column", "measure", "value"), rows, bars)


def _heat_map(profile: Profile) -> str:
    order = shown_columns(profile)
    if len(order) < 2:
        return ""
    names = [shortened(profile.numeric[index], 60) for index in order]
    values = np.nan_to_num(profile.pearson[np.ix_(order, order)])
    return charts.heat_map(values, names, title="correlations of columns, similar ones adjacent")


def _component_table(profile: Profile) -> BarTable | None:
    if len(profile.explained_variance) < 2:
        return None
    shown = list(profile.explained_variance[:MAX_COMPONENTS])
    rows = [
        (str(number), f"{fraction:.1%}", f"{sum(shown[:number]):.1%}") for number, fraction in enumerate(shown, start=1)
    ]
    heads = ("component", "variance", "cumulative")
    return BarTable("variance explained by each principal component", heads, rows, charts.row_bars(shown))


def _missing_table(profile: Profile) -> BarTable | None:
    incomplete = sorted((column for column in profile.columns if column.missing), key=lambda column: -column.missing)
    if not incomplete:
        return None
    shown = incomplete[:MAX_MISSING_SHOWN]
    rows = [(column.name, format_fraction(column.missing, profile.rows)) for column in shown]
    bars = charts.row_bars([column.missing / max(profile.rows, 1) for column in shown])
    more = f"and {len(incomplete) - len(shown):,} more columns with fewer" if len(incomplete) > len(shown) else ""
    return BarTable(
        "missing values by column", ("column", "missing"), rows, bars, [column.missing for column in shown], more
    )
