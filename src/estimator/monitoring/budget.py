"""A false-alarm budget -> the threshold of e-values, and the alpha of scheduled checks, that keep it."""

from __future__ import annotations

from dataclasses import dataclass

from estimator.config import Monitoring
from estimator.config.monitoring import alarms_per_second, duration_seconds

MAX_ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class FalseAlarmBudget:
    """Accepted false alarms per second, and the length of a period of the sequential tests.

    It is split evenly into `n_parts`: the losses as labels arrive, the rows as they arrive, and the scheduled checks.
    """

    alarms_per_second: float
    period_seconds: float
    n_parts: int = 3

    @classmethod
    def of(cls, settings: Monitoring) -> FalseAlarmBudget:
        """Return the budget of a config."""
        n_parts = 3 if settings.mode == "both" else 2
        return cls(alarms_per_second(settings.false_alarms), duration_seconds(settings.restart_every), n_parts)

    @property
    def threshold(self) -> float:
        """The e-value of an alarm: on average a false alarm takes at least this many periods.

        >>> round(FalseAlarmBudget(1 / 31_557_600, 86_400).threshold)
        1096
        """
        return max(self.n_parts / (self.alarms_per_second * self.period_seconds), 1.0)

    def alpha(self, seconds: float) -> float:
        """Return the alpha of a check of the rows of some seconds, at most 0.05.

        >>> round(FalseAlarmBudget(1 / 31_557_600, 86_400).alpha(86_400), 4)
        0.0009
        """
        return min(self.alarms_per_second * seconds / self.n_parts, MAX_ALPHA)
