"""The checks of `estimator ci`, and the workflow files that run it."""
