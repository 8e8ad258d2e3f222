"""Testing by betting: is the mean of bounded differences above zero? Valid however often one looks.

A gambler bets on each difference before it is known. The capital is a nonnegative supermartingale as long as the mean
of each difference, given those before it, is at most zero: by Ville's inequality it reaches 1/alpha with a probability
of at most alpha, at any time, whatever the distribution (Waudby-Smith and Ramdas, 2024). The differences must be
bounded; a bound that is guessed from them, as from their median, makes the promise false where they are skewed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from estimator.core.arrays import Floats
from estimator.evaluation.scores import Score

# Stakes: fractions of the largest one that cannot lose more than the capital.
FRACTIONS = np.array([0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 0.95])
MAX_FRACTION = 0.95
# The adaptive stake is the mean over the mean square of all differences before, and of this many typical ones.
PRIOR_ROWS, PRIOR_MEAN, PRIOR_SQUARE = 5.0, 0.02, 0.05
# Sums of neighboring differences show whether neighbors are alike.
BLOCK_ROWS, MIN_BLOCKS = (5, 20), 10
BISECTION_STEPS = 20


def log_capital(values: Floats, mean: float = 0.0) -> Floats:
    """Return the logarithm of the capital that bets on "the mean is above `mean`", after each row.

    `values`, of shape (rows,), lie in [-1, 1]. Half of the capital follows fixed stakes, half the stake that would have
    earned most so far. On average it does not grow while the mean is at most `mean`.

    >>> log_capital(np.array([1.0, 1.0, -1.0])).round(2).tolist()
    [0.34, 0.86, -0.59]
    """
    centered, largest = values - mean, MAX_FRACTION / (1.0 + mean)
    sums = np.concatenate([[0.0], np.cumsum(centered)[:-1]]) + PRIOR_ROWS * PRIOR_MEAN
    squares = np.concatenate([[0.0], np.cumsum(centered * centered)[:-1]]) + PRIOR_ROWS * PRIOR_SQUARE
    capital: Floats = np.cumsum(np.log1p(np.clip(sums / squares, 0.0, largest) * centered)) - np.log(2.0)
    for fraction in FRACTIONS / (1.0 + mean):
        fixed = np.cumsum(np.log1p(fraction * centered)) - np.log(2.0 * len(FRACTIONS))
        capital = np.logaddexp(capital, fixed)
    return capital


def variance_inflation(values: Floats) -> Floats:
    """Return by what factor neighbors that are alike enlarge the variance of a sum, at least 1, after each row.

    It is the variance of the sums of blocks over that of as many independent values (batch means; Flegal and Jones,
    2010), of the blocks so far.
    """
    n_rows = len(values)
    counts = np.arange(1, n_rows + 1)
    variance = np.cumsum(values * values) / counts - (np.cumsum(values) / counts) ** 2
    inflation = np.ones(n_rows)
    for size in BLOCK_ROWS:
        n_blocks = n_rows // size
        if n_blocks < MIN_BLOCKS:
            continue
        blocks, numbers = values[: n_blocks * size].reshape(n_blocks, size).sum(axis=1), np.arange(1, n_blocks + 1)
        of_blocks = np.cumsum(blocks * blocks) / numbers - (np.cumsum(blocks) / numbers) ** 2
        of_rows = variance[size - 1 :: size][:n_blocks]
        ratio = np.where(numbers < MIN_BLOCKS, 1.0, of_blocks / np.maximum(size * of_rows, 1e-300))
        after_rows = np.repeat(ratio, size)
        inflation[size - 1 :] = np.maximum(
            inflation[size - 1 :], np.append(after_rows, np.full(size, ratio[-1]))[: n_rows - size + 1]
        )
    return inflation


@dataclass
class BettingTest:
    """E-process for "the mean of differences is above zero", and the confidence sequence of that mean.

    Differences lie in [-bound, bound], in their own units. Assumption: while there is no gain, the mean of each
    difference given those before it is at most 0, as it is for independent rows. If that fails, because neighbors are
    alike, false calls are more frequent than alpha; so the capital is raised to the power 1 over the variance inflation
    that is measured, which only lowers it. Rows whose mean moves through zero and back are called by what they were
    so far.

    `head` holds the differences of `n_heads` times as many tests, of which the best was chosen: half of the stake is
    their capital divided by `n_heads`, which is on average at most its share.

    >>> rng = np.random.default_rng(0)
    >>> test = BettingTest(bound=4.0)
    >>> test.update(rng.uniform(-1.0, 2.0, 200))
    >>> test.e_value > 100, str(test.gain(0.05))
    (True, '0.6189 (0.4288 to 0.8004)')
    """

    bound: float
    head: Floats = field(default_factory=lambda: np.empty(0))
    n_heads: int = 1
    differences: Floats = field(default_factory=lambda: np.empty(0))

    def update(self, differences: Floats) -> None:
        """Add differences of shape (rows,)."""
        self.differences = np.append(self.differences, differences)

    @property
    def n_rows(self) -> int:
        """Differences so far, without those of the head."""
        return len(self.differences)

    @property
    def mean(self) -> float:
        """The mean of all differences, with those of the head; 0 without any."""
        everything = np.append(self.head, self.differences)
        return float(everything.mean()) if len(everything) else 0.0

    @property
    def e_value(self) -> float:
        """The evidence that the mean is above zero."""
        return float(np.exp(min(self._log_evidence(0.0, sign=1.0), 600.0)))

    @property
    def e_value_below(self) -> float:
        """The evidence that the mean is below zero."""
        return float(np.exp(min(self._log_evidence(0.0, sign=-1.0), 600.0)))

    def e_values(self) -> Floats:
        """Return the evidence after each difference."""
        return np.asarray(np.exp(np.minimum(self._log_evidences(0.0, sign=1.0), 600.0)))

    def gain(self, alpha: float) -> Score:
        """Return the mean of all differences, and limits that hold at all times, each with a probability of 1 - alpha.

        The lower limit is above zero exactly when the evidence has reached 1/alpha and the mean is above zero.
        """
        mean = self.mean
        low, high = (self.bound * sign * self._lower_limit(sign, float(np.log(1.0 / alpha))) for sign in (1.0, -1.0))
        return Score(mean, min(low, mean), max(high, mean))

    def _lower_limit(self, sign: float, threshold: float) -> float:
        """Return the largest mean, in bounds, that the evidence rejects; evidence falls as the mean grows."""
        low, high = -0.999, 0.999
        if self._log_evidence(low, sign=sign) < threshold:
            return -1.0
        for _ in range(BISECTION_STEPS):
            middle = (low + high) / 2.0
            is_rejected = self._log_evidence(middle, sign=sign) >= threshold
            low, high = (middle, high) if is_rejected else (low, middle)
        return low

    def _log_evidence(self, mean: float, *, sign: float) -> float:
        if not len(self.differences):
            return self._log_stake(mean, sign)
        return float(self._log_evidences(mean, sign=sign)[-1])

    def _log_evidences(self, mean: float, *, sign: float) -> Floats:
        values = np.clip(sign * self.differences / self.bound, -1.0, 1.0)
        capital = log_capital(values, mean)
        # A loss counts in full: only what was won is doubted where neighbors are alike.
        tempered = np.where(capital > 0.0, capital / variance_inflation(values), capital)
        return np.asarray(tempered + self._log_stake(mean, sign))

    def _log_stake(self, mean: float, sign: float) -> float:
        if not len(self.head):
            return 0.0
        capital = log_capital(np.clip(sign * self.head / self.bound, -1.0, 1.0), mean)[-1]
        return float(np.logaddexp(0.0, capital - np.log(self.n_heads)) - np.log(2.0))
