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


def example(kind: type[Encoder]) -> EncoderInput:
    """Return training values that the encoder accepts, some of them missing."""
    generator = np.random.default_rng(5)
    target = generator.standard_normal(N_ROWS)
    values: Any
    if "category" in kind.accepts:
        values = generator.choice(["red", "green", "blue", ""], N_ROWS).astype(object)
    else:
        values = generator.standard_normal(N_ROWS) * (1e8 if "date" in kind.accepts else 1.0)
        values[::7] = np.nan
    return EncoderInput(values, target, Task("regression"))


def encode(kind: type[Encoder], columns: dict[str, tuple[Encoder, Any]]) -> Floats:
    """Return the matrix that the graph computes from columns: name -> (fitted encoder, values)."""
    graph = Graph()
    for name in columns:
        graph.input(name, STRING if "category" in kind.accepts else DOUBLE)
    output = kind.nodes(graph, {name: encoder for name, (encoder, _) in columns.items()})
    session = Session(graph.finish([Output("matrix", output, DOUBLE, rank=2)]))
    matrix: Floats = session.run({name: values.reshape(-1, 1) for name, (_, values) in columns.items()})[0]
    return matrix


def width_is_the_number_of_names(kind: type[Encoder]) -> None:
    """Each of two equal columns becomes as many matrix columns as it has names, and the same ones."""
    training = example(kind)
    fitted = kind.fit(training)
    width = len(fitted.names("a"))
    matrix = encode(kind, {"a": (fitted, training.values), "b": (fitted, training.values)})
    assert matrix.shape == (N_ROWS, 2 * width)
    assert np.array_equal(matrix[:, :width], matrix[:, width:], equal_nan=True)


def names_are_unique_and_start_with_the_column(kind: type[Encoder]) -> None:
    """Every matrix column can be traced to the column it came from."""
    names = kind.fit(example(kind)).names("color")
    assert len(set(names)) == len(names)
    assert all(name.startswith("color") for name in names)


def nothing_becomes_infinite(kind: type[Encoder]) -> None:
    """Missing values, unknown categories and extreme numbers become numbers or NaN, never an infinity."""
    fitted = kind.fit(example(kind))
    texts, numbers = np.array(["red", "", "unknown"], object), np.array([1e12, np.nan, -1e12])
    values: Any = texts if "category" in kind.accepts else numbers
    assert not np.isinf(encode(kind, {"a": (fitted, values)})).any()


def degenerate_columns_can_be_fitted(kind: type[Encoder]) -> None:
    """One row, a constant, and a column of missing values do not fail."""
    training = example(kind)
    missing: Any = "" if "category" in kind.accepts else np.nan
    one_row = training.values[1:2]
    for values in (one_row, np.repeat(one_row, 9), np.full(9, missing, training.values.dtype)):
        fitted = kind.fit(EncoderInput(values, training.target[: len(values)], training.task))
        assert encode(kind, {"a": (fitted, values)}).shape[0] == len(values)


def fitting_is_deterministic(kind: type[Encoder]) -> None:
    """Fitting twice gives the same encoder."""
    assert kind.fit(example(kind)) == kind.fit(example(kind))


def fitted_values_survive_json(kind: type[Encoder]) -> None:
    """A fitted encoder is plain values, so that a version can store it as text."""
    fitted = kind.fit(example(kind))
    data = json.loads(json.dumps(asdict(fitted)))  # type: ignore[call-overload] # every encoder is a dataclass
    assert kind(**{name: _as_tuple(value) for name, value in data.items()}) == fitted


def rows_are_encoded_independently(kind: type[Encoder]) -> None:
    """One row, and no row, are encoded exactly as in a larger table."""
    training = example(kind)
    fitted = kind.fit(training)
    matrix = encode(kind, {"a": (fitted, training.values)})
    for rows in (slice(3, 4), slice(0, 0)):
        assert np.array_equal(encode(kind, {"a": (fitted, training.values[rows])}), matrix[rows], equal_nan=True)


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value


PROMISES = (
    width_is_the_number_of_names,
    names_are_unique_and_start_with_the_column,
    nothing_becomes_infinite,
    degenerate_columns_can_be_fitted,
    fitting_is_deterministic,
    fitted_values_survive_json,
    rows_are_encoded_independently,
)
