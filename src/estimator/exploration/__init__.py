"""Explore a table: a profile in numbers, findings with the config edit that resolves each, and a page."""

from estimator.exploration.explore import Exploration, explore
from estimator.exploration.profile import ColumnProfile, Profile, profile_table

__all__ = ["ColumnProfile", "Exploration", "Profile", "explore", "profile_table"]
