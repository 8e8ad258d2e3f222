"""Plain values -> a checked Config or all of its faults; and the JSON Schema that editors check a config against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from estimator.config.document import KeyPath
from estimator.config.faults import ConfigFault, faults_of
from estimator.config.formula import FormulaError, parse_formula
from estimator.config.repair import Repair
from estimator.config.section import Section, Shelves
from estimator.config.sections import Config
from estimator.config.space import NOT_SEARCHED, SEARCHED, has_key, kinds_of, probes, with_edits
from estimator.config.tuning import Tuning
from estimator.core.registry import Shelf
from estimator.core.text import did_you_mean

# What tuning.limits may bound besides metrics.
MEASURES = ("latency_ms", "size_mb")
MAX_REPAIRS = 8
# The metric that needs `evaluation.costs`.
COST = "cost"


def validate(values: Mapping[str, Any], shelves: Shelves) -> tuple[Config | None, list[ConfigFault]]:
    """Return the Config of plain values and all of its faults.

    A wrong key does not keep the others from being checked: the Config then has the key's default, and is None only
    where that does not help.
    """
    config, faults = _build(values, shelves)
    repair, latest = Repair(values, shelves), faults
    for _ in range(MAX_REPAIRS):
        if config is not None or not latest:
            break
        repair.remove([fault.path for fault in latest])
        config, latest = _build(repair.values, shelves)
        faults = [*faults, *_independent(latest, faults, repair)]
    if config is None:
        return None, faults
    related = [*_unknown_kinds(config, shelves), *_limit_faults(config, shelves), *_callback_faults(config, shelves)]
    related = [*related, *_contradictions(config)] or _space_faults(config, shelves)
    return config, [*faults, *_independent(related, faults, repair)]


def _build(values: Mapping[str, Any], shelves: Shelves) -> tuple[Config | None, list[ConfigFault]]:
    """Return the Config, or the faults of its keys, each checked by itself.

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
        return None, [*faults, *faults_of(error, Config, (), content)]
    return None if faults else config, faults


def _independent(latest: Sequence[ConfigFault], known: Sequence[ConfigFault], repair: Repair) -> list[ConfigFault]:
    """Return faults, with paths of the config as written, that are no consequence of those that are known."""
    written = [replace(fault, path=repair.written_path(fault.path)) for fault in latest]
    return [fault for fault in written if not any(other.overlaps(fault.path) for other in known)]


def _validate_kind(
    name: str, content: Any, shelf: Shelf[Section], default: str
) -> tuple[Section | None, list[ConfigFault]]:
    """Check a section whose `kind` names the class that has its keys."""
    if not isinstance(content, Mapping):
        return None, [ConfigFault((name,), f"expected a section with keys, got {content!r:.60}")]
    settings = dict(content)
    kind = settings.pop("kind", default)
    if not isinstance(kind, str) or kind not in shelf:
        message = f"no {shelf.noun} called {kind!r:.60}"
        return None, [ConfigFault((name, "kind"), message, did_you_mean(str(kind), shelf))]
    section = shelf.load(kind)
    if "kind" in section.model_fields:
        settings["kind"] = kind
    try:
        return section.model_validate(settings), []
    except ValidationError as error:
        return None, faults_of(error, section, (name,), settings)


def _contradictions(config: Config) -> list[ConfigFault]:
    """Return keys that are right by themselves, but not together."""
    data, split = config.data, config.training.split
    faults = []
    for path, name in (
        *((("data", "drop", position), name) for position, name in enumerate(data.drop)),
        (("data", "sample_weight"), data.sample_weight),
        (("training", "split", "column"), split.column if split.kind in ("group", "column") else None),
    ):
        if name == data.target:
            faults.append(ConfigFault(path, f"{name!r} is the target", "name another column"))
    faults += _unusable_in_formulas(config)
    if data.task == "regression" and config.training.class_weight is not None:
        faults.append(ConfigFault(("training", "class_weight"), "a regression has no classes", "leave it out"))
    return [*faults, *_decision_faults(config)]


def _decision_faults(config: Config) -> list[ConfigFault]:
    """Return what `evaluation.threshold` and `evaluation.costs` contradict."""
    data, evaluation, faults = config.data, config.evaluation, list[ConfigFault]()
    given = {key: value for key in ("threshold", "costs") if (value := getattr(evaluation, key)) is not None}
    if len(given) == 2:
        faults.append(ConfigFault(("evaluation", "threshold"), "costs decide already", "leave out one of the two"))
    for key, value in given.items():
        if data.task == "regression":
            hint = "leave it out, or set data.task: classification"
            faults.append(ConfigFault(("evaluation", key), "a number is predicted, not a class", hint))
        elif config.validation.folds == 0 and isinstance(value, str):
            message = "it is chosen on out-of-fold predictions, and validation.folds is 0"
            faults.append(ConfigFault(("evaluation", key), message, "set validation.folds: 5, or give a number"))
        elif config.validation.folds == 0 and key == "costs" and (config.training.class_weight or data.sample_weight):
            weights = "training.class_weight" if config.training.class_weight else "data.sample_weight"
            message = f"with {weights}, out-of-fold predictions decide, and validation.folds is 0"
            faults.append(ConfigFault(("evaluation", key), message, "set validation.folds: 5"))
    if evaluation.costs is None:
        places = [place for place, name in enumerate(evaluation.metrics) if name == COST]
        named: list[KeyPath] = [("evaluation", "metrics", place) for place in places]
        named += [("tuning", "metric")] if config.tuning.metric == COST else []
        named += [("tuning", "limits", COST)] if COST in config.tuning.limits else []
        hint = "evaluation.costs: {false_negative: 5, false_positive: 1}"
        faults += [ConfigFault(path, "no costs of wrong predictions are given", hint) for path in named]
    return faults


def _unusable_in_formulas(config: Config) -> list[ConfigFault]:
    """Return the columns in formulas that are not known when predicting."""
    split = config.training.split
    reasons: dict[str | None, str] = {config.data.sample_weight: "holds the weights of data.sample_weight"}
    reasons |= {split.column: "splits the rows"} if split.kind in ("group", "column") else {}
    reasons |= {config.data.target: "is the target"}
    faults = []
    for name, text in config.features.formulas.items():
        for column in parse_formula(text).columns:
            if column.value in reasons:
                message = f"a formula cannot use {column.value!r}, which {reasons[str(column.value)]}"
                marked = FormulaError(message, text, column.start, column.end).message
                faults.append(ConfigFault(("features", "formulas", name), marked))
    return faults


def _unknown_kinds(config: Config, shelves: Shelves) -> list[ConfigFault]:
    named: list[tuple[KeyPath, str, str, Shelf[Any]]] = []
    for position, metric in enumerate(config.evaluation.metrics):
        named.append((("evaluation", "metrics", position), metric, "metric", shelves.metrics))
    if isinstance(threshold := config.evaluation.threshold, str) and threshold.isidentifier():
        named.append((("evaluation", "threshold"), threshold, "metric", shelves.metrics))
    for column, choice in config.features.columns.items():
        named.append((("features", "columns", column, "encoder"), choice.encoder, "encoder", shelves.encoders))
    for position, test in enumerate(config.monitoring.tests):
        named.append((("monitoring", "tests", position), test, "drift test", shelves.drift))
    if config.data.kind is not None:
        named.append((("data", "kind"), config.data.kind, "source", shelves.sources))
    if config.engine is not None:
        named.append((("engine", "kind"), config.engine.kind, "engine", shelves.engines))
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


def _callback_faults(config: Config, shelves: Shelves) -> list[ConfigFault]:
    """Return the callbacks that the kind of model rejects, and those that monitor what is no loss and no metric."""
    faults = config.model.callback_faults(config.training.callbacks)
    measured = [f"{prefix}{name}" for name in ("loss", *shelves.metrics) for prefix in ("val_", "")]
    for position, callback in enumerate(config.training.callbacks):
        monitored = (callback.model_extra or {}).get("monitor", "loss")
        if str(monitored).removeprefix("val_") not in ("loss", *shelves.metrics):
            message = f"no loss or metric called {monitored!r}"
            hint = f"{did_you_mean(str(monitored), measured)}; val_ stands for validation rows".removeprefix("; ")
            faults.append(ConfigFault((position, "monitor"), message, hint))
    return [replace(fault, path=("training", "callbacks", *fault.path)) for fault in faults]


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
    document["properties"] = {
        "$schema": {"type": "string", "description": "path of this file, for editors"},
        **document["properties"],
    }
    document["required"] = ["data"]
    document["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return document
