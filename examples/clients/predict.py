"""Predict the tutorial's house with a server of `estimator serve`; errors name row, column and value."""

from __future__ import annotations

import os
import sys

import httpx

HOUSE = {
    "CRIM": 0.09178, "ZN": 0.0, "INDUS": 4.05, "CHAS": 0, "NOX": 0.510, "RM": 6.416, "AGE": 84.1,
    "DIS": 2.6463, "RAD": 5.0, "TAX": 296.0, "PTRATIO": 16.6, "B": 395.50, "LSTAT": 9.04,
}  # fmt: skip


def main(address: str) -> None:
    """Print a prediction with its interval, then the error message of an invalid row."""
    key = os.environ.get("ESTIMATOR_KEY")
    with httpx.Client(base_url=address, headers={"X-API-Key": key} if key else {}) as client:
        response = client.post("/v1/predict", json=[HOUSE]).raise_for_status().json()
        (row,) = response["predictions"]
        low, high = row["interval"]
        print(f"{row['prediction']:.2f}, between {low:.2f} and {high:.2f}, by {response['version']}")
        rejected = client.post("/v1/predict", json=[{**HOUSE, "TAX": "many"}])
        print(rejected.status_code, rejected.json()["detail"][0]["msg"])


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
