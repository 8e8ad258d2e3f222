"""A search space -> the best settings (Optuna), and whether they are really better than the config's own."""

from estimator.tuning.outcome import Outcome, outcome
from estimator.tuning.page import tuning_page
from estimator.tuning.search import Rows, Search, SearchProgress, queue_own, search, told
from estimator.tuning.space import Space
from estimator.tuning.study import Plan, opened_study
from estimator.tuning.workers import search_together, wanted_by

__all__ = [
    "Outcome",
    "Plan",
    "Rows",
    "Search",
    "SearchProgress",
    "Space",
    "opened_study",
    "outcome",
    "queue_own",
    "search",
    "search_together",
    "told",
    "tuning_page",
    "wanted_by",
]
