"""Where an image runs. Each kind of target plans a deployment, applies it, reports its status and removes it."""

from estimator.core.registry import Shelf
from estimator.shipping.deployment.base import (
    DeploymentContext,
    DeploymentPlan,
    DeploymentStatus,
    DeploymentTarget,
    PlanStep,
    Release,
    Resource,
)

KINDS = {
    "docker": "estimator.shipping.deployment.docker.target:DockerTarget",
    "ec2": "estimator.shipping.deployment.ec2.target:EC2Target",
    "kubernetes": "estimator.shipping.deployment.kubernetes.target:KubernetesTarget",
}
SHELF: Shelf[DeploymentTarget] = Shelf("target", KINDS)

__all__ = [
    "KINDS",
    "SHELF",
    "DeploymentContext",
    "DeploymentPlan",
    "DeploymentStatus",
    "DeploymentTarget",
    "PlanStep",
    "Release",
    "Resource",
]
