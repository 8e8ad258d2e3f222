"""A model of moving houses with a log of its own, for the tests of what is watched, renewed and promoted."""

from __future__ import annotations

import csv
import gzip
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from estimator import verbs
from estimator.monitoring.events import Event
from estimator.monitoring.loop import Loop
from estimator.prediction_log import Label, PredictionLog, PredictionRecord, open_log
from estimator.store.artefact import Artefact
from estimator.store.store import Store
from estimator.verbs.monitor import MonitoredModel, _retrained, rules_of
from tests.conftest import EXAMPLES

FOLDER = EXAMPLES / "moving-market"
TARGET = "Sale_Price"
MODEL = "moving_market"
QUICK = ("model.n_estimators=60", "evaluation.importance_repeats=0")


def houses(name: str) -> list[tuple[dict[str, Any], float]]:
    """Return houses as they could be sent, each with its price."""
    with gzip.open(FOLDER / name, "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    return [({key: value or None for key, value in row.items() if key != TARGET}, float(row[TARGET])) for row in rows]


def sold(n: int | None = None) -> list[tuple[dict[str, Any], float]]:
    return houses("same_area.csv.gz")[:n]


def moved(start: int = 0, stop: int | None = None) -> list[tuple[dict[str, Any], float]]:
    return houses("other_area.csv.gz")[start:stop]


@dataclass
class Market:
    """A store, a log beside it, and a clock that the test turns."""

    store: Store
    log: Path
    now: float = field(default_factory=lambda: time.time() + 10.0)
    n_sent: int = 0
    conf: Path = FOLDER / "config.yml"

    @property
    def live(self) -> Artefact:
        return verbs.Context(store_path=str(self.store.root)).version(MODEL)

    @property
    def database(self) -> PredictionLog:
        return open_log(str(self.log), Path(), {})

    def send(
        self, asked: Sequence[tuple[Mapping[str, Any], float]], *, truth: bool = False, by: Artefact | None = None,
        private: Sequence[str] = (), labels_after: float = 1.0,
    ) -> list[PredictionRecord]:  # fmt: skip
        """Log answers to houses, ten a second, with their prices if they are sold."""
        artefact = by or self.live
        answers = artefact.predictor.predict_batch(artefact.schema.read_rows([dict(row) for row, _ in asked]))
        rows = []
        for place, (row, _) in enumerate(asked):
            kept = {name: value for name, value in row.items() if name not in private}
            told = {"prediction": float(answers.values[place])}
            if answers.low is not None and answers.high is not None:
                told["interval"] = [float(answers.low[place]), float(answers.high[place])]
            at = self.now + place / 10
            rows.append(
                PredictionRecord(f"row{self.n_sent + place:06d}", at, artefact.name, artefact.version, kept, told)
            )
        database = self.database
        database.write(rows)
        self.n_sent += len(rows)
        self.now += len(rows) / 10 + 1.0
        if truth:
            self.tell(rows, [price for _, price in asked], after=labels_after)
        database.close()
        return rows

    def tell(self, rows: Sequence[PredictionRecord], prices: Sequence[float], *, after: float = 1.0) -> None:
        """Tell what houses were sold for, so many seconds after the last of them was asked for."""
        database = self.database
        database.add_labels([Label(row.id, price) for row, price in zip(rows, prices, strict=True)], self.now + after)
        database.close()
        self.now += after + 1.0

    def loop(self, *overrides: str, holder: str = "me", environment: Mapping[str, str] | None = None) -> Loop:
        """Return the loop by the config of the market, with some keys set otherwise."""
        order = verbs.Context(overrides, environment or {}, str(self.store.root))
        site = MonitoredModel(MODEL, str(self.log), self.conf, FOLDER)
        rules = rules_of(self.live, order, self.conf)
        return Loop(
            self.store, self.database, MODEL, rules, holder, environment or {}, partial(_retrained, site, order, MODEL)
        )  # fmt: skip

    def step(self, *overrides: str) -> list[Event]:
        """Let what has come so far be looked at, by a process of its own."""
        self.now += 5.0
        loop = self.loop(*overrides)
        try:
            return loop.step(self.now)
        finally:
            loop.close()
            loop.database.close()


def kinds(events: Sequence[Event]) -> list[str]:
    return [event.kind for event in events if event.kind != "check"]
