"""LightGBM's trees -> the TreeEnsemble operator of ai.onnx.ml 5, in double: the same thresholds, the same sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from estimator.graph import ML_DOMAIN, Graph

# Values of the operator's `nodes_modes`.
BRANCH_LEQ, BRANCH_MEMBER = 0, 6
SUM = 1


@dataclass
class _Forest:
    """Nodes and leaves of all trees, laid out as the operator wants them."""

    features: list[int] = field(default_factory=list)
    modes: list[int] = field(default_factory=list)
    splits: list[float] = field(default_factory=list)
    true_ids: list[int] = field(default_factory=list)
    true_leafs: list[int] = field(default_factory=list)
    false_ids: list[int] = field(default_factory=list)
    false_leafs: list[int] = field(default_factory=list)
    missing_true: list[int] = field(default_factory=list)
    members: list[float] = field(default_factory=list)
    roots: list[int] = field(default_factory=list)
    leaf_weights: list[float] = field(default_factory=list)
    leaf_targets: list[int] = field(default_factory=list)

    def add_tree(self, tree: Mapping[str, Any], target: int) -> None:
        """Lay out one tree, parents before children, without recursion: chains may be deep."""
        self.roots.append(len(self.features))
        root = tree["tree_structure"]
        if "split_feature" not in root:
            place = self._add_node(root)
            leaf = self._add_leaf(root, target)
            self._point(place, true=(leaf, 1), false=(leaf, 1))
            return
        waiting = [(root, self._add_node(root))]
        while waiting:
            node, place = waiting.pop()
            ends = []
            for side in ("left_child", "right_child"):
                child = node[side]
                if "split_feature" in child:
                    position = self._add_node(child)
                    waiting.append((child, position))
                    ends.append((position, 0))
                else:
                    ends.append((self._add_leaf(child, target), 1))
            self._point(place, true=ends[0], false=ends[1])

    def _add_node(self, node: Mapping[str, Any]) -> int:
        self.features.append(node.get("split_feature", 0))
        is_set = node.get("decision_type") == "=="
        self.modes.append(BRANCH_MEMBER if is_set else BRANCH_LEQ)
        self.splits.append(0.0 if is_set else float(node.get("threshold", 0.0)))
        self.missing_true.append(0 if is_set else _missing_goes_left(node))
        if is_set:
            self.members += [*(float(level) for level in node["threshold"].split("||")), np.nan]
        for links in (self.true_ids, self.true_leafs, self.false_ids, self.false_leafs):
            links.append(0)
        return len(self.features) - 1

    def _add_leaf(self, leaf: Mapping[str, Any], target: int) -> int:
        self.leaf_weights.append(float(leaf["leaf_value"]))
        self.leaf_targets.append(target)
        return len(self.leaf_weights) - 1

    def _point(self, place: int, *, true: tuple[int, int], false: tuple[int, int]) -> None:
        self.true_ids[place], self.true_leafs[place] = true
        self.false_ids[place], self.false_leafs[place] = false


def _missing_goes_left(node: Mapping[str, Any]) -> int:
    """LightGBM sends NaN the default way if it saw gaps there in training, else it takes NaN for 0."""
    if "threshold" not in node:
        return 0
    if node["missing_type"] == "NaN":
        return int(node["default_left"])
    return int(float(node["threshold"]) >= 0.0)


def write_trees(
    graph: Graph, matrix: str, trees: Sequence[Mapping[str, Any]], *, n_outputs: int, scale: float = 1.0
) -> str:
    """Write trees as `Booster.dump_model()` lists them; return raw scores times `scale`, a double (rows, outputs)."""
    from onnx import TensorProto, helper, numpy_helper

    forest = _Forest()
    for place, tree in enumerate(trees):
        forest.add_tree(tree, place % n_outputs)
    modes = np.array(forest.modes, np.uint8)
    attributes: dict[str, Any] = {
        "n_targets": n_outputs,
        "aggregate_function": SUM,
        "post_transform": 0,
        "nodes_featureids": forest.features,
        "nodes_modes": helper.make_tensor("modes", TensorProto.UINT8, modes.shape, modes.tobytes(), raw=True),
        "nodes_splits": numpy_helper.from_array(np.array(forest.splits)),
        "nodes_truenodeids": forest.true_ids,
        "nodes_trueleafs": forest.true_leafs,
        "nodes_falsenodeids": forest.false_ids,
        "nodes_falseleafs": forest.false_leafs,
        "nodes_missing_value_tracks_true": forest.missing_true,
        "tree_roots": forest.roots,
        "leaf_weights": numpy_helper.from_array(np.array(forest.leaf_weights) * scale),
        "leaf_targetids": forest.leaf_targets,
    }
    if forest.members:
        attributes["membership_values"] = numpy_helper.from_array(np.array(forest.members))
    return graph("TreeEnsemble", matrix, domain=ML_DOMAIN, **attributes)
