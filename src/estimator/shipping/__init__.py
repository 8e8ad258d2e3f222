"""Container images of versions, deployments, and CI."""
