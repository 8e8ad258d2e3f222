"""Encoders turn one column into numbers: `fit` learns from training rows, `nodes` writes the ONNX that applies it."""

from estimator.core.registry import Shelf
from estimator.features.encoders.base import Encoder, EncoderInput

KINDS = {
    "standard": "estimator.features.encoders.standard:Standard",
    "raw": "estimator.features.encoders.raw:Raw",
    "onehot": "estimator.features.encoders.onehot:OneHot",
    "codes": "estimator.features.encoders.codes:Codes",
    "target_mean": "estimator.features.encoders.target_mean:TargetMean",
    "words": "estimator.features.encoders.word_presence:WordPresence",
    "tfidf": "estimator.features.encoders.tfidf:Tfidf",
    "calendar": "estimator.features.encoders.calendar:Calendar",
    "calendar_standard": "estimator.features.encoders.calendar:CalendarStandard",
}
SHELF: Shelf[Encoder] = Shelf("encoder", KINDS)

__all__ = ["KINDS", "SHELF", "Encoder", "EncoderInput"]
