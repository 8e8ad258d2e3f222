"""A config file -> frozen values, one class per section."""

from estimator.config.data import Data
from estimator.config.engine import EngineChoice
from estimator.config.evaluation import Costs, Evaluation
from estimator.config.faults import ConfigFault, NestedError, faults_of
from estimator.config.monitoring import Alert, Monitoring, Promotion, Retraining
from estimator.config.reader import ENVIRONMENT_PREFIX, from_environment, read_config, resolve, resolve_section
from estimator.config.schema import SchemaChoices
from estimator.config.section import Section, Shelves
from estimator.config.sections import Callback, Config, FeatureChoices, Image, Serving, Split, Training, Validation
from estimator.config.tuning import Dimension, Layers, Range, Tuning

__all__ = [
    "ENVIRONMENT_PREFIX",
    "Alert",
    "Callback",
    "Config",
    "ConfigFault",
    "Costs",
    "Data",
    "Dimension",
    "EngineChoice",
    "Evaluation",
    "FeatureChoices",
    "Image",
    "Layers",
    "Monitoring",
    "NestedError",
    "Promotion",
    "Range",
    "Retraining",
    "SchemaChoices",
    "Section",
    "Serving",
    "Shelves",
    "Split",
    "Training",
    "Tuning",
    "Validation",
    "faults_of",
    "from_environment",
    "read_config",
    "resolve",
    "resolve_section",
]
