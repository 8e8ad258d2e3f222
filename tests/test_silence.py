"""Silence of a prediction log is an alarm where it is unusual, at the clock that a test moves."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from estimator.config import Monitoring
from estimator.monitoring.events import read_events
from estimator.monitoring.silence import SilenceMonitor
from estimator.prediction_log import PredictionLog, PredictionRecord, open_log
from tests.market import kinds, same_area

HOUR, DAY = 3600.0, 86_400.0
# A Monday at midnight.
START = datetime(2026, 3, 2, tzinfo=UTC).timestamp()


def office_hours(weeks: int) -> list[float]:
    """Return a prediction every ten minutes from 8 to 18 o'clock of working days."""
    return [
        START + 7 * DAY * week + DAY * day + 8 * HOUR + 600.0 * index
        for week in range(weeks)
        for day in range(5)
        for index in range(60)
    ]


def bursts(n_days: int, per_day: float) -> list[float]:
    """Return bursts of a quarter of an hour at random times."""
    generator = np.random.default_rng(1)
    begins = START + np.cumsum(generator.exponential(DAY / per_day, int(n_days * per_day)))
    return sorted((begins[:, None] + np.array([0.0, 400.0, 900.0])).ravel().tolist())


@pytest.fixture
def log(tmp_path):
    log = open_log(str(tmp_path / "log.db"), Path(), {})
    yield log
    log.close()


def write(log: PredictionLog, times: list[float]) -> None:
    log.write([PredictionRecord(f"{at:.3f}", at, "m", "v1", {"x": 1}, {"prediction": 1.0}) for at in times])


def silences(
    log: PredictionLog, since: float, until: float, *, silence: str = "auto", pause: float = 600.0
) -> list[str]:
    """Return the messages of the alarms while the clock runs."""
    monitor = SilenceMonitor(log, "m", Monitoring(silence=silence))
    n_steps = int((until - since) / pause)
    return [event.message for step in range(n_steps) for event in monitor.step("v1", since + step * pause)]


def test_nights_and_weekends_are_no_alarm(log):
    write(log, office_hours(5))
    assert silences(log, START, START + 5 * 7 * DAY) == []


def test_a_silent_monday_is_one_alarm(log):
    write(log, office_hours(4))
    monday = START + 4 * 7 * DAY
    (message,) = silences(log, monday - 2 * DAY, monday + 2 * DAY)
    assert message.startswith("no prediction since 2026-03-27 17:50 UTC, for 64 hours")
    assert read_events(log, "m")[0].at == pytest.approx(monday + 10 * HOUR, abs=HOUR)


def test_two_weeks_must_be_known(log):
    write(log, office_hours(1))
    assert silences(log, START + 5 * DAY, START + 20 * DAY) == []


@pytest.mark.parametrize("per_day", [1, 24, 72])
def test_bursts_at_random_are_no_alarm(log, per_day):
    write(log, bursts(100, per_day))
    assert silences(log, START, START + 90 * DAY) == []


def test_a_duration_needs_no_history(log):
    write(log, [START])
    assert len(silences(log, START, START + DAY, silence="6 hours")) == 1
    assert silences(log, START, START + DAY, silence="off") == []
    assert Monitoring.model_validate({"silence": False}).silence == "off"


def test_end_of_a_silence_is_noted(log):
    write(log, [START])
    assert len(silences(log, START, START + DAY, silence="6 hours")) == 1
    write(log, [START + DAY, START + DAY + 60])
    # Another process continues.
    assert silences(log, START + DAY + 60, START + DAY + HOUR, silence="6 hours") == []
    (event,) = read_events(log, "m")
    assert event.message == "no prediction from 2026-03-02 00:00 UTC to 2026-03-03 00:00 UTC, for 24 hours"
    assert event.details["ended_at"].startswith("2026-03-03T00:00")
    assert len(silences(log, START + DAY + HOUR, START + 2 * DAY, silence="6 hours")) == 1


def test_silence_of_a_model_is_an_alert(market):
    market.send(same_area(30))
    assert kinds(market.step("monitoring.silence=6 hours")) == []
    market.now += 7 * HOUR
    assert kinds(market.step("monitoring.silence=6 hours")) == ["silence"]
    assert kinds(market.step("monitoring.silence=6 hours")) == []
    assert market.overview().has_alarm
