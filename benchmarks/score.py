"""Predict a table larger than memory by `estimator predict`, compared with onnxruntime alone on rows in memory."""

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

GRAPH_ROWS = 1_000_000


def run_graph(request: dict[str, Any]) -> dict[str, Any]:
    """Predict the table's first rows from arrays in memory: only the calls of onnxruntime are timed."""
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
            if rows >= GRAPH_ROWS:
                break
    return {"rows": rows, "seconds": seconds}


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", help="a file, pattern or folder that `estimator predict` takes")
    parser.add_argument("--model", help="a version's folder")
    parser.add_argument("--runs", type=int, default=1, help="%(default)s")
    parser.add_argument("--child", choices=["graph"], help=argparse.SUPPRESS)
    parser.add_argument("--request", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(run_graph(options.request)))
        return
    request = {"table": options.table, "model": options.model}
    print(machine_line(("onnxruntime", "polars", "numpy"), {}))
    print("\n| | rows | wall s | CPU s | peak MB | rows per second | of onnxruntime alone |")
    print("|---|---|---|---|---|---|---|")
    for _ in range(options.runs):
        alone, cost = measured(child_command(Path(sys.executable), Path(__file__), "graph", request), {})
        fastest = alone["rows"] / alone["seconds"]
        print(f"| onnxruntime alone | {alone['rows']:,} | {alone['seconds']:.1f} | | | {fastest:,.0f} | 1 |")
        with tempfile.TemporaryDirectory() as folder:
            output = str(Path(folder) / "predictions.parquet")
            arguments = ["predict", "--model", options.model, "--input", options.table, "--output", output, "--json"]
            summary, cost = measured([sys.executable, "-m", "estimator", *arguments], {})
        speed = summary["rows"] / cost["wall_seconds"]
        print(
            f"| estimator predict | {summary['rows']:,} | {cost['wall_seconds']:.1f} | {cost['cpu_seconds']:.1f} "
            f"| {cost['peak_megabytes']:.0f} | {speed:,.0f} | {speed / fastest:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
