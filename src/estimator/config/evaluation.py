"""The section `evaluation` of a config: what a report says, and from which probability on a class is predicted."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from estimator.config.section import ColumnName, Fraction, Section
from estimator.core.requirement import Requirement

# Metrics that `threshold` may bound.
BOUNDED_METRICS = ("recall", "precision")


class Costs(Section):
    """What wrong predictions of two classes cost, in any unit; right ones cost nothing."""

    false_negative: Annotated[float, Field(gt=0)] = Field(
        description="cost of a row of the positive class (`data.positive_class`) that is predicted as the other"
    )
    false_positive: Annotated[float, Field(gt=0)] = Field(
        description="cost of a row of the other class that is predicted as the positive one"
    )

    @property
    def threshold(self) -> float:
        """The probability from which on predicting the positive class is expected to cost less (Elkan, 2001)."""
        return self.false_positive / (self.false_positive + self.false_negative)


class Evaluation(Section):
    """What the report says about the held-out rows, and from which probability on one of two classes is predicted."""

    metrics: list[str] = Field(
        [],
        description="metrics to report; the first one decides comparisons and is monitored; when empty, the usual ones "
        "of the task",
    )
    threshold: Fraction | str | None = Field(
        None,
        description="two classes: the probability from which on the positive class (`data.positive_class`) is "
        "predicted: a number; a metric of predicted classes, such as f1 or balanced_accuracy, that is to be highest on "
        "out-of-fold predictions; recall>=0.9 or precision>=0.8 (the highest precision, or recall, that reaches it); "
        "when left out, the likelier class",
    )
    costs: Costs | None = Field(
        None,
        description="two classes: what wrong predictions cost; the class of the least expected cost is predicted, and "
        "the metric `cost` is reported; in place of `threshold`",
    )
    confidence: Fraction = Field(0.95, description="confidence level of the metrics' confidence intervals")
    bootstrap_samples: Annotated[int, Field(ge=100)] = Field(
        1000, description="bootstrap samples of the held-out rows for confidence intervals"
    )
    importance_repeats: Annotated[int, Field(ge=0)] = Field(
        3, description="shuffles per column for feature importance; 0: no importance, dependence or contributions"
    )
    fairness_columns: list[ColumnName] = Field(
        [], description="columns whose groups are compared, features or not, such as sex or region"
    )

    @field_validator("threshold")
    @classmethod
    def _is_a_threshold(cls, threshold: float | str | None) -> float | str | None:
        if not isinstance(threshold, str) or threshold.isidentifier():
            if threshold in BOUNDED_METRICS:
                raise ValueError(f"{threshold} alone is no aim, as it is highest at an end; expected {threshold}>=0.9")
            if threshold == "cost":
                raise ValueError("the lowest cost needs costs: set evaluation.costs in place of it")
            return threshold
        bound = Requirement.parse(threshold)
        if bound is None or bound.metric not in BOUNDED_METRICS or bound.sign != ">=" or not 0.0 < bound.value <= 1.0:
            raise ValueError(
                "expected a number between 0 and 1, a metric, or recall>= or precision>= and a number, "
                f"got {threshold!r:.60}"
            )
        return threshold
