"""Compare searches as whole processes: ours with one and two workers, killed and resumed, and Optuna around Keras."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from processes import CACHE, built_environment, child_command, machine_line, measured

# Only the standard library up here: see processes.py.

BOSTON = Path(__file__).resolve().parent.parent / "examples" / "boston" / "boston.csv"
PART_COLUMN = "part"
COMPETITORS = ("ours", "ours, 2 workers", "ours, killed", "keras")
NOTES = """\
The tutorial's net on Boston: layers (1 to 4 of 16 to 256 units), activation, learning rate, dropout and batch size are
searched by a seeded TPE on the same held-out rows and as many folds. Whole processes: start, reading, searching,
training the winner, scoring it on the held-out rows; ours also trains the config's own settings, compares, checks the
parity of both and writes the page. Keras's trials are pruned by Optuna's median rule, by epoch in the first fold and by
fold; ours by its own. "killed": ended by SIGKILL in a trial, then the same command again; its cost is that of both.
CPU s of "2 workers" holds that of both.
Ours begins with an empty cache of compiled programs."""


def search_keras(request: dict[str, Any]) -> dict[str, Any]:
    """Search with Optuna around Keras, as its documentation does."""
    import keras
    import numpy as np
    import optuna
    import pandas as pd

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = pd.read_csv(request["path"])
    held_out = (table[PART_COLUMN] == "test").to_numpy()
    target = table["MEDV"].to_numpy("float32")
    features = table.drop(columns=[PART_COLUMN, "MEDV"]).to_numpy("float32")
    fold_of = np.random.default_rng(request["seed"]).permutation(int((~held_out).sum())) % request["folds"]

    def error(settings: dict[str, Any], train: Any, test: Any, callbacks: list[Any]) -> float:
        keras.utils.set_random_seed(request["seed"])
        mean, deviation = features[train].mean(axis=0), features[train].std(axis=0)
        scaled = (features - mean) / np.where(deviation > 0, deviation, 1)
        layers: list[Any] = []
        for units in settings["layers"]:
            layers += [keras.layers.Dense(units, settings["activation"]), keras.layers.Dropout(settings["dropout"])]
        net = keras.Sequential([keras.Input((features.shape[1],)), *layers, keras.layers.Dense(1)])
        net.compile(keras.optimizers.Adam(settings["rate"]), "mse")
        validation = {"validation_data": (scaled[test], target[test])} if callbacks else {}
        net.fit(
            scaled[train],
            target[train],
            settings["batch"],
            request["epochs"],
            verbose=0,
            callbacks=callbacks,
            **validation,
        )
        return float(abs(net.predict(scaled[test], verbose=0)[:, 0] - target[test]).mean())

    def objective(trial: Any) -> float:
        class Prune(keras.callbacks.Callback):
            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                trial.report(logs["val_loss"] ** 0.5, epoch)
                if trial.should_prune():
                    raise optuna.TrialPruned

        count = trial.suggest_int("count", 1, 4)
        settings = {
            "layers": [trial.suggest_int(f"units_{number}", 16, 256, log=True) for number in range(count)],
            "activation": trial.suggest_categorical("activation", ["relu", "gelu", "swish"]),
            "rate": trial.suggest_float("rate", 0.0003, 0.03, log=True),
            "dropout": trial.suggest_categorical("dropout", [0.0, 0.05, 0.1, 0.2, 0.3, 0.5]),
            "batch": trial.suggest_categorical("batch", [8, 16, 32, 64]),
        }
        trial.set_user_attr("settings", settings)
        errors: list[float] = []
        training_rows = np.flatnonzero(~held_out)
        for fold in range(request["folds"]):
            callbacks = [Prune()] if fold == 0 else []
            errors.append(error(settings, training_rows[fold_of != fold], training_rows[fold_of == fold], callbacks))
            trial.report(float(np.mean(errors)), request["epochs"] + fold)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(np.mean(errors))

    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=request["seed"]),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=request["epochs"] // 4),
    )
    study.optimize(objective, n_trials=request["trials"])
    result = error(study.best_trial.user_attrs["settings"], ~held_out, held_out, [])
    pruned = sum(trial.state.name == "PRUNED" for trial in study.trials)
    return {"search": study.best_value, "held_out": result, "pruned": pruned, "done": len(study.trials)}


def our_config(request: dict[str, Any], folder: Path) -> Path:
    """Write the tutorial's config with a search, and return its path."""
    config = {
        "data": {"path": request["path"], "target": "MEDV"},
        "model_config": {
            "model_name": "net",
            "layers": {"layer_1": 64, "layer_2": 64, "layer_3": 32, "output": 1},
            "activations": ["relu", "relu", "relu", None],
            "loss_function": "mse",
            "optimiser": "adam",
            "metrics": ["mae"],
        },
        "training_config": {
            "batch_size": 10,
            "epochs": request["epochs"],
            "seed": request["seed"],
            "split": {"kind": "column", "column": PART_COLUMN, "test": "test"},
        },
        "validation": {"folds": request["folds"]},
        "tuning": {"n_trials": request["trials"]},
    }
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path


def search_ours(competitor: str, request: dict[str, Any], folder: Path) -> tuple[dict[str, Any], dict[str, float]]:
    """Search by ours; return the result and its cost."""
    command = [sys.executable, "-m", "estimator", "tune", "--conf", str(our_config(request, folder)), "--json"]
    environment = {"ESTIMATOR_CACHE": str(folder / "cache")}
    if "workers" in competitor:
        command += ["--workers", "2"]
    killed_cost = kill_in_the_middle(command, environment, folder, request["trials"]) if "killed" in competitor else {}
    printed, cost = measured(command, environment)
    cost = {name: value + killed_cost.get(name, 0.0) for name, value in cost.items()}
    tuned, counts = printed["held_out"]["tuned"], printed["trials"]
    return {
        "search": printed["best"]["search_score"], "held_out": tuned["value"],
        "untuned": printed["held_out"]["untuned"]["value"], "pruned": counts["pruned"], "done": counts["done"],
        "retried": counts["retried"],
    }, cost  # fmt: skip


def kill_in_the_middle(command: list[str], environment: dict[str, str], folder: Path, trials: int) -> dict[str, float]:
    """Start a search and kill it once a third of its trials have started; return its cost."""
    journal, began = folder / "tuning" / "journal.log", time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    while not journal.exists() or journal.read_text().count('"edits"') < trials // 3:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    _, _, usage = os.wait4(process.pid, 0)
    return {"wall_seconds": time.perf_counter() - began, "cpu_seconds": usage.ru_utime + usage.ru_stime}


def write_table(path: Path, seed: int) -> None:
    """Write Boston with a column that marks a fifth of its rows as held out."""
    import numpy as np
    import polars as pl

    table = pl.read_csv(BOSTON)
    held_out = np.random.default_rng(seed).permutation(table.height) < table.height // 5
    table.with_columns(pl.Series(PART_COLUMN, np.where(held_out, "test", "train").tolist())).write_csv(path)


def row(name: str, result: dict[str, Any], cost: dict[str, float]) -> str:
    """Return one row of the printed table."""
    cells = [f"{cost['wall_seconds']:.0f}", f"{cost['cpu_seconds']:.0f}", f"{cost['peak_megabytes']:.0f}",
             str(result["done"]), str(result["pruned"]), str(result.get("retried", "")), f"{result['search']:.3f}",
             f"{result['held_out']:.3f}", f"{result['untuned']:.3f}" if "untuned" in result else ""]  # fmt: skip
    return f"| {name:<16} | " + " | ".join(f"{cell:>8}" for cell in cells) + " |"


def parsed_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=COMPETITORS, default=COMPETITORS)
    parser.add_argument("--peer-env", type=Path, default=CACHE / "keras-tf-optuna", help="where Keras is installed")
    parser.add_argument("--child", choices=["keras"], help=argparse.SUPPRESS)
    parser.add_argument("--request", type=json.loads, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print, or be the child."""
    options = parsed_arguments()
    if options.child:
        print(json.dumps(search_keras(options.request)))
        return
    peers = {}
    if "keras" in options.only:
        choices = [["keras>=3", "pandas", "optuna>=5", build] for build in ("tensorflow-cpu", "tensorflow")]
        peers = {built_environment(options.peer_env, *choices): ("keras", "tensorflow", "tensorflow-cpu", "optuna")}
    request = {name: getattr(options, name) for name in ("trials", "folds", "epochs", "seed")}
    print(machine_line(("jax", "optuna"), peers), NOTES, "", sep="\n")
    print(f"{options.trials} trials, {options.folds} folds, {options.epochs} epochs, seed {options.seed}\n")
    heads = ("wall s", "CPU s", "RSS MB", "trials", "pruned", "retried", "MAE fold", "MAE held", "untuned")
    print(f"| {'':<16} | " + " | ".join(f"{head:>8}" for head in heads) + " |")
    print(f"|{'-' * 18}|" + "---------:|" * len(heads), flush=True)
    for name in options.only:
        with tempfile.TemporaryDirectory() as scratch:
            table = Path(scratch) / "boston.csv"
            write_table(table, options.seed)
            table_request = request | {"path": str(table)}
            if name == "keras":
                command = child_command(next(iter(peers)), Path(__file__), "keras", table_request)
                result, cost = measured(command, {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"})
            else:
                result, cost = search_ours(name, table_request, Path(scratch))
            print(row(name, result, cost), flush=True)


if __name__ == "__main__":
    main()
