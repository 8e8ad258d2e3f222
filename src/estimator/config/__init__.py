"""A config file -> frozen values, one class per section."""

from estimator.config.reading import read_config, resolve
from estimator.config.sections import (
    Callback,
    Config,
    Data,
    Evaluation,
    FeatureChoices,
    SchemaChoices,
    Section,
    Serving,
    Split,
    Training,
    Validation,
)
from estimator.config.vocabulary import Vocabulary

__all__ = [
    "Callback",
    "Config",
    "Data",
    "Evaluation",
    "FeatureChoices",
    "SchemaChoices",
    "Section",
    "Serving",
    "Split",
    "Training",
    "Validation",
    "Vocabulary",
    "read_config",
    "resolve",
]
