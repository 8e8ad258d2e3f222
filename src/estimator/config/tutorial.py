"""The tutorial's spelling of a config -> the package's own keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from estimator.config.document import KeyPath

# Names the JSON Schema of the file, for editors.
SCHEMA_KEY = "$schema"
_SECTIONS = {"model_config": "model", "training_config": "training"}
_KEYS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("train_test_ratio",): ("training", "test_size"),
    ("model", "model_name"): ("name",),
    ("model", "loss_function"): ("model", "loss"),
    ("model", "optimiser"): ("model", "optimizer"),
    ("model", "metrics"): ("evaluation", "metrics"),
    ("training", "train_test_ratio"): ("training", "test_size"),
    ("pretrained",): ("training", "pretrained"),
    ("model", "pretrained"): ("training", "pretrained"),
}


@dataclass(frozen=True, slots=True)
class Translation:
    """A config's values under the package's keys; `origins` maps each translated path to the path in the file."""

    values: dict[str, Any]
    origins: Mapping[KeyPath, KeyPath]

    def written_path(self, path: KeyPath) -> KeyPath:
        """Return the path under which a key was written in the file."""
        for end in range(len(path), 0, -1):
            if path[:end] in self.origins:
                return (*self.origins[path[:end]], *path[end:])
        return path


def translate(values: Mapping[str, Any]) -> Translation:
    """Return a config with the tutorial's sections, keys and layers renamed; other keys stay as they are.

    >>> translate({"model_config": {"optimiser": "adam"}, "train_test_ratio": 0.2}).values
    {'model': {'optimizer': 'adam', 'kind': 'dense'}, 'training': {'test_size': 0.2}}
    """
    origins: dict[KeyPath, KeyPath] = {}
    translated: dict[str, Any] = {}
    for name, content in values.items():
        if name == SCHEMA_KEY:
            continue
        section = _SECTIONS.get(name, name)
        if section != name:
            origins[(section,)] = (name,)
        translated[section] = dict(content) if isinstance(content, Mapping) else content
    for old, new in _KEYS.items():
        _move(translated, old, new, origins)
    if isinstance(translated.get("model"), dict):
        # The tutorial's section describes a Keras model.
        if ("model",) in origins:
            translated["model"].setdefault("kind", "dense")
        _translate_layers(translated["model"])
    return Translation(translated, origins)


def _move(values: dict[str, Any], old: tuple[str, ...], new: tuple[str, ...], origins: dict[KeyPath, KeyPath]) -> None:
    source: Any = values
    for part in old[:-1]:
        source = source.get(part) if isinstance(source, dict) else None
    if not isinstance(source, dict) or old[-1] not in source:
        return
    destination = values
    for part in new[:-1]:
        destination = destination.setdefault(part, {})
    if isinstance(destination, dict) and new[-1] not in destination:
        section_path: KeyPath = origins.get(old[:1], old[:1]) if len(old) > 1 else ()
        origins[new] = (*section_path, old[-1])
        destination[new[-1]] = source.pop(old[-1])


def _translate_layers(model: dict[str, Any]) -> None:
    """Turn a mapping of layers, which ends in the output layer, into hidden layers and the output's units."""
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
