"""Batches of raw rows -> their schema and profile, in one pass."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import polars as pl

from estimator.config import Config
from estimator.data.schema import Schema
from estimator.data.schema.inference import Batches, schema_from_scan, start_scan
from estimator.data.schema.overrides import column_overrides, exclude_columns
from estimator.exploration.profile import Profile, collect, make_profile, start_schema_scan


@dataclass(frozen=True, slots=True)
class Exploration:
    """A table's schema and profile, a random sample of its raw rows, and notes on how its columns were read."""

    schema: Schema
    profile: Profile
    rows: pl.DataFrame
    notes: tuple[str, ...] = ()


def explore(batches: Batches, config: Config, reviewed: Schema | None = None, *, tsne: bool = False) -> Exploration:
    """Profile a table by the reviewed schema, or by a schema inferred in the same pass.

    The rows are read once, and again each time a column turns out to be of another kind than assumed.

    Raises
    ------
    SchemaError: the table has no rows, or a reviewed kind cannot hold its values.
    """
    stream = iter(batches())
    first = next(stream, pl.DataFrame())
    target, overrides = config.data.target, column_overrides(config)
    if reviewed is not None:
        scan = start_schema_scan(reviewed, first)
    else:
        scan = start_scan(first, target, overrides, config.schema_.na_values, with_target_means=True)
    collected = collect(chain([first], stream), batches, scan, seed=config.training.seed)
    schema = reviewed or schema_from_scan(collected.scan, target, overrides, config.schema_.unknown_columns)
    schema = exclude_columns(schema, config)
    profile = make_profile(collected, schema, tsne_seed=config.training.seed if tsne else None)
    return Exploration(schema, profile, collected.sample.rows())
