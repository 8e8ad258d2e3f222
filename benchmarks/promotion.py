"""Promotion with repeated looks: how often an equal version is promoted, and after how many labels a better one is.

Real tables: a live version is trained on the reference rows, candidates also on rows of the next period, and all are
compared on other rows of that period. Equal versions are simulated: the two losses of each row are swapped at random,
so any promotion is wrong. The paired e-process is compared with the better mean and a t-test at 5 %, both looked at
after every 25 labels.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightgbm
import numpy as np
import numpy.typing as npt
import polars as pl
from drift_ours import reference_of
from drift_tables import TABLES, Pool, read_window, split_pool
from processes import machine_line

from estimator.core.task import Predictions
from estimator.data.schema import Schema
from estimator.data.schema.frames import read_frame
from estimator.drift import CurrentRows, DriftReference
from estimator.monitoring.promotion import PairedBettingTest

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "tables"
Floats = npt.NDArray[np.float64]
RULES = ("better mean", "t-test at 5 %", "paired e-process")
N_LABELS, LOOK_EVERY, THRESHOLD = 500, 25, 20.0
NEW_ROWS = 500
BETTER, MUCH_BETTER = 0.93, 0.85
ORDERS = 10
SETTINGS = {"num_leaves": 15, "learning_rate": 0.08, "min_data_in_leaf": 10, "verbosity": -1, "num_threads": 1}


@dataclass(frozen=True)
class Comparison:
    """The losses of a live version and of a candidate on the same rows, in their order."""

    name: str
    live: Floats
    candidate: Floats

    @property
    def ratio(self) -> float:
        """The candidate's loss as a fraction of the live one's."""
        return float(self.candidate.mean() / self.live.mean())


def comparisons(folder: Path, seeds: int) -> Iterator[Comparison]:
    """Yield the comparisons of all tables."""
    manifest = json.loads((folder / "manifest.json").read_text())
    cuts = {item["name"]: item.get("windows", {}) for item in manifest["datasets"]}
    for table in TABLES:
        first, second, *_ = cuts[table.folder][table.cut]
        for seed in range(seeds):
            old, later = (read_window(table, cut, folder) for cut in (first, second))
            pool = split_pool(table, old, {}, seed)
            columns = [*pool.frame_reference.columns, table.target]
            yield from compared_versions(table.name, pool, later.select(columns), seed)


def compared_versions(name: str, pool: Pool, later: pl.DataFrame, seed: int) -> Iterator[Comparison]:
    """Compare a live version with two candidates, warm-started and refitted, on rows that none was trained on."""
    schema, reference = reference_of(pool.frame_reference)
    later = later[np.random.default_rng([seed, 9]).permutation(later.height).tolist()]
    target = later.to_series(later.width - 1)
    y, z = numbers(pool.target_reference), numbers(target)
    x, w = (codes(schema, reference, frame) for frame in (pool.frame_reference, later.drop(target.name)))
    n_new = min(NEW_ROWS, later.height // 2)
    settings = {**SETTINGS, "objective": "binary" if is_binary(y) else "l1"}
    live = lightgbm.train(settings, lightgbm.Dataset(x, y, free_raw_data=False), 120)
    fresh = lightgbm.Dataset(w[:n_new], z[:n_new])
    both = lightgbm.Dataset(np.concatenate([x, w[:n_new]]), np.concatenate([y, z[:n_new]]))
    warm = lightgbm.train({**settings, "learning_rate": 0.05}, fresh, 60, init_model=live)
    refit = lightgbm.train(settings, both, 120)
    test, actual = w[n_new : n_new + N_LABELS], z[n_new : n_new + N_LABELS]
    before, *after = (loss(np.asarray(model.predict(test)), actual, is_binary(y)) for model in (live, warm, refit))
    for kind, losses in zip(("warm", "refit"), after, strict=True):
        yield Comparison(f"{name} {kind}", before, losses)


def numbers(values: pl.Series) -> Floats:
    """Return a target as numbers: itself, or whether it is the last of its classes."""
    if not values.dtype.is_numeric():
        values = values == values.unique().sort()[-1]
    return np.nan_to_num(values.cast(pl.Float64).to_numpy())


def is_binary(values: Floats) -> bool:
    """Whether a target has two values, 0 and 1."""
    return set(np.unique(values)) == {0.0, 1.0}


def codes(schema: Schema, reference: DriftReference, frame: pl.DataFrame) -> Floats:
    """Return rows as the codes of their bins."""
    batch = read_frame(schema, frame, drop_faulty=True)
    return CurrentRows.of(reference, batch, Predictions(np.zeros(batch.n_rows))).codes.astype(np.float64)


def loss(predictions: Floats, actual: Floats, is_binary_target: bool) -> Floats:
    """Return log losses of probabilities, or absolute errors."""
    if is_binary_target:
        return -np.log(np.clip(np.where(actual == 1, predictions, 1 - predictions), 1e-12, 1.0))
    return np.abs(actual - predictions)


def first_promotions(differences: Floats) -> Mapping[str, int]:
    """Give, by rule, after how many labels it promotes."""
    first_rows: dict[str, int] = {}
    for rows in range(LOOK_EVERY, len(differences) + 1, LOOK_EVERY):
        so_far = differences[:rows]
        if so_far.mean() > 0:
            first_rows.setdefault("better mean", rows)
        if so_far.mean() / (so_far.std(ddof=1) / np.sqrt(rows) + 1e-12) > 1.645:
            first_rows.setdefault("t-test at 5 %", rows)
    e_values = PairedBettingTest().update(differences)
    means = np.cumsum(differences) / np.arange(1, len(differences) + 1)
    passed = np.flatnonzero((e_values >= THRESHOLD) & (means > 0))
    if len(passed):
        first_rows["paired e-process"] = int(passed[0]) + 1
    return first_rows


def report(first_rows: Sequence[Comparison], repeats: int) -> str:
    """Return the results of the rules as a table."""
    generator = np.random.default_rng(0)
    equal_results = [
        first_promotions((comparison.live - comparison.candidate) * generator.choice([-1.0, 1.0], len(comparison.live)))
        for comparison in first_rows
        for _ in range(repeats)
    ]
    better = [comparison for comparison in first_rows if comparison.ratio <= BETTER]
    near = [comparison for comparison in better if comparison.ratio >= MUCH_BETTER]
    better_results, near_results = (
        [promotions for comparison in group for promotions in replayed(comparison, generator)]
        for group in (better, near)
    )
    lines = [
        "| rule | equal version promoted | better one promoted | labels, median | 7 to 15 % better | labels, median |",
        "|---|---|---|---|---|---|",
    ]
    for rule in RULES:
        fraction = np.mean([rule in promotions for promotions in equal_results])
        cells = [
            f"{fraction:.3f} of {len(equal_results):,}",
            *promotion_cells(rule, better_results),
            *promotion_cells(rule, near_results),
        ]
        lines.append(f"| {rule} | {' | '.join(cells)} |")
    return "\n".join(
        [*lines, "", "Ratios: " + ", ".join(f"{comparison.name} {comparison.ratio:.2f}" for comparison in first_rows)]
    )


def replayed(comparison: Comparison, generator: np.random.Generator) -> list[Mapping[str, int]]:
    """Return the promotions of a comparison with its rows in other orders."""
    differences = comparison.live - comparison.candidate
    return [first_promotions(differences[generator.permutation(len(differences))]) for _ in range(ORDERS)]


def promotion_cells(rule: str, promotions: Sequence[Mapping[str, int]]) -> tuple[str, str]:
    """Return the fraction of runs in which a rule promotes, and the median number of labels until then."""
    rows = [rows_until.get(rule, N_LABELS + 1) for rows_until in promotions]
    if not rows:
        return "-", "-"
    middle = statistics.median(rows)
    fraction = statistics.mean(rows_until <= N_LABELS for rows_until in rows)
    return f"{fraction:.2f} of {len(rows)}", f"over {N_LABELS}" if middle > N_LABELS else f"{middle:.0f}"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="splits of each table; %(default)s")
    parser.add_argument("--repeats", type=int, default=60, help="equal versions of each comparison; %(default)s")
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    print(machine_line(["lightgbm", "numpy"], {}))
    print(report(list(comparisons(options.data, options.seeds)), options.repeats))


if __name__ == "__main__":
    main()
