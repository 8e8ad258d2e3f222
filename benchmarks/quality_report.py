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
RESAMPLES = 10_000
FLOOR = "constant"
INTERVALS_ONLY = "mapie"
NOTES = """\
Error: RMSE of numbers, log loss of levels, on held-out rows that are the same for everybody, as is the file that is
read; the mean over the seeds. Score: per table 1 for the least error, 0 for the median one and worse, linear between,
averaged over the tables; it hangs on who takes part (`constant` does not). CPU: user + system of a whole process and
its children; everybody has one thread. Ours is `estimator train`, so it also proves the graph, reports on the held-out
rows and stores the version. Budgets of FLAML and AutoGluon are CPU seconds: 30 for FLAML, as much as it wants for
AutoGluon's medium quality, 120 for its best. AutoGluon has no torch, so neither its two nets nor its calibration by
temperature: PyPI's torch for Linux on x86 brings gigabytes of GPU libraries. In brackets: 95 % intervals by a
bootstrap over the tables."""


@dataclass(frozen=True)
class Field:
    """Mean errors of some contestants on the tables that all of them have finished, of shape (contestants, tables)."""

    contestants: Sequence[str]
    tables: Sequence[str]
    seeds: Sequence[int]
    errors: Any


def report(cells: Iterable[Mapping[str, Any]], ours: Sequence[str]) -> str:
    """Lay everything out; of two results of one contestant, table and seed the later one counts."""
    found = {(cell["contestant"], cell["table"], cell["seed"]): cell for cell in cells}
    if not found:
        return "no results yet"
    refuse_other_rows(found)
    seeds = seeds_of(found)
    lines = [software_line(found), "", NOTES]
    for some in [seeds, seeds[:1]] if len(seeds) > 1 else [seeds]:
        compared = field_of(found, some)
        title = f"{'Seeds' if len(some) > 1 else 'Seed'} {', '.join(map(str, some))}"
        lines += ["", f"### {title}: {len(compared.tables)} tables", "", *score_lines(compared, found)]
        lines += ["", f"### {title}: errors", "", *error_lines(found, some)]
    lines += ["", "### Pairs, on the tables and seeds that both have finished", "", *pair_lines(found, ours)]
    lines += ["", "### Intervals around numbers", "", *interval_lines(found), *failure_lines(found)]
    return "\n".join(lines)


def refuse_other_rows(found: Cells) -> None:
    """Stop when results on one table and seed are not of the same rows."""
    prints: dict[tuple[str, int], str] = {}
    for (contestant, table, seed), cell in found.items():
        first = prints.setdefault((table, seed), cell["fingerprint"])
        if cell["fingerprint"] != first:
            raise SystemExit(f"{table}, seed {seed}: {contestant} had other rows than the rest; run it again")


def software_line(found: Cells) -> str:
    """Say what the figures were measured on."""
    software = sorted({cell["software"] for cell in found.values()})
    machine = [platform.platform(), f"{os.cpu_count()} cores", f"Python {platform.python_version()}"]
    return ", ".join([*machine, *software])


def field_of(found: Cells, seeds: Sequence[int]) -> Field:
    """Give the errors of everybody who was asked for all of the seeds, but for the floor."""
    contestants = [name for name in contestants_of(found, seeds) if name != FLOOR]
    by_table = {table: [mean_error(found, name, table, seeds) for name in contestants] for table in tables_of(found)}
    finished = {table: errors for table, errors in by_table.items() if None not in errors}
    errors = np.array(list(finished.values()), dtype=float).reshape(-1, len(contestants)).T
    return Field(contestants, list(finished), seeds, errors)


def contestants_of(found: Cells, seeds: Sequence[int]) -> list[str]:
    """Give everybody with answers, not just intervals, who has begun on each of the seeds."""
    names = dict.fromkeys(name for name, _, _ in found if name != INTERVALS_ONLY)
    begun = {(name, seed) for name, _, seed in found}
    return [name for name in names if all((name, seed) in begun for seed in seeds)]


def tables_of(found: Cells) -> list[str]:
    """Give the tables in the order in which they were run."""
    return list(dict.fromkeys(table for _, table, _ in found))


def mean_error(found: Cells, name: str, table: str, seeds: Iterable[int]) -> float | None:
    """Give the mean over the seeds, infinite after a failure; None when a seed has not been run."""
    runs = [(name, table, seed) for seed in seeds]
    if not all(run in found for run in runs):
        return None
    errors = [found[run]["error"] for run in runs]
    return float(np.mean([np.inf if error is None else error for error in errors]))


def normalised(errors: Any) -> Any:
    """Score errors of shape (contestants, tables) as TabArena does (Erickson et al. 2025, arXiv:2506.16791).

    Per table the least error scores 1 and the median one 0, linear between; what is worse than the median scores 0.
    """
    best, median = errors.min(axis=0), np.median(errors, axis=0)
    gap = np.where(median > best, median - best, 1.0)
    return np.where(median > best, np.clip((median - errors) / gap, 0.0, 1.0), errors <= best)


def bootstrap_weights(values: Any) -> tuple[float, float]:
    """Give the 95 % interval of a mean over tables, by a bootstrap of the tables."""
    drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)


def score_lines(compared: Field, found: Cells) -> list[str]:
    """Lay out score and cost of every contestant, the best first."""
    if not compared.tables:
        return ["No table has been finished by all of: " + ", ".join(compared.contestants)]
    rows = []
    scores = normalised(compared.errors)
    for place in np.argsort(-scores.mean(axis=1)):
        name = compared.contestants[place]
        low, high = bootstrap_weights(scores[place])
        seconds = cpu_of(compared, found, name)
        first = int((compared.errors[place] <= compared.errors.min(axis=0)).sum())
        cells = [name, f"{scores[place].mean():.3f} [{low:.3f}, {high:.3f}]", str(first)]
        rows.append([*cells, f"{seconds.sum():,.0f}", f"{np.median(seconds):.1f}", f"{seconds.max():.1f}"])
    return markdown(["", "score", "first on", "CPU s, all runs", "CPU s, median", "CPU s, most"], rows)


def cpu_of(compared: Field, found: Cells, name: str) -> Any:
    """Give the CPU seconds of every finished run of a contestant that is compared."""
    runs = [found[name, table, seed] for table in compared.tables for seed in compared.seeds]
    return np.array([run["cpu_seconds"] for run in runs if run["cpu_seconds"] is not None])


def pair_lines(found: Cells, ours: Sequence[str]) -> list[str]:
    """Compare each of our kinds with each peer: tables won and lost, and how the errors and the costs compare."""
    names = contestants_of(found, [])
    pairs = [(one, peer) for one in names for peer in names if one in ours and one != FLOOR and peer not in ours]
    rows = [row for one, peer in pairs if (row := pair_row(found, one, peer))]
    titles = ["ours", "peer", "tables won : lost", "error, ours / peer (geometric mean)", "CPU, ours / peer (the same)"]
    return markdown(titles, rows) if rows else ["none yet"]


def pair_row(found: Cells, one: str, peer: str) -> list[str]:
    """Compare two contestants where both gave answers."""
    errors, seconds = [], []
    for table in tables_of(found):
        runs = [(found.get((one, table, seed)), found.get((peer, table, seed))) for seed in seeds_of(found)]
        both = [(mine, theirs) for mine, theirs in runs if mine and theirs and mine["error"] and theirs["error"]]
        if both:
            errors.append(np.mean([[mine["error"], theirs["error"]] for mine, theirs in both], axis=0))
            seconds.append(np.mean([[mine["cpu_seconds"], theirs["cpu_seconds"]] for mine, theirs in both], axis=0))
    if not errors:
        return []
    mine, theirs = np.array(errors).T
    ratios = [ratio_cell(np.array(each)) for each in (errors, seconds)]
    return [one, peer, f"{(mine < theirs).sum()} : {(mine > theirs).sum()}", *ratios]


def seeds_of(found: Cells) -> list[int]:
    """Give the seeds that have been run."""
    return sorted({seed for _, _, seed in found})


def ratio_cell(pairs: Any) -> str:
    """Give the geometric mean of above / below, of shape (tables, 2), with its interval."""
    ratios = np.log(pairs[:, 0] / pairs[:, 1])
    low, high = np.exp(bootstrap_weights(ratios))
    return f"{np.exp(ratios.mean()):.3f} [{low:.3f}, {high:.3f}]"


def error_lines(found: Cells, seeds: Sequence[int]) -> list[str]:
    """Lay out the error of every contestant on every table, the least in bold; what has not been run is blank."""
    names, rows = contestants_of(found, seeds), []
    for table in tables_of(found):
        errors = [mean_error(found, name, table, seeds) for name in names]
        least = min((error for error in errors if error is not None), default=None)
        texts = ["" if error is None else f"{error:.5g}" for error in errors]
        cells = [f"**{text}**" if text and error == least else text for text, error in zip(texts, errors, strict=True)]
        rows.append([table, *cells])
    return markdown(["", *names], rows)


def interval_lines(found: Cells) -> list[str]:
    """Compare coverage and mean width of the intervals on every table that all have finished who give any."""
    given = {key: cell["intervals"] for key, cell in found.items() if cell["intervals"]}
    names = list(dict.fromkeys(contestant for contestant, _, _ in given))
    by_table: dict[str, dict[str, list[Mapping[str, float]]]] = {}
    for (name, table, _), interval in given.items():
        by_table.setdefault(table, {}).setdefault(name, []).append(interval)
    rows = []
    for table, by_name in by_table.items():
        cells = [table]
        for name in names:
            runs = by_name.get(name, [])
            cells.append(f"{_mean(runs, 'coverage'):.3f}, {_mean(runs, 'mean_width'):.5g}" if runs else "")
        rows.append(cells)
    means = [_mean([given[key] for key in given if key[0] == name], "coverage") for name in names]
    rows.append(["mean coverage", *(f"{mean:.3f}" for mean in means)])
    lines = markdown(["coverage, mean width", *names], rows) if names else ["none yet"]
    for name in [each for each in names if each != INTERVALS_ONLY]:
        both = [by_name for by_name in by_table.values() if {name, INTERVALS_ONLY} <= by_name.keys()]
        widths = [[_mean(by_name[each], "mean_width") for each in (name, INTERVALS_ONLY)] for by_name in both]
        if widths:
            lines += ["", f"width, {name} / {INTERVALS_ONLY}: {ratio_cell(np.array(widths))}"]
    return lines


def _mean(runs: Sequence[Mapping[str, float]], name: str) -> float:
    return float(np.mean([run[name] for run in runs]))


def failure_lines(found: Cells) -> list[str]:
    """List the runs that gave no answer."""
    failed = [(key, cell["failure"]) for key, cell in found.items() if cell["failure"]]
    lines = [
        f"- {name}, {table}, seed {seed}: {failure.strip().splitlines()[-1]}" for (name, table, seed), failure in failed
    ]
    return ["", "### Failures", "", *lines] if lines else []


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay cells out as a table whose columns line up."""
    widths = [max(len(row[place]) for row in [titles, *rows]) for place in range(len(titles))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return [line(titles), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)]
