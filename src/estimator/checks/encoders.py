"""What every encoder promises."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.task import Task
from estimator.features.encoders import Encoder, EncoderInput
from estimator.graph.builder import DOUBLE, STRING, Graph, Output
from estimator.graph.session import Session

N_ROWS = 60


def example(kind: type[Encoder], *, gaps: bool = True) -> EncoderInput:
    """Return training values of a kind the encoder accepts, some of them gaps."""
    generator = np.random.default_rng(5)
    target = generator.standard_normal(N_ROWS)
    values: Any
    if "category" in kind.accepts:
        values = generator.choice(["red", "green", "blue", *([""] if gaps else [])], N_ROWS).astype(object)
    else:
        scale = 1e8 if "date" in kind.accepts else 1.0
        values = generator.standard_normal(N_ROWS) * scale
        if gaps:
            values[::7] = np.nan
    return EncoderInput(values, target, Task("regression"))


def encode(kind: type[Encoder], columns: dict[str, tuple[Encoder, Any]]) -> Floats:
    """Return what the graph makes of columns: name -> (fitted encoder, values)."""
    graph = Graph()
    for name in columns:
        graph.input(name, STRING if "category" in kind.accepts else DOUBLE)
    written = kind.nodes(graph, {name: encoder for name, (encoder, _) in columns.items()})
    session = Session(graph.finish([Output("matrix", written, DOUBLE, rank=2)]))
    found: Floats = session.run({name: values.reshape(-1, 1) for name, (_, values) in columns.items()})[0]
    return found


def width_is_the_number_of_names(kind: type[Encoder]) -> None:
    """Two columns side by side become as many matrix columns as they have names."""
    learning = example(kind)
    fitted = kind.fit(learning)
    found = encode(kind, {"a": (fitted, learning.values), "b": (fitted, learning.values)})
    assert found.shape == (N_ROWS, 2 * len(fitted.names("a")))
    assert np.array_equal(found[:, : len(fitted.names("a"))], found[:, len(fitted.names("a")) :], equal_nan=True)


def names_are_unique_and_tell_their_column(kind: type[Encoder]) -> None:
    """Every matrix column can be traced to the column it came from."""
    names = kind.fit(example(kind)).names("colour")
    assert len(set(names)) == len(names)
    assert all(name.startswith("colour") for name in names)


def nothing_becomes_infinite(kind: type[Encoder]) -> None:
    """Gaps, unseen levels and far values give numbers or NaN, never an infinity."""
    fitted = kind.fit(example(kind))
    far: Any = (
        np.array(["red", "", "never seen"], object) if "category" in kind.accepts else np.array([1e12, np.nan, -1e12])
    )
    assert not np.isinf(encode(kind, {"a": (fitted, far)})).any()


def poor_columns_can_be_learned(kind: type[Encoder]) -> None:
    """One row, a constant and nothing but gaps are learned without a failure."""
    learning = example(kind)
    gap: Any = "" if "category" in kind.accepts else np.nan
    for values in (learning.values[1:2], np.repeat(learning.values[1:2], 9), np.full(9, gap, learning.values.dtype)):
        fitted = kind.fit(EncoderInput(values, learning.target[: len(values)], learning.task))
        assert encode(kind, {"a": (fitted, values)}).shape[0] == len(values)


def fitting_twice_gives_the_same(kind: type[Encoder]) -> None:
    """Nothing is drawn at random."""
    assert kind.fit(example(kind)) == kind.fit(example(kind))


def fitted_values_survive_json(kind: type[Encoder]) -> None:
    """What is learned is plain values, so that a version can keep it as text."""
    fitted = kind.fit(example(kind))
    plain = json.loads(json.dumps(asdict(fitted)))  # type: ignore[call-overload] # every encoder is a dataclass
    assert kind(**{name: _tuples(value) for name, value in plain.items()}) == fitted


def a_row_alone_is_what_it_is_among_others(kind: type[Encoder]) -> None:
    """One row, and no row, are encoded as they are in a table, to the last digit."""
    learning = example(kind)
    fitted = kind.fit(learning)
    together = encode(kind, {"a": (fitted, learning.values)})
    for rows in (slice(3, 4), slice(0, 0)):
        assert np.array_equal(encode(kind, {"a": (fitted, learning.values[rows])}), together[rows], equal_nan=True)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


PROMISES = (
    width_is_the_number_of_names,
    names_are_unique_and_tell_their_column,
    nothing_becomes_infinite,
    poor_columns_can_be_learned,
    fitting_twice_gives_the_same,
    fitted_values_survive_json,
    a_row_alone_is_what_it_is_among_others,
)
