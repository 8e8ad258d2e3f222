"""Promises of the shelves: plain functions a kind either passes or fails, for our tests and for plug-ins alike.

for promise in estimator.checks.encoders.PROMISES:
    promise(MyEncoder)
"""
