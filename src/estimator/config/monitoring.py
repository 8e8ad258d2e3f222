"""The sections of a config about a version in use: how it is monitored, retrained and replaced."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from estimator.config.section import ColumnName, Fraction, Section, Text

DURATION = re.compile(r"(?:(?P<number>\d+(?:\.\d+)?) )?(?P<unit>second|minute|hour|day|week|month|year)s?")
SHORT_DURATION = re.compile(r"^(\d+(?:\.\d+)?)([smhdw])$")
UNIT_OF_LETTER = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week"}
SECONDS = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86_400,
    "week": 604_800,
    "month": 2_629_800,
    "year": 31_557_600,
}


def duration_seconds(text: str) -> float:
    """Return a duration in seconds.

    >>> duration_seconds("1 day"), duration_seconds("90 minutes"), duration_seconds("year"), duration_seconds("10m")
    (86400.0, 5400.0, 31557600.0, 600.0)
    """
    written_out = SHORT_DURATION.sub(lambda match: f"{match[1]} {UNIT_OF_LETTER[match[2]]}", text.strip())
    match = DURATION.fullmatch(written_out)
    seconds = 0.0 if match is None else float(match["number"] or 1) * SECONDS[match["unit"]]
    if not seconds:
        raise ValueError(f"expected a duration such as '1 day', '6 hours' or '10m', got {text!r}")
    return seconds


def alarms_per_second(text: str) -> float:
    """Return a budget of false alarms as a rate per second.

    >>> round(alarms_per_second("1 per year") * 31_557_600), round(alarms_per_second("2 per 10 years") * 315_576_000)
    (1, 2)
    """
    number, _, duration = text.partition(" per ")
    if not re.fullmatch(r"\d+(\.\d+)?", number.strip()) or not float(number):
        raise ValueError(f"expected a budget such as '1 per year' or '2 per 10 years', got {text!r}")
    return float(number) / duration_seconds(duration)


def _check_duration(text: str) -> str:
    duration_seconds(text)
    return text


Duration = Annotated[Text, AfterValidator(_check_duration)]


def _off_as_text(value: object) -> object:
    """Return what YAML reads `off` as, a boolean, as text again."""
    return "off" if value is False else value


def _check_silence(text: str) -> str:
    if text not in ("auto", "off"):
        duration_seconds(text)
    return text


class Alert(Section):
    """One receiver of alarms; ${NAME} in an address is replaced by an environment variable."""

    kind: Literal["webhook", "slack", "mail"] = Field(
        "webhook", description="webhook (JSON by POST), slack (Slack's message format) or mail (SMTP)"
    )
    url: Text = Field(
        description="https://... for webhook and slack; smtp:// or smtps:// for mail, such as "
        "smtp://me:${PASSWORD}@host:587"
    )
    sender: Text | None = Field(None, description="sender address; required for mail, unused otherwise")
    to: list[Text] = Field([], description="recipient addresses; required for mail, unused otherwise")

    @model_validator(mode="after")
    def _mail_is_complete(self) -> Alert:
        if self.kind == "mail" and not (self.sender and self.to):
            raise ValueError("mail needs sender and to")
        return self


class Monitoring(Section):
    """How predictions are monitored for drift and degradation, and what follows an alarm."""

    false_alarms: Text = Field(
        "1 per year", description="false alarms you accept: N per year, or N per M days, weeks, months or years"
    )
    mode: Literal["rows", "schedule", "both"] = Field(
        "both",
        description="rows: look for drift after every row; schedule: in a check every `every`; what is used shares the "
        "budget of false alarms. Labels are always followed",
    )
    row_order: Literal["auto", "training", "random"] = Field(
        "auto",
        description="training: rows come in an order like that of the training rows (by their time if they have one), "
        "so that neighbors that are alike count as fewer rows; random: any row may follow any other, and each counts "
        "as one; auto: as training, but without times as random once the log's neighbors are seen not to be alike",
    )
    restart_every: Duration = Field(
        "1 day",
        description="time after which each sequential test starts over; a shorter time finds sudden drift sooner when "
        "there are many rows a day",
    )
    tests: list[str] = Field(
        ["schema_faults", "kolmogorov_smirnov", "chi_square", "domain_classifier", "prediction_drift"],
        description="drift tests of a scheduled check: chi_square, domain_classifier, jensen_shannon, "
        "kolmogorov_smirnov, population_stability, prediction_drift, schema_faults, wasserstein; "
        "together they keep the budget of false alarms",
    )
    min_effect: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.05,
        description="smallest change that is drift, from 0 to 1: the largest distance between the distributions of a "
        "number, or half the change of all fractions of a category; a smaller one is shown only",
    )
    every: Duration = Field("1 day", description="time between scheduled checks, each of the rows since the last one")
    alpha: Fraction = Field(
        0.01, description="probability of a false alarm in a check that is not scheduled, such as `estimator monitor`"
    )
    ignore: list[ColumnName] = Field([], description="columns that are not monitored; dates and times never are")
    on_drift: Literal["warn", "ask_for_labels", "retrain"] = Field(
        "ask_for_labels",
        description="when inputs drift: warn sends an alert, ask_for_labels also asks for labels, which alone show "
        "whether predictions got worse, retrain trains candidates",
    )
    on_degradation: Literal["warn", "retrain"] = Field(
        "warn", description="when labels show worse predictions: warn sends an alert, retrain also trains candidates"
    )
    silence: Annotated[Text, BeforeValidator(_off_as_text), AfterValidator(_check_silence)] = Field(
        "auto",
        description="when it is an alarm that no prediction comes: auto (at times at which there were some in each of "
        "the last four weeks; this takes two weeks of predictions), off, or after a duration such as 6 hours",
    )
    repeat_after: Duration = Field("1 week", description="time after which an alert that still holds is sent again")
    alerts: list[Alert] = Field([], description="receivers of alerts; when empty, alerts are only logged")

    @field_validator("false_alarms")
    @classmethod
    def _is_budget(cls, text: str) -> str:
        alarms_per_second(text)
        return text


class Retraining(Section):
    """Which candidate versions are trained on new rows, and on which rows they are compared."""

    candidates: list[Literal["warm_start", "refit", "recent", "new_only", "tune"]] = Field(
        ["refit"],
        min_length=1,
        description="refit (all rows), recent (the new rows and three times as many of the latest old ones), tune (all "
        "rows, after a search of tuning.space), new_only (only the new rows), warm_start (the live version trained "
        "further on the new rows); the last two may win on the next rows and lose a week later",
    )
    holdout_size: Fraction = Field(
        0.3, description="fraction of the new rows, the newest ones, on which candidates are compared"
    )
    max_regression: Annotated[float, Field(ge=0)] = Field(
        0.1, description="largest increase of the error on old rows, as a fraction; candidates above it are not chosen"
    )
    refit_full: bool = Field(
        True,
        description="train the chosen candidate once more on all rows, those that it was compared on included; the "
        "comparison is that of the version before",
    )
    prefer: Literal["proven", "newest"] = Field(
        "proven",
        description="proven: only a candidate that is proven better replaces the live version; newest: also one for "
        "which the newest rows cannot tell; of several such ones, that of most rows, refit first, and new_only and "
        "warm_start only if none of the others is left",
    )
    every: Duration | None = Field(
        None, description="time between scheduled retrainings; when left out, only monitoring starts one"
    )


class Promotion(Section):
    """When a candidate becomes the live version, and when the live version is rolled back."""

    mode: Literal["automatic", "manual", "approval"] = Field(
        "manual",
        description="automatic: once it meets `criterion`; approval: an alert is sent then, and `estimator promote` "
        "approves it; manual: only by `estimator promote`",
    )
    criterion: Literal["better", "not_worse"] = Field(
        "better",
        description="better: labels have proven the candidate better; not_worse: a retraining has chosen it, "
        "it was fitted to old and new rows (refit, recent or tune), and neither its holdout nor labels have proven it "
        "worse, which takes no proof that it is better: `alpha` is then no promise, and `roll_back` the only guard",
    )
    alpha: Fraction = Field(
        0.05,
        description="probability of promoting a version that is no better, at any number of looks, where `criterion` "
        "is better; and of rolling back to one that is no better, in any case",
    )
    shadow_rows: Annotated[int, Field(ge=0)] = Field(
        0, description="rows that a candidate must have predicted as a shadow before it is promoted automatically"
    )
    roll_back: bool = Field(
        True, description="return to the previous version when labels show that the promoted one is worse"
    )
