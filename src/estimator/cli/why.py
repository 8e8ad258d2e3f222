"""estimator why: an answer's id -> what was asked, answered, and what moved the answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from estimator.cli import options

if TYPE_CHECKING:
    from estimator.serving.explain_prediction import Contribution, PredictionExplanation

MOST_SHOWN = 40


@click.command("why")
@click.argument("named", metavar="ID")
@click.option(
    "--log", "place", default="predictions.db", show_default=True,
    help="The log that serving.prediction_log names: a file, or postgresql://...",
)  # fmt: skip
@options.store
@options.as_json
def command(named: str, place: str, store: str | None, as_json: bool) -> None:
    """Say of the answer with this ID what was asked, what was answered by which version, and what moved it."""
    from estimator import verbs as life

    found = life.why(named, place, options.order(store=store))
    options.emit(found.to_data(), _text(found), as_json=as_json)


def _text(found: PredictionExplanation) -> str:
    logged = found.record
    when = datetime.fromtimestamp(logged.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    lines = [f"{logged.id}  {when}  by {logged.model} {logged.version}", f"answer  {_answer(logged.response)}"]
    lines += [f"shadow  {_answer(answer)} by {version}" for version, answer in found.shadows.items()]
    if logged.label is not None:
        came = datetime.fromtimestamp(logged.labeled_at or 0.0, UTC).strftime("%Y-%m-%d")
        lines.append(f"truth   {logged.label} (since {came})")
    if found.is_reproduced is False:
        lines.append("the version answers otherwise now: it, or what it runs on, is not what answered then")
    if found.problem is not None:
        lines += ["", f"cannot be answered again, so nothing is told of what moved it: {found.problem}", ""]
    elif found.baseline is not None:
        told = "answer" if found.class_name is None else f"probability of {found.class_name!r}"
        lines += ["", f"the usual {told} is {found.baseline:.4g}; each value adds", ""]
    width = max((len(item.column) for item in found.contributions), default=0)
    return "\n".join([*lines, *(_line(item, width) for item in found.contributions)])


def _answer(answer: Any) -> str:
    interval = answer.get("interval")
    between = f" ({interval[0]:.4g} to {interval[1]:.4g})" if interval else ""
    return f"{answer['prediction']}{between}"


def _line(item: Contribution, width: int) -> str:
    value = "a gap" if item.value is None else str(item.value)
    shown = value if len(value) <= MOST_SHOWN else f"{value[: MOST_SHOWN - 1]}…"
    error = "" if item.standard_error is None else f" ± {item.standard_error:.1g}"
    added = "" if item.contribution is None else f"{item.contribution:+.4g}{error}"
    outside = "  OUTSIDE" if item.is_out_of_range else ""
    return f"  {item.column:<{width}}  {added:<20} {shown}  ({item.training_range}){outside}"
