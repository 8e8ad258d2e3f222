"""Compare `train --forecast` with the training itself: time and peak memory, over kinds and sizes (on Unix)."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processes import child_command, machine_line, measured

# Only the standard library up here: see processes.py.

BOSTON = Path(__file__).resolve().parent.parent / "examples" / "boston" / "config.json"
NOTES = """\
Memory: the peak of the whole process. Time: `total` as `train` prints it, which is without the start of Python.
CPU: processor seconds of the training; on an idle machine with 2 cores, half of them is less than the time.
Cost: the time of the forecast after reading and preparing, as a part of the time that came.
Ratios: forecast / what came."""


@dataclass(frozen=True)
class Case:
    """A kind of model, the table to train it on, and what is special about that."""

    kind: str
    rows: int
    columns: int
    target: str
    special: str = ""


CASES = (
    Case("constant", 100, 5, "number"),
    Case("constant", 10_000, 100, "32 classes"),
    Case("constant", 300_000, 30, "number"),
    Case("linear", 100, 5, "number"),
    Case("linear", 1000, 100, "32 classes"),
    Case("linear", 1000, 200, "32 classes"),
    Case("linear", 10_000, 300, "2 classes"),
    Case("linear", 5000, 5, "number", "text"),
    Case("linear", 10_000, 5, "2 classes", "wide"),
    Case("linear", 100_000, 30, "2 classes"),
    Case("linear", 300_000, 30, "number"),
    Case("boosting", 100, 5, "2 classes"),
    Case("boosting", 1000, 30, "number"),
    Case("boosting", 1000, 100, "32 classes"),
    Case("boosting", 1000, 300, "number"),
    Case("boosting", 10_000, 30, "number"),
    Case("boosting", 10_000, 30, "2 classes", "wide"),
    Case("boosting", 5000, 5, "2 classes", "text"),
    Case("boosting", 100_000, 30, "number"),
    Case("ensemble", 300, 5, "number"),
    Case("ensemble", 1000, 30, "2 classes"),
    Case("ensemble", 10_000, 30, "number"),
    Case("tabm", 1000, 30, "number"),
    Case("tabm", 10_000, 30, "number"),
    Case("tutorial", 506, 13, "number"),
    Case("dense", 300, 5, "2 classes"),
    Case("dense", 10_000, 30, "number"),
    Case("dense", 1000, 100, "32 classes"),
    Case("xgboost", 1000, 30, "2 classes"),
    Case("xgboost", 10_000, 30, "number"),
    Case("catboost", 1000, 30, "2 classes"),
    Case("catboost", 10_000, 30, "number"),
)


def make_table(case: Case, path: Path) -> None:
    """Write a table: numbers, a category of 8 values in every fifth column, and what is special."""
    import numpy as np
    import polars as pl

    draw, columns, score = np.random.default_rng(0), dict[str, Any](), np.zeros(case.rows)
    for index in range(case.columns):
        weight = 0.7 if index < 6 else 0.03
        if case.special == "text" and index == 0:
            words = draw.zipf(1.5, (case.rows, 12)) % 2000
            columns["text"] = [" ".join(f"w{word}" for word in row) for row in words]
            score += 0.1 * (words < 3).sum(axis=1)
        elif index % 5 == 4 or (case.special == "wide" and index < max(1, case.columns // 5)):
            n_categories = min(max(case.rows // 20, 10), 5000) if case.special == "wide" and index % 5 != 4 else 8
            codes, effects = draw.integers(0, n_categories, case.rows), draw.normal(size=n_categories)
            columns[f"category {index}"] = [f"k{code}" for code in codes]
            score += weight * effects[codes]
        else:
            values = draw.normal(size=case.rows)
            columns[f"number {index}"] = values.round(4)
            score += weight * (np.sin(2 * values) if index % 2 else values)
    score += draw.normal(size=case.rows)
    if case.target == "number":
        columns["target"] = score.round(4)
    else:
        n_classes = int(case.target.split()[0])
        codes = np.searchsorted(np.quantile(score, np.linspace(0, 1, n_classes + 1)[1:-1]), score)
        columns["target"] = [f"class {code}" for code in codes]
    pl.DataFrame(columns).write_parquet(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="run the cases whose kind begins so")
    parser.add_argument("--child")
    parser.add_argument("--request")
    arguments = parser.parse_args()
    if arguments.child:
        request = json.loads(arguments.request)
        make_table(Case(**request["case"]), Path(request["path"]))
        return
    names = ("numpy", "polars", "onnxruntime", "scikit-learn", "lightgbm", "xgboost-cpu", "catboost", "jax")
    print(machine_line(names, {}), NOTES, "", sep="\n")
    print("| model | rows | columns | target | says s | came s | CPU s | ratio | says MB | came MB | ratio | cost |")
    print("| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    ratios = [_run(case) for case in CASES if case.kind.startswith(arguments.only)]
    for index, name in enumerate(("time", "memory")):
        print(f"\n{name}: {_summary(pair[index] for pair in ratios)}")


def _run(case: Case) -> tuple[float, float]:
    """Forecast a case and train it; print a row, and return the ratios of time and memory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        conf = BOSTON
        if case.kind != "tutorial":
            path, conf = folder / "table.parquet", folder / "config.json"
            request = {"case": vars(case), "path": str(path)}
            subprocess.run(child_command(Path(sys.executable), Path(__file__), "table", request), check=True)
            data = {"path": str(path), "target": "target"}
            conf.write_text(json.dumps({"name": "model", "data": data, "model": {"kind": case.kind}}))
        command = [sys.executable, "-m", "estimator", "train", "--conf", str(conf), "--store", str(folder), "--json"]
        estimate, _ = measured([*command, "--forecast"], {})
        came, cost = measured(command, {})
    seconds, megabytes = estimate["seconds"], estimate["memory_bytes"] / 1e6
    time_ratio, memory_ratio = seconds / came["seconds"], megabytes / cost["peak_megabytes"]
    cells = (
        case.kind, f"{case.rows:,}", case.columns, " ".join(filter(None, [case.target, case.special])),
        f"{seconds:.1f}", f"{came['seconds']:.1f}", f"{cost['cpu_seconds']:.1f}", f"{time_ratio:.2f}",
        f"{megabytes:,.0f}", f"{cost['peak_megabytes']:,.0f}", f"{memory_ratio:.2f}",
        f"{estimate['forecast_seconds'] / came['seconds']:.1%}",
    )  # fmt: skip
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
    return time_ratio, memory_ratio


def _summary(ratios: Iterable[float]) -> str:
    values = sorted(ratios)
    n_close = sum(0.5 <= value <= 2.0 for value in values)
    return (
        f"{n_close} of {len(values)} within a factor of 2; median ratio {statistics.median(values):.2f}, "
        f"{values[0]:.2f} to {values[-1]:.2f}"
    )


if __name__ == "__main__":
    main()
