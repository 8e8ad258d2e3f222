"""The schema of a table: what each column is and accepts, inferred once, reviewed by a person, enforced everywhere."""

from estimator.data.schema.column import IGNORED_KINDS, KINDS, NA_VALUES, Column, UnknownPolicy
from estimator.data.schema.schema import Batch, Schema

__all__ = ["IGNORED_KINDS", "KINDS", "NA_VALUES", "Batch", "Column", "Schema", "UnknownPolicy"]
