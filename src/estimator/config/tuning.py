"""The section `tuning` of a config: which settings are searched, and what the best trial must satisfy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from estimator.config.section import Section, Text


class Range(Section):
    """Numbers that a search tries, from low to high."""

    low: float = Field(description="smallest number")
    high: float = Field(description="largest number")
    log: bool = Field(False, description="search on a log scale")
    integer: bool = Field(False, description="whole numbers only")

    @model_validator(mode="after")
    def _is_a_range(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"expected low below high, got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs a low above 0, got {self.low:g}")
        if self.integer and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError(f"integer needs whole numbers, got {self.low:g} and {self.high:g}")
        return self


class Layers(Section):
    """Architectures that a search tries: the number of hidden layers, and the units of each."""

    count: Range = Field(description="number of hidden layers")
    units: Range = Field(description="units of each hidden layer")

    @field_validator("count", "units", mode="before")
    @classmethod
    def _integers(cls, value: object) -> object:
        return {"integer": True, **value} if isinstance(value, Mapping) else value


def _dimension_tag(value: object) -> str:
    if isinstance(value, Layers) or (isinstance(value, Mapping) and {"count", "units"} & set(value)):
        return "[Layers]"
    return "[Range]" if isinstance(value, Mapping | Range) else "[list]"


Dimension = Annotated[
    Annotated[Range, Tag("[Range]")]
    | Annotated[Layers, Tag("[Layers]")]
    | Annotated[list[Any], Field(min_length=1), Tag("[list]")],
    Discriminator(_dimension_tag),
]
LIMIT = re.compile(r"\s*(>=|<=)\s*([-+.\deE]+)\s*")


class Tuning(Section):
    """Which settings are searched, how many trials are run, and what limits the best trial must keep."""

    space: dict[Text, Dimension] = Field(
        {},
        description="key of model, training or features -> list of choices, or {low, high, log, integer}; for "
        "model.layers {count: {low, high}, units: {low, high}}; when empty, the usual space of the kind of model",
    )
    n_trials: Annotated[int, Field(ge=1)] = Field(50, description="trials in total, over all runs of the study")
    metric: str | None = Field(None, description="metric to optimize; when left out, the first of evaluation.metrics")
    limits: dict[Text, float | str] = Field(
        {},
        description="latency_ms (median of one row, milliseconds) and size_mb (of the graph) -> largest value; a "
        'metric -> bound: {"recall": ">= 0.6"}',
    )
    sample: Annotated[float, Field(gt=0.0)] | None = Field(
        None,
        description="rows of a first pass that drops the worse half of the trials: below 1 a fraction, else a number; "
        "when left out, every trial uses all rows",
    )
    study: Text = Field(
        "tuning/journal.log",
        description="where trials are stored: a file, or postgresql://; ${NAME} is replaced by an environment variable",
    )

    @field_validator("limits")
    @classmethod
    def _are_limits(cls, limits: dict[str, float | str]) -> dict[str, float | str]:
        for name, limit in limits.items():
            if isinstance(limit, str) and not LIMIT.fullmatch(limit):
                raise ValueError(f'{name}: expected a number, or ">=" or "<=" and a number, got {limit!r}')
        return limits
