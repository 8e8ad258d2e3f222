"""Do rows still look like those of training? Batch tests compare many rows at once, a sequential test follows them.

One file per kind: `SHELF` holds the batch tests that a check runs together, `DETECTORS` the sequential tests.
"""

from estimator.core.registry import Shelf
from estimator.drift.base import BatchTest, DriftResult, SequentialTest
from estimator.drift.held_out import absolute_losses, signed_errors
from estimator.drift.reference import CurrentRows, DriftReference, build_reference

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
DETECTOR_KINDS = {"e_process": "estimator.drift.e_process:EProcess"}
SHELF: Shelf[BatchTest] = Shelf("drift", KINDS)
DETECTORS: Shelf[SequentialTest] = Shelf("detector", DETECTOR_KINDS)

__all__ = [
    "DETECTORS",
    "DETECTOR_KINDS",
    "KINDS",
    "SHELF",
    "BatchTest",
    "CurrentRows",
    "DriftReference",
    "DriftResult",
    "SequentialTest",
    "absolute_losses",
    "build_reference",
    "signed_errors",
]
