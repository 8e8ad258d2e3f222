"""The tutorial in one run: train the config, serve the version, predict one house, stop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
HOUSE = {
    "CRIM": 0.09178, "ZN": 0.0, "INDUS": 4.05, "CHAS": 0, "NOX": 0.510, "RM": 6.416, "AGE": 84.1,
    "DIS": 2.6463, "RAD": 5.0, "TAX": 296.0, "PTRATIO": 16.6, "B": 395.50, "LSTAT": 9.04,
}  # fmt: skip


def main() -> None:
    """Run the three commands of the README in a temporary store."""
    with tempfile.TemporaryDirectory() as folder:
        store = ["--store", folder]
        subprocess.run([*estimator("train"), "--conf", str(HERE / "config.json"), *store], check=True)
        environment = {**os.environ, "MODEL_FOLDER": str(Path(folder) / "house_pricing_model")}
        serving = subprocess.Popen(
            [*estimator("serve"), "--port", "0", "--json"], env=environment, stdout=subprocess.PIPE, text=True
        )
        try:
            assert serving.stdout is not None
            address = json.loads(serving.stdout.readline())["url"]
            print(f"\nPOST {address}/v1/services/predict")
            print(json.dumps(predict(address), indent=2))
        finally:
            serving.terminate()
            serving.wait(timeout=30)


def estimator(verb: str) -> list[str]:
    """Return a command of estimator, run by this Python."""
    return [sys.executable, "-m", "estimator", verb]


def predict(address: str) -> object:
    """Send the house of the tutorial and return the response."""
    request = urllib.request.Request(
        f"{address}/v1/services/predict",
        data=json.dumps([HOUSE]).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


if __name__ == "__main__":
    main()
