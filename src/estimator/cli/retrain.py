"""estimator retrain: fresh rows -> candidates, judged beside the live version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from estimator.cli import options

if TYPE_CHECKING:
    from estimator.monitoring.retrain import Decision

EXIT_GATE = 3


@click.command("retrain")
@click.argument("model")
@click.option("--data", metavar="TABLE", help="Fresh rows with their truth  [default: labelled rows of the log]")
@options.query
@options.log
@options.watched_conf
@options.folder
@click.option("--why", default="asked for by hand", show_default=True, help="The reason, kept in the record.")
@options.overrides
@options.store
@options.as_json
def command(
    model: str, data: str | None, query: str | None, log: str | None, conf: Path | None, folder: Path, why: str,
    overrides: tuple[str, ...], store: str | None, as_json: bool,
) -> int:  # fmt: skip
    """Make candidates for MODEL of fresh rows: trained on, anew on all, and anew on the fresh ones.

    All are judged on the newest of the fresh rows, which none has seen, and on old rows for what they forgot. The best
    becomes the candidate if it is better; the record of the decision is kept with its reasons. Ends with 3 when the
    live version stays.
    """
    from estimator import verbs as life
    from estimator.cli import progress_bar

    note = (lambda text: None) if as_json else options.say
    with progress_bar.epochs(quiet=as_json) as progress:
        decision = life.retrain(
            life.Site(model, log, conf, folder), options.order(overrides, store), data=data, query=query, why=why,
            progress=progress, note=note,
        )  # fmt: skip
    options.emit(decision.to_data(), _text(decision, options.opened(store).root), as_json=as_json)
    return 0 if decision.chosen else EXIT_GATE


def _text(decision: Decision, root: Path) -> str:
    counts = decision.rows
    lines = [
        f"live    {decision.live}",
        f"rows    {counts['old']:,} old, {counts['new']:,} fresh, judged on {counts['judged']:,} newer ones",
        "", *(f"  {reason}" for reason in decision.reasons), "",
    ]  # fmt: skip
    record = root / decision.model / "decisions" / decision.time.replace(":", "-")
    lines.append(f"record  {record / 'decision.html'}")
    if decision.chosen:
        lines.append(f"next: estimator promote {decision.model}, or let truths decide (promotion.mode: automatic)")
    return "\n".join(lines)
