"""Formulas: expressions of raw columns that a config names, as nodes of the graph."""

from estimator.features.formulas.compiled import CompiledFormula, Formulas

__all__ = ["CompiledFormula", "Formulas"]
