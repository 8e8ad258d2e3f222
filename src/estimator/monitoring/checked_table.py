"""A table compared with a reference: the drift check, and the diagnosis where rows have drifted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from estimator.config import Monitoring
from estimator.core.arrays import MAX_DOUBLE
from estimator.core.text import join_names
from estimator.drift import CurrentRows, DriftReference
from estimator.drift.reference import ColumnReference
from estimator.monitoring.diagnosis import Diagnosis, counts_by_column, diagnose_rows, evidence
from estimator.monitoring.drift_check import DriftCheck, check_drift
from estimator.monitoring.histograms import bin_fractions
from estimator.pages.overlay import BinFractions

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class CheckedTable:
    """The check of a `table` against what it was compared with; `diagnosis` is None unless rows have drifted.

    `histograms` are those of the columns of the diagnosis, in their order. `not_compared` says of what kind the columns
    are that no test compares.
    """

    table: str
    compared_with: str
    check: DriftCheck
    diagnosis: Diagnosis | None = None
    histograms: Sequence[BinFractions] = ()
    not_compared: Mapping[str, str] = field(default_factory=dict)

    @property
    def drifted(self) -> bool:
        """Whether rows have drifted."""
        return self.check.drifted

    @property
    def message(self) -> str:
        """The check and the diagnosis in a sentence."""
        return self.check.message if self.diagnosis is None else f"{self.check.message}; {self.diagnosis.message}"

    @property
    def not_compared_message(self) -> str:
        """The columns that no test compares, with their kinds; empty where all are compared."""
        if not self.not_compared:
            return ""
        return f"not compared: {join_names((f'{name} ({kind})' for name, kind in self.not_compared.items()), limit=8)}"

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        diagnosis = None if self.diagnosis is None else self.diagnosis.to_data()
        return {
            **self.check.to_data(),
            "compared_with": self.compared_with,
            "not_compared": dict(self.not_compared),
            "diagnosis": diagnosis,
        }


def check_frame(
    reference: DriftReference,
    current: CurrentRows,
    frame: pl.DataFrame,
    settings: Monitoring,
    *,
    names: tuple[str, str],
    faults: Mapping[str, str],
    findings: Sequence[str] = (),
    moves_predictions: Callable[[ColumnReference], bool] = lambda column: True,
) -> CheckedTable:
    """Compare rows with a reference; `names` are those of both tables.

    `frame` holds the rows as they are shown, `faults` what was wrong in reading them.
    """
    check = check_drift(
        reference,
        current,
        settings.tests,
        alpha=settings.alpha,
        min_effect=settings.min_effect,
        moves_predictions=moves_predictions,
    )
    check = replace(check, findings=[*check.findings, *findings])
    if not check.drifted:
        return CheckedTable(*names, check)
    shown = [column.name for column in reference.columns if column.name in frame.columns]

    def example(index: int) -> dict[str, Any]:
        return {"row": index + 1, "inputs": {name: _plain(frame[name][index]) for name in shown}}

    diagnosis = diagnose_rows(reference, current, evidence(reference, check), example, faults=faults)
    columns = {column.name: column for column in (*reference.columns, *reference.clocks)}
    counts = counts_by_column(reference, current)
    histograms = [bin_fractions(columns[moved.column], counts[moved.column]) for moved in diagnosis.columns]
    return CheckedTable(*names, check, diagnosis, histograms)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not abs(value) <= MAX_DOUBLE:
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
