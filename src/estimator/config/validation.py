"""Plain values -> a checked Config or all of its faults; and the JSON Schema that editors check a config against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from estimator.config.document import KeyPath
from estimator.config.section import Section, Shelves
from estimator.config.sections import Config
from estimator.config.space import NOT_SEARCHED, SEARCHED, has_key, kinds_of, probes, with_edits
from estimator.config.tuning import Tuning
from estimator.core.registry import Shelf
from estimator.core.text import did_you_mean

# What tuning.limits may bound besides metrics.
MEASURES = ("latency_ms", "size_mb")


@dataclass(frozen=True, slots=True)
class ConfigFault:
    """One wrong key of a config: where it is, what is wrong and what to do."""

    path: KeyPath
    message: str
    hint: str | None = None


def validate(values: Mapping[str, Any], shelves: Shelves) -> tuple[Config | None, list[ConfigFault]]:
    """Return the Config of plain values and all of its faults; the Config is None when a section cannot be built.

    The model's and the target's settings are checked by their own kinds, the rest by `Config`.
    """
    content = dict(values)
    model, faults = _validate_kind("model", content.get("model", {}), shelves.models, shelves.default_model)
    content["model"] = model if model is not None else Section()
    if content.get("deployment") is not None:
        content["deployment"], target_faults = _validate_kind(
            "deployment", content["deployment"], shelves.targets, shelves.default_target
        )
        faults = [*faults, *target_faults]
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        return None, [*faults, *faults_of(error, Config, ())]
    faults = [*faults, *_unknown_kinds(config, shelves), *_limit_faults(config, shelves), *_callback_faults(config)]
    return config, faults or _space_faults(config, shelves)


def _validate_kind(
    name: str, content: Any, shelf: Shelf[Section], default: str
) -> tuple[Section | None, list[ConfigFault]]:
    """Check a section whose `kind` names the class that has its keys."""
    if not isinstance(content, Mapping):
        return None, [ConfigFault((name,), f"expected a section with keys, got {content!r}")]
    settings = dict(content)
    kind = settings.pop("kind", default)
    if kind not in shelf:
        return None, [ConfigFault((name, "kind"), f"no {shelf.noun} called {kind!r}", did_you_mean(str(kind), shelf))]
    section = shelf.load(kind)
    if "kind" in section.model_fields:
        settings["kind"] = kind
    try:
        return section.model_validate(settings), []
    except ValidationError as error:
        return None, faults_of(error, section, (name,))


def _unknown_kinds(config: Config, shelves: Shelves) -> list[ConfigFault]:
    named: list[tuple[KeyPath, str, str, Shelf[Any]]] = []
    for position, metric in enumerate(config.evaluation.metrics):
        named.append((("evaluation", "metrics", position), metric, "metric", shelves.metrics))
    for column, choice in config.features.columns.items():
        named.append((("features", "columns", column, "encoder"), choice.encoder, "encoder", shelves.encoders))
    for position, test in enumerate(config.monitoring.tests):
        named.append((("monitoring", "tests", position), test, "drift test", shelves.drift))
    if config.data.kind is not None:
        named.append((("data", "kind"), config.data.kind, "source", shelves.sources))
    return [
        ConfigFault(path, f"no {noun} called {name!r}", did_you_mean(name, shelf))
        for path, name, noun, shelf in named
        if name not in shelf
    ]


def _limit_faults(config: Config, shelves: Shelves) -> list[ConfigFault]:
    """Return the faults of `tuning.metric` and `tuning.limits`: unknown names, and metrics without a direction."""
    named: dict[KeyPath, str] = {("tuning", "limits", name): name for name in config.tuning.limits}
    named |= {("tuning", "metric"): config.tuning.metric} if config.tuning.metric else {}
    faults = []
    for path, name in named.items():
        names = [*(MEASURES if "limits" in path else ()), *shelves.metrics]
        if name not in names:
            faults.append(ConfigFault(path, f"no metric called {name!r}", did_you_mean(name, names)))
        elif name not in MEASURES and not isinstance(config.tuning.limits.get(name, ""), str):
            faults.append(ConfigFault(path, "expected a direction before the number", 'for example ">= 0.6"'))
    return faults


def _callback_faults(config: Config) -> list[ConfigFault]:
    """Return the callbacks that the kind of model rejects."""
    return [
        ConfigFault(("training", "callbacks", position), message)
        for position, message in config.model.callback_faults(config.training.callbacks)
    ]


def _space_faults(config: Config, shelves: Shelves) -> list[ConfigFault]:
    """Try the ends of every range and every choice of a search as if they were in the config."""
    space, faults = config.tuning.space, []
    base = config.model_copy(update={"tuning": Tuning()})
    for key in space:
        path, section = ("tuning", "space", key), key.split(".")[0]
        if section not in SEARCHED or "." not in key:
            faults.append(
                ConfigFault(path, f"expected a key of {', '.join(SEARCHED)}", "for example training.batch_size")
            )
        elif key.startswith(NOT_SEARCHED):
            faults.append(ConfigFault(path, "cannot be searched: trials would be compared on different rows"))
        else:
            faults += [ConfigFault(path, fault.message, fault.hint) for fault in _probe(base, space, key, shelves)]
    return faults


def _probe(config: Config, space: Mapping[str, Any], key: str, shelves: Shelves) -> list[ConfigFault]:
    """Return the first fault of a key's values, in the kinds of model that have the key."""
    if key == "model.kind":
        unknown = [str(kind) for kind in space[key] if kind not in shelves.models]
        return [
            ConfigFault((), f"no model called {kind!r}", did_you_mean(kind, shelves.models)) for kind in unknown[:1]
        ]
    kinds = kinds_of(config.model_copy(update={"tuning": Tuning(space=space)}), shelves)
    existing = [kind for kind in kinds if kind in shelves.models]
    for kind in [kind for kind in existing if has_key(kind, key, shelves)] or existing[:1]:
        for value in probes(space[key]):
            _, faults = validate(with_edits(config, {"model.kind": kind, key: value}, shelves), shelves)
            if faults:
                return faults[:1]
    return []


def faults_of(error: ValidationError, root: type[BaseModel], prefix: KeyPath) -> list[ConfigFault]:
    """Return pydantic's errors about a section as faults, one per key; `prefix` is the section's path."""
    faults: dict[KeyPath, ConfigFault] = {}
    for item in error.errors(include_url=False):
        path = (*prefix, *_keys_only(item["loc"]))
        message, hint = _message(item, root)
        # Every branch of a union fails; the first message is enough.
        faults.setdefault(path, ConfigFault(path, message, hint))
    return list(faults.values())


def _keys_only(location: KeyPath) -> KeyPath:
    """Drop the names of union branches, such as list[str], that pydantic adds to a path."""
    return tuple(part for part in location if isinstance(part, int) or not part.endswith("]"))


def _message(item: Any, root: type[BaseModel]) -> tuple[str, str | None]:
    if item["type"] == "extra_forbidden":
        keys = _keys_at(root, item["loc"][:-1])
        return f"unknown key {item['loc'][-1]!r}", did_you_mean(str(item["loc"][-1]), keys)
    if item["type"] == "missing":
        return "missing: this key is required", None
    if item["type"] == "value_error":
        return str(item["ctx"]["error"]), None
    expectation = item["msg"][0].lower() + item["msg"][1:]
    return f"{expectation}, got {item['input']!r:.80}", None


def _keys_at(root: type[BaseModel], path: KeyPath) -> list[str]:
    """Return the keys of the section at a path."""
    section, branches = root, list[type[BaseModel]]()
    for part in path:
        fields = {field.alias or name: field for name, field in section.model_fields.items()}
        # Pydantic names a branch of a union by its class in brackets.
        section = next((branch for branch in branches if f"[{branch.__name__}]" == part), section)
        if isinstance(part, int) or part not in fields:
            continue
        branches = [
            item for item in _types(fields[part].annotation) if isinstance(item, type) and issubclass(item, BaseModel)
        ]
        section = branches[0] if branches else section
    return [field.alias or name for name, field in section.model_fields.items()]


def _types(annotation: Any) -> list[Any]:
    """Return an annotation and all types inside it."""
    return [annotation, *(inner for argument in get_args(annotation) for inner in _types(argument))]


def config_schema(shelves: Shelves) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a config file, with the settings of every kind of model and target."""
    document = Config.model_json_schema(by_alias=True)
    by_section = {
        "model": (shelves.models, shelves.default_model),
        "deployment": (shelves.targets, shelves.default_target),
    }
    for name, (shelf, default) in by_section.items():
        branches = []
        for kind in shelf.names():
            settings = shelf.load(kind).model_json_schema()
            document["$defs"] |= settings.pop("$defs", {})
            settings["properties"] = {**settings.get("properties", {}), "kind": {"const": kind}}
            branches.append(settings | ({} if kind == default else {"required": ["kind"]}))
        document["properties"][name] = {"description": "`kind` and the settings of that kind", "anyOf": branches}
    document["required"] = ["data"]
    document["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return document
