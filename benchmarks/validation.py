"""Compare cross-validation of the tutorial's net as whole processes: ours, and Keras on TensorFlow fold by fold."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from processes import child_command, keras_environment, machine_line, measured, ratio, spread

from estimator.verbs.context import SHELVES

# Only the standard library up here: see processes.py.

BOSTON = Path(__file__).resolve().parent.parent / "examples" / "boston" / "boston.csv"
FOLDS, SEEDS, BATCH_SIZE = 5, 3, 10
LAYERS = (64, 64, 32)
EPOCHS = (17, 100)
COMPETITORS = ("ours", "keras")
NOTES = f"""\
{FOLDS} folds x {SEEDS} seeds, {FOLDS * SEEDS} fits of the tutorial's net on the 506 rows of Boston, batch {BATCH_SIZE};
the same rows in the same folds. Whole process: start, imports, reading, scaling by each fold's own rows, fitting,
predicting. Keras builds and fits one model after another, as scikit-learn's cross_val_score does. Competitors
take turns; ours finds compiled programs on disk, as a user's second run does. Cells: median (min..max); MAE: mean over
the {FOLDS * SEEDS} fits ± their standard deviation."""


@dataclass(frozen=True)
class Run:
    """What one process cost, and the errors of its fits."""

    competitor: str
    epochs: int
    wall_seconds: float
    cpu_seconds: float
    peak_megabytes: float
    fit_seconds: float
    errors: list[float]


def folds_of(n_rows: int, seed: int) -> Any:
    """Return which fold each row is in."""
    import numpy as np

    return np.random.default_rng([seed, 5]).permutation(n_rows) % FOLDS


def validate_ours(request: dict[str, Any]) -> dict[str, Any]:
    """Fit every fold with ours: one table, the folds of all seeds as repeats."""
    from dataclasses import replace

    import numpy as np

    from estimator.config import resolve
    from estimator.data.sources.opener import open_files
    from estimator.evaluation.validation import out_of_fold_predictions
    from estimator.training.prepare import prepare

    values = {
        "data": {"path": str(BOSTON), "target": "MEDV"},
        "model": {"kind": "dense", "layers": list(LAYERS)},
        "training": {"epochs": request["epochs"], "batch_size": BATCH_SIZE},
    }
    config = resolve(values, SHELVES)
    prepared = prepare(open_files(str(BOSTON)).frame(), config)
    everything = replace(
        prepared,
        test_mask=np.zeros(len(prepared.rows), dtype=bool),
        validation_mask=np.zeros(len(prepared.rows), dtype=bool),
        folds=np.empty((0, len(prepared.rows)), dtype=np.int64),
    ).fit_data(config)
    started, errors = time.perf_counter(), []
    for seed in range(SEEDS):
        table = replace(everything, folds=folds_of(len(prepared.rows), seed)[None, :])
        training = config.training.model_copy(update={"seed": seed})
        predictions = out_of_fold_predictions(table, config.model, training)
        errors_of_rows = np.abs(predictions - prepared.rows.target)
        errors += [float(errors_of_rows[table.folds[0] == fold].mean()) for fold in range(FOLDS)]
    return {"errors": errors, "fit_seconds": time.perf_counter() - started}


def validate_keras(request: dict[str, Any]) -> dict[str, Any]:
    """Fit every fold with Keras, one after another."""
    import keras
    import numpy as np
    import pandas as pd

    table = pd.read_csv(BOSTON)
    target, features = table["MEDV"].to_numpy("float32"), table.drop(columns="MEDV").to_numpy("float32")
    started, errors = time.perf_counter(), []
    for seed in range(SEEDS):
        keras.utils.set_random_seed(seed)
        folds = folds_of(len(target), seed)
        for fold in range(FOLDS):
            is_training = folds != fold
            mean, deviation = features[is_training].mean(axis=0), features[is_training].std(axis=0)
            rows = (features - mean) / deviation
            layers = [keras.layers.Dense(width, activation="relu") for width in LAYERS]
            net = keras.Sequential([keras.Input((rows.shape[1],)), *layers, keras.layers.Dense(1)])
            net.compile(optimizer="adam", loss="mse")
            net.fit(rows[is_training], target[is_training], batch_size=BATCH_SIZE, epochs=request["epochs"], verbose=0)
            predicted = net.predict(rows[~is_training], batch_size=1024, verbose=0)[:, 0]
            errors.append(float(np.abs(predicted - target[~is_training]).mean()))
    return {"errors": errors, "fit_seconds": time.perf_counter() - started}


CHILDREN = {"ours": validate_ours, "keras": validate_keras}


def run_once(competitor: str, epochs: int, python: Path, cache: Path) -> Run:
    """Validate by one competitor in a process of its own."""
    command = child_command(python, Path(__file__), competitor, {"epochs": epochs})
    quiet = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "ESTIMATOR_CACHE": str(cache)}
    printed, cost = measured(command, quiet)
    print(f"{competitor}, {epochs} epochs: {cost['wall_seconds']:.2f} s", file=sys.stderr)
    return Run(competitor, epochs, errors=printed["errors"], fit_seconds=printed["fit_seconds"], **cost)


def report(epochs: int, runs: list[Run]) -> str:
    """Return the runs of one length as a table, with the ratio below it."""
    lines = ["", f"{epochs} epochs", "", "| | wall s | CPU s | fits s | peak MB | MAE |", "|---|---|---|---|---|---|"]
    groups = {name: [run for run in runs if (run.competitor, run.epochs) == (name, epochs)] for name in COMPETITORS}
    for name, group in groups.items():
        fields = (("wall_seconds", ".2f"), ("cpu_seconds", ".2f"), ("fit_seconds", ".2f"), ("peak_megabytes", ".0f"))
        cells = [spread([getattr(run, field) for run in group], form) for field, form in fields]
        errors = [error for run in group for error in run.errors]
        lines.append(
            f"| {name} | {' | '.join(cells)} | {statistics.mean(errors):.3f} ± {statistics.stdev(errors):.3f} |"
        )
    ratios = [
        f"{field.split('_')[0]} {ratio(groups['keras'], groups['ours'], field)}"
        for field in ("wall_seconds", "cpu_seconds", "fit_seconds")
    ]
    return "\n".join([*lines, "", f"keras / ours: {', '.join(ratios)}"])


def main() -> None:
    """Measure and print, or be one of the children."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write every run there")
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    parser.add_argument("--request", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(CHILDREN[options.child](options.request)))
        return
    pythons = {"ours": Path(sys.executable), "keras": keras_environment()}
    with tempfile.TemporaryDirectory() as cache:
        for epochs in EPOCHS:
            run_once("ours", epochs, pythons["ours"], Path(cache))
        runs = [
            run_once(name, epochs, pythons[name], Path(cache))
            for _ in range(options.runs)
            for epochs in EPOCHS
            for name in COMPETITORS
        ]
    machine = machine_line(("jax",), {pythons["keras"]: ("keras", "tensorflow", "tensorflow-cpu")})
    print(machine, NOTES, *(report(epochs, runs) for epochs in EPOCHS), sep="\n")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine, "runs": [asdict(run) for run in runs]}, indent=1))


if __name__ == "__main__":
    main()
