"""estimator retrain: new rows -> candidate versions and a decision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from estimator import verbs
from estimator.cli import EXIT_GATE, options, progress_bar

if TYPE_CHECKING:
    from estimator.monitoring.decision import Decision


@click.command("retrain")
@options.named_model
@click.option(
    "--input", "data", metavar="TABLE", help="New rows with their target  [default: the labeled rows of the log]"
)
@options.query
@options.include_learned
@options.log
@options.monitored_conf
@options.folder
@options.trust
@click.option("--why", default="started by hand", show_default=True, help="The reason, stored in the record.")
@click.option("--job", is_flag=True, hidden=True, help="Train the candidates of the job on standard input.")
@options.loop_overrides
@options.store
@options.as_json
def command(
    model: str, data: str | None, query: str | None, include_learned: bool, log: str | None, conf: Path | None,
    folder: Path, trust: bool, why: str, job: bool, overrides: tuple[str, ...], store: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Train candidate versions of MODEL on new rows: warm start, full refit, and new rows only.

    All are compared with the live version on the newest rows, which none was trained on, and on old rows for
    regressions. Rows that the live version has learned from are left out, with a note. The best becomes the candidate
    if it is better. The decision is recorded with its reasons. Exits with 3 if the live version stays.

    \b
    Example: estimator retrain houses --input november.csv
    """
    context = options.context(overrides, store, trust=trust)
    if job:
        verbs.retrain.train_candidates(context)
        return 0
    monitored = verbs.monitor.MonitoredModel(model, log, conf, folder)
    with progress_bar.steps(quiet=as_json) as progress:
        decision = verbs.retrain.retrain(
            monitored,
            context,
            data=data,
            query=query,
            include_learned=include_learned,
            reason=why,
            progress=progress,
            note=options.note(as_json=as_json),
        )
    options.emit(
        decision.to_data(), _text(decision, options.opened_store(store).root), as_json=as_json, notes=context.notes
    )
    return 0 if decision.chosen else EXIT_GATE


def _text(decision: Decision, root: Path) -> str:
    counts = decision.rows
    lines = [
        f"live    {decision.live}",
        f"rows    {counts['old']:,} old, {counts['new']:,} new, evaluated on {counts['holdout']:,} newer ones",
        "",
        *(f"  {reason}" for reason in decision.reasons),
        "",
    ]
    record = root / decision.model / "decisions" / decision.record
    lines.append(f"record  {record / 'decision.html'}")
    if decision.chosen:
        lines.append(
            f"next: estimator promote {decision.model}; with promotion.mode: automatic, a monitor promotes it once it "
            "meets promotion.criterion"
        )
    return "\n".join(lines)
