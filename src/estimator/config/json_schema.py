"""The JSON Schema of a config file, with the settings of every kind of model and target."""

from __future__ import annotations

from typing import Any

from estimator.config.sections import Config
from estimator.config.shelves import Shelves


def config_schema(shelves: Shelves) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) that editors check a config against."""
    document = Config.model_json_schema(by_alias=True)
    by_section = {
        "model": (shelves.models, shelves.default_model),
        "deployment": (shelves.targets, shelves.default_target),
    }
    for name, (shelf, usual) in by_section.items():
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
