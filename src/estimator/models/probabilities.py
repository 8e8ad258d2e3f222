"""Scores -> probabilities, as arrays and as nodes of the graph."""

from __future__ import annotations

import numpy as np

from estimator.core.arrays import Floats
from estimator.graph.builder import Graph


def softmax(scores: Floats) -> Floats:
    """Return the probabilities of scores, both (rows, classes).

    >>> softmax(np.array([[0.0, 0.0], [1.0, 3.0]])).round(2).tolist()
    [[0.5, 0.5], [0.12, 0.88]]
    """
    # Without the maximum, large scores would overflow.
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities: Floats = raised / raised.sum(axis=1, keepdims=True)
    return probabilities


def write_binary_probabilities(graph: Graph, positive: str) -> str:
    """Write (rows, 1) probabilities of the positive class as (rows, 2) of both classes."""
    one = graph.constant(1.0, np.float64)
    return graph("Concat", graph("Sub", one, positive), positive, axis=1)
