"""File + overrides + environment -> Config, with all faults told at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from estimator.config.document import Document, Path_, flow_value, read_document
from estimator.config.section import Section
from estimator.config.sections import Config, Tuning
from estimator.config.shelves import Shelves
from estimator.config.space import FIXED, SEARCHED, kinds_of, probes, takes, varied
from estimator.config.tutorial import Translated, translate
from estimator.core.registry import Shelf
from estimator.core.text import did_you_mean
from estimator.errors import ConfigError

ENVIRONMENT_PREFIX = "ESTIMATOR_CONFIG__"
# What is measured of a graph beside metrics.
MEASURES = ("latency_ms", "size_mb")

Kept = TypeVar("Kept", bound=Section)


@dataclass(frozen=True, slots=True)
class _Fault:
    path: Path_
    message: str
    hint: str | None = None


def read_config(
    path: Path, shelves: Shelves, *, overrides: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Config:
    """Read a config file; `overrides` are texts such as "training.epochs=5" and win over all else.

    An environment variable ESTIMATOR_CONFIG__TRAINING__EPOCHS=5 wins over the file.

    Raises
    ------
    ConfigError: with every fault, each with its file and line, the value, and what is allowed.
    """
    document = read_document(path)
    return resolve(
        document.values, shelves, document=document, overrides=[*from_environment(environment or {}), *overrides]
    )


def resolve(
    values: Mapping[str, Any], shelves: Shelves, *, document: Document | None = None, overrides: Sequence[str] = ()
) -> Config:
    """Return the Config of plain values, checked; see `read_config`."""
    translated = translate(values)
    for text in overrides:
        override(translated.values, text)
    found, faults = _validate(translated.values, shelves)
    if faults or found is None:
        raise _error(faults, translated, document or Document("config", {}))
    return found


def resolve_kept(
    name: str, section: type[Kept], kept: Mapping[str, Any], environment: Mapping[str, str], *,
    overrides: Sequence[str] = (), settings: Mapping[str, Any] | None = None,
) -> Kept:  # fmt: skip
    """Return a section of a version's config, over which an environment wins, and overrides and settings over both.

    Of what is kept only known keys count, so that a version of another release can be used.

    Raises
    ------
    ConfigError: with every fault.
    """
    values: dict[str, Any] = {name: {key: kept[key] for key in section.model_fields if key in kept}}
    for text in (*from_environment(environment), *overrides):
        if text.startswith(f"{name}."):
            override(values, text)
    try:
        return section.model_validate({**values[name], **(settings or {})})
    except ValidationError as error:
        faults = _faults(error, section, (name,))
        told = (f"{'.'.join(map(str, fault.path))}: {fault.message}" for fault in faults)
        raise ConfigError("; ".join(told), hint=faults[0].hint) from error


def from_environment(environment: Mapping[str, str]) -> list[str]:
    """Return the overrides that an environment asks for."""
    return [
        f"{name.removeprefix(ENVIRONMENT_PREFIX).lower().replace('__', '.')}={value}"
        for name, value in sorted(environment.items())
        if name.startswith(ENVIRONMENT_PREFIX)
    ]


def override(values: dict[str, Any], text: str) -> None:
    """Put "SECTION.KEY=VALUE" into values that are in our own words."""
    key, sign, word = text.partition("=")
    parts = key.strip().split(".")
    if not sign or not all(parts):
        raise ConfigError(f"--set {text}: expected SECTION.KEY=VALUE", hint="for example --set training.epochs=5")
    moved = translate(_nested(parts, flow_value(word))).values
    for name in ("model", "deployment"):
        before, after = values.get(name), moved.get(name)
        if isinstance(before, dict) and isinstance(after, Mapping):
            # Another kind starts from its own defaults.
            values[name] = before if after.get("kind") in (None, before.get("kind")) else {}
    _merge(values, moved)


def _nested(parts: Sequence[str], value: Any) -> dict[str, Any]:
    return {parts[0]: value if len(parts) == 1 else _nested(parts[1:], value)}


def _merge(values: dict[str, Any], extra: Mapping[str, Any]) -> None:
    for key, value in extra.items():
        if isinstance(value, Mapping) and isinstance(values.get(key), dict):
            _merge(values[key], value)
        else:
            values[key] = value


def _validate(values: dict[str, Any], shelves: Shelves) -> tuple[Config | None, list[_Fault]]:
    """Check the model's settings by its own kind and the rest by Config; gather the faults of both."""
    content = dict(values)
    model, faults = _validate_kind("model", content.get("model", {}), shelves.models, shelves.default_model)
    content["model"] = model if model is not None else Section()
    if content.get("deployment") is not None:
        content["deployment"], more = _validate_kind(
            "deployment", content["deployment"], shelves.targets, shelves.default_target
        )
        faults = [*faults, *more]
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        return None, [*faults, *_faults(error, Config, ())]
    faults = [*faults, *_unknown_kinds(config, shelves), *_limit_faults(config, shelves)]
    return config, faults or _space_faults(config, shelves)


def _validate_kind(name: str, content: Any, shelf: Shelf[Section], default: str) -> tuple[Section | None, list[_Fault]]:
    """Check a section whose `kind` names the class that knows its keys."""
    if not isinstance(content, Mapping):
        return None, [_Fault((name,), f"expected a section with keys, got {content!r}")]
    settings = dict(content)
    kind = settings.pop("kind", default)
    if kind not in shelf:
        return None, [_Fault((name, "kind"), f"no {shelf.noun} called {kind!r}", did_you_mean(str(kind), shelf))]
    found = shelf.load(kind)
    if "kind" in found.model_fields:
        settings["kind"] = kind
    try:
        return found.model_validate(settings), []
    except ValidationError as error:
        return None, _faults(error, found, (name,))


def _unknown_kinds(config: Config, shelves: Shelves) -> list[_Fault]:
    named = [
        *((("evaluation", "metrics", place), name, "metric", shelves.metrics)
          for place, name in enumerate(config.evaluation.metrics)),
        *((("features", "columns", column, "encoder"), choice.encoder, "encoder", shelves.encoders)
          for column, choice in config.features.columns.items()),
        *((("monitoring", "tests", place), name, "drift test", shelves.drift)
          for place, name in enumerate(config.monitoring.tests)),
    ]  # fmt: skip
    if config.data.kind is not None:
        named.append((("data", "kind"), config.data.kind, "source", shelves.sources))
    return [
        _Fault(path, f"no {noun} called {name!r}", did_you_mean(name, known))
        for path, name, noun, known in named
        if name not in known
    ]


def _limit_faults(config: Config, shelves: Shelves) -> list[_Fault]:
    """Return what is wrong with the names of metrics in the section `tuning`."""
    named: dict[Path_, str] = {("tuning", "limits", name): name for name in config.tuning.limits}
    named |= {("tuning", "metric"): config.tuning.metric} if config.tuning.metric else {}
    faults = []
    for path, name in named.items():
        known = [*(MEASURES if "limits" in path else ()), *shelves.metrics]
        if name not in known:
            faults.append(_Fault(path, f"no metric called {name!r}", did_you_mean(name, known)))
        elif name not in MEASURES and not isinstance(config.tuning.limits.get(name, ""), str):
            faults.append(_Fault(path, "say which direction is good", 'for example ">= 0.6"'))
    return faults


def _space_faults(config: Config, shelves: Shelves) -> list[_Fault]:
    """Try the ends of every range and every choice of a search as if they stood in the config."""
    space, faults = config.tuning.space, []
    plain = config.model_copy(update={"tuning": Tuning()})
    for key in space:
        path, section = ("tuning", "space", key), key.split(".")[0]
        if section not in SEARCHED or "." not in key:
            faults.append(_Fault(path, f"expected a key of {', '.join(SEARCHED)}", "for example training.batch_size"))
        elif key.startswith(FIXED):
            faults.append(_Fault(path, "decides on which rows trials are judged, so it cannot be searched"))
        else:
            faults += [_Fault(path, fault.message, fault.hint) for fault in _tried(plain, space, key, shelves)]
    return faults


def _tried(config: Config, space: Mapping[str, Any], key: str, shelves: Shelves) -> list[_Fault]:
    """Return the first fault of a key's values, in the kinds of model that have it."""
    if key == "model.kind":
        unknown = [str(kind) for kind in space[key] if kind not in shelves.models]
        return [_Fault((), f"no model called {kind!r}", did_you_mean(kind, shelves.models)) for kind in unknown[:1]]
    kinds = kinds_of(config.model_copy(update={"tuning": Tuning(space=space)}), shelves)
    known = [kind for kind in kinds if kind in shelves.models]
    for kind in [kind for kind in known if takes(kind, key, shelves)] or known[:1]:
        for value in probes(space[key]):
            _, faults = _validate(varied(config, {"model.kind": kind, key: value}, shelves), shelves)
            if faults:
                return faults[:1]
    return []


def _faults(error: ValidationError, root: type[BaseModel], prefix: Path_) -> list[_Fault]:
    found: dict[Path_, _Fault] = {}
    for item in error.errors(include_url=False):
        path = (*prefix, *_keys_only(item["loc"]))
        message, hint = _sentence(item, root)
        # The branches of a union fail one by one; the first says enough.
        found.setdefault(path, _Fault(path, message, hint))
    return list(found.values())


def _keys_only(location: Path_) -> Path_:
    """Drop the names of union branches, such as list[str], that pydantic adds to a place."""
    return tuple(part for part in location if isinstance(part, int) or not part.endswith("]"))


def _sentence(item: Any, root: type[BaseModel]) -> tuple[str, str | None]:
    if item["type"] == "extra_forbidden":
        known = _keys_at(root, item["loc"][:-1])
        return f"unknown key {item['loc'][-1]!r}", did_you_mean(str(item["loc"][-1]), known)
    if item["type"] == "missing":
        return "missing: this key is needed", None
    if item["type"] == "value_error":
        return str(item["ctx"]["error"]), None
    wish = item["msg"][0].lower() + item["msg"][1:]
    return f"{wish}, got {item['input']!r:.80}", None


def _keys_at(root: type[BaseModel], path: Path_) -> list[str]:
    """Return the known keys of the section at a path."""
    section, inner = root, list[type[BaseModel]]()
    for part in path:
        fields = {field.alias or name: field for name, field in section.model_fields.items()}
        # A union's branch is told by its class in brackets.
        section = next((item for item in inner if f"[{item.__name__}]" == part), section)
        if isinstance(part, int) or part not in fields:
            continue
        inner = [
            item for item in _types(fields[part].annotation) if isinstance(item, type) and issubclass(item, BaseModel)
        ]
        section = inner[0] if inner else section
    return [field.alias or name for name, field in section.model_fields.items()]


def _types(annotation: Any) -> list[Any]:
    inner = get_args(annotation)
    return [annotation, *(found for item in inner for found in _types(item))]


def _error(faults: Sequence[_Fault], translated: Translated, document: Document) -> ConfigError:
    lines = []
    for fault in faults:
        origin = translated.origin(fault.path)
        key = ".".join(str(part) for part in origin)
        lines.append(f"{document.where(origin)}: {key}: {fault.message}" + (f" ({fault.hint})" if fault.hint else ""))
    if len(lines) == 1:
        return ConfigError(lines[0])
    return ConfigError(f"{len(lines)} faults in the config:\n  " + "\n  ".join(lines))
