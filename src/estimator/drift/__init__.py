"""What training saw and rows seen now -> whether and how far they moved; one file a kind."""

from estimator.core.registry import Shelf
from estimator.drift.base import DriftTest, Finding, Moved
from estimator.drift.reference import Current, Reference, losses_of, refer

KINDS = {
    "schema_faults": "estimator.drift.schema_faults:SchemaFaults",
    "kolmogorov_smirnov": "estimator.drift.kolmogorov_smirnov:KolmogorovSmirnov",
    "chi_square": "estimator.drift.chi_square:ChiSquare",
    "population_stability": "estimator.drift.population_stability:PopulationStability",
    "jensen_shannon": "estimator.drift.jensen_shannon:JensenShannon",
    "wasserstein": "estimator.drift.wasserstein:Wasserstein",
    "domain_classifier": "estimator.drift.domain_classifier:DomainClassifier",
    "prediction_drift": "estimator.drift.prediction_drift:PredictionDrift",
}
SHELF: Shelf[DriftTest] = Shelf("drift", KINDS)

__all__ = ["KINDS", "SHELF", "Current", "DriftTest", "Finding", "Moved", "Reference", "losses_of", "refer"]
