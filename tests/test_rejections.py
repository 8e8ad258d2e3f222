"""Rejected requests are counted in the log, and far more of them than usual are an alarm."""

from __future__ import annotations

from pathlib import Path
from urllib.error import HTTPError

import numpy as np
import pytest

from estimator.config import Monitoring
from estimator.monitoring.rejections import RejectionMonitor
from estimator.prediction_log import PredictionLog, open_log
from estimator.prediction_log.request_counts import RequestCounter
from tests.clients import post, serving
from tests.market import Market, kinds, same_area
from tests.servers import PASSWORD, postgresql

HOUR, DAY = 3600.0, 86_400.0


@pytest.fixture
def log(tmp_path):
    log = open_log(str(tmp_path / "log.db"), Path(), {})
    yield log
    log.close()


def write_hours(
    log: PredictionLog, since: float, fractions: list[float], *, model: str = "m", per_hour: int = 400
) -> None:
    """Count requests at the beginning of every hour, of which a fraction at random is rejected."""
    generator = np.random.default_rng(7)
    counts = [
        (model, since + hour * HOUR, per_hour - rejected, rejected)
        for hour, rejected in enumerate(generator.binomial(per_hour, fractions).tolist())
    ]
    log.execute_many("INSERT INTO request_counts (model, at, accepted, rejected) VALUES (?, ?, ?, ?)", counts)


def alarms(log: PredictionLog, since: float, until: float) -> list[str]:
    monitor = RejectionMonitor(log, "m", Monitoring())
    times = np.arange(since, until, 1800.0).tolist()
    return [event.message for time in times for event in monitor.step("v1", time)]


@pytest.mark.parametrize("fraction", [0.0, 0.03, 0.2])
def test_a_usual_fraction_is_no_alarm(log, fraction):
    write_hours(log, 0.0, [fraction] * 24 * 20)
    assert alarms(log, 2 * DAY, 20 * DAY) == []


def test_rejections_of_every_night_are_no_alarm(log):
    write_hours(log, 0.0, [0.5 if hour % 24 == 2 else 0.01 for hour in range(24 * 20)])
    assert alarms(log, 3 * DAY, 20 * DAY) == []


def test_far_more_rejections_are_one_alarm(log):
    write_hours(log, 0.0, [0.01] * 24 * 3 + [0.6] * 5)
    (message,) = alarms(log, 0.0, 3 * DAY + 5 * HOUR)
    assert "of 400 requests of an hour were rejected" in message


def test_few_rejections_are_no_alarm(log):
    write_hours(log, 0.0, [0.0] * 24 * 3 + [1.0], per_hour=15)
    assert alarms(log, 0.0, 3 * DAY + 2 * HOUR) == []


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_counts_of_several_servers_add_up(kind, tmp_path):
    def both(log: PredictionLog) -> list[tuple[float, int, int]]:
        for _ in range(2):
            counter = RequestCounter()
            counter.count("m", 61.0, is_rejected=False)
            counter.count("m", 119.0, is_rejected=True)
            counter.count("m", 120.0, is_rejected=True)
            counter.write(log, 120.0)
            counter.write(log, 120.0)
        rows = log.query("SELECT at, accepted, rejected FROM request_counts")
        assert alarms(log, 0.0, HOUR) == []
        log.close()
        return rows

    if kind == "sqlite":
        assert both(open_log("log.db", tmp_path, {})) == [(60.0, 2, 2)]
    else:
        with postgresql() as server:
            assert both(open_log(server.address, tmp_path, {"PGPASSWORD": PASSWORD})) == [(60.0, 2, 2)]


def test_server_counts_what_it_rejects(market: Market):
    (row, _), *_ = same_area(1)
    with serving(market.live.folder, "--log", str(market.log_path)) as (_, address):
        for _ in range(30):
            with pytest.raises(HTTPError, match="422"):
                post(address, [{**row, "Year_Built": "old"}], "/v1/predict")
        post(address, [row], "/v1/predict")
        with pytest.raises(HTTPError, match="404"):
            post(address, [row], "/v1/nothing")
    log = market.open_log()
    (count,) = log.query("SELECT sum(accepted), sum(rejected) FROM request_counts")
    assert count == (1, 30)
    write_hours(log, market.now - 3 * DAY, [0.01] * 60, model=market.live.name)
    log.close()
    assert "rejected" in kinds(market.step())
