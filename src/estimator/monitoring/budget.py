"""A budget of false alarms, in time -> the threshold of evidence that keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from estimator.config import Monitoring
from estimator.config.monitoring import alarms_per_second, duration_seconds

# What shares the budget: rows and answers as they come, losses as truths come, and checks on schedule.
WATCHED = 3


@dataclass(frozen=True, slots=True)
class Budget:
    """False alarms per second that are put up with, and the seconds of a block."""

    rate: float
    block: float

    @classmethod
    def of(cls, settings: Monitoring) -> Budget:
        """Return what a config asks for."""
        return cls(alarms_per_second(settings.false_alarms), duration_seconds(settings.restart_every))

    @property
    def threshold(self) -> float:
        """How many blocks the sum of bets has to pass: so long it takes on average until it is passed by chance.

        >>> round(Budget(1 / 31_557_600, 86_400).threshold)
        1096
        """
        return max(WATCHED / (self.rate * self.block), 1.0)

    def level(self, seconds: float) -> float:
        """Return the level of a check of rows that came in so many seconds, at most 0.05.

        >>> round(Budget(1 / 31_557_600, 86_400).level(86_400), 4)
        0.0009
        """
        return min(self.rate * seconds / WATCHED, 0.05)
