"""One version's rows as they come -> evidence that they are not as in training, and that answers have become worse."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from estimator.core.arrays import Floats, Ints
from estimator.drift import Reference
from estimator.drift.reference import Codes, ColumnReference
from estimator.monitoring.e_process import Evidence, Ranks

CHUNK = 50
# Shares of the evidence of rows as a whole: that of all columns together, and that of answers.
OF_COLUMNS, OF_ANSWERS = 0.75, 0.25


@dataclass
class Bets:
    """Ranks of some columns and the evidence that they give, block after block."""

    ranks: Ranks
    evidence: Evidence
    block: int | None = None
    blocks: int = 0

    @classmethod
    def on(cls, columns: Sequence[ColumnReference], *, seed: int, only_high: bool = False) -> Bets:
        """Return bets on columns, which have not begun."""
        return cls(Ranks(columns, seed=seed), Evidence(len(columns), only_high=only_high))

    def take(self, codes: Codes, blocks: Ints) -> Floats:
        """Take rows of shape (rows, columns) with the block of time of each; return the wealth after each."""
        found = np.empty(codes.shape)
        starts = np.flatnonzero(np.diff(blocks, prepend=blocks[0] - 1 if self.block is None else self.block) > 0)
        for first, last in _pieces(starts, len(codes)):
            if blocks[first] != self.block:
                self.block = int(blocks[first])
                self.blocks += 1
                self.evidence.begin()
            found[first:last] = self.evidence.take(self.ranks.take(codes[first:last]))
        return found

    def restart(self) -> None:
        """Forget the bets, not the ranks: evidence is gathered anew."""
        n_columns = len(self.evidence.stakes)
        self.evidence = Evidence(n_columns, only_high=self.evidence.only_high)
        self.block = None

    def to_data(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        arrays = {"counts": self.ranks.counts, "stakes": self.evidence.stakes, "seen": self.evidence.seen}
        packed = {name: [base64.b64encode(array.tobytes()).decode(), *array.shape] for name, array in arrays.items()}
        return {**packed, "rows": self.ranks.rows, "block": self.block, "blocks": self.blocks}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_data` gave."""
        self.ranks.counts = _unpacked(data["counts"], np.int64)
        self.ranks.skip(data["rows"])
        self.evidence.stakes = _unpacked(data["stakes"], np.float64)
        self.evidence.seen = _unpacked(data["seen"], np.float64)
        self.block, self.blocks = data["block"], data["blocks"]


@dataclass
class Watch:
    """What is watched of one version: its rows and answers, and its losses as truths come.

    `rows` and `labels` count what was taken; `held` is how many of `judged` truths intervals or sets held.
    """

    reference: Reference
    seed: int = 0
    rows: int = 0
    labels: int = 0
    judged: int = 0
    held: int = 0
    loss: float = 0.0
    columns: Bets = field(init=False)
    answers: Bets = field(init=False)
    losses: Bets = field(init=False)

    def __post_init__(self) -> None:
        self.columns = Bets.on(self.reference.columns, seed=self.seed)
        self.answers = Bets.on([self.reference.answers], seed=self.seed + 1)
        self.losses = Bets.on([self.reference.losses], seed=self.seed + 2, only_high=True)

    def take(self, codes: Codes, answers: npt.NDArray[Any], blocks: Ints) -> Floats:
        """Take rows; return the evidence that rows have moved, after each of them, of shape (rows,).

        `answers` are NaN, or "", where the log does not tell what is watched of them: they are passed over.
        """
        self.rows += len(codes)
        found = np.zeros(len(codes))
        if codes.shape[1]:
            found += OF_COLUMNS * self.columns.take(codes, blocks).mean(axis=1)
        told = answers != "" if answers.dtype == object else ~np.isnan(answers)
        after = np.full(len(codes), np.nan)
        if told.any():
            own = self.reference.answers.codes(answers[told])[:, None]
            before = float(self.answers.evidence.wealth[0])
            after[told] = self.answers.take(own, blocks[told])[:, 0]
            found += OF_ANSWERS * _carried(after, before)
        else:
            found += OF_ANSWERS * self.answers.evidence.wealth[0]
        return found

    def take_losses(self, losses: Floats, held: Floats, blocks: Ints) -> Floats:
        """Take losses of shape (rows,) as truths come; return the evidence that they have grown, after each."""
        solid = np.isfinite(losses)
        self.labels += len(losses)
        self.loss += float(losses[solid].sum())
        self.judged += int(solid.sum())
        self.held += int(np.nansum(held))
        found = np.full(len(losses), np.nan)
        before = float(self.losses.evidence.wealth[0])
        if solid.any():
            codes = self.reference.losses.codes(losses[solid])[:, None]
            found[solid] = self.losses.take(codes, blocks[solid])[:, 0]
        return _carried(found, before)

    def by_column(self) -> dict[str, float]:
        """Return the evidence of each column, and of the answers."""
        wealth = self.columns.evidence.wealth.tolist()
        found = {column.name: value for column, value in zip(self.reference.columns, wealth, strict=True)}
        return {**found, self.reference.answers.name: float(self.answers.evidence.wealth[0])}

    def to_data(self) -> dict[str, Any]:
        """Return how far it has come, as JSON-ready data."""
        plain = {name: getattr(self, name) for name in COUNTED}
        return {**plain, **{name: getattr(self, name).to_data() for name in ("columns", "answers", "losses")}}

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take up what `to_data` gave."""
        for name in COUNTED:
            setattr(self, name, data[name])
        for name in ("columns", "answers", "losses"):
            getattr(self, name).restore(data[name])


COUNTED = ("rows", "labels", "judged", "held", "loss")


def _pieces(starts: Ints, n_rows: int) -> list[tuple[int, int]]:
    """Return where rows can be taken together: never over the begin of a block, and not too many at once."""
    edges = sorted({*starts.tolist(), *range(0, n_rows, CHUNK), n_rows})
    return list(pairwise(edges))


def _carried(values: Floats, before: float) -> Floats:
    """Fill places that are NaN with the value before."""
    places = np.maximum.accumulate(np.where(np.isnan(values), -1, np.arange(len(values))))
    return np.where(places < 0, before, values[np.maximum(places, 0)])


def _unpacked(packed: Sequence[Any], kind: Any) -> npt.NDArray[Any]:
    return np.frombuffer(base64.b64decode(packed[0]), dtype=kind).reshape(packed[1:]).copy()
