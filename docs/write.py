"""Write the generated pages of docs/reference/ from the code, so that they always say what it does."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_origin

import click

import estimator
from estimator.cli import VERBS
from estimator.cli import estimator as cli
from estimator.config import Config, Section
from estimator.config.formula_language import FUNCTIONS
from estimator.config.reference import bare, default_text, first_line, inner_sections, names, type_text
from estimator.core.registry import Shelf
from estimator.data import sources
from estimator.data.schema import KINDS
from estimator.drift import DETECTORS
from estimator.models.nets import keras_names as keras
from estimator.verbs.context import SHELVES

HERE = Path(__file__).parent / "reference"
WRITTEN = "<!-- Written by `make docs` from the code: change it there. -->"
CONFIG_INTRODUCTION = """\
One file in JSON, YAML or TOML, by its ending. A section `data` with `path` and `target` is a complete config; every
other key has the default below. Paths are relative to the file. `--set training.epochs=5` and the environment variable
`ESTIMATOR_CONFIG__TRAINING__EPOCHS=5` override the file; `--set` overrides both. All faults are reported at once,
before any row is read. `estimator schema` prints the JSON Schema for editors, `estimator schema KEY` explains a key."""
KERAS_INTRODUCTION = """\
Names are Keras's, in any spelling (`mse`, `mean_squared_error`, `MeanSquaredError`), alone or as a mapping with
settings: `optimizer: {name: adam, learning_rate: 0.01}`. Their arithmetic is Keras's too and tested against it, except
`sparsemax`, which follows the paper: its outputs sum to 1, and those of Keras 3.15 do not."""
TUTORIAL = """\
The keys of the tutorial "From Design to Deploy" work as they are: `model_config` is `model` with `kind: dense`,
`training_config` is `training`, `train_test_ratio` is `training.test_size`, `model_name` is `name`, `loss_function` is
`loss`, `optimiser` is `optimizer`, its `metrics` are `evaluation.metrics`, and `pretrained`, at the top or in the
model's section, is `training.pretrained`. `layers` may be a mapping that ends in the output layer, with a null in
`activations` for it."""


def config_reference() -> str:
    """Return the page of every section, key, choice, default and kind."""
    parts = ["# Config reference", WRITTEN, CONFIG_INTRODUCTION]
    sections = {name: field for name, field in Config.model_fields.items() if inner_sections(field)}
    parts += ["## Top-level keys", table(Config, [name for name in Config.model_fields if name not in sections])]
    for name, field in sections.items():
        if name in ("model", "deployment"):
            parts += kinds(name)
        else:
            parts += section(field.alias or name, inner_sections(field)[0])
    parts += ["## Column kinds", "For `schema.columns.NAME.kind` and in a schema file:"]
    parts += ["\n".join(f"- `{kind}`: {text}" for kind, text in KINDS.items())]
    parts += ["## Functions of formulas", "For `features.formulas`; see [formulas](../how-to/formulas.md)."]
    parts += ["\n".join(f"- `{name}()`: {function.meaning}" for name, function in FUNCTIONS.items())]
    for title, shelf in (("Encoders", SHELVES.encoders), ("Metrics", SHELVES.metrics), ("Sources", sources.SHELF)):
        parts += [f"## {title}", kind_list(shelf)]
        other_names = ", ".join(f"`{alias}` is `{kind}`" for alias, kind in shelf.aliases.items())
        parts += [f"Other names: {other_names}."] if other_names else []
    parts += ["## Drift tests", kind_list(SHELVES.drift), "## Sequential drift tests", kind_list(DETECTORS)]
    parts += ["## Engines", kind_list(SHELVES.engines), "## The tutorial's keys", TUTORIAL]
    return "\n\n".join(parts) + "\n"


def section(name: str, kind: type[Section], note: str = "") -> list[str]:
    """Return the heading, the sentence and the keys of a section, and of every section inside it."""
    parts = [f"{'#' * (3 if '.' in name else 2)} `{name}`{note}", first_line(kind), table(kind)]
    for key, field in kind.model_fields.items():
        inners = inner_sections(field)
        for inner in inners:
            path = f"{name}.{field.alias or key}"
            note = f" ({inner.__name__.lower()})" if len(inners) > 1 else ""
            parts += section(f"{path}.NAME" if get_origin(bare(field.annotation)) is dict else path, inner, note)
    return parts


def kinds(name: str) -> list[str]:
    """Return the settings of every kind of a section whose `kind` chooses its keys."""
    shelf, default_kind = {
        "model": (SHELVES.models, SHELVES.default_model),
        "deployment": (SHELVES.targets, SHELVES.default_target),
    }[name]
    parts = [f"## `{name}`", f"`kind` is one of {names(shelf.names())}; default `{default_kind}`."]
    for kind in shelf.names():
        settings = shelf.load(kind)
        keys = [key for key in settings.model_fields if key != "kind"]
        parts += [f"### `{name}.kind: {kind}`", first_line(settings), table(settings, keys)]
        for key in keys:
            for inner in (item for item in inner_sections(settings.model_fields[key]) if item.model_fields):
                parts += [f"#### An entry of `{name}.{key}`", first_line(inner), table(inner)]
        parts += list(keras_lists()) if kind == "dense" else []
    return parts


def keras_lists() -> Iterator[str]:
    """Yield the activations, losses, optimizers and more of the dense net, with their settings."""
    yield KERAS_INTRODUCTION
    for title, settings_of in (
        ("Activations", keras.ACTIVATIONS),
        ("Losses", keras.LOSSES),
        ("Optimizers", keras.OPTIMIZERS),
        ("Learning-rate schedules", keras.SCHEDULES),
        ("Initializers", keras.INITIALIZERS),
        ("Callbacks", keras.CALLBACKS),
    ):
        lines = [
            f"- `{name}`" + (f": {keras_settings(settings)}" if settings else "")
            for name, settings in settings_of.items()
        ]
        yield f"**{title}**\n\n" + "\n".join(lines)


def keras_settings(settings: Any) -> str:
    return ", ".join(f"{key} (required)" if value is ... else f"{key} {value}" for key, value in settings.items())


def kind_list(shelf: Shelf[Any]) -> str:
    """Return the kinds of a shelf, each with its sentence."""
    return "\n".join(f"- `{kind}`: {first_line(shelf.load(kind))}" for kind in shelf.names())


def table(kind: type[Section], keys: list[str] | None = None) -> str:
    """Return the keys of a section: type and choices, default, description."""
    rows = ["| key | type | default | description |", "|---|---|---|---|"]
    for name, field in kind.model_fields.items():
        if keys is None or name in keys:
            description = (field.description or first_line(inner_sections(field)[0])).replace("|", "/")
            rows.append(f"| `{field.alias or name}` | {type_text(field)} | {default_text(field)} | {description} |")
    return "\n".join(rows)


def cli_reference() -> str:
    """Return the help of every command."""
    parts = ["# Command-line reference", WRITTEN]
    context = click.Context(cli, info_name="estimator", terminal_width=100, **cli.context_settings)
    parts.append(f"```\n{cli.get_help(context)}\n```")
    for verb in VERBS:
        command = cli.get_command(context, verb)
        assert command is not None
        parts += command_help(command, verb, context, depth=2)
    return "\n\n".join(parts) + "\n"


def command_help(command: click.Command, name: str, parent: click.Context, *, depth: int) -> list[str]:
    """Return the help of a command, and of its own commands."""
    context = click.Context(command, info_name=name, parent=parent, terminal_width=100)
    parts = [f"{'#' * depth} `{context.command_path}`\n\n```\n{command.get_help(context)}\n```"]
    for inner_name, inner in getattr(command, "commands", {}).items():
        parts += command_help(inner, inner_name, context, depth=depth + 1)
    return parts


def python_reference() -> str:
    """Return the public names of the package and one function per verb, with their docstrings."""
    introduction = (
        "Everything that the command line does, one import does. `estimator` has the few names that most programs "
        "need; `estimator.verbs` has one module per command, with a function of the same name. A `Context` holds what "
        "the command line takes from its options and the environment."
    )
    parts = ["# Python reference", WRITTEN, introduction, "## `estimator`"]
    parts += [entry("estimator", name, getattr(estimator, name)) for name in estimator.__all__]
    predictor = estimator.Predictor
    parts += [entry("Predictor", name, getattr(predictor, name)) for name in ("predict", "predict_table")]
    parts += ["## `estimator.verbs`"]
    folder = Path(inspect.getfile(estimator)).parent / "verbs"
    for name in ["context", *sorted(path.stem for path in folder.glob("[!_]*.py") if path.stem != "context")]:
        module = importlib.import_module(f"estimator.verbs.{name}")
        parts += [entry(f"verbs.{name}", key, value) for key, value in public(module)]
    return "\n\n".join(parts) + "\n"


def public(module: types.ModuleType) -> Iterator[tuple[str, Any]]:
    """Yield the functions and classes that a module defines for others."""
    for name, value in vars(module).items():
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__ and callable(value):
            yield name, value


def entry(owner: str, name: str, value: Any) -> str:
    """Return the heading, signature and docstring of a function or class."""
    signature = inspect.signature(value) if callable(value) else ""
    # Annotations without their quotes, and functions without their addresses in memory, which differ from run to run.
    short = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(signature))
    short = re.sub(r"<function (?:\S*\.)?(\S+) at 0x\w+>", r"\1", short)
    short = short.replace("<built-in function time>", "time.time").replace("PosixPath('.')", "Path()")
    return f"### `{owner}.{name}`\n\n```python\n{name}{short}\n```\n\n```text\n{inspect.getdoc(value) or ''}\n```"


PAGES = {"config.md": config_reference, "cli.md": cli_reference, "python.md": python_reference}

if __name__ == "__main__":
    for page, write in PAGES.items():
        (HERE / page).write_text(write(), encoding="utf-8")
        sys.stdout.write(f"written: docs/reference/{page}\n")
