"""Rows that moved -> what moved in them, whether it looks like a fault upstream, and what it means for answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats, Ints
from estimator.core.text import format_number, format_plain, join_names
from estimator.drift import Reference
from estimator.drift.chi_square import most_moved
from estimator.drift.kolmogorov_smirnov import largest_distance
from estimator.drift.reference import Codes, ColumnReference, Counts
from estimator.monitoring.rows import Reader
from estimator.prediction_log import PredictionRecord

MOST_COLUMNS, MOST_EXAMPLES = 8, 5
# A column that moved less is told only when its evidence is there.
LEAST_EFFECT = 0.05
# A gap, a level or a value of so large a share, where training had hardly any, comes from no market.
JUMP = 0.2
RARELY = 0.02
LEAST_VALUES = 8
QUARTERS = (0.25, 0.5, 0.75)
# What units differ by: thousands and hundreds, imperial measures, hours, minutes, months, dozens.
FACTORS = (10.0, 100.0, 1000.0, 1e4, 1e6, 2.54, 0.3048, 0.45359237, 10.7639, 4046.86, 60.0, 24.0, 7.0, 12.0, 3600.0)
# What a market does to a column seldom goes so far.
FAR = 0.75
BLIND = (
    "estimated from the answers alone: when what answers rest on changes, and not the rows, this figure does not move"
)


@dataclass(frozen=True, slots=True)
class MovedColumn:
    """How far a column moved: from 0 to 1, the largest distance of numbers or the share of levels that changed.

    `evidence` is its wealth; `fault` says what looks like a fault upstream, None where nothing does.
    """

    column: str
    effect: float
    message: str
    evidence: float
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Grown:
    """A part of the rows that has become larger: a level, gaps, or a quarter of numbers, and its shares."""

    message: str
    before: float
    now: float


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What moved among `rows` rows: columns, the most moved first, answers, parts that have grown, rows to look at.

    `expected_loss` is beside `usual_loss`, which is that of held-out rows.
    """

    rows: int
    columns: Sequence[MovedColumn]
    answers: MovedColumn
    grown: Sequence[Grown]
    examples: Sequence[Mapping[str, Any]]
    expected_loss: float
    usual_loss: float

    @property
    def faults(self) -> list[str]:
        """What looks like a fault upstream."""
        return [moved.fault for moved in self.columns if moved.fault is not None]

    @property
    def message(self) -> str:
        """What moved, in a sentence."""
        looks = f"looks like a fault upstream: {self.faults[0]}" if self.faults else "looks like a change of the world"
        if self.columns:
            return f"{join_names((moved.column for moved in self.columns), limit=4)} moved; {looks}"
        return f"answers moved, more than any single column: {self.answers.message}"

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        estimate = {"loss": self.expected_loss, "usual_loss": self.usual_loss, "warning": BLIND}
        return {
            "rows": self.rows,
            "columns": [asdict(moved) for moved in self.columns],
            "answers": asdict(self.answers),
            "grown": [asdict(part) for part in self.grown],
            "examples": list(self.examples),
            "faults": self.faults,
            "expected": estimate,
        }


def diagnose(reader: Reader, rows: Sequence[PredictionRecord], evidence: Mapping[str, float]) -> Diagnosis:
    """Say what moved among rows; `evidence` is that of each column and of the answers, by name."""
    reference, batch = reader.reference, reader.batch(rows)
    codes, told = reader.codes(batch), reader.answers(rows)
    known = told != "" if told.dtype == object else ~np.isnan(told)
    answers = reference.answers.count(reference.answers.codes(told[known]))
    moved = []
    for place, column in enumerate(reference.columns):
        counts = column.count(codes[:, place])
        fault = fault_of(column, counts, batch.feed[column.name][:, 0])
        moved.append(_moved(column, counts, evidence.get(column.name, 0.0), fault))
    # What cannot be chance comes first, then what moved far.
    moved.sort(key=lambda each: (-(each.evidence >= 10.0), -each.effect))
    kept = [each for each in moved if each.effect >= LEAST_EFFECT and (each.evidence >= 1.0 or each.fault)]
    places = {column.name: place for place, column in enumerate(reference.columns)}
    grown = [
        grown_part(column, column.count(codes[:, places[column.name]]))
        for column in (reference.by_name[each.column] for each in kept[:MOST_COLUMNS])
    ]
    grown.sort(key=lambda part: part.before - part.now)
    return Diagnosis(
        len(rows), kept[:MOST_COLUMNS], _moved(reference.answers, answers, evidence.get(reference.answers.name, 0.0)),
        grown, _examples(reference, codes, rows), expected_loss(reference, answers), reference.loss,
    )  # fmt: skip


def grown_part(column: ColumnReference, counts: Counts) -> Grown:
    """Return the part of a column's rows whose share has grown most."""
    if column.is_text:
        groups, names = np.arange(len(counts)), [column.bin_name(code) for code in range(len(counts))]
    else:
        solid = np.cumsum(column.counts[1:]) / max(column.counts[1:].sum(), 1)
        groups = np.append(0, 1 + np.searchsorted(QUARTERS, solid - column.counts[1:] / 2 / max(column.rows, 1)))
        names = ["gaps", *(_quarter(column, np.flatnonzero(groups == quarter)) for quarter in range(1, 5))]
    before, now = (np.bincount(groups, part, len(names)) / max(part.sum(), 1) for part in (column.counts, counts))
    place = int((now - before).argmax())
    return Grown(f"{column.name}: {names[place]}", float(before[place]), float(now[place]))


def _quarter(column: ColumnReference, codes: Ints) -> str:
    """Return the bins of a quarter as one range, in words."""
    if not len(codes):
        return ""
    low = f"above {format_plain(column.edges[codes[0] - 2])}" if codes[0] > 1 else ""
    high = f"at most {format_plain(column.edges[codes[-1] - 1])}" if codes[-1] <= len(column.edges) else ""
    return " and ".join(part for part in (low, high) if part)


def _moved(column: ColumnReference, counts: Counts, evidence: float, fault: str | None = None) -> MovedColumn:
    before, now = column.counts / max(column.rows, 1), counts / max(counts.sum(), 1)
    if column.is_text or now[0] - before[0] > JUMP:
        effect, words = float(np.abs(now - before).sum() / 2), most_moved(column, counts)
    else:
        effect, words = largest_distance(column, counts)
    return MovedColumn(column.name, effect, words, evidence, fault)


def fault_of(column: ColumnReference, counts: Counts, values: npt.NDArray[Any]) -> str | None:
    """Return what looks like a fault upstream in a column's values of shape (rows,), None where nothing does."""
    before, now = column.counts / max(column.rows, 1), counts / max(counts.sum(), 1)
    if now[0] > JUMP and before[0] < RARELY:
        return f"{column.name} has gaps in {now[0]:.0%} of the rows, before in {before[0]:.1%}"
    found = _other_levels(column, counts, values) if column.is_text else _other_unit(column, values)
    if found is None and now.max() == 1.0 and before.max() < 0.9 and counts.sum() >= LEAST_VALUES:
        return f"{column.name} is the same in every row: {column.bin_name(int(now.argmax()))}"
    return found


def _other_levels(column: ColumnReference, counts: Counts, values: npt.NDArray[Any]) -> str | None:
    """Tell known levels that are written otherwise: in another case, or with other blanks."""
    if not counts.sum() or counts[-1] / counts.sum() < JUMP or column.counts[-1] / max(column.rows, 1) > RARELY:
        return None
    known = {_folded(level): level for level in column.levels}
    new = [value for value in values.tolist() if value and value not in column.levels]
    alike = sorted({value for value in new if _folded(value) in known})
    if alike:
        return f"{column.name} is spelled otherwise: {alike[0]!r} is {known[_folded(alike[0])]!r}"
    return f"{column.name} has codes that training did not know, such as {new[0]!r}, in {len(new) / len(values):.0%}"


def _folded(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def _other_unit(column: ColumnReference, values: npt.NDArray[Any]) -> str | None:
    """Tell numbers that fit what training saw once they are multiplied by what two units differ by."""
    solid = np.asarray(values, dtype=np.float64)
    solid = solid[~np.isnan(solid)]
    if len(solid) < LEAST_VALUES or len(column.edges) < 10 or not column.median:
        return None
    distance = _apart(column, solid)
    if distance < FAR:
        return None
    ratio = float(np.median(solid)) / column.median
    for factor in (each for known in FACTORS for each in (known, 1.0 / known)):
        if abs(ratio / factor - 1.0) < 0.3 and _apart(column, solid / factor) < distance / 3.0:
            return f"{column.name} looks as if in another unit: {format_number(factor)} times what it was"
    return None


def _apart(column: ColumnReference, values: Floats) -> float:
    return largest_distance(column, column.count(column.codes(values)))[0]


def _examples(reference: Reference, codes: Codes, rows: Sequence[PredictionRecord]) -> list[dict[str, Any]]:
    """Return the rows that training would have found most unlikely, column by column."""
    if not len(codes) or not reference.columns:
        return []
    surprise = np.zeros(len(codes))
    for place, column in enumerate(reference.columns):
        shares = (column.counts + 0.5) / (column.rows + 0.5 * len(column.counts))
        surprise -= np.log(shares[codes[:, place]] / shares.max())
    worst = np.argsort(-surprise, kind="stable")[:MOST_EXAMPLES]
    return [
        {"id": rows[place].id, "inputs": dict(rows[place].inputs), **_told(rows[place])} for place in worst.tolist()
    ]


def _told(row: PredictionRecord) -> dict[str, Any]:
    return {"prediction": row.response.get("prediction")}


def expected_loss(reference: Reference, answers: Counts) -> float:
    """Return the loss to be expected of answers, if like answers are as wrong as they were among held-out rows.

    That is the mean loss of each bin of answers, weighed by how often the bin occurs now: of no avail against a change
    of what answers rest on (concept drift), to which it is blind.
    """
    known = ~np.isnan(reference.loss_by_answer)
    weights = np.where(known, answers, 0).astype(np.float64)
    if not weights.sum():
        return reference.loss
    smoothed = _smoothed(reference)
    return float((smoothed * weights).sum() / weights.sum())


def _smoothed(reference: Reference) -> Floats:
    """Return each bin's mean loss, drawn to that of its tenth, as bins of few rows hold hardly any loss."""
    counts = reference.answers.counts.astype(np.float64)
    means = np.nan_to_num(reference.loss_by_answer)
    groups = np.arange(len(counts)) if reference.answers.is_text else np.minimum(
        (np.cumsum(counts) / max(counts.sum(), 1) * 10).astype(np.int64), 9)  # fmt: skip
    sums = np.bincount(groups, means * counts, minlength=groups.max() + 1)
    sizes = np.bincount(groups, counts, minlength=groups.max() + 1)
    found: Floats = (sums / np.maximum(sizes, 1))[groups]
    return found
