"""The sections of a config that say how a version is watched, renewed and replaced."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from estimator.config.section import Section, Share, Text

SPAN = re.compile(r"(?:(?P<number>\d+(?:\.\d+)?) )?(?P<unit>minute|hour|day|week|month|year)s?")
SECONDS = {"minute": 60, "hour": 3600, "day": 86_400, "week": 604_800, "month": 2_629_800, "year": 31_557_600}


def span_seconds(text: str) -> float:
    """Return a span of time in seconds.

    >>> span_seconds("1 day"), span_seconds("90 minutes"), span_seconds("year")
    (86400.0, 5400.0, 31557600.0)
    """
    found = SPAN.fullmatch(text.strip())
    seconds = 0.0 if found is None else float(found["number"] or 1) * SECONDS[found["unit"]]
    if not seconds:
        raise ValueError(f"expected a span of time such as '1 day' or '6 hours', got {text!r}")
    return seconds


def alarms_per_second(text: str) -> float:
    """Return a budget of false alarms as a rate.

    >>> round(alarms_per_second("1 per year") * 31_557_600), round(alarms_per_second("2 per 10 years") * 315_576_000)
    (1, 2)
    """
    number, _, span = text.partition(" per ")
    if not re.fullmatch(r"\d+(\.\d+)?", number.strip()) or not float(number):
        raise ValueError(f"expected a budget such as '1 per year' or '2 per 10 years', got {text!r}")
    return float(number) / span_seconds(span)


def _a_span(text: str) -> str:
    span_seconds(text)
    return text


Span = Annotated[Text, AfterValidator(_a_span)]


class Alert(Section):
    """Who is told of an alarm, and how; addresses and passwords as ${NAME}, from the environment."""

    kind: Literal["webhook", "slack", "mail"] = Field("webhook", description="slack is a webhook in Slack's form")
    url: Text = Field(description="https://..., or smtp://me:${PASSWORD}@host:587 for mail; smtps:// too")
    sender: Text | None = Field(None, description="of mail: the address it comes from")
    to: list[Text] = Field([], description="of mail: the addresses it goes to")

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Alert:
        if self.kind == "mail" and not (self.sender and self.to):
            raise ValueError("mail needs sender and to")
        return self


class Monitoring(Section):
    """How answers are watched, and what follows from what."""

    false_alarms: Text = Field("1 per year", description="that you put up with: N per year, or N per M years")
    restart_every: Span = Field("1 day", description="of time with which new bets begin; shorter for more rows a day")
    tests: list[str] = Field(
        ["schema_faults", "kolmogorov_smirnov", "chi_square", "domain_classifier", "prediction_drift"],
        description="of a check on schedule; together they decide at one level",
    )
    every: Span = Field("1 day", description="how often a check on schedule looks at the rows since the last one")
    alpha: Share = Field(0.01, description="false alarms of a check that is not on schedule, as a share of checks")
    ignore: list[Text] = Field([], description="columns that are not watched; times never are, as they always move")
    on_drift: Literal["warn", "ask_for_labels", "retrain"] = Field(
        "ask_for_labels", description="drift need not do harm: only truths show that"
    )
    on_degradation: Literal["warn", "retrain"] = Field("warn", description="when truths prove that answers are worse")
    repeat_after: Span = Field("1 week", description="after which an alarm that still holds is told again")
    alerts: list[Alert] = Field([], description="who is told")

    @field_validator("false_alarms")
    @classmethod
    def _a_budget(cls, text: str) -> str:
        alarms_per_second(text)
        return text


class Retraining(Section):
    """Which candidates fresh rows make, and on which rows they are judged."""

    candidates: list[Literal["warm_start", "refit", "new_only", "tune"]] = Field(
        ["warm_start", "refit", "new_only"],
        min_length=1,
        description="warm_start: live weights on the new rows; refit: all rows; new_only: the new rows alone; tune: all rows, "
        "with tuning.space searched anew",
    )
    holdout_size: Share = Field(0.3, description="newest share of the fresh rows, which no candidate learns from")
    max_regression: Annotated[float, Field(ge=0)] = Field(
        0.1, description="most that the error on old rows may grow, as a share, before a candidate is not taken"
    )
    every: Span | None = Field(None, description="retrain on schedule, whatever is found; never when left out")


class Promotion(Section):
    """Which version becomes live, and when it goes back."""

    mode: Literal["automatic", "manual", "approval"] = Field(
        "manual",
        description="automatic: when labels prove it better; approval: it is told, and `estimator promote` approves it",
    )
    alpha: Share = Field(0.05, description="of a version that is no better to be promoted, however often one looks")
    shadow_rows: Annotated[int, Field(ge=0)] = Field(
        0, description="rows that a candidate must have answered as a shadow before it may be promoted by rule"
    )
    roll_back: bool = Field(True, description="go back when labels prove what was promoted worse than what was before")
