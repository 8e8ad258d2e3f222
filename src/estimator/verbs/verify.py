"""verify: train a version again from its own config and data; is the graph equal, bit for bit?"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

from estimator.core.scratch import scratch_on_demand
from estimator.data.sources.base import checked_batches
from estimator.data.stored_table import read_table
from estimator.models import Progress, model_of, silent
from estimator.training.out_of_core import fits_memory, prepare_within_memory
from estimator.training.reproduction import Reproduction, reproduce, warm_start
from estimator.verbs.context import Context, config_of


def verify(reference: str, context: Context, *, folder: Path = Path(), progress: Progress = silent) -> Reproduction:
    """Train a version again from its own config and data, whose paths start in `folder`, and compare."""
    artefact = context.version(reference)
    config = config_of(artefact)
    parent = artefact.manifest["parent"]
    start = None
    if parent:
        start = warm_start(context.version(parent if "/" in parent else f"{artefact.name}/{parent}"))
    # Not where the config says: it may be somebody else's.
    store = context.store().storage.disk
    with scratch_on_demand(store) as opened:
        with context.training_rows(artefact, folder) as source:
            batches = checked_batches(source.batches(), lambda header: None)
            table, fingerprint = read_table(batches, opened, fits_memory(config)), source.fingerprint()
        prepared, model = prepare_within_memory(table, config, artefact.schema, opened, store), model_of(config)
        return reproduce(
            artefact, prepared, fingerprint, config, model, start=start, progress=progress, clock=perf_counter
        )
