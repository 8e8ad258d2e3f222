"""Likely faults of times of day: all hours later or earlier, as in another time zone, or lost, so that it is midnight.

Rows have another time zone if their hours of day are those of the reference, rotated. The rotation is the likeliest; it
must fit, and be far likelier than that of the hours as they stand and than any other. Where hours are about as frequent
as each other, or rows are of a part of a day, none is. Summer time moves rhythms by an hour, which is no fault.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from estimator.core.arrays import Floats, Ints
from estimator.drift import CurrentRows, DriftReference
from estimator.drift.clocks import HOURS_PER_DAY, counts_by_hour, hours_of_day
from estimator.drift.reference import ColumnReference

MIN_ROWS = 20
# Hours that no summer time explains, in either direction.
MIN_HOURS = 2
# Half the change of all fractions: the least between the reference and its rotation, and the largest that is a fit,
# beyond chance; also as fractions of that of the rotation, and of that of the hours as they stand.
MIN_ROTATION, MAX_MISFIT, MAX_ROTATION_FRACTION, MAX_FRACTION = 0.1, 0.05, 1 / 4, 1 / 3
# Logarithms of likelihood ratios: of the rotation to the hours as they stand, and to the next likely one.
MIN_LOG_RATIO, MIN_LOG_RATIO_TO_NEXT = 15.0, 4.0
# By how much times at midnight grow: of all rows, in standard errors, and in odds.
MIN_GROWTH, MIN_STANDARD_ERRORS, MIN_ODDS_RATIO = 0.1, 4.0, 4.0
# The fraction of times at midnight that no rhythm has where the reference has no time in that hour.
MOST = 0.5


def clock_counts(reference: DriftReference, current: CurrentRows) -> dict[str, Ints]:
    """Return the counts of the hours of each column of times that rows have, by its name."""
    feed = current.batch.feed
    return {
        column.name: column.count(column.codes(hours_of_day(feed[column.name][:, 0])))
        for column in reference.clocks
        if column.name in feed
    }


def clock_faults(reference: DriftReference, counts: Mapping[str, Ints]) -> dict[str, str]:
    """Return the likely fault of each column of times that has one, by name."""
    faults: dict[str, str] = {}
    for column in reference.clocks:
        now = counts.get(column.name)
        if now is not None and now[1:].sum() >= MIN_ROWS:
            fault = _other_zone(column, now) or _lost_times(column, now)
            faults |= {} if fault is None else {column.name: fault}
    return faults


def _other_zone(column: ColumnReference, counts: Ints) -> str | None:
    before, now = counts_by_hour(column.counts), counts_by_hour(counts)
    usual = before / before.sum()
    smoothed = (before + 0.5) / (before.sum() + 0.5 * HOURS_PER_DAY)
    rotations = [np.roll(np.arange(HOURS_PER_DAY), hours) for hours in range(HOURS_PER_DAY)]
    log_likelihoods = np.array([float(now @ np.log(smoothed[order])) for order in rotations])
    hours = int(log_likelihoods.argmax())
    ratios = log_likelihoods[hours] - np.delete(log_likelihoods, hours)
    if not MIN_HOURS <= hours <= HOURS_PER_DAY - MIN_HOURS or ratios.min() < MIN_LOG_RATIO_TO_NEXT:
        return None
    rotation = float(np.abs(usual - usual[rotations[hours]]).sum() / 2)
    misfit, distance = (_misfit(before, now, order) for order in (rotations[hours], rotations[0]))
    largest = min(MAX_MISFIT, rotation * MAX_ROTATION_FRACTION, distance * MAX_FRACTION)
    if ratios[0] < MIN_LOG_RATIO or rotation < MIN_ROTATION or misfit > largest:
        return None
    is_later = hours <= HOURS_PER_DAY // 2
    moved = f"{hours} hours later" if is_later else f"{HOURS_PER_DAY - hours} hours earlier"
    return f"{column.name} is {moved} than in the reference; another time zone?"


def _misfit(before: Ints, now: Ints, order: Ints) -> float:
    """Return half the change of all fractions after a rotation, beyond what chance would leave."""
    usual: Floats = before / before.sum()
    chance = 0.4 * np.sqrt(usual * (1.0 - usual) * (1.0 / before.sum() + 1.0 / now.sum())).sum()
    return float(max(np.abs(now / now.sum() - usual[order]).sum() / 2 - chance, 0.0))


def _lost_times(column: ColumnReference, counts: Ints) -> str | None:
    n_rows = int(counts[1:].sum())
    before, now = column.counts[1] / column.counts[1:].sum(), counts[1] / n_rows
    # Where times are whole hours, rows of one night are at midnight as well.
    # Of a reference without a time in that hour, as in a shop, nothing says so.
    is_closed = column.counts[1] == column.counts[2] == 0
    if column.counts[1] >= column.counts[2] and not (is_closed and now > MOST):
        return None
    chance = MIN_STANDARD_ERRORS * float(np.sqrt(now * (1.0 - now) / n_rows))
    odds = [fraction / max(1.0 - fraction, 1e-9) for fraction in (before, now)]
    if now - before < max(MIN_GROWTH, chance) or odds[1] < MIN_ODDS_RATIO * odds[0]:
        return None
    return f"{column.name} has lost its times: {now:.0%} of them are midnight, {before:.1%} in the reference"
