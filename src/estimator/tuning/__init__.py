"""Hyperparameter search with Optuna: the best settings, and whether they are really better than the current ones."""

from estimator.tuning.page import tuning_page
from estimator.tuning.result import SearchResult, evaluate_search
from estimator.tuning.search import Search, SearchProgress, TuningRows, run_search, search_progress
from estimator.tuning.space import Space
from estimator.tuning.study import StudySpec, open_study
from estimator.tuning.workers import search_in_processes

__all__ = [
    "Search",
    "SearchProgress",
    "SearchResult",
    "Space",
    "StudySpec",
    "TuningRows",
    "evaluate_search",
    "open_study",
    "run_search",
    "search_in_processes",
    "search_progress",
    "tuning_page",
]
