"""estimator train: a config -> a version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from estimator.cli import options

if TYPE_CHECKING:
    from estimator.evaluation.scores import Coverage
    from estimator.training.forecast import Forecast
    from estimator.training.report import Report
    from estimator.verbs import NewVersion


@click.command("train")
@options.conf
@options.overrides
@options.store
@click.option("--from", "continue_from", metavar="VERSION", help="Continue from an earlier version's weights.")
@click.option("--forecast", is_flag=True, help="Only tell what it would take: memory, disk, and time by a trial.")
@options.as_json
def command(
    conf: Path, overrides: tuple[str, ...], store: str | None, continue_from: str | None, forecast: bool, as_json: bool
) -> None:
    """Train what a config describes and keep it as a version.

    The first version of a model is live at once; later ones are the candidate until `estimator promote`.
    """
    from estimator import verbs as life
    from estimator.cli import progress_bar

    if forecast:
        foreseen = life.foresee(conf, options.order(overrides, store))
        options.emit(foreseen.to_data(), _foreseen(foreseen), as_json=as_json)
        return
    with progress_bar.epochs(quiet=as_json) as progress:
        made = life.train(conf, options.order(overrides, store), continue_from=continue_from, progress=progress)
    options.emit(_data(made), _text(made), as_json=as_json)


def _foreseen(found: Forecast) -> str:
    from estimator.core.text import format_bytes, format_duration

    free = f", of {format_bytes(found.memory_free)} free" if found.memory_free is not None else ""
    lines = [
        f"{found.rows:,} rows to learn from, {found.width:,} columns when encoded, {found.fits} fits",
        f"memory  about {format_bytes(found.memory)}{free}",
        f"disk    about {format_bytes(found.disk)}, of {format_bytes(found.disk_free)} free",
    ]
    if found.seconds is not None and found.trial_seconds is not None:
        lines.append(
            f"time    about {format_duration(found.seconds)}, by trials that took {format_duration(found.trial_seconds)}"
        )
    return "\n".join([*lines, "", "next: the same without --forecast"])


def _data(made: NewVersion) -> dict[str, Any]:
    manifest = made.artefact.manifest
    return {
        "name": made.artefact.name,
        "version": made.artefact.version,
        "alias": made.alias,
        "folder": str(made.artefact.folder),
        "task": manifest["task"]["kind"],
        "model": manifest["model"],
        "parent": manifest["parent"],
        "rows": manifest["data"]["rows"],
        "rows_held_out": manifest["data"]["rows_held_out"],
        "metrics": manifest["metrics"],
        "baseline": manifest["baseline"],
        "beats_baseline": made.report.beats_baseline,
        "live": None
        if made.report.live is None
        else {name: score.to_data() for name, score in made.report.live.items()},
        "live_version": made.report.live_version,
        "parity": manifest["parity"],
        "fit_seconds": round(made.trained.fit_seconds, 4),
        "seconds": round(made.seconds, 4),
    }


def _text(made: NewVersion) -> str:
    from estimator.core.text import format_number

    report, certificate = made.report, made.trained.certificate
    lines = [f"{made.artefact.name}  version {made.artefact.version}  ({made.alias})", ""]
    folds, live = report.folds, report.live
    told = f"{made.trained.table.n_folds} folds" if folds else ""
    rows = [("metric", "held-out rows", *([told] if folds else []), "constant", *(["live"] if live else []))]
    for name, score in report.metrics.items():
        others = [str(folds[name])] if folds else []
        others += [format_number(report.baseline[name].value), *([format_number(live[name].value)] if live else [])]
        rows.append((name, str(score), *others))
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    compared = f"{certificate.training_rows:,} training and {certificate.edge_rows} edge rows"
    difference = f"{certificate.largest_difference:.2g} ({certificate.largest_relative:.2g} relative)"
    if report.coverage is not None:
        lines += ["", _doubt(report.coverage, report.task.is_regression)]
    lines += [
        "",
        f"graph = library on {compared}: largest difference {difference}",
        f"fit {made.trained.fit_seconds:.2f} s, all {made.seconds:.2f} s",
        f"folder  {made.artefact.folder}",
        f"report  {made.artefact.folder / 'report.html'}",
    ]
    if made.trained.prepared.n_unlabelled:
        lines.append(f"{made.trained.prepared.n_unlabelled:,} rows without a target were left out")
    if not report.beats_baseline:
        lines.append(f"warning: by {report.first}, this is NOT better than the same answer for every row")
    if _is_too_good(report):
        lines.append(
            "warning: this is too good to be true; `estimator explore` looks for columns that give the target away"
        )
    return "\n".join([*lines, "", _next_step(made)])


def _doubt(found: Coverage, is_regression: bool) -> str:
    """Tell what an answer's interval or set is worth, by the held-out rows."""
    from estimator.core.text import format_number

    held = f"hold {found.share.value:.1%} of the truths ({found.share.low:.1%} to {found.share.high:.1%})"
    if is_regression:
        return f"intervals at {found.level:.0%} {held}; mean width {format_number(found.width)}"
    return f"sets of levels at {found.level:.0%} {held}; {found.width:.2f} levels on average"


def _is_too_good(report: Report) -> bool:
    """Whether hardly anything is left to explain, on enough rows for that to be no luck."""
    name, least = ("r2", 0.9995) if report.task.is_regression else ("auc", 0.9995)
    return len(report.truth) >= 500 and report.metrics[name].value >= least


def _next_step(made: NewVersion) -> str:
    folder = made.artefact.folder.parent
    if made.alias == "candidate":
        return f"next: estimator promote {made.artefact.name}   (the live version stays until then)"
    return f"next: estimator serve --model {folder}"
