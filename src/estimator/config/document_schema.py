"""The JSON Schema of a config file, with every model kind's own settings."""

from __future__ import annotations

from typing import Any

from estimator.config.sections import Config
from estimator.config.vocabulary import Vocabulary


def config_schema(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) that editors check a config against."""
    document = Config.model_json_schema(by_alias=True)
    definitions = document["$defs"]
    branches = []
    for kind in vocabulary.models.names():
        settings = vocabulary.models.load(kind).model_json_schema()
        definitions |= settings.pop("$defs", {})
        settings["properties"] = {"kind": {"const": kind}, **settings.get("properties", {})}
        branches.append(settings | ({} if kind == vocabulary.default_model else {"required": ["kind"]}))
    document["properties"]["model"] = {"description": "`kind` and the settings of that kind", "anyOf": branches}
    document["required"] = ["data"]
    document["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return document
