"""Where an image runs: each kind plans, applies, tells how it stands, and takes it all down again."""

from estimator.core.registry import Shelf
from estimator.shipping.deployment.base import Plan, Release, Resource, Site, Status, Step, Target

KINDS = {
    "docker": "estimator.shipping.deployment.docker:Docker",
    "ec2": "estimator.shipping.deployment.ec2:EC2",
    "kubernetes": "estimator.shipping.deployment.kubernetes:Kubernetes",
}
SHELF: Shelf[Target] = Shelf("target", KINDS)

__all__ = ["KINDS", "SHELF", "Plan", "Release", "Resource", "Site", "Status", "Step", "Target"]
