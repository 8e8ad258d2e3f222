"""The tutorial's spelling of a config, and what each of its keys is called here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from estimator.config.document import Path_

_SECTIONS = {"model_config": "model", "training_config": "training"}
_MOVED: dict[tuple[str, ...], tuple[str, ...]] = {
    ("train_test_ratio",): ("training", "test_size"),
    ("model", "model_name"): ("name",),
    ("model", "loss_function"): ("model", "loss"),
    ("model", "optimiser"): ("model", "optimizer"),
    ("model", "metrics"): ("evaluation", "metrics"),
    ("training", "train_test_ratio"): ("training", "test_size"),
}


@dataclass(frozen=True, slots=True)
class Translated:
    """A config in our own words; `origins` maps a moved key to where it was written."""

    values: dict[str, Any]
    origins: Mapping[Path_, Path_]

    def origin(self, path: Path_) -> Path_:
        """Return where a key was written."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.origins:
                return (*self.origins[path[:end]], *path[end:])
        return path


def translate(values: Mapping[str, Any]) -> Translated:
    """Return a config with the tutorial's sections, keys and layers in our own words."""
    origins: dict[Path_, Path_] = {}
    found: dict[str, Any] = {}
    for name, content in values.items():
        section = _SECTIONS.get(name, name)
        if section != name:
            origins[(section,)] = (name,)
        found[section] = dict(content) if isinstance(content, Mapping) else content
    for old, new in _MOVED.items():
        _move(found, old, new, origins)
    if isinstance(found.get("model"), dict):
        if ("model",) in origins:
            found["model"].setdefault("kind", "dense")
        _translate_layers(found["model"])
    return Translated(found, origins)


def _move(values: dict[str, Any], old: tuple[str, ...], new: tuple[str, ...], origins: dict[Path_, Path_]) -> None:
    holder: Any = values
    for part in old[:-1]:
        holder = holder.get(part) if isinstance(holder, dict) else None
    if not isinstance(holder, dict) or old[-1] not in holder:
        return
    goal = values
    for part in new[:-1]:
        goal = goal.setdefault(part, {})
    if isinstance(goal, dict) and new[-1] not in goal:
        start: Path_ = origins.get(old[:1], old[:1]) if len(old) > 1 else ()
        origins[new] = (*start, old[-1])
        goal[new[-1]] = holder.pop(old[-1])


def _translate_layers(model: dict[str, Any]) -> None:
    """Turn a mapping of layers that ends in the output layer into hidden layers and the output's units."""
    layers = model.get("layers")
    if not isinstance(layers, Mapping) or not layers:
        return
    *hidden, output = layers.values()
    model["layers"] = hidden
    model["output_units"] = output
    activations = model.get("activations")
    if isinstance(activations, list) and len(activations) == len(layers):
        model["activations"] = activations[:-1]
        model["output_activation"] = activations[-1] or "linear"
