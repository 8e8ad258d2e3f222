"""How one column becomes numbers: fit learns, nodes() writes the graph, which alone does the work."""

from estimator.encoders.base import Encoder, Learning
from estimator.registry import Shelf

KINDS = {
    "standard": "estimator.encoders.standard:Standard",
    "raw": "estimator.encoders.raw:Raw",
    "onehot": "estimator.encoders.onehot:OneHot",
    "codes": "estimator.encoders.codes:Codes",
    "target_mean": "estimator.encoders.target_mean:TargetMean",
    "words": "estimator.encoders.words:Words",
    "tfidf": "estimator.encoders.tfidf:Tfidf",
    "calendar": "estimator.encoders.calendar:Calendar",
    "calendar_standard": "estimator.encoders.calendar:CalendarStandard",
}
SHELF: Shelf[Encoder] = Shelf("encoder", KINDS)

__all__ = ["KINDS", "SHELF", "Encoder", "Learning"]
