"""A changing market: drift, an alarm, retraining, promotion and rollback, with a real server and its monitor.

The model is trained on houses of some neighborhoods; then houses of others are for sale.
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
TIMEOUT_SECONDS = 90.0


def read_houses(name: str) -> list[tuple[dict[str, Any], float]]:
    """Return the houses of a file, each with its price."""
    with gzip.open(HERE / name, "rt", encoding="utf-8", newline="") as file:
        return [
            ({k: v or None for k, v in row.items() if k != TARGET}, float(row[TARGET])) for row in csv.DictReader(file)
        ]


@dataclass
class Client:
    """A client of the server; it counts its predictions by version, and the requests that failed."""

    address: str
    predicted: dict[str, int] = field(default_factory=dict)
    rejected: int = 0

    def predict(self, houses: Sequence[Mapping[str, Any]]) -> list[str]:
        """Request predictions one by one; return their ids."""
        ids = []
        for house in houses:
            status, response = self._post("/v1/predict", [house])
            if status == 200:
                self.predicted[response["version"]] = self.predicted.get(response["version"], 0) + 1
                ids.append(response["predictions"][0]["id"])
            else:
                self.rejected += 1
        return ids

    def label(self, ids: Sequence[str], prices: Sequence[float]) -> None:
        """Send the prices that houses were sold for."""
        self._post("/v1/labels", [{"id": id_, "label": price} for id_, price in zip(ids, prices, strict=True)])

    def version(self) -> str:
        """Return the live version."""
        with urllib.request.urlopen(f"{self.address}/readyz", timeout=10) as response:
            return str(json.load(response)["version"])

    def _post(self, path: str, content: Any) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"{self.address}{path}", json.dumps(content).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, json.load(response)
        except OSError as error:
            return getattr(error, "code", 0), {}


@dataclass(frozen=True)
class CommandLine:
    """The command line with a store and a log in a folder."""

    folder: Path

    def run(self, *arguments: str, exit_codes: Sequence[int] = (0,)) -> Any:
        """Run a verb; return the object that it prints."""
        command = [sys.executable, "-m", "estimator", *arguments, "--store", str(self.folder / "models"), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode not in exit_codes:
            raise SystemExit(f"estimator {' '.join(arguments)}: {done.stderr}")
        return json.loads(done.stdout)

    def events(self) -> list[dict[str, Any]]:
        """Return all events of the model."""
        log = str(self.folder / "log.db")
        first = self.run("history", MODEL)["moves"][0]["version"]
        return list(self.run("monitor", f"{MODEL}/{first}", "--log", log, exit_codes=(0, 3))["events"])

    def wait(self, kind: str, report: Callable[[str], None]) -> dict[str, Any]:
        """Wait for an event of a kind; return the latest."""
        began = time.monotonic()
        while time.monotonic() - began < TIMEOUT_SECONDS:
            events = [event for event in self.events() if event["kind"] == kind]
            if events:
                report(f"  {kind}: {events[-1]['details']['message']}")
                return events[-1]
            time.sleep(0.5)
        raise SystemExit(f"no event {kind!r} within {TIMEOUT_SECONDS:g} s")


@contextmanager
def running_server(folder: Path) -> Iterator[Client]:
    """Serve the live version and monitor its log; stop both at the end."""
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
            yield Client(json.loads(process.stdout.readline())["url"])
        finally:
            process.terminate()
            process.wait(60)


def story(folder: Path, report: Callable[[str], None] = print) -> dict[str, Any]:
    """Play the story in a folder of its own; return its figures."""
    commands = CommandLine(folder)
    same, other = read_houses("same_area.csv.gz"), read_houses("other_area.csv.gz")
    trained = commands.run("train", "--conf", str(HERE / "config.yml"))
    report(f"trained on some neighborhoods: {trained['version']}")
    with running_server(folder) as client:
        client.predict([house for house, _ in same])
        time.sleep(4)
        calm_alarms = [event for event in commands.events() if event["kind"] in ("drift", "degradation")]
        report(f"{len(same)} more houses of the same neighborhoods: {len(calm_alarms)} alarms")
        report("150 houses of other neighborhoods:")
        first_ids = client.predict([house for house, _ in other[:150]])
        drift = commands.wait("drift", report)
        report("they are sold, and their prices become labels:")
        client.label(first_ids, [price for _, price in other[:150]])
        degradation = commands.wait("degradation", report)
        retraining = commands.wait("retrain", report)
        report("candidate and live version are compared on the next sales:")
        promotion, n_labels = _sell_until_promoted(client, commands, other)
        report(f"  promote: {promotion['details']['message']}")
        _wait_until(lambda: client.version() == promotion["version"])
        client.predict([house for house, _ in other[:20]])
        commands.run("rollback", MODEL, "--why", "to show that it works")
        _wait_until(lambda: client.version() == trained["version"])
        client.predict([house for house, _ in other[:20]])
        report(f"rolled back by hand: {client.version()} is live again")
        n_predicted = sum(client.predicted.values())
        report(f"{n_predicted} predictions, {client.rejected} rejected; by version {client.predicted}")
    return {
        "calm_alarms": calm_alarms,
        "drift": drift,
        "degradation": degradation,
        "retraining": retraining,
        "promotion": promotion,
        "n_labels": n_labels,
        "predicted": client.predicted,
        "rejected": client.rejected,
        "first_version": trained["version"],
        "history": commands.run("history", MODEL)["moves"],
        "n_calm_rows": len(same),
    }


def _sell_until_promoted(
    client: Client, commands: CommandLine, houses: Sequence[tuple[dict[str, Any], float]]
) -> tuple[dict[str, Any], int]:
    """Predict and label a hundred houses at a time; return the promotion and the number of labels so far."""
    for start in range(150, len(houses) - 100, 100):
        batch = houses[start : start + 100]
        client.label(client.predict([house for house, _ in batch]), [price for _, price in batch])
        time.sleep(3)
        promotion = next((event for event in commands.events() if event["kind"] == "promote"), None)
        if promotion is not None:
            return promotion, start + 100
    raise SystemExit("the candidate was never proven better")


def _wait_until(is_true: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not is_true():
        if time.monotonic() - began > TIMEOUT_SECONDS:
            raise SystemExit("the server does not load the live version")
        time.sleep(0.2)


if __name__ == "__main__":
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    with tempfile.TemporaryDirectory() as scratch:
        # The server runs in another folder, so the path must be absolute.
        story(Path(sys.argv[1] if len(sys.argv) > 1 else scratch).absolute())
