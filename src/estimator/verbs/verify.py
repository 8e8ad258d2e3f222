"""verify: train a version again from its own config and data; is the graph equal, bit for bit?"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

from estimator.models import Progress, model_of, silent
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
    with context.training_rows(artefact, folder) as source:
        frame, fingerprint = source.frame(), source.fingerprint()
    return reproduce(
        artefact, frame, fingerprint, config, model_of(config), start=start, progress=progress, clock=perf_counter
    )
