"""A config file -> frozen values, one class per section."""

from estimator.config.reading import ENVIRONMENT_PREFIX, from_environment, read_config, resolve, resolve_kept
from estimator.config.sections import (
    Callback,
    Config,
    Data,
    Dimension,
    Evaluation,
    FeatureChoices,
    Image,
    Layers,
    Range,
    SchemaChoices,
    Section,
    Serving,
    Split,
    Training,
    Tuning,
    Validation,
)
from estimator.config.vocabulary import Vocabulary

__all__ = [
    "ENVIRONMENT_PREFIX",
    "Callback",
    "Config",
    "Data",
    "Dimension",
    "Evaluation",
    "FeatureChoices",
    "Image",
    "Layers",
    "Range",
    "SchemaChoices",
    "Section",
    "Serving",
    "Split",
    "Training",
    "Tuning",
    "Validation",
    "Vocabulary",
    "from_environment",
    "read_config",
    "resolve",
    "resolve_kept",
]
