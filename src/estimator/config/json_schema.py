"""The JSON Schema of a config file, with the settings of every kind of model and target."""

from __future__ import annotations

from typing import Any

from estimator.config.sections import Config
from estimator.config.vocabulary import Vocabulary


def config_schema(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) that editors check a config against."""
    document = Config.model_json_schema(by_alias=True)
    shelves = {
        "model": (vocabulary.models, vocabulary.default_model),
        "deployment": (vocabulary.targets, vocabulary.default_target),
    }
    for name, (shelf, usual) in shelves.items():
        branches = []
        for kind in shelf.names():
            settings = shelf.load(kind).model_json_schema()
            document["$defs"] |= settings.pop("$defs", {})
            settings["properties"] = {**settings.get("properties", {}), "kind": {"const": kind}}
            branches.append(settings | ({} if kind == usual else {"required": ["kind"]}))
        document["properties"][name] = {"description": "`kind` and the settings of that kind", "anyOf": branches}
    document["required"] = ["data"]
    document["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return document
