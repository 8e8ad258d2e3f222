"""The contracts of drift tests: a batch test compares rows with the reference once, a sequential test follows them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from estimator.core.arrays import Floats, Ints
from estimator.drift.reference import BinCodes, ColumnReference, CurrentRows, DriftReference


@dataclass(frozen=True, slots=True)
class DriftResult:
    """What a batch test says about a column, or about rows as a whole when `column` is None.

    `effect` is 0 for no change, in the units of the test's `measure`. `p_value` is the probability of an effect this
    large when nothing has changed.
    """

    column: str | None
    effect: float
    p_value: float
    message: str = ""


class BatchTest(ABC):
    """Compares current rows with the reference; `measure` names its effect.

    `joins_columns` says whether one result depends on several columns.
    """

    measure: ClassVar[str]
    joins_columns: ClassVar[bool] = False

    @abstractmethod
    def compare(self, reference: DriftReference, current: CurrentRows, *, seed: int = 0) -> list[DriftResult]:
        """Return a result per column that the test suits, or one for all; an empty list when there are too few rows."""


class ColumnTest(BatchTest):
    """Compares one column after the other, by how often its bins occur."""

    @abstractmethod
    def suits(self, column: ColumnReference) -> bool:
        """Whether the test applies to such a column."""

    @abstractmethod
    def compare_column(self, column: ColumnReference, counts: Ints, *, seed: int = 0) -> DriftResult | None:
        """Compare the counts of current rows with the column's; None when there are too few rows."""

    def compare(self, reference: DriftReference, current: CurrentRows, *, seed: int = 0) -> list[DriftResult]:
        results = []
        for index, column in enumerate(reference.columns):
            if self.suits(column):
                result = self.compare_column(column, column.count(current.codes[:, index]), seed=seed)
                results += [] if result is None else [result]
        return results


class SequentialTest(ABC):
    """Follows rows as they arrive; its alarm keeps a false-alarm budget although it is read after every row.

    The contract is that of a streaming detector, `update` and `drift_detected`. Rows are given as the codes of their
    bins. `threshold` is the e-value of an alarm, counted in periods: while nothing changes, the average time to a false
    alarm is at least `threshold` periods.
    """

    threshold: float

    @classmethod
    @abstractmethod
    def of(cls, columns: Sequence[ColumnReference], *, threshold: float, seed: int = 0) -> Self:
        """Return a test that has seen no row."""

    @abstractmethod
    def update(self, codes: BinCodes, periods: Ints) -> Floats:
        """Add rows of shape (rows, columns); return the e-value of each column after each row, of the same shape.

        `periods` is the number of the period of each row, of shape (rows,); it never decreases.
        """

    @property
    @abstractmethod
    def e_values(self) -> Floats:
        """The present e-value of each column, of shape (columns,)."""

    @property
    @abstractmethod
    def drift_detected(self) -> bool:
        """Whether the mean e-value of the columns reached `threshold` after any row of the last update."""

    @abstractmethod
    def restart(self) -> None:
        """Start over after an alarm; what was learned about the distribution stays."""

    @abstractmethod
    def to_data(self) -> dict[str, Any]:
        """Return the state as JSON-ready data."""

    @abstractmethod
    def restore(self, data: Mapping[str, Any]) -> None:
        """Continue from the state that `to_data` returned."""
