"""Write docs/config.md and docs/cli.md from the code, so that they cannot say anything else than it does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from pydantic_core import PydanticUndefined

from estimator import drift, models
from estimator.cli import VERBS, estimator
from estimator.config import Config, Section
from estimator.core.registry import Shelf
from estimator.data import sources
from estimator.data.schema import KINDS
from estimator.evaluation import metrics
from estimator.features import encoders
from estimator.models.nets.dense import vocabulary
from estimator.shipping import deployment

HERE = Path(__file__).parent
WRITTEN = "<!-- Written by `make docs` from the code: change it there. -->"
SECTIONS = ("data", "schema_", "features", "training", "validation", "tuning", "evaluation", "serving", "image")


def config_reference() -> str:
    """Return the page of every section, key, default and kind."""
    opening = (
        "One file, JSON, YAML or TOML, told by its ending. A `data` section with a path and a target already makes a "
        "config; everything else has the default below. Paths are relative to the file. `--set training.epochs=5` and "
        "an environment variable `ESTIMATOR_CONFIG__TRAINING__EPOCHS=5` win over the file, `--set` over both. "
        "`estimator schema` prints the JSON Schema for editors."
    )
    parts = ["# The config", WRITTEN, opening, "## At the top", table(Config, ["name", "store"])]
    for name in SECTIONS:
        field = Config.model_fields[name]
        parts += section(field.alias or name, field.annotation)
    parts += model_kinds() + target_kinds()
    parts += ["## Columns", "What a column can be, in `schema.columns.<name>.kind` and in a schema file:"]
    parts += ["\n".join(f"- `{kind}`: {text}" for kind, text in KINDS.items())]
    parts += shelf("Encoders", encoders.SHELF) + shelf("Metrics", metrics.SHELF) + shelf("Sources", sources.SHELF)
    parts += shelf("Drift tests", drift.SHELF)
    aliases = ", ".join(f"`{alias}` is `{kind}`" for alias, kind in metrics.SHELF.aliases.items())
    parts += [f"Other names of metrics: {aliases}.", tutorial()]
    return "\n\n".join(parts) + "\n"


def section(name: str, kind: Any) -> list[str]:
    """Return the heading, the sentence and the table of a section, and of the sections inside it."""
    parts = [f"## `{name}`", first_line(kind), table(kind)]
    for key, field in kind.model_fields.items():
        for inner in inner_sections(field.annotation):
            parts += [f"### `{name}.{key}`", first_line(inner), table(inner)]
    return parts


def model_kinds() -> list[str]:
    """Return the pages of every model kind and the words of the dense net."""
    parts = ["## `model`", "`kind` names the family; the other keys are its settings. Without a kind: `boosting`."]
    for kind in models.SHELF.names():
        settings = models.SHELF.load(kind)
        parts += [f"### `kind: {kind}`", first_line(settings), table(settings)]
        if kind == "dense":
            parts += list(words())
    return parts


def target_kinds() -> list[str]:
    """Return the pages of every kind of target."""
    parts = [
        "## `deployment`",
        "`kind` names where it runs; the other keys are its settings. Without a kind: `docker`.",
    ]
    for kind in deployment.SHELF.names():
        settings = deployment.SHELF.load(kind)
        keys = [name for name in settings.model_fields if name != "kind"]
        parts += [f"### `deployment.kind: {kind}`", first_line(settings), table(settings, keys)]
    return parts


def words() -> Iterator[str]:
    """Yield the words of the dense net with their settings."""
    yield (
        "Words are Keras's, in any spelling (`mse`, `mean_squared_error`, `MeanSquaredError`), alone or as a mapping "
        "with settings: `optimizer: {name: adam, learning_rate: 0.01}`. Their arithmetic is Keras's too, tested "
        "against it; `sparsemax` follows the paper, whose outputs sum to 1, where Keras 3.15's do not."
    )
    for title, words_of in (
        ("Activations", vocabulary.ACTIVATIONS), ("Losses", vocabulary.LOSSES), ("Optimizers", vocabulary.OPTIMIZERS),
        ("EncoderInput-rate schedules", vocabulary.SCHEDULES), ("Initializers", vocabulary.INITIALIZERS),
        ("Callbacks", vocabulary.CALLBACKS),
    ):  # fmt: skip
        lines = [f"- `{name}`" + (f": {told(settings)}" if settings else "") for name, settings in words_of.items()]
        yield f"**{title}**\n\n" + "\n".join(lines)


def told(settings: vocabulary.Settings) -> str:
    """Return settings with their defaults; those without one are needed."""
    return ", ".join(f"{key} (needed)" if value is ... else f"{key} {value}" for key, value in settings.items())


def shelf(title: str, of: Shelf[Any]) -> list[str]:
    """Return the kinds of a shelf, each with its sentence."""
    return [f"## {title}", "\n".join(f"- `{kind}`: {first_line(of.load(kind))}" for kind in of.names())]


def tutorial() -> str:
    """Return the tutorial's spelling."""
    return (
        "## The tutorial's spelling\n\n"
        "`model_config` is `model` with `kind: dense`, `training_config` is `training`, `train_test_ratio` is "
        "`training.test_size`, `model_name` is `name`, `loss_function` is `loss`, `optimiser` is `optimizer`, and its "
        "`metrics` are `evaluation.metrics`. `layers` may be a mapping that ends in the output layer, with a null in "
        "`activations` for it."
    )


def inner_sections(annotation: Any) -> list[type[Section]]:
    """Return the sections that stand inside a key's type."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [inner for item in getattr(annotation, "__args__", ()) for inner in inner_sections(item)]


def table(kind: type[Section], keys: list[str] | None = None) -> str:
    """Return a table of a section's keys."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for name, field in kind.model_fields.items():
        if keys is None or name in keys:
            meaning = (field.description or "").replace("|", "/")
            rows.append(f"| `{field.alias or name}` | {default(field)} | {meaning} |")
    return "\n".join(rows)


def default(field: Any) -> str:
    """Return a key's default as it would be written."""
    if field.default is PydanticUndefined:
        return "needed"
    if isinstance(field.default, Section):
        return "see below"
    if isinstance(field.default, list):
        return f"`[{', '.join(str(getattr(item, 'units', item)) for item in field.default)}]`"
    if isinstance(field.default, bool) or field.default is None:
        return f"`{str(field.default).lower()}`" if field.default is not None else ""
    return f"`{getattr(field.default, 'name', field.default)}`"


def first_line(kind: Any) -> str:
    """Return the first sentence of a docstring."""
    return (kind.__doc__ or "").strip().splitlines()[0]


def cli_reference() -> str:
    """Return the help of every verb."""
    parts = ["# The command line", WRITTEN]
    context = click.Context(estimator, info_name="estimator", terminal_width=100, **estimator.context_settings)
    parts.append(f"```\n{estimator.get_help(context)}\n```")
    for verb in VERBS:
        command = estimator.get_command(context, verb)
        inner = click.Context(command, info_name=verb, parent=context, terminal_width=100)
        parts.append(f"## `estimator {verb}`\n\n```\n{command.get_help(inner)}\n```")
    return "\n\n".join(parts) + "\n"


PAGES = {"config.md": config_reference, "cli.md": cli_reference}

if __name__ == "__main__":
    for page, write in PAGES.items():
        (HERE / page).write_text(write(), encoding="utf-8")
        sys.stdout.write(f"written: docs/{page}\n")
