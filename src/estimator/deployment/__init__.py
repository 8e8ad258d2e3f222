"""Where an image runs: each kind plans, applies, tells how it stands, and takes it all down again."""

from estimator.deployment.base import Plan, Release, Resource, Site, Status, Step, Target
from estimator.registry import Shelf

KINDS = {
    "docker": "estimator.deployment.docker:Docker",
    "ec2": "estimator.deployment.ec2:EC2",
    "kubernetes": "estimator.deployment.kubernetes:Kubernetes",
}
SHELF: Shelf[Target] = Shelf("target", KINDS)

__all__ = ["KINDS", "SHELF", "Plan", "Release", "Resource", "Site", "Status", "Step", "Target"]
