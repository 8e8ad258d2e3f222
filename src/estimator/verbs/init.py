"""init: a table that no config names -> a first config and a schema to review."""

from __future__ import annotations

from pathlib import Path

from estimator.config import Data
from estimator.data.sources.address import model_name, relative_to
from estimator.exploration.scaffold import Scaffold, make_scaffold, write_scaffold
from estimator.shipping.ci.workflows import write_workflow
from estimator.verbs.context import Context


def init(table: str, target: str, context: Context, *, conf: Path, force: bool, query: str | None = None) -> Scaffold:
    """Read a table and write a first config that runs, with a schema next to it to review.

    Raises
    ------
    ConfigError: a file is already there, and `force` is not set.
    """
    data = Data(path=table, target=target, query=query)
    with context.rows(data) as source:
        frame = source.frame()
    schema_path = conf.with_name("schema.yml")
    relative = data.model_copy(update={"path": relative_to(table, conf.parent)})
    scaffold = make_scaffold(frame, relative, name=model_name(table, query), schema_file=schema_path.name)
    context.notes.add(scaffold.notes)
    write_scaffold(scaffold, conf, schema_path, force=force)
    return scaffold


def init_ci(conf: Path, system: str, context: Context, *, force: bool, root: Path = Path()) -> Path:
    """Write the workflow file by which a CI system runs `estimator ci` on every push; return its path below `root`."""
    return write_workflow(system, context.config(conf), conf, root, force=force)
