"""Results of the quality benchmark -> tables in Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Key = tuple[str, str, int]
Cells = Mapping[Key, Mapping[str, Any]]
BOOTSTRAP_SAMPLES = 10_000
BASELINE = "constant"
INTERVALS_ONLY = "mapie"
NOTES = """\
Error: RMSE of numbers, log loss of classes, on the same held-out rows of the same file for all; the mean over the
seeds. Score: per table 1 for the smallest error, 0 for the median one and worse, linear between, averaged over the
tables; it depends on the field of competitors (`constant` is not in it). CPU: user + system of a whole process and its
children; each has one thread. Ours is `estimator train`, so it also checks parity, reports on the held-out rows and
stores the version. Budgets of FLAML and AutoGluon are CPU seconds: 30 for FLAML, as much as it wants for
AutoGluon's medium quality, 120 for its best. AutoGluon has no torch, so neither its two nets nor its calibration by
temperature: PyPI's torch for Linux on x86 brings gigabytes of GPU libraries. In brackets: 95 % intervals by a
bootstrap over the tables."""


@dataclass(frozen=True)
class ComparedErrors:
    """Mean errors of some competitors on the tables that all of them have finished, of shape (competitors, tables)."""

    competitors: Sequence[str]
    tables: Sequence[str]
    seeds: Sequence[int]
    errors: Any


def report(results: Iterable[Mapping[str, Any]], ours: Sequence[str]) -> str:
    """Return all tables; of two results of one competitor, table and seed the later one counts."""
    cells = {(cell["competitor"], cell["table"], cell["seed"]): cell for cell in results}
    if not cells:
        return "no results yet"
    check_same_rows(cells)
    seeds = seeds_of(cells)
    lines = [software_line(cells), "", NOTES]
    for chosen_seeds in [seeds, seeds[:1]] if len(seeds) > 1 else [seeds]:
        compared = compared_errors(cells, chosen_seeds)
        title = f"{'Seeds' if len(chosen_seeds) > 1 else 'Seed'} {', '.join(map(str, chosen_seeds))}"
        lines += ["", f"### {title}: {len(compared.tables)} tables", "", *score_lines(compared, cells)]
        lines += ["", f"### {title}: errors", "", *error_lines(cells, chosen_seeds)]
    lines += ["", "### Pairs, on the tables and seeds that both have finished", "", *pair_lines(cells, ours)]
    lines += ["", "### Intervals around numbers", "", *interval_lines(cells), *failure_lines(cells)]
    return "\n".join(lines)


def check_same_rows(cells: Cells) -> None:
    """Stop when results on one table and seed are of different rows."""
    prints: dict[tuple[str, int], str] = {}
    for (competitor, table, seed), cell in cells.items():
        first = prints.setdefault((table, seed), cell["fingerprint"])
        if cell["fingerprint"] != first:
            raise SystemExit(f"{table}, seed {seed}: {competitor} was run on other rows than the others; run it again")


def software_line(cells: Cells) -> str:
    """Return a line about the machine and the software."""
    software = sorted({cell["software"] for cell in cells.values()})
    machine = [platform.platform(), f"{os.cpu_count()} cores", f"Python {platform.python_version()}"]
    return ", ".join([*machine, *software])


def compared_errors(cells: Cells, seeds: Sequence[int]) -> ComparedErrors:
    """Return the errors of the competitors that were run on all of the seeds, except the baseline."""
    competitors = [name for name in competitors_of(cells, seeds) if name != BASELINE]
    by_table = {table: [mean_error(cells, name, table, seeds) for name in competitors] for table in tables_of(cells)}
    finished = {table: errors for table, errors in by_table.items() if None not in errors}
    errors = np.array(list(finished.values()), dtype=float).reshape(-1, len(competitors)).T
    return ComparedErrors(competitors, list(finished), seeds, errors)


def competitors_of(cells: Cells, seeds: Sequence[int]) -> list[str]:
    """Return the competitors with predictions, not just intervals, that were run on each of the seeds."""
    names = dict.fromkeys(name for name, _, _ in cells if name != INTERVALS_ONLY)
    started = {(name, seed) for name, _, seed in cells}
    return [name for name in names if all((name, seed) in started for seed in seeds)]


def tables_of(cells: Cells) -> list[str]:
    """Return the tables in the order in which they were run."""
    return list(dict.fromkeys(table for _, table, _ in cells))


def mean_error(cells: Cells, name: str, table: str, seeds: Iterable[int]) -> float | None:
    """Return the mean over the seeds, infinite after a failure; None when a seed has not been run."""
    runs = [(name, table, seed) for seed in seeds]
    if not all(run in cells for run in runs):
        return None
    errors = [cells[run]["error"] for run in runs]
    return float(np.mean([np.inf if error is None else error for error in errors]))


def normalized_scores(errors: Any) -> Any:
    """Score errors of shape (competitors, tables) as TabArena does (Erickson et al. 2025, arXiv:2506.16791).

    Per table the smallest error scores 1 and the median one 0, linear between; what is worse than the median scores 0.
    """
    best, median = errors.min(axis=0), np.median(errors, axis=0)
    spread = np.where(median > best, median - best, 1.0)
    return np.where(median > best, np.clip((median - errors) / spread, 0.0, 1.0), errors <= best)


def bootstrap_weights(values: Any) -> tuple[float, float]:
    """Return the 95 % interval of a mean over tables, by a bootstrap of the tables."""
    drawn = np.random.default_rng(0).integers(0, len(values), (BOOTSTRAP_SAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def score_lines(compared: ComparedErrors, cells: Cells) -> list[str]:
    """Return score and cost of every competitor, the best first."""
    if not compared.tables:
        return ["No table has been finished by all of: " + ", ".join(compared.competitors)]
    rows = []
    scores = normalized_scores(compared.errors)
    for index in np.argsort(-scores.mean(axis=1)):
        name = compared.competitors[index]
        low, high = bootstrap_weights(scores[index])
        seconds = cpu_of(compared, cells, name)
        first = int((compared.errors[index] <= compared.errors.min(axis=0)).sum())
        row = [name, f"{scores[index].mean():.3f} [{low:.3f}, {high:.3f}]", str(first)]
        rows.append([*row, f"{seconds.sum():,.0f}", f"{np.median(seconds):.1f}", f"{seconds.max():.1f}"])
    return markdown(["", "score", "first on", "CPU s, all runs", "CPU s, median", "CPU s, most"], rows)


def cpu_of(compared: ComparedErrors, cells: Cells, name: str) -> Any:
    """Return the CPU seconds of every finished run of a competitor that is compared."""
    runs = [cells[name, table, seed] for table in compared.tables for seed in compared.seeds]
    return np.array([run["cpu_seconds"] for run in runs if run["cpu_seconds"] is not None])


def pair_lines(cells: Cells, ours: Sequence[str]) -> list[str]:
    """Compare each of our kinds with each peer: tables won and lost, and how the errors and the costs compare."""
    names = competitors_of(cells, [])
    pairs = [(one, peer) for one in names for peer in names if one in ours and one != BASELINE and peer not in ours]
    rows = [row for one, peer in pairs if (row := pair_row(cells, one, peer))]
    titles = ["ours", "peer", "tables won : lost", "error, ours / peer (geometric mean)", "CPU, ours / peer (the same)"]
    return markdown(titles, rows) if rows else ["no results yet"]


def pair_row(cells: Cells, one: str, peer: str) -> list[str]:
    """Compare two competitors where both have predictions."""
    errors, seconds = [], []
    for table in tables_of(cells):
        runs = [(cells.get((one, table, seed)), cells.get((peer, table, seed))) for seed in seeds_of(cells)]
        both = [(mine, theirs) for mine, theirs in runs if mine and theirs and mine["error"] and theirs["error"]]
        if both:
            errors.append(np.mean([[mine["error"], theirs["error"]] for mine, theirs in both], axis=0))
            seconds.append(np.mean([[mine["cpu_seconds"], theirs["cpu_seconds"]] for mine, theirs in both], axis=0))
    if not errors:
        return []
    mine, theirs = np.array(errors).T
    ratios = [ratio_cell(np.array(name)) for name in (errors, seconds)]
    return [one, peer, f"{(mine < theirs).sum()} : {(mine > theirs).sum()}", *ratios]


def seeds_of(cells: Cells) -> list[int]:
    """Return the seeds that have been run."""
    return sorted({seed for _, _, seed in cells})


def ratio_cell(pairs: Any) -> str:
    """Return the geometric mean of above / below, of shape (tables, 2), with its interval."""
    ratios = np.log(pairs[:, 0] / pairs[:, 1])
    low, high = np.exp(bootstrap_weights(ratios))
    return f"{np.exp(ratios.mean()):.3f} [{low:.3f}, {high:.3f}]"


def error_lines(cells: Cells, seeds: Sequence[int]) -> list[str]:
    """Return the error of every competitor on every table, the smallest in bold; blank where it was not run."""
    names, rows = competitors_of(cells, seeds), []
    for table in tables_of(cells):
        errors = [mean_error(cells, name, table, seeds) for name in names]
        least = min((error for error in errors if error is not None), default=None)
        texts = ["" if error is None else f"{error:.5g}" for error in errors]
        row = [f"**{text}**" if text and error == least else text for text, error in zip(texts, errors, strict=True)]
        rows.append([table, *row])
    return markdown(["", *names], rows)


def interval_lines(cells: Cells) -> list[str]:
    """Compare coverage and mean width of the intervals on every table, of the competitors that give any."""
    intervals = {key: cell["intervals"] for key, cell in cells.items() if cell["intervals"]}
    names = list(dict.fromkeys(competitor for competitor, _, _ in intervals))
    by_table: dict[str, dict[str, list[Mapping[str, float]]]] = {}
    for (name, table, _), interval in intervals.items():
        by_table.setdefault(table, {}).setdefault(name, []).append(interval)
    rows = []
    for table, by_name in by_table.items():
        row = [table]
        for name in names:
            runs = by_name.get(name, [])
            row.append(f"{_mean(runs, 'coverage'):.3f}, {_mean(runs, 'mean_width'):.5g}" if runs else "")
        rows.append(row)
    means = [_mean([intervals[key] for key in intervals if key[0] == name], "coverage") for name in names]
    rows.append(["mean coverage", *(f"{mean:.3f}" for mean in means)])
    lines = markdown(["coverage, mean width", *names], rows) if names else ["no results yet"]
    for name in [name for name in names if name != INTERVALS_ONLY]:
        both = [by_name for by_name in by_table.values() if {name, INTERVALS_ONLY} <= by_name.keys()]
        widths = [[_mean(by_name[name], "mean_width") for name in (name, INTERVALS_ONLY)] for by_name in both]
        if widths:
            lines += ["", f"width, {name} / {INTERVALS_ONLY}: {ratio_cell(np.array(widths))}"]
    return lines


def _mean(runs: Sequence[Mapping[str, float]], name: str) -> float:
    return float(np.mean([run[name] for run in runs]))


def failure_lines(cells: Cells) -> list[str]:
    """List the runs that failed."""
    failed = [(key, cell["failure"]) for key, cell in cells.items() if cell["failure"]]
    lines = [
        f"- {name}, {table}, seed {seed}: {failure.strip().splitlines()[-1]}" for (name, table, seed), failure in failed
    ]
    return ["", "### Failures", "", *lines] if lines else []


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return cells as a table whose columns line up."""
    widths = [max(len(row[index]) for row in [titles, *rows]) for index in range(len(titles))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return [line(titles), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)]
