"""Choose folds, members and rows per member by the size of the table: the time of training then grows like the rows.

What the config sets by itself stays. The plan is written into the resolved config, whose counts `verify` and `retrain`
repeat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from estimator.config import Config
from estimator.config.monitoring import duration_seconds
from estimator.core.text import format_duration
from estimator.models import model_of
from estimator.models.ensemble import DEFAULT_MEMBERS, SMALL_NET, Ensemble
from estimator.training.forecast import forecast_seconds
from estimator.training.prepare import PreparedData

LINEAR, BOOSTING = {"kind": "linear"}, {"kind": "boosting"}
# Finds more in many rows, in fewer rounds.
LARGE_BOOSTING = {"kind": "boosting", "learning_rate": 0.1, "num_leaves": 64}


def net_of(max_rows: int) -> Mapping[str, Any]:
    """Return a small net that learns from at most so many rows: more improve it less than they cost."""
    return {**SMALL_NET, "max_rows": max_rows}


@dataclass(frozen=True, slots=True)
class Level:
    """What an effort does with tables of up to `max_rows` training rows; with one fold, `split_rows` are held out."""

    max_rows: float
    folds: int
    members: Sequence[Mapping[str, Any]]
    split_rows: int = 50_000


ANY = float("inf")
LEVELS: Mapping[str, Sequence[Level]] = {
    "quick": (
        Level(2_000, 5, (LINEAR, BOOSTING)),
        Level(20_000, 3, (LINEAR, {**BOOSTING, "learning_rate": 0.1})),
        Level(ANY, 1, (LINEAR, LARGE_BOOSTING), split_rows=20_000),
    ),
    "standard": (
        Level(20_000, 5, DEFAULT_MEMBERS),
        Level(100_000, 3, (LINEAR, net_of(50_000), BOOSTING)),
        Level(ANY, 1, (LINEAR, net_of(100_000), LARGE_BOOSTING)),
    ),
    "high": (
        Level(5_000, 8, DEFAULT_MEMBERS),
        Level(100_000, 5, DEFAULT_MEMBERS),
        Level(1_000_000, 3, (LINEAR, net_of(200_000), BOOSTING, LARGE_BOOSTING)),
        Level(ANY, 1, (LINEAR, net_of(400_000), BOOSTING, LARGE_BOOSTING), split_rows=100_000),
    ),
}
# From the most to the least; the last one is below `quick`.
EFFORTS = ("high", "standard", "quick", "linear")


def planned(
    prepared: PreparedData, config: Config, *, clock: Callable[[], float]
) -> tuple[PreparedData, Config, tuple[str, ...]]:
    """Return the rows with the folds of the plan, the config with its counts, and notes on what it sets.

    With `training.time_limit`, the plan is the first one whose forecast keeps it, from the config's effort downward.
    `clock` returns seconds.
    """
    limit = config.training.time_limit
    efforts = EFFORTS[EFFORTS.index(config.training.effort) :] if limit else (config.training.effort,)
    notes: list[str] = []
    for effort in efforts:
        edits = dict(_edits(prepared, config, effort))
        plan = _edited(config, edits)
        has_folds = {"validation.folds", "training.validation_size"}.isdisjoint(edits)
        rows = prepared if has_folds else prepared.with_folds(plan)
        if limit is None:
            break
        seconds = forecast_seconds(rows, model_of(plan), plan, clock=clock)
        notes = [_limit_note(config, effort, seconds)]
        if seconds <= duration_seconds(limit):
            break
    if edits:
        shown = ", ".join(f"{key}: {_shown(value)}" for key, value in edits.items())
        notes.append(f"{_name(effort)}, with {prepared.n_training:,} training rows, sets {shown}")
    return rows, plan, tuple(notes)


def _limit_note(config: Config, effort: str, seconds: float) -> str:
    limit, most = config.training.time_limit or "", config.training.effort
    note = f"training.time_limit: {limit}; training may take about {format_duration(seconds)}"
    if effort != most:
        note += f" with {_name(effort)}, in place of {most}"
    if seconds > duration_seconds(limit):
        note += "; that is longer, and there is nothing smaller to try"
    return note


def unplanned_notes(config: Config) -> list[str]:
    """Return what a comparison or a search leaves out, as it needs the same folds and features on both sides."""
    training = config.training
    left_out = [
        *(["training.effort"] if training.effort != "standard" else []),
        *(["training.time_limit"] if training.time_limit is not None else []),
        *(["features.made"] if config.features.made != "none" else []),
    ]
    if not left_out:
        return []
    return [f"{', '.join(left_out)}: only `train` obeys it; here, folds, members and formulas are those of the config"]


def _edits(prepared: PreparedData, config: Config, effort: str) -> Iterator[tuple[str, Any]]:
    """Yield the keys that differ from their defaults by the plan, with their values."""
    n_rows = prepared.n_training
    level = next(level for level in LEVELS.get(effort, LEVELS["quick"]) if n_rows <= level.max_rows)
    model, training = model_of(config), config.training
    if "folds" not in config.validation.model_fields_set and config.validation.folds != level.folds:
        yield "validation.folds", level.folds
    folds = config.validation.folds if "folds" in config.validation.model_fields_set else level.folds
    size = level.split_rows / n_rows
    if folds == 1 and "validation_size" not in training.model_fields_set and size < training.validation_size:
        yield "training.validation_size", size
    if effort == "high" and "made" not in config.features.model_fields_set:
        yield "features.made", "auto"
    if isinstance(model, Ensemble) and "members" not in model.model_fields_set:
        members = [dict(member) for member in ((LINEAR,) if effort == "linear" else level.members)]
        if members != [dict(member) for member in DEFAULT_MEMBERS]:
            yield "model.members", members


def _edited(config: Config, edits: Mapping[str, Any]) -> Config:
    """Return the config with the values of keys replaced."""
    changed: dict[str, dict[str, Any]] = {}
    for key, value in edits.items():
        section, name = key.split(".")
        changed.setdefault(section, {})[name] = value
    if "model" in changed:
        changed["model"] = {"members": Ensemble(**changed["model"]).members}
    return config.model_copy(
        update={name: getattr(config, name).model_copy(update=values) for name, values in changed.items()}
    )


def _name(effort: str) -> str:
    return "a linear model" if effort == EFFORTS[-1] else f"training.effort: {effort}"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if not isinstance(value, list):
        return str(value)
    return "; ".join(", ".join(f"{name} {item}" for name, item in member.items()) for member in value)
