"""Batches of rows nobody has described yet -> their contract and their profile, in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import polars as pl

from estimator.config import Config
from estimator.data.schema import Schema
from estimator.data.schema.inference import Batches, schema_from_scan, start_scan
from estimator.data.schema.overrides import column_overrides, exclude_columns
from estimator.exploration.profile import Profile, gather, profiled, survey_of


@dataclass(frozen=True, slots=True)
class Looked:
    """A table's contract, its profile, and a random sample of its rows as they were read."""

    schema: Schema
    profile: Profile
    rows: pl.DataFrame


def look(batches: Batches, config: Config, reviewed: Schema | None = None, *, tsne: bool = False) -> Looked:
    """Profile a table by the reviewed schema, or by the one its rows show while they are profiled.

    The rows are read once, and once more for every time that columns turn out to be something else than they seemed.

    Raises
    ------
    SchemaError: the table has no rows, or a reviewed kind cannot hold its values.
    """
    waiting = iter(batches())
    first = next(waiting, pl.DataFrame())
    target, settled = config.data.target, column_overrides(config)
    if reviewed is not None:
        survey = survey_of(reviewed, first)
    else:
        survey = start_scan(first, target, settled, config.schema_.na_values, with_target_means=True)
    found = gather(chain([first], waiting), batches, survey, seed=config.training.seed)
    schema = reviewed or schema_from_scan(found.survey, target, settled, config.schema_.unknown_columns)
    schema = exclude_columns(schema, config)
    profile = profiled(found, schema, tsne_seed=config.training.seed if tsne else None)
    return Looked(schema, profile, found.sample.rows())
