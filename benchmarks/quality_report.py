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

    def of(self, contestant: str) -> Any:
        """Give the errors of one contestant."""
        return self.errors[self.contestants.index(contestant)]


def report(cells: Iterable[Mapping[str, Any]], ours: Sequence[str]) -> str:
    """Lay everything out; of two results of one contestant, table and seed the later one counts."""
    found = {(cell["contestant"], cell["table"], cell["seed"]): cell for cell in cells}
    if not found:
        return "no results yet"
    refuse_other_rows(found)
    seeds = sorted({seed for _, _, seed in found})
    lines = [software_line(found), "", NOTES]
    for some in [seeds, seeds[:1]] if len(seeds) > 1 else [seeds]:
        compared = field_of(found, some)
        lines += ["", f"### Seeds {', '.join(map(str, some))}: {len(compared.tables)} tables", ""]
        lines += [*score_lines(compared, found), "", *pair_lines(compared, found, ours)]
    everybody = field_of(found, seeds, with_floor=True)
    lines += ["", "### Errors", "", *error_lines(everybody), "", "### Intervals around numbers", ""]
    lines += [*interval_lines(found), *failure_lines(found)]
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


def field_of(found: Cells, seeds: Sequence[int], *, with_floor: bool = False) -> Field:
    """Give the errors of everybody who was asked for all of the seeds; a failure is an infinite one."""
    names = list(dict.fromkeys(contestant for contestant, _, _ in found))
    left_out = {INTERVALS_ONLY} if with_floor else {INTERVALS_ONLY, FLOOR}
    asked = {name: {seed for contestant, _, seed in found if contestant == name} for name in names}
    contestants = [name for name in names if name not in left_out and asked[name] >= set(seeds)]
    known = list(dict.fromkeys(table for _, table, _ in found))
    tables = [
        table for table in known if all((name, table, seed) in found for name in contestants for seed in seeds)
    ]  # fmt: skip
    errors = [[[_error(found[name, table, seed]) for seed in seeds] for table in tables] for name in contestants]
    means = np.array(errors).reshape(len(contestants), len(tables), len(seeds)).mean(axis=2)
    return Field(contestants, tables, seeds, means)


def _error(cell: Mapping[str, Any]) -> float:
    return float("inf") if cell["error"] is None else float(cell["error"])


def normalised(errors: Any) -> Any:
    """Score errors of shape (contestants, tables) as TabArena does (Erickson et al. 2025, arXiv:2506.16791).

    Per table the least error scores 1 and the median one 0, linear between; what is worse than the median scores 0.
    """
    best, median = errors.min(axis=0), np.median(errors, axis=0)
    gap = np.where(median > best, median - best, 1.0)
    return np.where(median > best, np.clip((median - errors) / gap, 0.0, 1.0), errors <= best)


def resampled(values: Any) -> tuple[float, float]:
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
        low, high = resampled(scores[place])
        seconds = cpu_of(compared, found, name)
        first = int((compared.errors[place] <= compared.errors.min(axis=0)).sum())
        cells = [name, f"{scores[place].mean():.3f} [{low:.3f}, {high:.3f}]", str(first)]
        rows.append([*cells, f"{seconds.sum():,.0f}", f"{np.median(seconds):.1f}", f"{seconds.max():.1f}"])
    return markdown(["", "score", "first on", "CPU s, all runs", "CPU s, median", "CPU s, most"], rows)


def cpu_of(compared: Field, found: Cells, name: str) -> Any:
    """Give the CPU seconds of every finished run of a contestant that is compared."""
    runs = [found[name, table, seed] for table in compared.tables for seed in compared.seeds]
    return np.array([run["cpu_seconds"] for run in runs if run["cpu_seconds"] is not None])


def pair_lines(compared: Field, found: Cells, ours: Sequence[str]) -> list[str]:
    """Compare each of our kinds with each peer: tables won and lost, and how the errors and the costs compare."""
    rows = []
    for one in [name for name in compared.contestants if name in ours] if compared.tables else []:
        for peer in [name for name in compared.contestants if name not in ours]:
            mine, theirs = compared.of(one), compared.of(peer)
            both = np.isfinite(mine) & np.isfinite(theirs)
            ratios = np.log(mine[both] / theirs[both])
            low, high = np.exp(resampled(ratios))
            cost = np.median(cpu_of(compared, found, one)) / np.median(cpu_of(compared, found, peer))
            won = f"{(mine < theirs).sum()} : {(mine > theirs).sum()}"
            rows.append([one, peer, won, f"{np.exp(ratios.mean()):.3f} [{low:.3f}, {high:.3f}]", f"{cost:.2f}"])
    titles = ["ours", "peer", "tables won : lost", "error, ours / peer (geometric mean)", "median CPU, ours / peer"]
    return markdown(titles, rows) if rows else []


def error_lines(compared: Field) -> list[str]:
    """Lay out the error of every contestant on every table, the least in bold."""
    rows = []
    for place, table in enumerate(compared.tables):
        column = compared.errors[:, place]
        cells = [f"{error:.5g}" for error in column]
        rows.append(
            [
                table,
                *(f"**{cell}**" if error == column.min() else cell for cell, error in zip(cells, column, strict=True)),
            ]
        )
    return markdown(["", *compared.contestants], rows)


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
        both = [table for table, by_name in by_table.items() if {name, INTERVALS_ONLY} <= by_name.keys()]
        widths = [[_mean(by_table[table][each], "mean_width") for table in both] for each in (name, INTERVALS_ONLY)]
        if both:
            ratios = np.log(np.array(widths[0]) / widths[1])
            low, high = np.exp(resampled(ratios))
            lines += ["", f"width, {name} / {INTERVALS_ONLY}: {np.exp(ratios.mean()):.3f} [{low:.3f}, {high:.3f}]"]
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
