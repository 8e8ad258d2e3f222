"""A column's profile -> its card on the page: facts, a histogram or a table of categories, and sort keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from estimator.core.text import format_number
from estimator.data.schema.column import TIME_KINDS
from estimator.exploration.findings import Finding
from estimator.exploration.profile import ColumnProfile, Profile
from estimator.pages import charts
from estimator.pages.axes import shortened

SHOWN_CATEGORIES = 6
MAX_NAME_LENGTH = 120


@dataclass(frozen=True, slots=True)
class BarTable:
    """A small table with a bar behind each row; `counts` are how many rows of the data each row stands for."""

    title: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    bars: str
    counts: Sequence[int] = ()
    more: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """What the page shows of a column. `sorting` is association, missing, skewness and distinct; -1 if undefined."""

    name: str
    kind: str
    anchor: str
    facts: Mapping[str, str]
    chart: str
    ends: Sequence[str]
    categories: BarTable | None
    sorting: str
    findings: Sequence[Finding]


def card(column: ColumnProfile, profile: Profile, *, anchor: str, findings: Sequence[Finding]) -> Card:
    """Return a column's card."""
    categories = category_table(column, profile, most=SHOWN_CATEGORIES) if column.top_categories else None
    histogram = column.histogram if categories is None else None
    name, is_time = shortened(column.name, MAX_NAME_LENGTH), column.kind in TIME_KINDS
    return Card(
        name=column.name,
        kind=column.kind,
        anchor=anchor,
        facts=facts(column, profile),
        chart=charts.spark(*histogram, title=f"distribution of {name}", is_time=is_time) if histogram else "",
        ends=_ends(column) if histogram else (),
        categories=categories,
        sorting=_sorting(column, profile),
        findings=[finding for finding in findings if column.name in finding.columns],
    )


def category_table(column: ColumnProfile, profile: Profile, *, most: int) -> BarTable:
    """Return the most frequent categories with their fraction of rows and the mean of the target in them."""
    shown = column.top_categories[:most]
    with_mean = column.name != profile.target and any(mean is not None for _, _, mean in shown)
    heads = ("category", "rows", "target mean") if with_mean else ("category", "rows")
    rows = [
        (
            shortened(name, MAX_NAME_LENGTH),
            format_fraction(count, profile.rows),
            "" if mean is None else format_number(mean),
        )
        for name, count, mean in shown
    ]
    n_more = column.distinct - len(shown)
    return BarTable(
        title=f"most frequent categories of {shortened(column.name, MAX_NAME_LENGTH)}",
        heads=heads,
        rows=[row[: len(heads)] for row in rows],
        bars=charts.row_bars([count / max(profile.rows, 1) for _, count, _ in shown]),
        counts=[count for _, count, _ in shown],
        more=f"and {n_more:,} more" if n_more > 0 else "",
    )


def format_fraction(count: int, total: int) -> str:
    """Return a fraction as a percentage; "none" and "all" are exact, and a tiny one is not shown as 0.

    >>> format_fraction(0, 9), format_fraction(1, 9000), format_fraction(4, 9), format_fraction(9, 9)
    ('none', '<0.1%', '44.4%', 'all')
    """
    if count in (0, total):
        return "all" if count else "none"
    fraction = count / max(total, 1)
    return "<0.1%" if fraction < 0.0005 else ">99.9%" if fraction >= 0.9995 else f"{fraction:.1%}"


def facts(column: ColumnProfile, profile: Profile) -> dict[str, str]:
    """Return the facts of a column by name, as the page shows them."""
    entries = {
        "missing": format_fraction(column.missing, profile.rows),
        "distinct": f"{'' if column.distinct_is_exact else 'about '}{column.distinct:,}",
    }
    if column.kind in TIME_KINDS:
        entries |= _time_facts(column)
    else:
        values = {**column.statistics, "median": column.quantiles.get("0.5", np.nan)}
        names = () if column.top_categories else ("mean", "median", "std", "skewness")
        entries |= {name: format_number(float(values[name])) for name in names if np.isfinite(values.get(name, np.nan))}
    if column.lengths:
        shortest, longest = (f"{column.lengths[end]:,.0f}" for end in ("min", "max"))
        entries["length"] = f"{shortest} to {longest}, mean {format_number(float(column.lengths['mean']))}"
    return entries | _association_facts(column, profile)


def _time_facts(column: ColumnProfile) -> dict[str, str]:
    entries = {}
    if "longest_gap_days" in column.times:
        entries["longest gap"] = f"{format_number(float(column.times['longest_gap_days']))} days"
    if "empty_days_fraction" in column.times:
        entries["days without rows"] = f"{float(column.times['empty_days_fraction']):.1%}"
    return entries


def _association_facts(column: ColumnProfile, profile: Profile) -> dict[str, str]:
    entries = {}
    measure, value = profile.target_association.get(column.name, ("", np.nan))
    if np.isfinite(value):
        entries[f"{measure} with target"] = f"{value:.2f}"
    first, second, _ = profile.power_correlations.get(column.name, (np.nan,) * 3)
    # Shown only if the square correlates clearly better than the column.
    if np.isfinite(second) and abs(second) > abs(first) + 0.1:
        entries["its square with target"] = f"{second:.2f}"
    vif = profile.vif.get(column.name, np.nan)
    if not np.isnan(vif):
        entries["VIF"] = format_number(vif) if np.isfinite(vif) else "infinite"
    return entries


def _ends(column: ColumnProfile) -> tuple[str, str]:
    """Return the smallest and the largest value."""
    ends = (float(column.statistics["min"]), float(column.statistics["max"]))
    if column.kind not in TIME_KINDS:
        return format_number(ends[0]), format_number(ends[1])
    first, last = (str(column.times.get(key, "")) for key in ("first", "last"))
    return (first, last) if first and last else (_day(ends[0]), _day(ends[1]))


def _day(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, tz=UTC).date().isoformat()
    except (OverflowError, OSError, ValueError):
        return format_number(seconds)


def _sorting(column: ColumnProfile, profile: Profile) -> str:
    skewness = np.nan if column.kind in TIME_KINDS else column.statistics.get("skewness", np.nan)
    association = profile.target_association.get(column.name, ("", np.nan))[1]
    values = (abs(association), column.missing, abs(skewness), column.distinct)
    return " ".join(f"{value:.4g}" if np.isfinite(value) else "-1" for value in values)
