"""What a table holds: a profile in numbers, findings in words with the config edit that answers each, and a page."""

from estimator.exploration.explore import Looked, look
from estimator.exploration.profile import ColumnProfile, Profile, profile_table

__all__ = ["ColumnProfile", "Looked", "Profile", "look", "profile_table"]
