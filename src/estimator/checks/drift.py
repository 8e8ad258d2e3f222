"""What every drift test promises."""

from __future__ import annotations

import math

import numpy as np

from estimator.core.arrays import Floats
from estimator.core.task import Predictions
from estimator.data.schema import Batch, Column, Schema
from estimator.drift import Current, DriftTest, Reference, refer

N_REFERENCE, N_CURRENT, REPEATS = 1500, 300, 40
LEVELS = np.array(["north", "south", "east", "west"], dtype=object)
COLUMNS = (
    Column("size", "number", nullable=True),
    Column("rooms", "integer"),
    Column("place", "category", nullable=True),
)
SCHEMA = Schema(COLUMNS, Column("price", "number"))


def rows(n: int, *, seed: int, shift: float = 0.0) -> tuple[Batch, Predictions]:
    """Return rows with their answers; a shift moves numbers, levels, gaps and answers."""
    generator = np.random.default_rng(seed)
    size = generator.gamma(4.0, 25.0, n) * (1.0 + shift)
    size[generator.random(n) < 0.03 + 0.2 * shift] = np.nan
    rooms = np.floor(generator.poisson(3.0 + 2.0 * shift, n)).astype(np.float64)
    shares = np.array([0.4, 0.3, 0.2, 0.1]) * (1.0 - shift) + shift * np.array([0.05, 0.05, 0.3, 0.6])
    place = LEVELS[generator.choice(4, n, p=shares / shares.sum())]
    answers = np.nan_to_num(size, nan=100.0) * 3.0 + rooms * 10.0
    return Batch({"size": size[:, None], "rooms": rooms[:, None], "place": place[:, None]}, n), Predictions(answers)


def reference(seed: int = 0) -> Reference:
    """Return what a version would keep of rows that did not move."""
    batch, answers = rows(N_REFERENCE, seed=seed)
    losses: Floats = np.abs(np.random.default_rng([seed, 1]).normal(size=N_REFERENCE))
    return refer(SCHEMA, batch, answers, losses, seed=seed)


def current(known: Reference, n: int = N_CURRENT, *, seed: int, shift: float = 0.0) -> Current:
    """Return rows seen now."""
    return Current.of(known, *rows(n, seed=seed, shift=shift))


def what_moved_is_found(test: DriftTest) -> None:
    """Rows that moved far have a small p-value and a larger effect than rows that did not."""
    known = reference()
    calm = test.findings(known, current(known, seed=1))
    moved = test.findings(known, current(known, seed=2, shift=0.5))
    assert min(finding.moved.p_value for finding in moved) <= 0.01
    assert max(finding.moved.effect for finding in moved) > max(finding.moved.effect for finding in calm)


def what_did_not_move_is_rarely_found(test: DriftTest) -> None:
    """By chance, p-values are about as often small as they say."""
    small, all_of_them = 0, 0
    for seed in range(REPEATS):
        known = reference(seed=1000 + seed)
        found = test.findings(known, current(known, seed=2000 + seed), seed=seed)
        small += sum(finding.moved.p_value <= 0.05 for finding in found)
        all_of_them += len(found)
    # Findings of one draw hang together a little, hence some room.
    assert small <= 0.05 * all_of_them + 4.0 * math.sqrt(0.05 * all_of_them) + 1


def p_values_are_probabilities_and_effects_are_finite(test: DriftTest) -> None:
    """Whatever the rows: one of them, none that is known, as many as can be told apart."""
    known = reference()
    batch, answers = rows(60, seed=3)
    nothing = {
        "size": np.full((60, 1), np.nan),
        "rooms": np.full((60, 1), np.nan),
        "place": np.full((60, 1), "", object),
    }
    for seen in (
        current(known, 1, seed=4), current(known, 2, seed=5), current(known, seed=6, shift=0.9),
        Current.of(known, Batch(nothing, 60), answers), Current.of(known, batch, answers),
    ):  # fmt: skip
        for finding in test.findings(known, seen):
            assert 0.0 <= finding.moved.p_value <= 1.0
            assert math.isfinite(finding.moved.effect)


def the_same_rows_have_the_same_findings(test: DriftTest) -> None:
    """Chance, where there is any, comes from the seed."""
    known = reference()
    seen = current(known, seed=7, shift=0.1)
    assert test.findings(known, seen, seed=3) == test.findings(known, seen, seed=3)


def the_reference_survives_its_file(test: DriftTest) -> None:
    """What is found does not hang on whether the reference was written and read in between."""
    known = reference()
    again = Reference.from_data(known.to_data())
    seen = rows(N_CURRENT, seed=8, shift=0.2)
    assert test.findings(known, Current.of(known, *seen)) == test.findings(again, Current.of(again, *seen))


PROMISES = (
    what_moved_is_found,
    what_did_not_move_is_rarely_found,
    p_values_are_probabilities_and_effects_are_finite,
    the_same_rows_have_the_same_findings,
    the_reference_survives_its_file,
)
