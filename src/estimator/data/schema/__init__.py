"""The contract of a table: what each column is, inferred once, reviewed by a person, then law everywhere."""

from estimator.data.schema.column import GAPS, IGNORED_KINDS, KINDS, Column, Unseen
from estimator.data.schema.contract import Batch, Schema

__all__ = ["GAPS", "IGNORED_KINDS", "KINDS", "Batch", "Column", "Schema", "Unseen"]
