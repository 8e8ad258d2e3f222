"""A model of houses in a changing market with a log of its own, for the tests of monitoring and retraining."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from estimator import verbs
from estimator.core.clock import Moment
from estimator.monitoring.events import Event
from estimator.monitoring.loop import MonitorLoop
from estimator.monitoring.overview import Overview
from estimator.monitoring.retrain import Retrainer
from estimator.prediction_log import Label, PredictionLog, PredictionRecord, open_log
from estimator.store.artefact import Artefact
from estimator.store.store import Store
from estimator.verbs.context import SHELVES
from estimator.verbs.monitor import MonitoredModel, loop_settings
from tests.conftest import EXAMPLES

FOLDER = EXAMPLES / "moving-market"
TARGET = "Sale_Price"
MODEL = "moving_market"
QUICK = ("model.n_estimators=60", "evaluation.importance_repeats=0")
PricedHouse = tuple[dict[str, Any], float]


def houses(name: str) -> list[PricedHouse]:
    """Return houses as request rows, each with its price."""
    with gzip.open(FOLDER / name, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    return [({key: value or None for key, value in row.items() if key != TARGET}, float(row[TARGET])) for row in rows]


def same_area(n: int | None = None) -> list[PricedHouse]:
    """Return houses like those of training."""
    return houses("same_area.csv.gz")[:n]


def other_area(start: int = 0, stop: int | None = None) -> list[PricedHouse]:
    """Return houses that have drifted."""
    return houses("other_area.csv.gz")[start:stop]


@dataclass
class Market:
    """A store, a log, and a clock that the test moves."""

    store: Store
    log_path: Path
    now: float = field(default_factory=lambda: time.time() + 10.0)
    n_sent: int = 0
    conf: Path = FOLDER / "config.yml"

    @property
    def live(self) -> Artefact:
        return self.context().version(MODEL)

    @property
    def monitored(self) -> MonitoredModel:
        return MonitoredModel(MODEL, str(self.log_path), None, FOLDER)

    def context(self, *overrides: str) -> verbs.Context:
        return verbs.Context(overrides, store_path=str(self.store.root))

    def open_log(self) -> PredictionLog:
        return open_log(str(self.log_path), Path(), {})

    def overview(self) -> Overview:
        return verbs.monitor.monitor(self.monitored, self.context(), since=None, until=self.now)

    def send(
        self,
        priced_houses: Sequence[PricedHouse],
        *,
        labels: bool = False,
        version: Artefact | None = None,
        private: Sequence[str] = (),
    ) -> list[PredictionRecord]:
        """Log predictions for houses, ten a second, with their prices as labels if asked for."""
        artefact = version or self.live
        predictions = artefact.predictor.predict_batch(
            artefact.schema.read_rows([dict(row) for row, _ in priced_houses])
        )
        records = []
        for index, (row, _) in enumerate(priced_houses):
            response: dict[str, Any] = {"prediction": float(predictions.values[index])}
            if predictions.low is not None and predictions.high is not None:
                response["interval"] = [float(predictions.low[index]), float(predictions.high[index])]
            record = PredictionRecord(
                id=f"row{self.n_sent + index:06d}",
                at=self.now + index / 10,
                model=artefact.name,
                version=artefact.version,
                inputs={name: value for name, value in row.items() if name not in private},
                response=response,
            )
            records.append(record)
        log = self.open_log()
        log.write(records)
        log.close()
        self.n_sent += len(records)
        self.now += len(records) / 10 + 1.0
        if labels:
            self.label(records, [price for _, price in priced_houses])
        return records

    def label(
        self, records: Sequence[PredictionRecord], prices: Sequence[float], *, after_seconds: float = 1.0
    ) -> None:
        """Store the prices of houses, some seconds after the last prediction."""
        log = self.open_log()
        labels = [Label(record.id, price) for record, price in zip(records, prices, strict=True)]
        log.add_labels(labels, self.now + after_seconds)
        log.close()
        self.now += after_seconds + 1.0

    def go_live(self, version: str) -> None:
        """Make a copy of the live version under another name live."""
        folder = shutil.copytree(self.live.folder, self.live.folder.parent / version)
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, "version": version}))
        moment = Moment(datetime.fromtimestamp(self.now, UTC).replace(microsecond=0), "test", "abc123")
        self.store.point(MODEL, "live", version, action="promote", reason="", moment=moment)
        self.now += 1.0

    def loop(self, *overrides: str, holder: str = "first") -> MonitorLoop:
        """Return the monitoring loop with the market's config and some overrides."""
        settings = loop_settings(self.live, self.context(*overrides), self.conf)
        rows = partial(verbs.Context().training_rows, folder=FOLDER)
        retrainer = Retrainer(self.store, SHELVES, settings.retraining, {}, rows)
        return MonitorLoop(self.store, self.open_log(), MODEL, settings, holder, retrainer=retrainer)

    def step(self, *overrides: str) -> list[Event]:
        """Run one step of a loop of its own, five seconds from now."""
        self.now += 5.0
        loop = self.loop(*overrides)
        try:
            return loop.step(self.now)
        finally:
            loop.close()
            loop.log.close()


def kinds(events: Sequence[Event]) -> list[str]:
    return [event.kind for event in events if event.kind != "check"]
