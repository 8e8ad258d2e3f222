"""How many answers an explanation may ask for: counted by the size of the graph, so that it is the same everywhere."""

from __future__ import annotations

from estimator.store.predictor import Predictor

# An answer takes about 50 ps per byte of a graph of trees, which is most of the time of large ones.
BYTES = 100_000_000_000


def affordable(predictor: Predictor, most: int, *, share: float = 1.0) -> int:
    """Return how many answers, at most `most`, a part of an explanation may ask for that has a share of the work."""
    return max(min(most, int(share * BYTES) // max(len(predictor.graph), 1)), 1)
