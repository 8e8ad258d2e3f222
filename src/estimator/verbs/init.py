"""init: a table that no config names -> a first config and a schema to review."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from estimator.config import Data
from estimator.config.document import parse_document
from estimator.config.secrets import credentials_in_files
from estimator.config.sections import MODEL_NAME
from estimator.config.tutorial import SCHEMA_KEY
from estimator.core.files import write_atomic
from estimator.data.credentials import credential_cells
from estimator.data.sources.address import model_name, relative_to
from estimator.errors import ConfigError
from estimator.exploration.scaffold import Scaffold, make_scaffold, write_scaffold
from estimator.shipping.ci.workflows import write_workflow
from estimator.verbs.context import Context
from estimator.verbs.schema import schema

if TYPE_CHECKING:
    import polars as pl


def init(
    table: str,
    target: str,
    context: Context,
    *,
    conf: Path,
    force: bool,
    query: str | None = None,
    name: str | None = None,
) -> Scaffold:
    """Read a table and write a first config that runs, with a schema next to it to review.

    `name` is the model's; by default that of the table.

    A third file is the JSON Schema of the config, by which editors complete and check its keys.

    Raises
    ------
    ConfigError: a file is already there, and `force` is not set; the config's name ends in neither .yml nor .json; or
        `name` is no name of a model.
    """
    if conf.suffix.lower() not in (".yml", ".yaml", ".json"):
        raise ConfigError(f"{conf}: expected a name that ends in .yml or .json", hint="for example --conf config.yml")
    if name is not None and not MODEL_NAME.fullmatch(name):
        raise ConfigError(f"--name: expected letters, digits, '_', '.' and '-', up to 100, got {name!r}")
    data = Data(path=table, target=target, query=query)
    with context.rows(data) as source:
        frame = source.frame()
    schema_path = schema_path_for(conf)
    relative = data.model_copy(update={"path": relative_to(table, conf.parent)})
    scaffold = make_scaffold(frame, relative, name=name or model_name(table, query), schema_file=schema_path.name)
    context.notes.add(scaffold.notes)
    keys_path = key_schema_path(conf)
    text = _with_schema_line(scaffold.config, conf, keys_path.name)
    _reject_credentials({conf.name: text.encode(), schema_path.name: scaffold.schema.encode()}, frame)
    write_scaffold(replace(scaffold, config=text), conf, schema_path, force=force)
    write_atomic(keys_path, json.dumps(schema(), indent=1, ensure_ascii=False) + "\n")
    return scaffold


def _reject_credentials(files: Mapping[str, bytes], frame: pl.DataFrame) -> None:
    """Reject a config and schema that would hold what looks like a credential, as a category of the table may."""
    if sentences := credentials_in_files(files, {}):
        places = list(map(str, credential_cells(frame.iter_columns()))) or sentences
        raise ConfigError(
            "the config and its schema would hold credentials:\n  " + "\n  ".join(places),
            hint="leave them out of the table; what is none, a config may allow: secrets.allow: [its fingerprint]",
        )


def schema_path_for(conf: Path) -> Path:
    """Return where the schema of a config's table lies: next to it; another name than config.yml begins its name."""
    return conf.with_name("schema.yml" if conf.stem == "config" else f"{conf.stem}.schema.yml")


def key_schema_path(conf: Path) -> Path:
    """Return where the JSON Schema of a config lies: next to it."""
    return conf.with_name(f"{conf.stem}.schema.json")


def _with_schema_line(text: str, conf: Path, key_schema: str) -> str:
    """Return the YAML of a config in the format of its file, with the line by which editors find its JSON Schema."""
    if conf.suffix.lower() != ".json":
        return f"# yaml-language-server: $schema={key_schema}\n{text}"
    values = parse_document(text.encode(), str(conf), suffix=".yml").values
    return json.dumps({SCHEMA_KEY: key_schema, **values}, indent=2, ensure_ascii=False) + "\n"


def init_ci(conf: Path, system: str, context: Context, *, force: bool, root: Path = Path()) -> list[Path]:
    """Write the workflow by which a CI system runs `estimator ci` on every push, and the wheel it installs.

    Return their paths below `root`; a config with `ci.package` needs no wheel.
    """
    return write_workflow(system, context.config(conf), conf, root, force=force)
