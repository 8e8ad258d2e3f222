"""estimator train: a config -> a version."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

import click

from estimator import verbs
from estimator.cli import options, progress_bar
from estimator.core.text import counted, format_bytes, format_duration, format_number

if TYPE_CHECKING:
    from estimator.evaluation.scores import Coverage
    from estimator.training.forecast import Forecast
    from estimator.verbs.context import ConfigReference
    from estimator.verbs.train import NewVersion


@click.command("train")
@options.any_conf
@options.overrides
@options.store
@options.engine
@click.option("--from", "continue_from", metavar="VERSION", help="Continue from the weights of an earlier version.")
@click.option("--forecast", is_flag=True, help="Only estimate the memory, disk and time that training needs.")
@options.as_json
def command(
    conf: ConfigReference,
    overrides: tuple[str, ...],
    store: str | None,
    engine: str | None,
    continue_from: str | None,
    forecast: bool,
    as_json: bool,
) -> None:
    """Train a model and save it as a version.

    The first version of a model is live at once; later ones are the candidate until `estimator promote`.

    \b
    Example: estimator train --conf config.yml
             estimator train --conf config.yml --set model.kind=boosting
             cat config.yml | estimator train --conf -
    """
    context = options.context(overrides, store, engine=engine)
    if forecast:
        estimate = verbs.train.forecast(conf, context)
        options.emit(estimate.to_data(), _forecast_text(estimate), as_json=as_json, notes=context.notes)
        return
    with progress_bar.steps(quiet=as_json) as progress:
        new = verbs.train.train(conf, context, continue_from=continue_from, progress=progress)
    options.emit(_data(new), _text(new), as_json=as_json, notes=context.notes)


def _forecast_text(estimate: Forecast) -> str:
    free = f", {format_bytes(estimate.free_memory_bytes)} free" if estimate.free_memory_bytes is not None else ""
    lines = [
        ", ".join(
            [
                counted(estimate.n_rows, "training row"),
                counted(estimate.n_columns, "encoded column"),
                counted(estimate.n_fits, "fit"),
            ]
        ),
        f"memory  about {format_bytes(estimate.memory_bytes)}{free}",
        f"disk    about {format_bytes(estimate.disk_bytes)}, {format_bytes(estimate.free_disk_bytes)} free",
    ]
    if estimate.is_stored:
        size = format_bytes(estimate.scratch_bytes)
        lines.append(
            f"rows    in files of training.scratch, as they do not fit into memory: about {size}, with the matrix"
        )
    if estimate.seconds is not None:
        lines.append(f"time    about {format_duration(estimate.seconds)}")
    lines.append(f"engine  {estimate.engine}")
    return "\n".join([*lines, "", "next: run the same command without --forecast"])


def _data(new: NewVersion) -> dict[str, Any]:
    manifest, live = new.artefact.manifest, new.report.live
    return {
        "name": new.artefact.name,
        "version": new.artefact.version,
        "alias": new.alias,
        "folder": str(new.artefact.folder),
        "task": manifest["task"]["kind"],
        "model": manifest["model"],
        "parent": manifest["parent"],
        "rows": manifest["data"]["rows"],
        "rows_held_out": manifest["data"]["rows_held_out"],
        "metrics": manifest["metrics"],
        "baseline": manifest["baseline"],
        "threshold": manifest.get("threshold"),
        "confusion": None if new.report.confusion is None else new.report.confusion.to_data(),
        "beats_baseline": new.report.beats_baseline,
        "live": None if live is None else {name: score.to_data() for name, score in live.items()},
        "live_version": new.report.live_version,
        "suspicion": new.report.suspicion,
        "overfitting": new.report.overfitting,
        "parity": manifest["parity"],
        "fit_seconds": round(new.trained.fit_seconds, 4),
        "seconds": round(new.seconds, 4),
    }


def _text(new: NewVersion) -> str:
    report, parity = new.report, new.trained.parity
    lines = [f"{new.artefact.name}  version {new.artefact.version}  ({new.alias})", "", *_score_lines(new)]
    if new.trained.threshold is not None and report.threshold_effect is not None:
        lines += ["", new.trained.threshold.sentence, report.threshold_effect.sentence]
    for table in (report.leaderboard, report.confusion.table if report.confusion else ()):
        lines += ["", *options.table(table)] if table else []
    if report.coverage is not None:
        lines += ["", _coverage_line(report.coverage, is_regression=report.task.is_regression)]
    parity_line = (
        f"ONNX parity: largest difference {parity.largest_difference:.2g} ({parity.largest_relative:.2g} relative) "
        f"over {parity.training_rows:,} training and {parity.edge_rows} edge-case rows"
    )
    lines += [
        "",
        parity_line,
        f"fit {new.trained.fit_seconds:.2f} s, total {new.seconds:.2f} s",
        *([f"store   {new.store.location}"] if new.store.is_remote else []),
        f"folder  {new.artefact.folder}",
        f"report  {new.artefact.folder / 'report.html'}",
    ]
    if report.overfitting:
        lines.append(report.overfitting)
    if new.trained.prepared.n_unlabeled:
        lines.append(f"skipped: {counted(new.trained.prepared.n_unlabeled, 'row')} without a target")
    if not report.beats_baseline and isfinite(report.metrics[report.deciding_metric].value):
        baseline = "mean" if report.task.is_regression else "class frequencies"
        lines.append(f"warning: {report.deciding_metric} is not better than always predicting the {baseline}")
    if report.suspicion:
        lines.append(f"warning: {report.suspicion}")
    return "\n".join([*lines, "", _next_step(new)])


def _score_lines(new: NewVersion) -> list[str]:
    """Return the metrics as aligned lines: of the held-out rows, the baseline, the live version; and of the folds."""
    report = new.report
    folds, live = report.folds, report.live
    fold_head = [f"{new.trained.fit_data.n_folds} folds"] if folds else []
    rows = [["metric", "held-out rows", "baseline", *(["live"] if live else []), *fold_head]]
    for name, score in report.metrics.items():
        fold_score = [str(folds[name])] if folds else []
        live_score = [format_number(live[name].value)] if live else []
        rows.append([name, str(score), format_number(report.baseline[name].value), *live_score, *fold_score])
    return options.table(rows)


def _coverage_line(coverage: Coverage, *, is_regression: bool) -> str:
    """Say how many held-out rows the prediction intervals or sets cover."""
    actual = coverage.actual
    covered = f"cover {actual.value:.1%} of actual values ({actual.low:.1%} to {actual.high:.1%})"
    if is_regression:
        return f"{coverage.target:.0%} intervals {covered}; mean width {format_number(coverage.mean_width)}"
    return f"{coverage.target:.0%} prediction sets {covered}; {coverage.mean_width:.2f} classes on average"


def _next_step(new: NewVersion) -> str:
    if new.alias == "candidate":
        return f"next: estimator promote {new.artefact.name}   (the live version stays until then)"
    if new.store.is_remote:
        return f"next: estimator serve {new.artefact.name} --store {new.store.location}"
    return f"next: estimator serve --model {new.artefact.folder.parent}"
