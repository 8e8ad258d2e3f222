"""A market that moves: trained on old quarters, asked about new ones; seen, proven, renewed, promoted, taken back.

Everything is real: a server over HTTP, its log, and the watcher beside it.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TARGET = "Sale_Price"
MODEL = "moving_market"
PATIENCE = 90.0


def rows_of(name: str) -> list[tuple[dict[str, Any], float]]:
    """Give the houses of a file, each with the price that it was sold for."""
    with gzip.open(HERE / name, "rt", encoding="utf-8", newline="") as file:
        return [
            ({k: v or None for k, v in row.items() if k != TARGET}, float(row[TARGET])) for row in csv.DictReader(file)
        ]


@dataclass
class Agency:
    """Who asks for estimates; `answered` counts them by the version that gave them, `refused` all others."""

    address: str
    answered: dict[str, int] = field(default_factory=dict)
    refused: int = 0

    def ask(self, houses: Sequence[Mapping[str, Any]]) -> list[str]:
        """Ask for houses one by one; give the ids of the answers."""
        ids = []
        for house in houses:
            status, told = self._post("/v1/predict", [house])
            if status == 200:
                self.answered[told["version"]] = self.answered.get(told["version"], 0) + 1
                ids.append(told["predictions"][0]["id"])
            else:
                self.refused += 1
        return ids

    def tell(self, ids: Sequence[str], prices: Sequence[float]) -> None:
        """Tell what houses were sold for."""
        self._post("/v1/labels", [{"id": named, "label": price} for named, price in zip(ids, prices, strict=True)])

    def version(self) -> str:
        """Give the version that answers now."""
        with urllib.request.urlopen(f"{self.address}/readyz", timeout=10) as answer:
            return str(json.load(answer)["version"])

    def _post(self, path: str, content: Any) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"{self.address}{path}", json.dumps(content).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except OSError as error:
            return getattr(error, "code", 0), {}


@dataclass(frozen=True)
class Desk:
    """The command line over a store and a log of their own."""

    folder: Path

    def run(self, *words: str, fine: Sequence[int] = (0,)) -> Any:
        """Run a verb and give the object that it prints."""
        command = [sys.executable, "-m", "estimator", *words, "--store", str(self.folder / "models"), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode not in fine:
            raise SystemExit(f"estimator {' '.join(words)}: {done.stderr}")
        return json.loads(done.stdout)

    def events(self) -> list[dict[str, Any]]:
        """Give all that has happened."""
        log = str(self.folder / "log.db")
        first = self.run("history", MODEL)["moves"][0]["after"]
        return list(self.run("monitor", f"{MODEL}/{first}", "--log", log, fine=(0, 3))["events"])

    def wait(self, kind: str, said: Callable[[str], None]) -> dict[str, Any]:
        """Wait for an event of a kind."""
        began = time.monotonic()
        while time.monotonic() - began < PATIENCE:
            found = [event for event in self.events() if event["kind"] == kind]
            if found:
                said(f"  {kind}: {found[-1]['details']['message']}")
                return found[-1]
            time.sleep(0.5)
        raise SystemExit(f"no event {kind!r} within {PATIENCE:g} s")


@contextmanager
def served(folder: Path) -> Iterator[Agency]:
    """Serve the live version and watch its log, for a block."""
    command = [
        sys.executable, "-m", "estimator", "serve", "--model", MODEL, "--port", "0", "--monitor", "--json",
        "--log", str(folder / "log.db"), "--store", str(folder / "models"),
    ]  # fmt: skip
    with (
        (folder / "server.log").open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, cwd=HERE) as process,
    ):
        assert process.stdout is not None
        try:
            yield Agency(json.loads(process.stdout.readline())["url"])
        finally:
            process.terminate()
            process.wait(60)


def story(folder: Path, said: Callable[[str], None] = print) -> dict[str, Any]:
    """Tell the story in a folder of its own; give the figures of it."""
    desk = Desk(folder)
    same, other = rows_of("same_area.csv.gz"), rows_of("other_area.csv.gz")
    trained = desk.run("train", "--conf", str(HERE / "config.yml"))
    said(f"trained on old quarters: {trained['version']}")
    with served(folder) as agency:
        agency.ask([house for house, _ in same])
        time.sleep(4)
        calm = [event for event in desk.events() if event["kind"] in ("drift", "degradation")]
        said(f"{len(same)} more houses of the same quarters: {len(calm)} alarms")
        first = agency.ask([house for house, _ in other[:150]])
        said("then 150 houses of new quarters:")
        drift = desk.wait("drift", said)
        said("they are sold, and their prices are told:")
        agency.tell(first, [price for _, price in other[:150]])
        loss = desk.wait("degradation", said)
        renewed = desk.wait("retrain", said)
        said("the candidate is judged by what is sold from now on:")
        place, promoted = 150, None
        while promoted is None and place < len(other) - 100:
            part = other[place : place + 100]
            agency.tell(agency.ask([house for house, _ in part]), [price for _, price in part])
            place += 100
            time.sleep(3)
            promoted = next((event for event in desk.events() if event["kind"] == "promote"), None)
        if promoted is None:
            raise SystemExit("the candidate was never proven better")
        said(f"  promote: {promoted['details']['message']}")
        _until(lambda: agency.version() == promoted["version"])
        agency.ask([house for house, _ in other[:20]])
        desk.run("rollback", MODEL, "--why", "to show that it works")
        _until(lambda: agency.version() == trained["version"])
        agency.ask([house for house, _ in other[:20]])
        said(f"and taken back by hand: {agency.version()} answers again")
        said(f"answered {sum(agency.answered.values())}, refused {agency.refused}; by version {agency.answered}")
    return {
        "calm": calm, "drift": drift, "loss": loss, "retrain": renewed, "promote": promoted, "labels": place,
        "answered": agency.answered, "refused": agency.refused, "first": trained["version"],
        "history": desk.run("history", MODEL)["moves"], "quiet_rows": len(same),
    }  # fmt: skip


def _until(holds: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > PATIENCE:
            raise SystemExit("the server does not follow")
        time.sleep(0.2)


if __name__ == "__main__":
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    with tempfile.TemporaryDirectory() as scratch:
        story(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch))
