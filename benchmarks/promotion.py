"""Promotion with repeated looks: how often a version that is no better is promoted, and how soon a better one.

Real tables: a live version is trained on the reference rows, candidates also on rows of the next period, and all are
compared on later rows of that period, to 20,000 labels. Three kinds of pairs are no better: the pairs whose candidate
has the larger mean loss; all pairs made exactly equal, by subtracting the mean of their differences; and made-up
differences with mean 0, skewed, heavy-tailed or dependent. Rows are drawn at random, with replacement; in their natural
order too, where what is equal over all rows need not be so over the first ones. The betting test of promotions is
compared with the better mean and a t-test at 5 %, both looked at after every 25 labels.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightgbm
import numpy as np
import numpy.typing as npt
import polars as pl
from drift_ours import reference_of
from drift_tables import TABLES, Pool, read_window, split_pool
from processes import machine_line

from estimator.core.task import Predictions, Task
from estimator.data.schema import Schema
from estimator.data.schema.frames import read_frame
from estimator.drift import CurrentRows, DriftReference
from estimator.drift.held_out import BOUND_FACTOR
from estimator.monitoring.betting import BettingTest
from estimator.monitoring.promotion import MIN_LABELS, BoundedLoss

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "tables"
Floats = npt.NDArray[np.float64]
BETTING = "betting test"
RULES = ("better mean", "t-test at 5 %", BETTING)
N_LABELS, LOOK_EVERY, ALPHA = 20_000, 25, 0.05
NEW_ROWS, HELD_OUT_ROWS, N_CANDIDATES = 500, 150, 3
# Plain losses of a better candidate, over those of the live version.
BETTER = {"3 to 7 %": (0.93, 0.97), "7 to 15 %": (0.85, 0.93), "over 15 %": (0.0, 0.85)}
SETTINGS = {"num_leaves": 15, "learning_rate": 0.08, "min_data_in_leaf": 10, "verbosity": -1, "num_threads": 1}


@dataclass(frozen=True)
class Pair:
    """The losses of a live version and of a candidate on the same rows, in their natural order.

    `gains` are differences of bounded losses over their bound, so in [-1, 1]; `ratio` is the candidate's mean plain
    loss, an absolute error or a log loss, over the live one's.
    """

    name: str
    gains: Floats
    ratio: float

    @property
    def swapped(self) -> Pair:
        """The pair with its versions exchanged."""
        return Pair(f"{self.name} swapped", -self.gains, 1.0 / self.ratio)

    @property
    def equal(self) -> Floats:
        """The gains less their mean."""
        return np.clip(self.gains - self.gains.mean(), -1.0, 1.0)


def pairs(folder: Path, seeds: int) -> Iterator[Pair]:
    """Yield the pairs of all tables."""
    manifest = json.loads((folder / "manifest.json").read_text())
    cuts = {item["name"]: item.get("windows", {}) for item in manifest["datasets"]}
    for table in TABLES:
        first, second, *_ = cuts[table.folder][table.cut]
        for seed in range(seeds):
            old, later = (read_window(table, cut, folder) for cut in (first, second))
            pool = split_pool(table, old, {}, seed)
            columns = [*pool.frame_reference.columns, table.target]
            yield from compared_versions(table.name, pool, later.select(columns), seed)


def compared_versions(name: str, pool: Pool, later: pl.DataFrame, seed: int) -> Iterator[Pair]:
    """Compare a live version with two candidates, warm-started and refitted, on rows that none was trained on."""
    schema, reference = reference_of(pool.frame_reference)
    target = later.to_series(later.width - 1)
    y, z = numbers(pool.target_reference), numbers(target)
    x, w = (codes(schema, reference, frame) for frame in (pool.frame_reference, later.drop(target.name)))
    n_old, n_new = len(x) * 4 // 5, min(NEW_ROWS, later.height // 2)
    # The new rows are a random part of the period, the compared ones the others in their order.
    is_new = np.zeros(len(w), dtype=bool)
    is_new[np.random.default_rng([seed, 9]).permutation(len(w))[:n_new]] = True
    settings = {**SETTINGS, "objective": "binary" if is_binary(y) else "l1"}
    live = lightgbm.train(settings, lightgbm.Dataset(x[:n_old], y[:n_old], free_raw_data=False), 120)
    fresh = lightgbm.Dataset(w[is_new], z[is_new])
    both = lightgbm.Dataset(np.concatenate([x[:n_old], w[is_new]]), np.concatenate([y[:n_old], z[is_new]]))
    warm = lightgbm.train({**settings, "learning_rate": 0.05}, fresh, 60, init_model=live)
    refit = lightgbm.train(settings, both, 120)
    task = Task("binary", ("no", "yes")) if is_binary(y) else Task("regression")
    loss = BoundedLoss(task, bound(task, np.asarray(live.predict(x[n_old:])), y[n_old:]))
    rows, actual = w[~is_new], z[~is_new]
    before = raw(np.asarray(live.predict(rows)), task)
    for kind, model in (("warm", warm), ("refit", refit)):
        after = raw(np.asarray(model.predict(rows)), task)
        gains = (loss.values(before, actual) - loss.values(after, actual)) / loss.bound
        plain = [float(np.abs(task.losses(values, actual)).mean()) for values in (before, after)]
        yield Pair(f"{name} {kind}", gains, plain[1] / plain[0])


def bound(task: Task, held_out: Floats, actual: Floats) -> float:
    """Return the largest loss that counts, from the live version's held-out rows."""
    return BOUND_FACTOR * float(np.abs(actual - held_out).mean()) if task.is_regression else 1.0


def raw(predictions: Floats, task: Task) -> Floats:
    """Return predictions as numbers, or as one probability per class."""
    return predictions if task.is_regression else np.stack([1.0 - predictions, predictions], axis=1)


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


def first_promotions(gains: Floats, held_out: Floats | None = None) -> Mapping[str, int]:
    """Return, by rule, after how many labels it promotes."""
    first_rows: dict[str, int] = {}
    counts = np.arange(1, len(gains) + 1)
    means = np.cumsum(gains) / counts
    deviations = np.sqrt(
        np.maximum(np.cumsum(gains * gains) / counts - means**2, 0.0) * counts / np.maximum(counts - 1, 1)
    )
    looks = np.arange(LOOK_EVERY, len(gains) + 1, LOOK_EVERY) - 1
    test = BettingTest(1.0) if held_out is None else BettingTest(1.0, held_out, N_CANDIDATES)
    test.update(gains)
    agrees = (counts >= MIN_LABELS) & (means > 0)
    for rule, passed in (
        ("better mean", looks[means[looks] > 0]),
        ("t-test at 5 %", looks[means[looks] > 1.645 * deviations[looks] / np.sqrt(looks + 1) + 1e-12]),
        (BETTING, np.flatnonzero((test.e_values() >= 1.0 / ALPHA) & agrees)),
    ):
        if len(passed):
            first_rows[rule] = int(passed[0]) + 1
    return first_rows


def drawn(values: Floats, generator: np.random.Generator, n_rows: int = N_LABELS) -> Floats:
    """Return rows drawn at random, with replacement."""
    return values[generator.integers(0, len(values), n_rows)]


def shifted(values: Floats, generator: np.random.Generator) -> Floats:
    """Return the rows in their natural order, from a random one on."""
    return np.roll(values, -int(generator.integers(0, len(values))))[:N_LABELS]


def autoregressive(coefficient: float) -> Callable[[np.random.Generator], Floats]:
    """Return the maker of differences that resemble the one before, with mean 0 and a deviation of 0.15."""

    def make(generator: np.random.Generator) -> Floats:
        noise = generator.normal(size=N_LABELS) * 0.15 * np.sqrt(1.0 - coefficient**2)
        values = np.empty(N_LABELS)
        last = 0.15 * generator.normal()
        for index, shock in enumerate(noise.tolist()):
            last = values[index] = coefficient * last + shock
        return np.clip(values, -1.0, 1.0)

    return make


MADE_UP: Mapping[str, Callable[[np.random.Generator], Floats]] = {
    "symmetric": lambda generator: generator.uniform(-0.3, 0.3, N_LABELS),
    "a loss of 0.99 in 1 % of the rows": lambda generator: np.where(generator.random(N_LABELS) < 0.01, -0.99, 0.01),
    "a gain of 0.99 in 1 % of the rows": lambda generator: np.where(generator.random(N_LABELS) < 0.01, 0.99, -0.01),
    "heavy tails (Student's t, 1.5)": lambda generator: np.clip(0.05 * generator.standard_t(1.5, N_LABELS), -1.0, 1.0),
    "neighbors alike, autocorrelation 0.2": autoregressive(0.2),
    "neighbors alike, autocorrelation 0.5": autoregressive(0.5),
    "neighbors alike, autocorrelation 0.8": autoregressive(0.8),
}


def report(all_pairs: Sequence[Pair], repeats: int) -> str:
    """Return the results of the rules as tables."""
    generator = np.random.default_rng(0)
    both = [pair for one in all_pairs for pair in (one, one.swapped)]
    worse = [pair for pair in both if pair.gains.mean() <= 0]
    groups = {
        f"real pairs, worse by the bounded loss ({len(worse)} pairs)": [
            first_promotions(drawn(pair.gains, generator)) for pair in worse for _ in range(repeats)
        ],
        f"real pairs, exactly equal ({len(both)} pairs)": [
            first_promotions(drawn(pair.equal, generator)) for pair in both for _ in range(repeats)
        ],
        f"real pairs, equal over all rows, in natural order ({len(both)} pairs)": [
            first_promotions(shifted(pair.equal, generator)) for pair in both for _ in range(repeats)
        ],
        **{
            f"made up: {name}": [first_promotions(make(generator)) for _ in range(10 * repeats)]
            for name, make in MADE_UP.items()
        },
    }
    lines = [f"| no better, {N_LABELS:,} labels | {' | '.join(RULES)} | runs |", "|---|---|---|---|---|"]
    for name, promotions in groups.items():
        cells = [f"{np.mean([rule in first for first in promotions]):.3f}" for rule in RULES]
        lines.append(f"| {name} | {' | '.join(cells)} | {len(promotions):,} |")
    lines += [
        "",
        f"| better by | pairs | within 500 | labels, median | and {HELD_OUT_ROWS} held-out rows | least possible |",
        "|---|---|---|---|---|---|",
    ]
    for name, (low, high) in BETTER.items():
        group = [pair for pair in both if low <= pair.ratio < high and pair.gains.mean() > 0]
        alone = [first_promotions(drawn(pair.gains, generator)) for pair in group for _ in range(repeats)]
        helped = [
            first_promotions(drawn(pair.gains, generator), drawn(pair.gains, generator, HELD_OUT_ROWS))
            for pair in group
            for _ in range(repeats)
        ]
        bounds = [2.0 * np.log(1.0 / ALPHA) * pair.gains.var() / pair.gains.mean() ** 2 for pair in group]
        within = np.mean([first.get(BETTING, N_LABELS + 1) <= 500 for first in alone])
        cells = [f"{len(group)}", f"{within:.2f}", median(alone), median(helped), f"{statistics.median(bounds):.0f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "Ratios: " + ", ".join(f"{pair.name} {pair.ratio:.2f}" for pair in all_pairs)])


def median(promotions: Sequence[Mapping[str, int]]) -> str:
    """Return the median number of labels until the betting test promotes."""
    middle = statistics.median(first.get(BETTING, N_LABELS + 1) for first in promotions)
    return f"over {N_LABELS:,}" if middle > N_LABELS else f"{middle:.0f}"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="splits of each table; %(default)s")
    parser.add_argument("--repeats", type=int, default=20, help="runs of each pair; %(default)s")
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    print(machine_line(["lightgbm", "numpy"], {}))
    print(report(list(pairs(options.data, options.seeds)), options.repeats))


if __name__ == "__main__":
    main()
