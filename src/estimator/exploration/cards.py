"""A column's profile -> its card on the page: facts, a chart or a table of levels, and what it is sorted by."""

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

SHOWN_LEVELS = 6
MOST_OF_NAME = 120


@dataclass(frozen=True, slots=True)
class BarTable:
    """A small table with a bar behind each row; `counts` are the rows of the table behind each of its rows."""

    title: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    bars: str
    counts: Sequence[int] = ()
    more: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """What the page shows of a column. `sorting` is association, gaps, skewness and distinct, empty if not defined."""

    name: str
    kind: str
    anchor: str
    facts: Mapping[str, str]
    chart: str
    ends: Sequence[str]
    levels: BarTable | None
    sorting: str
    findings: Sequence[Finding]


def card(column: ColumnProfile, profile: Profile, *, anchor: str, findings: Sequence[Finding]) -> Card:
    """Return a column's card."""
    levels = level_table(column, profile, most=SHOWN_LEVELS) if column.top else None
    drawn = column.histogram if levels is None else None
    name, times = charts.shortened(column.name, MOST_OF_NAME), column.kind in TIME_KINDS
    return Card(
        name=column.name,
        kind=column.kind,
        anchor=anchor,
        facts=facts(column, profile),
        chart=charts.spark(*drawn, title=f"distribution of {name}", days=times) if drawn else "",
        ends=_ends(column) if drawn else (),
        levels=levels,
        sorting=_sorting(column, profile),
        findings=[finding for finding in findings if column.name in finding.columns],
    )


def level_table(column: ColumnProfile, profile: Profile, *, most: int) -> BarTable:
    """Return the commonest levels with their shares of all rows and the target's mean there."""
    shown = column.top[:most]
    with_mean = column.name != profile.target and any(mean is not None for _, _, mean in shown)
    heads = ("level", "share", "target mean") if with_mean else ("level", "share")
    rows = [
        (
            charts.shortened(level, MOST_OF_NAME),
            share_of(count, profile.rows),
            "" if mean is None else format_number(mean),
        )
        for level, count, mean in shown
    ]
    left = column.distinct - len(shown)
    return BarTable(
        title=f"commonest levels of {charts.shortened(column.name, MOST_OF_NAME)}",
        heads=heads,
        rows=[row[: len(heads)] for row in rows],
        bars=charts.row_bars([count / max(profile.rows, 1) for _, count, _ in shown]),
        counts=[count for _, count, _ in shown],
        more=f"and {left:,} more" if left > 0 else "",
    )


def share_of(count: int, total: int) -> str:
    """Return a share as a reader wants it: none and all are exact, and few are not none.

    >>> share_of(0, 9), share_of(1, 9000), share_of(4, 9), share_of(9, 9)
    ('none', '<0.1%', '44.4%', 'all')
    """
    if count in (0, total):
        return "all" if count else "none"
    share = count / max(total, 1)
    return "<0.1%" if share < 0.0005 else ">99.9%" if share >= 0.9995 else f"{share:.1%}"


def facts(column: ColumnProfile, profile: Profile) -> dict[str, str]:
    """Return what is told of a column in words and numbers, shortest form first."""
    found = {
        "gaps": share_of(column.gaps, profile.rows),
        "distinct": f"{'' if column.distinct_is_exact else 'about '}{column.distinct:,}",
    }
    if column.kind in TIME_KINDS:
        found |= _time_facts(column)
    else:
        values = {**column.numbers, "median": column.quantiles.get("0.5", np.nan)}
        names = () if column.top else ("mean", "median", "std", "skewness")
        found |= {name: format_number(float(values[name])) for name in names if np.isfinite(values.get(name, np.nan))}
    if column.lengths:
        shortest, longest = (f"{column.lengths[end]:,.0f}" for end in ("min", "max"))
        found["length"] = f"{shortest} to {longest}, mean {format_number(float(column.lengths['mean']))}"
    return found | _association_facts(column, profile)


def _time_facts(column: ColumnProfile) -> dict[str, str]:
    found = {}
    if "longest_gap_days" in column.times:
        found["longest gap"] = f"{format_number(float(column.times['longest_gap_days']))} days"
    if "empty_days_share" in column.times:
        found["days without rows"] = f"{float(column.times['empty_days_share']):.1%}"
    return found


def _association_facts(column: ColumnProfile, profile: Profile) -> dict[str, str]:
    found = {}
    measure, value = profile.with_target.get(column.name, ("", np.nan))
    if np.isfinite(value):
        found[f"{measure} with target"] = f"{value:.2f}"
    first, second, _ = profile.powers.get(column.name, (np.nan,) * 3)
    # A bend is worth a line only when the straight line misses it.
    if np.isfinite(second) and abs(second) > abs(first) + 0.1:
        found["its square with target"] = f"{second:.2f}"
    inflation = profile.inflation.get(column.name, np.nan)
    if not np.isnan(inflation):
        found["variance inflation"] = format_number(inflation) if np.isfinite(inflation) else "infinite"
    return found


def _ends(column: ColumnProfile) -> tuple[str, str]:
    """Return the smallest and the largest value."""
    ends = (float(column.numbers["min"]), float(column.numbers["max"]))
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
    skewness = np.nan if column.kind in TIME_KINDS else column.numbers.get("skewness", np.nan)
    association = profile.with_target.get(column.name, ("", np.nan))[1]
    values = (abs(association), column.gaps, abs(skewness), column.distinct)
    return " ".join(f"{value:.4g}" if np.isfinite(value) else "-1" for value in values)
