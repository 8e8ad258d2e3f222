"""The loop left alone: eleven windows of a table, against doing nothing, a refit after each window, and an oracle.

A version is trained on the first period of a table. Then the rows of later windows come in their natural order, thirty
days each: the live version predicts them, they are logged, and a day later each gets its label. The monitoring loop
runs every hour, or as `--step-hours` says, and does what its config says; nothing else intervenes. The clock is
simulated, all else is real: log, store, tests, retraining with its candidates, promotion and rollback.

Rules, all with the same model and settings, each by its mean loss over the rows of all windows:
- nothing: the first version predicts all windows.
- refit, all rows: after each window a model is trained on all rows so far, and predicts the next one.
- refit, recent rows: the same, on the latest rows alone, as many as the first version was trained on.
- loop: the version that the loop has made live predicts.
- oracle: for each window whichever of these was best there, known only afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from drift_tables import TABLES, Table, read_window
from processes import machine_line

from estimator import verbs
from estimator.config import Serving
from estimator.core.clock import Moment
from estimator.data.schema.frames import read_frame
from estimator.drift import absolute_losses
from estimator.monitoring.events import Event
from estimator.monitoring.loop import MonitorLoop
from estimator.prediction_log import Label, PredictionLog, PredictionRecord, open_log
from estimator.serving.service import Service
from estimator.store.artefact import Artefact
from estimator.store.batch_prediction import labeled_rows
from estimator.verbs.monitor import MonitoredModel, loop_settings, retrainer

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "tables"
AMES = Path(__file__).resolve().parent.parent / "examples" / "moving-market"
DAY, N_WINDOWS, MAX_WINDOW_ROWS, MAX_FIRST_ROWS = 86_400.0, 11, 1500, 10_000
WINDOW_DAYS, LABEL_DELAY = 30, DAY
LOOP = {
    "monitoring": {"on_drift": "ask_for_labels", "on_degradation": "retrain"},
    "retraining": {"prefer": "newest", "every": "30 days"},
    "promotion": {"mode": "automatic", "criterion": "not_worse"},
}


@dataclass(frozen=True)
class Windows:
    """The rows of a table: a first period to train on, and windows that follow each other."""

    name: str
    target: str
    first: pl.DataFrame
    later: Sequence[pl.DataFrame]


class Clock:
    """The simulated time in seconds since 1970; what the package calls the present moment follows it."""

    def __init__(self) -> None:
        self.now = float(round(time.time()))
        now = Moment.now

        def simulated(cls: type[Moment]) -> Moment:
            real = now()
            return Moment(datetime.fromtimestamp(self.now, UTC).replace(microsecond=0), real.user, real.token)

        Moment.now = classmethod(simulated)  # type: ignore[method-assign,assignment] # the clock of this process


@dataclass
class Run:
    """What came of the windows: the mean loss of each by the rule, and the events of the loop with their window."""

    losses: dict[str, list[float]] = field(default_factory=dict)
    events: list[tuple[int, Event]] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, rule: str, of_rows: Sequence[float]) -> None:
        """Add the losses of the rows of a window by a rule."""
        self.losses.setdefault(rule, []).append(float(np.mean(of_rows)))

    def kinds(self, number: int) -> list[str]:
        """Return the kinds of the events of a window, in their order."""
        return [event.kind for of_window, event in self.events if of_window == number and event.kind != "check"]


def moving_market() -> Windows:
    """Return the example's houses: one window of the same neighborhoods, then ten of others."""
    first, same, other = (
        pl.read_csv(AMES / f"{name}.csv.gz", infer_schema_length=None) for name in ("sold", "same_area", "other_area")
    )
    size = other.height // (N_WINDOWS - 1)
    later = [same, *(other.slice(number * size, size) for number in range(N_WINDOWS - 1))]
    return Windows("moving_market", "Sale_Price", first, later)


def of_table(table: Table) -> Windows:
    """Return the windows of a table of the drift benchmark, in which time and ids are no columns."""
    manifest = json.loads((DATA / "manifest.json").read_text())
    cuts = next(item["windows"] for item in manifest["datasets"] if item["name"] == table.folder)[table.cut]
    first, *later = (read_window(table, window, DATA) for window in cuts[: N_WINDOWS + 1])
    inputs = [column.name for column in first.tail(MAX_FIRST_ROWS) if column.null_count() < column.len()]
    later = [rows.select(inputs).head(MAX_WINDOW_ROWS) for rows in later]
    return Windows(table.name, table.target, first.select(inputs).tail(MAX_FIRST_ROWS), later)


@dataclass
class Market:
    """One table, its store and log in a folder, and the simulated clock."""

    windows: Windows
    folder: Path
    settings: Mapping[str, Any]
    clock: Clock
    step_hours: float = 1.0

    @property
    def context(self) -> verbs.Context:
        return verbs.Context(store_path=str(self.folder / "models"))

    def train(self, rows: pl.DataFrame, name: str) -> Artefact:
        """Train a version by the verb, with the last rows held out where the loop would hold them out."""
        path = self.folder / f"{name}.parquet"
        rows.write_parquet(path)
        config = {
            "name": name,
            "data": {"path": str(path), "target": self.windows.target},
            "model": {"kind": "boosting"},
            "training": {"seed": 0},
            **self.settings,
        }
        conf = self.folder / f"{name}.json"
        conf.write_text(json.dumps(config))
        return verbs.train.train(conf, self.context).artefact


def play(market: Market, report: Callable[[str], None]) -> Run:
    """Play all windows; return the losses of each rule."""
    run, windows = Run(), market.windows
    began = time.monotonic()
    first = market.train(windows.first, "loop")
    context, path = market.context, str(market.folder / "log.db")
    with contextlib.closing(open_log(path, Path(), {})) as log:
        settings = loop_settings(first, context)
        loop = MonitorLoop(
            context.store(), log, "loop", settings, "benchmark",
            retrainer=retrainer(MonitoredModel("loop", path), settings.retraining, context, isolated=False),
        )  # fmt: skip
        refits = {"refit, all rows": first, "refit, recent rows": first}
        for number, rows in enumerate(windows.later):
            for rule, artefact in {"nothing": first, **refits}.items():
                run.add(rule, losses(artefact, rows))
            run.add("loop", left_alone(market, loop, log, number, run))
            seen = pl.concat([windows.first, *windows.later[: number + 1]], how="vertical_relaxed")
            refits = {
                "refit, all rows": market.train(seen, f"all_{number}"),
                "refit, recent rows": market.train(seen.tail(windows.first.height), f"recent_{number}"),
            }
            means = ", ".join(f"{rule} {values[-1]:.4g}" for rule, values in run.losses.items())
            report(f"{windows.name}, window {number + 1}: {means}; {', '.join(run.kinds(number)) or 'no event'}")
        loop.close()
    run.losses["oracle"] = [min(values) for values in zip(*run.losses.values(), strict=True)]
    run.seconds = time.monotonic() - began
    return run


def losses(artefact: Artefact, rows: pl.DataFrame) -> list[float]:
    """Return the loss of each row: the absolute error, or the log loss."""
    labeled = labeled_rows(artefact, rows)
    predictions = artefact.predictor.predict_batch(labeled.batch)
    return absolute_losses(artefact.predictor.task, predictions, labeled.labels).tolist()


def left_alone(market: Market, loop: MonitorLoop, log: PredictionLog, number: int, run: Run) -> list[float]:
    """Let the live version predict the rows of a window as they come; return the loss of each."""
    clock, target, rows = market.clock, market.windows.target, market.windows.later[number]
    n_steps = round(WINDOW_DAYS * 24 / market.step_hours)
    bounds = np.linspace(0, rows.height, n_steps + 1).round().astype(int).tolist()
    labels: list[tuple[float, Label]] = []
    of_rows: list[float] = []
    live = market.context.version("loop@live")
    for start, end in pairwise(bounds):
        clock.now += market.step_hours * 3600.0
        batch = rows.slice(start, end - start)
        if batch.height:
            of_rows += losses(live, batch)
            ids = [f"{number:02d}-{index:06d}" for index in range(start, end)]
            log.write(records(live, batch.drop(target), ids, clock.now))
            due_at = clock.now + LABEL_DELAY
            labels += [(due_at, Label(id_, label)) for id_, label in zip(ids, batch[target].to_list(), strict=True)]
        due = [label for at, label in labels if at <= clock.now]
        log.add_labels(due, clock.now)
        labels = labels[len(due) :]
        for event in loop.step(clock.now):
            run.events.append((number, event))
            if event.kind in ("promote", "rollback"):
                live = market.context.version("loop@live")
    log.add_labels([label for _, label in labels], clock.now)
    return of_rows


def records(live: Artefact, rows: pl.DataFrame, ids: Sequence[str], now: float) -> list[PredictionRecord]:
    """Return what the server would log of rows that come one second after the other, until now."""
    predictions = live.predictor.predict_batch(read_frame(live.schema, rows))
    responses = Service(live, Serving()).full_rows(predictions, [[] for _ in ids], ids)
    return [
        PredictionRecord(id_, now - len(ids) + index, "loop", live.version, row, response)
        for index, (id_, row, response) in enumerate(zip(ids, rows.iter_rows(named=True), responses, strict=True))
    ]


def table_of(runs: Sequence[tuple[str, Run]]) -> str:
    """Return the mean losses as Markdown; those of "nothing" in their own units, the others relative to it."""
    rules = [rule for rule in runs[0][1].losses if rule != "nothing"]
    lines = [f"| table | nothing | {' | '.join(rules)} | alarms | retrainings | promoted | rolled back |"]
    lines.append("|" + " --- |" * (len(rules) + 6))
    for name, run in runs:
        means = {rule: float(np.mean(values)) for rule, values in run.losses.items()}
        relative = " | ".join(f"{means[rule] / means['nothing']:.3f}" for rule in rules)
        kinds = [event.kind for _, event in run.events]
        alarms = f"{kinds.count('drift')} drift, {kinds.count('degradation')} degradation"
        moves = " | ".join(str(kinds.count(kind)) for kind in ("retrain", "promote", "rollback"))
        lines.append(f"| {name} | {means['nothing']:.4g} | {relative} | {alarms} | {moves} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["moving_market", *(table.name for table in TABLES)]
    parser.add_argument("--tables", nargs="+", choices=names, default=names)
    parser.add_argument("--settings", default=json.dumps(LOOP), help="sections of the config, as JSON")
    parser.add_argument("--step-hours", type=float, default=1.0, help="time between steps of the loop; %(default)s")
    parser.add_argument("--events", action="store_true", help="print every event")
    arguments = parser.parse_args()
    print(machine_line(["numpy", "polars", "lightgbm", "onnxruntime"], {}), flush=True)
    clock, runs = Clock(), list[tuple[str, Run]]()
    for name in arguments.tables:
        windows = moving_market() if name == "moving_market" else of_table(next(t for t in TABLES if t.name == name))
        with tempfile.TemporaryDirectory() as scratch:
            market = Market(windows, Path(scratch), json.loads(arguments.settings), clock, arguments.step_hours)
            run = play(market, lambda line: print(line, flush=True))
        runs.append((name, run))
        for number, event in run.events if arguments.events else ():
            if event.kind != "check":
                print(f"  window {number + 1}: {event.kind}: {event.message}", flush=True)
        print(f"{name}: {run.seconds:.0f} s", flush=True)
    print(table_of(runs))


if __name__ == "__main__":
    main()
