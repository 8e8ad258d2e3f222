"""`python -m estimator` is the command `estimator`."""

from estimator.cli import command

command()
