"""What a table holds: a profile in numbers, findings in words with the config edit that answers each, and a page."""

from estimator.exploration.accumulators import SAMPLE_ROWS
from estimator.exploration.profile import ColumnProfile, Profile, profile_table

__all__ = ["SAMPLE_ROWS", "ColumnProfile", "Profile", "profile_table"]
