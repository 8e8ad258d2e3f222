"""Trees of any library -> the TreeEnsemble operator of ai.onnx.ml 5, with thresholds and sums in double precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats
from estimator.graph.builder import DOUBLE, FLOAT, ML_DOMAIN, Graph

# Values of the operator's `nodes_modes`.
BRANCH_LEQ, BRANCH_LT, BRANCH_EQ, BRANCH_MEMBER = 0, 1, 4, 6
SUM = 1
# Libraries in single precision reject infinity, or compute thresholds beyond the largest number.
MAX_FLOAT32 = 1e38

Node = TypeVar("Node")
End = tuple[int, int]


@dataclass(frozen=True, slots=True)
class TreeSplit:
    """A split on one column: how it compares with `threshold`, or whether it is one of `members`."""

    feature: int
    mode: int
    threshold: float = 0.0
    missing_is_yes: bool = False
    members: tuple[float, ...] = ()


# Reads a library's node: a leaf's value, or a split with the nodes for yes and no.
Read = Callable[[Node], float | tuple[TreeSplit, Node, Node]]


@dataclass
class _Forest:
    """Splits and leaves of all trees; an end is an index and whether it is that of a leaf."""

    roots: list[int] = field(default_factory=list)
    splits: list[tuple[TreeSplit, End, End]] = field(default_factory=list)
    leaves: list[tuple[float, int]] = field(default_factory=list)

    def add_tree(self, root: Node, target: int, read: Read[Node]) -> None:
        """Add one tree, parents before children, without recursion, because trees may be deep."""
        start = len(self.splits)
        self.roots.append(start)
        first = read(root)
        # The operator needs a split, so a single leaf becomes one with two equal leaves.
        pending = [(TreeSplit(0, BRANCH_LEQ), root, root) if isinstance(first, float) else first]
        for split, *sides in pending:
            ends = []
            for child in map(read, sides):
                if isinstance(child, float):
                    ends.append((len(self.leaves), 1))
                    self.leaves.append((child, target))
                else:
                    ends.append((start + len(pending), 0))
                    pending.append(child)
            self.splits.append((split, ends[0], ends[1]))


def write_trees(
    graph: Graph, matrix: str, trees: Iterable[tuple[Node, int]], read: Read[Node], *, n_outputs: int, scale: float
) -> str:
    """Write trees, each a root and the output it adds to; return the sums times `scale`, a double (rows, outputs)."""
    from onnx import TensorProto, helper, numpy_helper

    forest = _Forest()
    for root, target in trees:
        forest.add_tree(root, target, read)
    if not forest.roots:
        # The operator needs a tree.
        forest.add_tree(0.0, 0, lambda leaf: leaf)
    splits, yes, no = zip(*forest.splits, strict=True)
    weights, targets = zip(*forest.leaves, strict=True)
    modes = np.array([split.mode for split in splits], np.uint8)
    attributes: dict[str, Any] = {
        "n_targets": n_outputs,
        "aggregate_function": SUM,
        "post_transform": 0,
        "nodes_featureids": [split.feature for split in splits],
        "nodes_modes": helper.make_tensor("modes", TensorProto.UINT8, modes.shape, modes.tobytes(), raw=True),
        "nodes_splits": numpy_helper.from_array(np.array([split.threshold for split in splits], np.float64)),
        "nodes_truenodeids": [index for index, _ in yes],
        "nodes_trueleafs": [is_leaf for _, is_leaf in yes],
        "nodes_falsenodeids": [index for index, _ in no],
        "nodes_falseleafs": [is_leaf for _, is_leaf in no],
        "nodes_missing_value_tracks_true": [int(split.missing_is_yes) for split in splits],
        "tree_roots": forest.roots,
        "leaf_weights": numpy_helper.from_array(np.array(weights) * scale),
        "leaf_targetids": targets,
    }
    members = [member for split in splits if split.mode == BRANCH_MEMBER for member in (*split.members, np.nan)]
    if members:
        attributes["membership_values"] = numpy_helper.from_array(np.array(members))
    return graph("TreeEnsemble", matrix, domain=ML_DOMAIN, **attributes)


def as_singles(matrix: Floats) -> npt.NDArray[np.float32]:
    """Return a matrix in single precision, as some libraries see it."""
    return np.clip(matrix, -MAX_FLOAT32, MAX_FLOAT32).astype(np.float32)


def write_singles(graph: Graph, matrix: str) -> str:
    """Write `as_singles`; the result is double again, rounded to single precision."""
    near = graph("Clip", matrix, graph.constant(-MAX_FLOAT32, np.float64), graph.constant(MAX_FLOAT32, np.float64))
    return graph("Cast", graph("Cast", near, to=FLOAT), to=DOUBLE)
