"""Promotion under endless looks: how often an equal version is promoted, and after how many labels a better one is.

Real tables: a live version learns from the reference rows; candidates also learn from rows of the next period, and all
are asked about other rows of it. Equal versions are made of real ones: of the two losses of a row, chance says
which is whose, so that any rule that promotes is wrong. Beside the paired evidence: the better mean, and a t-test at
5 %, both looked at after every 25 labels as well.
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
from drift_ours import referred
from drift_tables import TABLES, Pool, dealt, read_window
from processes import machine_line

from estimator.core.task import Predictions
from estimator.data.schema import Schema
from estimator.data.schema.frames import read_frame
from estimator.drift import CurrentRows, DriftReference
from estimator.monitoring.promotion import PairedBettingTest

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "tables"
Floats = npt.NDArray[np.float64]
RULES = ("better mean", "t-test at 5 %", "paired evidence")
LABELS, STEP, NEEDED = 500, 25, 20.0
NEW_ROWS = 500
BETTER, MUCH_BETTER = 0.93, 0.85
ORDERS = 10
SETTINGS = {"num_leaves": 15, "learning_rate": 0.08, "min_data_in_leaf": 10, "verbosity": -1, "num_threads": 1}


@dataclass(frozen=True)
class Duel:
    """The losses of a live version and of a candidate on the same rows, in their order."""

    name: str
    live: Floats
    candidate: Floats

    @property
    def ratio(self) -> float:
        """The candidate's loss as a share of the live one's."""
        return float(self.candidate.mean() / self.live.mean())


def duels(folder: Path, seeds: int) -> Iterator[Duel]:
    """Give the duels of all tables."""
    manifest = json.loads((folder / "manifest.json").read_text())
    cuts = {each["name"]: each.get("windows", {}) for each in manifest["datasets"]}
    for table in TABLES:
        first, second, *_ = cuts[table.folder][table.cut]
        for seed in range(seeds):
            old, later = (read_window(table, cut, folder) for cut in (first, second))
            pool = dealt(table, old, {}, seed)
            columns = [*pool.frame_reference.columns, table.target]
            yield from fought(table.name, pool, later.select(columns), seed)


def fought(name: str, pool: Pool, later: pl.DataFrame, seed: int) -> Iterator[Duel]:
    """Let a live version and two candidates, trained on and trained anew, answer rows that none has seen."""
    schema, known = referred(pool.frame_reference)
    later = later[np.random.default_rng([seed, 9]).permutation(later.height).tolist()]
    goal = later.to_series(later.width - 1)
    y, z = numbers(pool.target_reference), numbers(goal)
    x, w = (codes(schema, known, frame) for frame in (pool.frame_reference, later.drop(goal.name)))
    n_new = min(NEW_ROWS, later.height // 2)
    settings = {**SETTINGS, "objective": "binary" if is_binary(y) else "l1"}
    live = lightgbm.train(settings, lightgbm.Dataset(x, y, free_raw_data=False), 120)
    fresh = lightgbm.Dataset(w[:n_new], z[:n_new])
    both = lightgbm.Dataset(np.concatenate([x, w[:n_new]]), np.concatenate([y, z[:n_new]]))
    warm = lightgbm.train({**settings, "learning_rate": 0.05}, fresh, 60, init_model=live)
    refit = lightgbm.train(settings, both, 120)
    test, truth = w[n_new : n_new + LABELS], z[n_new : n_new + LABELS]
    before, *after = (loss(np.asarray(model.predict(test)), truth, is_binary(y)) for model in (live, warm, refit))
    for kind, losses in zip(("warm", "refit"), after, strict=True):
        yield Duel(f"{name} {kind}", before, losses)


def numbers(values: pl.Series) -> Floats:
    """Give a target as numbers: itself, or whether it is the last of its levels."""
    if not values.dtype.is_numeric():
        values = values == values.unique().sort()[-1]
    return np.nan_to_num(values.cast(pl.Float64).to_numpy())


def is_binary(values: Floats) -> bool:
    """Whether a target has two values, 0 and 1."""
    return set(np.unique(values)) == {0.0, 1.0}


def codes(schema: Schema, known: DriftReference, frame: pl.DataFrame) -> Floats:
    """Give rows as the places of their bins."""
    batch = read_frame(schema, frame, drop_faulty=True)
    return CurrentRows.of(known, batch, Predictions(np.zeros(batch.n_rows))).codes.astype(np.float64)


def loss(answers: Floats, truth: Floats, has_levels: bool) -> Floats:
    """Give log losses of shares, or absolute errors."""
    if has_levels:
        return -np.log(np.clip(np.where(truth == 1, answers, 1 - answers), 1e-12, 1.0))
    return np.abs(truth - answers)


def looked(differences: Floats) -> Mapping[str, int]:
    """Give, by rule, after how many labels it promotes."""
    found: dict[str, int] = {}
    for rows in range(STEP, len(differences) + 1, STEP):
        part = differences[:rows]
        if part.mean() > 0:
            found.setdefault("better mean", rows)
        if part.mean() / (part.std(ddof=1) / np.sqrt(rows) + 1e-12) > 1.645:
            found.setdefault("t-test at 5 %", rows)
    evidence = PairedBettingTest().update(differences)
    means = np.cumsum(differences) / np.arange(1, len(differences) + 1)
    passed = np.flatnonzero((evidence >= NEEDED) & (means > 0))
    if len(passed):
        found["paired evidence"] = int(passed[0]) + 1
    return found


def report(found: Sequence[Duel], repeats: int) -> str:
    """Say how the rules did."""
    generator = np.random.default_rng(0)
    wrong = [
        looked((duel.live - duel.candidate) * generator.choice([-1.0, 1.0], len(duel.live)))
        for duel in found
        for _ in range(repeats)
    ]
    better = [duel for duel in found if duel.ratio <= BETTER]
    near = [duel for duel in better if duel.ratio >= MUCH_BETTER]
    right, close = ([told for duel in some for told in replayed(duel, generator)] for some in (better, near))
    lines = [
        "| rule | equal version promoted | better one promoted | labels, median | 7 to 15 % better | labels, median |",
        "|---|---|---|---|---|---|",
    ]
    for rule in RULES:
        share = np.mean([rule in told for told in wrong])
        cells = [f"{share:.3f} of {len(wrong):,}", *told_of(rule, right), *told_of(rule, close)]
        lines.append(f"| {rule} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", "Ratios: " + ", ".join(f"{duel.name} {duel.ratio:.2f}" for duel in found)])


def replayed(duel: Duel, generator: np.random.Generator) -> list[Mapping[str, int]]:
    """Give what the rules say of a duel whose rows come in other orders."""
    differences = duel.live - duel.candidate
    return [looked(differences[generator.permutation(len(differences))]) for _ in range(ORDERS)]


def told_of(rule: str, told: Sequence[Mapping[str, int]]) -> tuple[str, str]:
    """Give the share of runs in which a rule promotes, and after how many labels; later than all counts as so late."""
    rows = [each.get(rule, LABELS + 1) for each in told]
    if not rows:
        return "-", "-"
    middle = statistics.median(rows)
    share = statistics.mean(each <= LABELS for each in rows)
    return f"{share:.2f} of {len(rows)}", f"over {LABELS}" if middle > LABELS else f"{middle:.0f}"


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="deals of each table; %(default)s")
    parser.add_argument("--repeats", type=int, default=60, help="equal versions of each duel; %(default)s")
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    print(machine_line(["lightgbm", "numpy"], {}))
    print(report(list(duels(options.data, options.seeds)), options.repeats))


if __name__ == "__main__":
    main()
