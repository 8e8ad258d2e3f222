"""The promises of every engine. What items run is at the top level of this file, so that it can run anywhere."""

from __future__ import annotations

import time

import numpy as np

from estimator.core.arrays import Floats
from estimator.engine import Engine
from estimator.errors import TrainingError


def _slow_first(shared: Floats, item: int) -> float:
    time.sleep(0.3 if item == 0 else 0.0)
    return float(shared.sum()) + item


def _fails_from_two(shared: None, item: int) -> int:
    if item >= 2:
        time.sleep(0.2 if item == 2 else 0.0)
        raise TrainingError(f"item {item}", hint="do this")
    return item


def results_are_in_the_order_of_the_items(engine: Engine) -> None:
    """Whichever item ends first, and each is reported once, with its result."""
    ended: list[tuple[int, float]] = []
    results = engine.map(_slow_first, np.ones(10), range(4), on_end=lambda item, result: ended.append((item, result)))
    assert results == [10.0, 11.0, 12.0, 13.0]
    assert sorted(ended) == [(0, 10.0), (1, 11.0), (2, 12.0), (3, 13.0)]


def nothing_is_mapped_to_nothing(engine: Engine) -> None:
    """No items have no results."""
    assert engine.map(_slow_first, np.ones(1), []) == []


def first_error_is_raised_as_it_is(engine: Engine) -> None:
    """Of several items that fail, the error of the first is raised, with its class and hint."""
    try:
        engine.map(_fails_from_two, None, range(6), n_jobs=4)
    except TrainingError as error:
        assert type(error) is TrainingError
        assert (error.message, error.hint) == ("item 2", "do this")
    else:
        raise AssertionError("no error")


def error_of_a_report_ends_the_map(engine: Engine) -> None:
    """What `on_end` raises, such as that a trial is not worth finishing, is raised as it is; later items end."""
    reported = []

    def refuse(item: int, result: float) -> None:
        reported.append(item)
        raise ValueError("enough")

    try:
        engine.map(_slow_first, np.ones(1), range(100), n_jobs=1, on_end=refuse)
    except ValueError as error:
        assert str(error) == "enough"
        assert len(reported) < 100
    else:
        raise AssertionError("no error")


def engine_can_be_used_again(engine: Engine) -> None:
    """After an error, too."""
    first_error_is_raised_as_it_is(engine)
    nothing_is_mapped_to_nothing(engine)
    results_are_in_the_order_of_the_items(engine)


PROMISES = (
    results_are_in_the_order_of_the_items,
    nothing_is_mapped_to_nothing,
    first_error_is_raised_as_it_is,
    error_of_a_report_ends_the_map,
    engine_can_be_used_again,
)
