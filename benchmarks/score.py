"""Score a table larger than memory by `estimator predict`, beside onnxruntime alone on the same rows in memory."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from processes import child_command, machine_line, measured

# Only the standard library up here: see processes.py.

FLOOR_ROWS = 1_000_000


def floor(request: dict[str, Any]) -> dict[str, Any]:
    """Answer the table's first rows from arrays that are ready: only the calls into onnxruntime are timed."""
    from estimator.data.schema.frames import read_frame
    from estimator.verbs.context import Context, data_like

    artefact = Context().version(request["model"])
    rows, seconds = 0, 0.0
    with Context().rows(data_like(artefact, request["table"], None)) as source:
        for frame in source.batches():
            batch = read_frame(artefact.schema, frame)
            started = time.perf_counter()
            artefact.predictor.run(batch.feed)
            seconds += time.perf_counter() - started
            rows += batch.n_rows
            if rows >= FLOOR_ROWS:
                break
    return {"rows": rows, "seconds": seconds}


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", help="a file, pattern or folder that `estimator predict` takes")
    parser.add_argument("--model", help="a version's folder")
    parser.add_argument("--runs", type=int, default=1, help="%(default)s")
    parser.add_argument("--child", choices=["floor"], help=argparse.SUPPRESS)
    parser.add_argument("--request", type=json.loads, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        print(json.dumps(floor(chosen.request)))
        return
    request = {"table": chosen.table, "model": chosen.model}
    print(machine_line(("onnxruntime", "polars", "numpy"), {}))
    print("\n| | rows | wall s | CPU s | peak MB | rows per second | of onnxruntime alone |")
    print("|---|---|---|---|---|---|---|")
    for _ in range(chosen.runs):
        alone, cost = measured(child_command(Path(sys.executable), Path(__file__), "floor", request), {})
        fastest = alone["rows"] / alone["seconds"]
        print(f"| onnxruntime alone | {alone['rows']:,} | {alone['seconds']:.1f} | | | {fastest:,.0f} | 1 |")
        with tempfile.TemporaryDirectory() as folder:
            output = str(Path(folder) / "answers.parquet")
            words = ["predict", "--model", chosen.model, "--input", chosen.table, "--output", output, "--json"]
            told, cost = measured([sys.executable, "-m", "estimator", *words], {})
        speed = told["rows"] / cost["wall_seconds"]
        print(
            f"| estimator predict | {told['rows']:,} | {cost['wall_seconds']:.1f} | {cost['cpu_seconds']:.1f} "
            f"| {cost['peak_megabytes']:.0f} | {speed:,.0f} | {speed / fastest:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
