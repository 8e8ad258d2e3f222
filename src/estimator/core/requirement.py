"""A requirement of a metric as text, such as recall>=0.9: what `--require` and `evaluation.threshold` take."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PATTERN = re.compile(r"\s*(\w+)\s*(>=|<=)\s*(\S+)\s*")


@dataclass(frozen=True, slots=True)
class Requirement:
    """A metric that is to reach a value: `sign` is >= or <=."""

    metric: str
    sign: str
    value: float

    @classmethod
    def parse(cls, text: str) -> Requirement | None:
        """Return the requirement that a text states, None for any other text.

        >>> Requirement.parse("recall >= 0.9"), Requirement.parse("recall")
        (Requirement(metric='recall', sign='>=', value=0.9), None)
        """
        match = _PATTERN.fullmatch(text)
        if match is None:
            return None
        try:
            return cls(match[1], match[2], float(match[3]))
        except ValueError:
            return None

    def is_met(self, value: float) -> bool:
        """Whether a value of the metric meets it; one that is undefined does not."""
        return value >= self.value if self.sign == ">=" else value <= self.value
