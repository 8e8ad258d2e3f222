"""Results of the quality benchmark -> tables in Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from quality_ours import OURS
from quality_results import (
    INTERVALS_ONLY,
    MOST_RELATIVE,
    REFERENCES,
    Field,
    Results,
    comparison,
    cpu_seconds,
    field_of,
    ratio_with_interval,
    worse_than_reference,
)
from quality_tables import Table

SPLITS = {"random": "rows at random", "time": "the latest rows", "group": "whole groups"}
NOTES = """\
Error: RMSE of numbers, log loss of classes, on the same held-out rows of the same file for all; the mean over the
seeds. Held out is a third: rows at random, the latest, or whole groups; seeds draw other rows or groups, but by time
only train anew. Ours validates by the same kind of split; peers get the same rows, and do as they do by default.
Groups are no feature. Relative error: error / the smallest error of the field on that table, at most 2, which is also
what a failure counts as; the geometric mean over the tables, all of which weigh the same. First: tables with the
smallest error, and those where it is not worse than that by more than noise. Noise: two standard errors of the
difference of the mean losses (squared errors, log losses) of the same held-out rows, by 20 blocks of rows (runs of
time, or whole groups), and between seeds, whose variances are added, as their held-out rows overlap. CPU: user +
system of a whole process and its children; each has one thread; the mean over the seeds, of which the median over the
tables. Ours is `estimator train`, so it also checks parity, reports on the held-out rows and stores the version.
Budgets of FLAML and AutoGluon are CPU seconds: 30 for FLAML, as much as it wants for AutoGluon's medium quality, 120
for its best. AutoGluon has no torch, so neither its two nets nor its calibration by temperature: PyPI's torch for
Linux on x86 brings gigabytes of GPU libraries. In brackets: 95 % intervals by a bootstrap over the tables."""


def report(results: Results) -> str:
    """Return all tables."""
    if not results.cells:
        return "no results yet"
    lines = [software_line(results), "", NOTES]
    for split, description in SPLITS.items():
        tables = [table for table in results.tables if table.split == split]
        if tables:
            lines += ["", f"### Held out: {description}", *field_lines(results.of(tables))]
    lines += ["", "### All splits", *field_lines(results)]
    lines += ["", "### Errors", *error_lines(results)]
    lines += ["", "### Ours against each", "", *pair_lines(results)]
    lines += ["", "### Never worse than a line or a constant", "", *reference_lines(results)]
    lines += ["", "### Intervals around numbers", "", *interval_lines(results), *failure_lines(results)]
    return "\n".join(lines)


def software_line(results: Results) -> str:
    """Return a line about the machine and the software."""
    software = sorted({cell["software"] for cell in results.cells.values()})
    machine = [platform.platform(), f"{os.cpu_count()} cores", f"Python {platform.python_version()}"]
    return ", ".join([*machine, *software])


def field_lines(results: Results) -> list[str]:
    """Return wins, relative error and cost of every competitor, the best first."""
    lines = []
    for title, compared in results.by_seeds():
        lines += ["", f"{title.capitalize()}:", "", *_field_lines(compared)]
    return lines


def _field_lines(results: Results) -> list[str]:
    field = field_of(results)
    if not field.tables:
        return ["No table has been finished by all of: " + ", ".join(field.competitors)]
    rows = []
    order = np.argsort(np.log(field.relative).mean(axis=1), kind="stable")
    for index in order:
        name, relative = field.competitors[index], field.relative[index]
        seconds = cpu_seconds(results, name, field.tables)
        costs = [f"{np.median(seconds):.1f}", f"{seconds.max():.1f}"] if len(seconds) else ["", ""]
        n_failed = str(np.isinf(field.errors[index]).sum())
        rows.append([name, *first_counts(results, field, index), ratio_with_interval(relative), *costs, n_failed])
    n_tables = len(field.tables)
    titles = [f"{n_tables} tables", "first", "or tied", "relative error", "CPU s, median", "CPU s, most", "failed"]
    return markdown(titles, rows)


def first_counts(results: Results, field: Field, index: int) -> list[str]:
    """Return on how many tables a competitor has the smallest error, and where it is not worse by more than noise."""
    name, first, tied = field.competitors[index], 0, 0
    for position, table in enumerate(field.tables):
        best = field.competitors[int(field.errors[:, position].argmin())]
        first += best == name
        tied += best == name or comparison(results, name, best, table) != 1
    return [str(first), str(tied)]


def pair_lines(results: Results) -> list[str]:
    """Compare each of our kinds with the others: how often it is better, and how errors and costs compare."""
    names = results.competitors
    pairs = [(one, other) for one in names for other in names if one in OURS and one != other and one not in REFERENCES]
    rows = [row for one, other in pairs if (row := pair_row(results, one, other))]
    titles = ["", "against", "better", "tied", "worse", "of", "error / theirs (0.5 to 2)", "CPU / theirs"]
    return markdown(titles, rows) if rows else ["no results yet"]


def pair_row(results: Results, one: str, other: str) -> list[str]:
    """Compare two competitors on the tables and seeds of both."""
    outcomes = {table: comparison(results, one, other, table) for table in results.tables}
    tables = [table for table, outcome in outcomes.items() if outcome is not None]
    if not tables:
        return []
    errors = [shared_means(results, one, other, table, "error") for table in tables]
    seconds = [shared_means(results, one, other, table, "cpu_seconds") for table in tables]
    counts = [sum(outcomes[table] == sign for table in tables) for sign in (-1, 0, 1)]
    ratios = []
    for pairs, most in ((errors, MOST_RELATIVE), (seconds, np.inf)):
        mine, theirs = np.array([pair for pair in pairs if pair] or [(1.0, 1.0)]).T
        ratios.append(ratio_with_interval(np.clip(mine / np.maximum(theirs, 1e-300), 1 / most, most)))
    return [one, other, *(str(count) for count in counts), str(len(tables)), *ratios]


def shared_means(results: Results, one: str, other: str, table: Table, name: str) -> tuple[float, float] | None:
    """Return the means of a figure of two competitors over the seeds on which both have predictions."""
    mine, theirs = results.runs(one, table), results.runs(other, table)
    both = [(mine[seed][name], theirs[seed][name]) for seed in mine.keys() & theirs.keys()]
    finished = [pair for pair in both if None not in pair]
    if not finished:
        return None
    means = np.mean(finished, axis=0)
    return float(means[0]), float(means[1])


def reference_lines(results: Results) -> list[str]:
    """Name the tables on which one of our kinds is worse than a line or a constant by more than noise."""
    lines = []
    for name in [name for name in results.competitors if name in OURS and name not in REFERENCES]:
        faults = worse_than_reference(results, name)
        worse = f"worse on {', '.join(faults)}" if faults else "never worse"
        lines.append(f"- {name}, {len(results.tables)} tables: {worse}")
    return lines or ["no results yet"]


def error_lines(results: Results) -> list[str]:
    """Return the error of every competitor on every table, the smallest in bold; blank where it was not run."""
    lines = []
    for title, compared in results.by_seeds():
        lines += ["", f"{title.capitalize()}:", "", *_error_lines(compared)]
    return lines


def _error_lines(results: Results) -> list[str]:
    names, rows = results.competitors, []
    for table in results.tables:
        errors = [results.error(name, table) for name in names]
        least = min((error for error in errors if error is not None), default=None)
        texts = ["" if error is None else "failed" if np.isinf(error) else f"{error:.5g}" for error in errors]
        row = [f"**{text}**" if text and error == least else text for text, error in zip(texts, errors, strict=True)]
        rows.append([table.name, table.split, *row])
    return markdown(["", "split", *names], rows)


def interval_lines(results: Results) -> list[str]:
    """Compare coverage and mean width of the intervals on every table, of the competitors that give any."""
    names = list(dict.fromkeys(name for (name, _, _), cell in results.cells.items() if cell["intervals"]))
    if not names:
        return ["no results yet"]
    by_table = {table: {name: intervals_of(results, name, table) for name in names} for table in results.tables}
    by_table = {table: by_name for table, by_name in by_table.items() if any(by_name.values())}
    rows = [
        [table.name, table.split, *(interval_cell(by_name[name]) for name in names)]
        for table, by_name in by_table.items()
    ]
    for split in SPLITS:
        runs = [by_name for table, by_name in by_table.items() if table.split == split]
        coverages = [[by_name[name]["coverage"] for by_name in runs if by_name[name]] for name in names]
        rows.append(["mean coverage", split, *(f"{np.mean(values):.3f}" if values else "" for values in coverages)])
    lines = markdown(["coverage, mean width", "split", *names], rows)
    for name in [name for name in names if name != INTERVALS_ONLY and INTERVALS_ONLY in names]:
        both = [by_name for by_name in by_table.values() if by_name[name] and by_name[INTERVALS_ONLY]]
        widths = np.array([by_name[name]["mean_width"] / by_name[INTERVALS_ONLY]["mean_width"] for by_name in both])
        lines += ["", f"width, {name} / {INTERVALS_ONLY}: {ratio_with_interval(widths)}"] if len(widths) else []
    return lines


def intervals_of(results: Results, name: str, table: Table) -> dict[str, float]:
    """Return the means over the seeds of what intervals are like; empty without any."""
    found = [cell["intervals"] for cell in results.runs(name, table).values() if cell["intervals"]]
    return {key: float(np.mean([intervals[key] for intervals in found])) for key in (found[0] if found else ())}


def interval_cell(intervals: Mapping[str, float]) -> str:
    """Return coverage and width as a cell."""
    return f"{intervals['coverage']:.3f}, {intervals['mean_width']:.5g}" if intervals else ""


def failure_lines(results: Results) -> list[str]:
    """List the runs that failed."""
    failed = [(key, cell["failure"]) for key, cell in results.cells.items() if cell["failure"]]
    lines = [
        f"- {name}, {table}, seed {seed}: {failure.strip().splitlines()[-1]}" for (name, table, seed), failure in failed
    ]
    return ["", "### Failures", "", *lines] if lines else []


def markdown(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return cells as a table whose columns line up."""
    widths = [max(len(row[index]) for row in [titles, *rows]) for index in range(len(titles))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    return [line(titles), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)]
