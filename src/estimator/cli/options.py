"""Options that several verbs share, and how results are printed."""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from estimator import verbs
from estimator.core.clock import parse_time
from estimator.core.credentials import redacted, redacted_data

if TYPE_CHECKING:
    from estimator.shipping.deployment import DeploymentPlan
    from estimator.shipping.deployment.base import Action, Price
    from estimator.store.store import Store
    from estimator.verbs.context import Context, Notes
    from estimator.verbs.deploy import DeployedModel

SIGNS = {"create": "+", "change": "~", "replace": "~", "keep": "=", "remove": "-"}
# The config of a folder, the first of these.
CONFIG_NAMES = ("config.yml", "config.yaml", "config.json", "config.toml")
Command = Callable[..., Any]
# The version that a command works on.
REFERENCE = "A version's or model's folder, or MODEL, MODEL@ALIAS or MODEL/VERSION in the store."


class ConfigParameter(click.ParamType):  # type: ignore[type-arg] # generic only in recent releases of click
    """A config's file, its address, or - for standard input."""

    name = "config"

    def convert(
        self, value: Any, parameter: click.Parameter | None, context: click.Context | None
    ) -> Path | str | bytes:
        """Return a path, an address, or what standard input holds."""
        if value == "-":
            return sys.stdin.buffer.read()
        return value if "://" in str(value) else Path(value)


def by_position_or(option: str, name: str, **settings: Any) -> Callable[[Command], Command]:
    """Add a value that is given by its position or by an option; without either, `default()` or None.

    `metavar` names it in the usage; `missing` is the error where it is required.
    """
    metavar, default, missing = (settings.pop(key, None) for key in ("metavar", "default", "missing"))
    position = f"{name}_by_position"

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def merged(**values: Any) -> Any:
            first, second = values.pop(position), values.pop(name)
            is_given = click.get_current_context().get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
            if first is not None and is_given:
                raise click.UsageError(f"{metavar} is given twice: {first} and {option} {second}")
            value = second if first is None else first
            if value is None and default is not None:
                value = default()
            if value is None and missing is not None:
                raise click.UsageError(missing)
            return command(**{name: value}, **values)

        argument = click.argument(position, metavar=f"[{metavar}]", required=False, type=settings.get("type"))
        return argument(click.option(option, name, **settings)(merged))

    return add


def config_here() -> Path:
    """Return the config of the current folder, of a command that names none."""
    for name in CONFIG_NAMES:
        if Path(name).is_file():
            return Path(name)
    raise click.UsageError(
        f"no config: this folder has no {CONFIG_NAMES[0]}; give its path, or make one: "
        "estimator init TABLE --target COLUMN"
    )


any_conf = by_position_or(
    "--conf",
    "conf",
    metavar="CONF",
    default=config_here,
    type=ConfigParameter(),
    help="The config: a file (.json, .yml or .toml), an https:// address, or - for standard input  "
    "[default: config.yml in the current folder]",
)
conf = by_position_or(
    "--conf",
    "conf",
    metavar="CONF",
    default=config_here,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The config: .json, .yml or .toml  [default: config.yml in the current folder]",
)
overrides = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of the config, such as training.epochs=5; repeatable.",
)
data_overrides = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Read the table with another key of `data` than in training, such as data.encoding=utf-16; repeatable.",
)
loop_overrides = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override a key of monitoring, retraining or promotion, such as monitoring.alpha=0.001, or one of `data` to "
    "read a table; repeatable.",
)
query = click.option("--query", help="For a database: a SELECT, or the name of a table.")
include_learned = click.option(
    "--include-learned", is_flag=True, help="Use rows that the version has already learned from, too."
)
store = click.option(
    "--store", help="Folder of all versions, or s3://bucket/models  [default: the config's, ESTIMATOR_STORE, models]"
)
engine = click.option(
    "--engine",
    metavar="ENGINE",
    help="Where fits of folds run: local, ray (a cluster of this machine alone), or the address of a Ray cluster, such "
    "as ray://head:10001  [default: the config's, ESTIMATOR_ENGINE, local]",
)
folder = click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    help="The folder that a version's own data paths are relative to  [default: the current one]",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object to stdout.")
model = by_position_or(
    "--model",
    "model",
    metavar="MODEL",
    missing="Missing option '--model' (env var: 'MODEL_FOLDER').",
    envvar="MODEL_FOLDER",
    show_envvar=True,
    help=REFERENCE,
)
named_model = by_position_or(
    "--model", "model", metavar="MODEL", missing="Missing argument 'MODEL'.", help="The model's name in the store."
)
only_model = by_position_or(
    "--model", "model", metavar="MODEL", help="The model's name  [default: the only one of the store]"
)
version = by_position_or("--model", "version", metavar="VERSION", missing="Missing argument 'VERSION'.", help=REFERENCE)
builder = click.option(
    "--builder",
    type=click.Choice(["auto", "docker", "podman", "buildah", "direct"]),
    default="auto",
    show_default=True,
    help="auto picks the first that works; direct writes the image without a container engine.",
)
base_rootfs = click.option(
    "--base-rootfs",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="For the builder direct: the base image as the tar of a root file system.",
)
log = click.option("--log", metavar="URL", help="The prediction log  [default: the version's serving.prediction_log]")
monitored_conf = click.option(
    "--conf",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A config whose monitoring, retraining and promotion apply  [default: the version's own]",
)
trust = click.option(
    "--trust", is_flag=True, help="Read the table that somebody else's version names, without a question."
)
yes = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def deployment(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name a deployment."""
    conf = click.option(
        "--conf",
        type=click.Path(path_type=Path, dir_okay=False),
        help="A config whose section `deployment` applies  [default: the version's own]",
    )
    built = click.option(
        "--folder",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of the built image  [default: build/MODEL]",
    )
    return conf(built(command))


def deployed(model: str, folder: Path | None, conf: Path | None) -> DeployedModel:
    """Return the deployment that the options name."""
    return verbs.deploy.DeployedModel(model, folder or Path("build") / model, conf)


def confirm(question: str, *, yes: bool, otherwise: str = ", or --dry-run to see the plan") -> bool:
    """Ask for confirmation; without a terminal, only --yes confirms, or what the error names `otherwise`."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError(f"not a terminal: pass --yes to confirm{otherwise}")
    return click.confirm(question, err=True)


def plan_line(action: Action, name: str, detail: str = "") -> str:
    """Return one step of a plan as a line: its sign, its action, and what it acts on."""
    return f"  {SIGNS[action]} {action:<8}{name}" + (f": {detail}" if detail else "")


def plan_data(plan: DeploymentPlan) -> dict[str, Any]:
    """Return a plan as JSON-ready data."""
    price = None if plan.price is None else price_data(plan.price)
    return {"steps": [asdict(step) for step in plan.steps], "price_usd": price, "notes": list(plan.notes)}


def price_data(price: Price) -> dict[str, Any]:
    """Return a price as JSON-ready data."""
    return {**asdict(price), "per_hour": price.per_hour, "per_month": round(price.per_month, 2)}


def context(
    overrides: tuple[str, ...] = (),
    store: str | None = None,
    *,
    engine: str | None = None,
    quiet: bool = False,
    trust: bool = False,
) -> Context:
    """Return what a verb needs besides its own arguments; `quiet` prints no notes."""

    def confirm(question: str) -> bool:
        if trust:
            say(question)
        return trust or (sys.stdin.isatty() and click.confirm(f"{question} Read it?", err=True))

    notes = verbs.Notes() if quiet else verbs.Notes(_show_note)
    return verbs.Context(overrides, dict(os.environ), store, notes, confirm, engine_name=engine)


def opened_store(path: str | None) -> Store:
    """Return the store of a command that has no config."""
    return context(store=path).store()


def timestamp(text: str, now: float | None = None) -> float:
    """Return a time such as 7d (ago) or 2026-11-22T10:15 in seconds since 1970."""
    try:
        return parse_time(text, time.time() if now is None else now)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def emit(
    data: Mapping[str, Any], text: str, *, as_json: bool, notes: Notes | None = None, is_secret: bool = False
) -> None:
    """Print the result to stdout: an object for programs, with the notes of the verb, or text for people.

    What looks like a credential is printed as its fingerprint, unless the result `is_secret`, such as a new key.
    """
    if notes is not None:
        data = {**data, "skipped_lines": notes.skipped_lines, "notes": notes.to_data()}
    if as_json and not is_secret:
        data = redacted_data(data, assignments=False)
    elif not is_secret:
        text = redacted(text, assignments=False)
    click.echo(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) if as_json else text)


def _show_note(sentence: str) -> None:
    # None: colors where it is a terminal.
    color = False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None
    click.echo(click.style("note: ", fg="cyan") + redacted(sentence), err=True, color=color)


def say(text: str) -> None:
    """Print a message to stderr."""
    click.echo(redacted(text), err=True)


def note(*, as_json: bool) -> Callable[[str], None]:
    """Return what prints the steps of long work to stderr; silent when the output is JSON."""
    return (lambda text: None) if as_json else say


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines with aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def width() -> int:
    """Return the number of characters in a line of the terminal, and 100 where there is none."""
    return max(shutil.get_terminal_size((100, 24)).columns, 40)


def wrapped(text: str) -> str:
    """Return a message whose lines end where those of the terminal do; unchanged where there is no terminal.

    Paths and values are not broken, so that they can be copied.
    """
    if not is_terminal():
        return text
    lines = []
    for line in text.splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        lines += textwrap.wrap(
            line, width(), subsequent_indent=f"{indent}    ", break_long_words=False, break_on_hyphens=False
        ) or [""]
    return "\n".join(lines)


def is_terminal() -> bool:
    """Whether a person sees stderr."""
    return sys.stderr.isatty()
