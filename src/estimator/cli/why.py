"""estimator why: explain one logged prediction."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from estimator import verbs
from estimator.cli import options

if TYPE_CHECKING:
    from estimator.serving.explain_prediction import Contribution, PredictionExplanation

MAX_VALUE_LENGTH = 40


@click.command("why")
@click.argument("prediction_id", metavar="ID")
@click.option(
    "--log",
    default="predictions.db",
    show_default=True,
    help="The prediction log that serving.prediction_log names: a SQLite file, or postgresql://...",
)
@options.store
@options.as_json
def command(prediction_id: str, log: str, store: str | None, as_json: bool) -> None:
    """Explain the prediction with this ID: its input, its version, and the contribution of each value.

    \b
    Example: estimator why 4f1c2a-0 --log predictions.db
    """
    explanation = verbs.why.why(prediction_id, log, options.context(store=store))
    options.emit(explanation.to_data(), _text(explanation), as_json=as_json)


def _text(explanation: PredictionExplanation) -> str:
    logged = explanation.record
    when = datetime.fromtimestamp(logged.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    lines = [f"{logged.id}  {when}  by {logged.model} {logged.version}", f"prediction  {_prediction(logged.response)}"]
    lines += [f"shadow      {_prediction(response)} by {version}" for version, response in explanation.shadows.items()]
    if logged.label is not None:
        since = datetime.fromtimestamp(logged.labeled_at or 0.0, UTC).strftime("%Y-%m-%d")
        lines.append(f"label       {logged.label} (received {since})")
    if explanation.is_reproduced is False:
        lines.append("this version now predicts something else: it or its environment has changed")
    if explanation.problem is not None:
        lines += ["", f"cannot be recomputed, so its contributions are unknown: {explanation.problem}", ""]
    elif explanation.baseline is not None:
        output = "prediction" if explanation.class_name is None else f"probability of {explanation.class_name!r}"
        lines += ["", f"the mean {output} is {explanation.baseline:.4g}; each value adds", ""]
    width = max((len(value.column) for value in explanation.contributions), default=0)
    return "\n".join([*lines, *(_line(value, width) for value in explanation.contributions)])


def _prediction(logged: Any) -> str:
    interval = logged.get("interval")
    between = f" ({interval[0]:.4g} to {interval[1]:.4g})" if interval else ""
    return f"{logged['prediction']}{between}"


def _line(row: Contribution, width: int) -> str:
    value = "missing" if row.value is None else str(row.value)
    shown = value if len(value) <= MAX_VALUE_LENGTH else f"{value[: MAX_VALUE_LENGTH - 1]}…"
    error = "" if row.standard_error is None else f" ± {row.standard_error:.1g}"
    added = "" if row.contribution is None else f"{row.contribution:+.4g}{error}"
    warning = "  OUT OF RANGE" if row.is_out_of_range else ""
    return f"  {row.column:<{width}}  {added:<20} {shown}  ({row.training_range}){warning}"
