"""The members of an ensemble and the ensemble itself: their weights and out-of-fold losses, best first."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from estimator.core.task import Task
from estimator.core.text import counted, format_number

LOSS, LOSS_OF, WEIGHT_OF, FOLDS_OF, WHOLE = "loss", "loss of ", "weight of ", "folds of ", "ensemble"


@dataclass(frozen=True, slots=True)
class Member:
    """A member: its weight, 0 if it is not used, and its out-of-fold loss.

    `n_folds` is how many folds it was fitted to before it was given up; None if it was not.
    """

    name: str
    weight: float
    loss: float
    n_folds: int | None = None

    @property
    def shown_weight(self) -> str:
        """The weight, or why there is none."""
        if self.n_folds is None:
            return format_number(self.weight)
        return f"{format_number(self.weight)}, given up after {counted(self.n_folds, 'fold')}"


def leaderboard(summary: Mapping[str, float]) -> list[Member]:
    """Return the members and the ensemble from the summary of a fitted model, the lowest loss first; else nothing.

    >>> summary = {"weight of linear": 1.0, "loss of linear": 2.5, "loss of boosting": 3.0, "loss": 2.4}
    >>> [(member.name, member.weight) for member in leaderboard(summary)]
    [('ensemble', 1.0), ('linear', 1.0), ('boosting', 0.0)]
    """
    names = [key.removeprefix(LOSS_OF) for key in summary if key.startswith(LOSS_OF)]
    members = [
        Member(
            name,
            summary.get(f"{WEIGHT_OF}{name}", 0.0),
            summary[f"{LOSS_OF}{name}"],
            int(summary[f"{FOLDS_OF}{name}"]) if f"{FOLDS_OF}{name}" in summary else None,
        )
        for name in names
    ]
    if members:
        members.append(Member(WHOLE, 1.0, summary[LOSS]))
    return sorted(members, key=lambda member: (math.isnan(member.loss), member.loss, member.name != WHOLE))


def leaderboard_table(summary: Mapping[str, float], task: Task) -> list[tuple[str, ...]]:
    """Return the leaderboard as rows of a table with a header; empty for a model that is no ensemble."""
    loss = "mean squared error" if task.is_regression else "log loss"
    rows = [(item.name, item.shown_weight, format_number(item.loss)) for item in leaderboard(summary)]
    return [("model", "weight", f"out-of-fold {loss}"), *rows] if rows else []
