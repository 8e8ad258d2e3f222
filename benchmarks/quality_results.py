"""Results of the quality benchmark: which errors differ by more than noise, and how errors and costs compare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from quality_tables import TABLES, Table

Key = tuple[str, str, int]
Cell = Mapping[str, Any]
BOOTSTRAP_SAMPLES = 10_000
INTERVALS_ONLY = "mapie"
REFERENCES = ("linear", "constant")
# A failure counts as this, and one table on which errors are near 0 does not decide all.
MOST_RELATIVE = 2.0
N_ERRORS = 2.0


@dataclass(frozen=True)
class Results:
    """The results by competitor, table and seed, and the tables in the order of their list."""

    cells: Mapping[Key, Cell]
    tables: Sequence[Table]

    @property
    def seeds(self) -> list[int]:
        """The seeds that have been run."""
        return sorted({seed for _, _, seed in self.cells})

    @property
    def competitors(self) -> list[str]:
        """The competitors with predictions, not just intervals."""
        return list(dict.fromkeys(name for name, _, _ in self.cells if name != INTERVALS_ONLY))

    def of(self, tables: Sequence[Table]) -> Results:
        """Return the results on these tables."""
        names = {table.name for table in tables}
        return Results({key: cell for key, cell in self.cells.items() if key[1] in names}, tables)

    def by_seeds(self) -> list[tuple[str, Results]]:
        """Return results whose competitors were run with the same seeds, titled: with all seeds, and with the first."""
        chosen = [self._with(self.seeds)]
        if chosen[0].competitors != self.competitors:
            chosen.append(self._with(self.seeds[:1]))
        return [(_seed_title(results.seeds), results) for results in chosen if results.cells]

    def _with(self, seeds: Sequence[int]) -> Results:
        started = {(name, seed) for name, _, seed in self.cells}
        names = {name for name, _ in started if all((name, seed) in started for seed in seeds)}
        cells = {key: cell for key, cell in self.cells.items() if key[0] in names and key[2] in seeds}
        return Results(cells, self.tables)

    def runs(self, competitor: str, table: Table) -> dict[int, Cell]:
        """Return the results of a competitor on a table, by seed."""
        return {seed: self.cells[competitor, table.name, seed] for seed in self.seeds_of(competitor, table)}

    def seeds_of(self, competitor: str, table: Table) -> list[int]:
        """Return the seeds that a competitor was run with on a table."""
        return [seed for seed in self.seeds if (competitor, table.name, seed) in self.cells]

    def error(self, competitor: str, table: Table) -> float | None:
        """Return the mean error over the seeds, infinite after a failure; None where one has not been run."""
        errors = [cell["error"] for cell in self.runs(competitor, table).values()]
        if len(errors) < len(self.seeds):
            return None
        return float("inf") if None in errors else float(np.mean(errors))


@dataclass(frozen=True)
class Field:
    """Mean errors of some competitors on the tables that all of them were run on, of shape (competitors, tables)."""

    competitors: Sequence[str]
    tables: Sequence[Table]
    errors: Any

    @property
    def relative(self) -> Any:
        """Each error / the smallest one on the table, at most 2, which is also what a failure counts as."""
        best = np.maximum(self.errors.min(axis=0), np.finfo(float).tiny)
        ratios = np.divide(self.errors, best, where=np.isfinite(self.errors), out=np.full(self.errors.shape, np.inf))
        return np.minimum(ratios, MOST_RELATIVE)


def _seed_title(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def results_of(cells: Iterable[Cell]) -> Results:
    """Return results; of two of one competitor, table and seed the later one counts.

    Those on a table that is no longer listed, or in another way, are left out.

    SystemExit: results on one table and seed are of different rows.
    """
    listed = {(table.name, table.definition) for table in TABLES}
    known = [cell for cell in cells if (cell["table"], cell["definition"]) in listed]
    by_key = {(cell["competitor"], cell["table"], cell["seed"]): cell for cell in known}
    prints: dict[tuple[str, int], str] = {}
    for (competitor, table, seed), cell in by_key.items():
        if cell["fingerprint"] != prints.setdefault((table, seed), cell["fingerprint"]):
            raise SystemExit(f"{table}, seed {seed}: {competitor} was run on other rows than the others; run it again")
    present = {table for _, table, _ in by_key}
    return Results(by_key, [table for table in TABLES if table.name in present])


def field_of(results: Results) -> Field:
    """Return the errors of all competitors, except the constant, on the tables and seeds that all were run on."""
    competitors = [name for name in results.competitors if name != "constant"]
    by_table = {table: [results.error(name, table) for name in competitors] for table in results.tables}
    complete = [(table, errors) for table, errors in by_table.items() if None not in errors]
    errors = np.array([errors for _, errors in complete], dtype=float).reshape(-1, len(competitors)).T
    return Field(competitors, [table for table, _ in complete], errors)


def comparison(results: Results, one: str, other: str, table: Table) -> int | None:
    """Return -1 where one is better than the other by more than noise, 1 where it is worse, else 0.

    None where they have no seed in common; a failure is worse than any predictions.
    """
    mine, theirs = results.runs(one, table), results.runs(other, table)
    seeds = sorted(mine.keys() & theirs.keys())
    if not seeds:
        return None
    failed = [any(runs[seed]["failure"] for seed in seeds) for runs in (mine, theirs)]
    if any(failed):
        return int(failed[0]) - int(failed[1])
    pairs = [paired_difference(mine[seed], theirs[seed]) for seed in seeds]
    differences, variances = np.array(pairs).T
    between_seeds = differences.var(ddof=1) / len(seeds) if len(seeds) > 1 else 0.0
    noise = N_ERRORS * np.sqrt(variances.mean() + between_seeds)
    difference = differences.mean()
    return int(np.sign(difference)) if abs(difference) > noise else 0


def paired_difference(mine: Cell, theirs: Cell) -> tuple[float, float]:
    """Return the difference of the mean losses on the same held-out rows, and its variance by blocks of rows.

    The variance is that of a ratio of sums over blocks, as of clusters of rows that are alike.
    """
    losses = np.subtract(mine["block_losses"], theirs["block_losses"])
    rows = np.asarray(mine["block_rows"], dtype=float)
    losses, rows = losses[rows > 0], rows[rows > 0]
    difference = losses.sum() / rows.sum()
    residuals = losses - rows * difference
    n_blocks = len(rows)
    if n_blocks < 2:
        return float(difference), float("inf")
    return float(difference), float(n_blocks / (n_blocks - 1) * (residuals**2).sum() / rows.sum() ** 2)


def worse_than_reference(results: Results, competitor: str) -> list[str]:
    """Return the tables on which a competitor is worse than a line or a constant by more than noise."""
    others = [name for name in REFERENCES if name in results.competitors and name != competitor]
    pairs = [(table, other) for table in results.tables for other in others]
    return [f"{table.name} ({other})" for table, other in pairs if comparison(results, competitor, other, table) == 1]


def cpu_seconds(results: Results, competitor: str, tables: Sequence[Table]) -> Any:
    """Return the mean CPU seconds of a competitor on each table where it did not fail."""
    seconds = []
    for table in tables:
        runs = [cell["cpu_seconds"] for cell in results.runs(competitor, table).values() if not cell["failure"]]
        seconds += [float(np.mean(runs))] if runs else []
    return np.array(seconds)


def geometric_mean(ratios: Any) -> float:
    """Return the geometric mean of ratios."""
    return float(np.exp(np.log(ratios).mean()))


def interval_of_mean(values: Any) -> tuple[float, float]:
    """Return the 95 % interval of a mean over tables, by a bootstrap of the tables."""
    drawn = np.random.default_rng(0).integers(0, len(values), (BOOTSTRAP_SAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def ratio_with_interval(ratios: Any) -> str:
    """Return the geometric mean of ratios over tables, with its interval."""
    low, high = np.exp(interval_of_mean(np.log(ratios)))
    return f"{geometric_mean(ratios):.3f} [{low:.3f}, {high:.3f}]"
